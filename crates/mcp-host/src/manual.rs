//! Manual pages and shell completions for the package, generated from the same definitions as `--help`.
//!
//! Must not know which program they describe.

use std::path::PathBuf;
use std::{fs, io};

use clap::{Args, Command};
use clap_complete::Shell;

/// Write manual pages and shell completions into a folder.
#[derive(Debug, Args)]
#[command(hide = true, after_help = "Example: mcp-guard manual target/manual")]
pub struct Manual {
    /// The folder; it is made if need be.
    folder: PathBuf,
}

impl Manual {
    /// Writes one manual page for the program and one for each command, and the completions.
    pub fn write(&self, mut program: Command) -> io::Result<()> {
        let (pages, completions) = (self.folder.join("man"), self.folder.join("completions"));
        fs::create_dir_all(&pages)?;
        fs::create_dir_all(&completions)?;
        // Pages first: generating completions adds a `help` subcommand to every command.
        clap_mangen::generate_to(program.clone().disable_help_subcommand(true), &pages)?;
        let name = program.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            clap_complete::generate_to(shell, &mut program, name.as_str(), &completions)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;

    #[derive(Subcommand)]
    enum Tried {
        /// Sing a song.
        Sing,
        Manual(Manual),
    }

    #[test]
    fn writes_a_page_for_every_command_that_is_not_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let program = Tried::augment_subcommands(Command::new("tried"));
        Manual { folder: folder.path().to_owned() }.write(program).unwrap();
        let mut names: Vec<_> = ["man", "completions"]
            .iter()
            .flat_map(|part| fs::read_dir(folder.path().join(part)).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["_tried", "tried-sing.1", "tried.1", "tried.bash", "tried.fish"]);
        let page = fs::read_to_string(folder.path().join("man/tried-sing.1")).unwrap();
        assert!(page.contains("Sing a song"), "{page}");
    }
}
