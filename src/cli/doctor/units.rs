//! The installed unit files beside those this program was shipped with.

use std::path::{Path, PathBuf};

use super::diagnosis::{Diagnosis, State};

const SHIPPED: &[(&str, &str)] = &[
    ("mcp-guard.service", include_str!("../../../conf/systemd/mcp-guard.service")),
    ("mcp-guard.socket", include_str!("../../../conf/systemd/mcp-guard.socket")),
    ("mcp-tools@.service", include_str!("../../../conf/systemd/mcp-tools@.service")),
    ("mcp-tools@.socket", include_str!("../../../conf/systemd/mcp-tools@.socket")),
    ("mcp-watchdog.service", include_str!("../../../conf/systemd/mcp-watchdog.service")),
    ("mcp-watchdog.timer", include_str!("../../../conf/systemd/mcp-watchdog.timer")),
];

/// Where systemd looks for units: of one that is there twice, the first counts.
const FOLDERS: &[&str] = &[
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What the shipped and the installed units say differently. A drop-in is the way to change one, and is not a difference.
pub(super) fn compare(named: Option<&Path>) -> Vec<Diagnosis> {
    let usual = || FOLDERS.iter().map(PathBuf::from).collect();
    compare_in(&named.map_or_else(usual, |folder| vec![folder.to_owned()]))
}

fn compare_in(folders: &[PathBuf]) -> Vec<Diagnosis> {
    let compared = |(name, shipped): &(&str, &str)| {
        let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        found.map_or_else(
            || Diagnosis::new(State::Skip, "unit", format!("{name} is not installed")),
            |path| compare_unit(&path, name, shipped),
        )
    };
    SHIPPED.iter().map(compared).collect()
}

fn compare_unit(path: &Path, name: &str, shipped: &str) -> Diagnosis {
    let installed = match std::fs::read_to_string(path) {
        Ok(installed) => installed,
        Err(error) => return Diagnosis::new(State::Warn, "unit", format!("{}: {error}", path.display())),
    };
    let differences = differences(shipped, &installed);
    let Some(first) = differences.first() else {
        return Diagnosis::new(State::Ok, "unit", format!("{name} is as shipped"));
    };
    let more = match differences.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Diagnosis::new(State::Warn, "unit", format!("{name} is not as shipped: {first}{more}")).advise(format!(
        "install the shipped file and keep your own settings in {}.d/*.conf, then systemctl daemon-reload",
        path.display()
    ))
}

/// Settings that one side lacks; comments, order and white space are not settings.
fn differences(shipped: &str, installed: &str) -> Vec<String> {
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).map(str::to_owned).collect()
    };
    let (shipped, installed) = (settings(shipped), settings(installed));
    let lost =
        shipped.iter().filter(|line| !installed.contains(line)).map(|line| format!("`{line}` is missing"));
    let gained =
        installed.iter().filter(|line| !shipped.contains(line)).map(|line| format!("`{line}` was added"));
    lost.chain(gained).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_differ_and_comments_do_not() {
        let shipped = "# a\n[Service]\nRestart=always\nUser=mcp-guard\n";
        assert_eq!(
            differences(shipped, "[Service]\n\n; b\nUser=mcp-guard\nRestart=always"),
            Vec::<String>::new()
        );
        assert_eq!(
            differences(shipped, "[Service]\nRestart=no\nUser=mcp-guard"),
            ["`Restart=always` is missing", "`Restart=no` was added"]
        );
    }

    #[test]
    fn says_how_an_installed_unit_differs() {
        let (first, second) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let folders = [first.path().to_owned(), second.path().to_owned()];
        let states = || compare_in(&folders).iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states(), vec![State::Skip; SHIPPED.len()]);
        let (name, shipped) = SHIPPED[0];
        std::fs::write(second.path().join(name), shipped).expect("written");
        assert_eq!(states()[0], State::Ok, "as a package installs it");
        std::fs::write(first.path().join(name), "[Service]\nExecStart=/bin/true\n").expect("written");
        assert_eq!(states()[0], State::Warn, "an older copy of one's own hides it");
    }

    #[test]
    fn every_shipped_unit_is_compared() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/systemd");
        let names =
            std::fs::read_dir(folder).expect("the units").map(|entry| entry.expect("a file").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| [".service", ".socket", ".timer"].iter().any(|ending| name.ends_with(ending)));
        names.sort();
        assert_eq!(names, SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
