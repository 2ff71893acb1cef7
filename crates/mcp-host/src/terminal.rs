//! Reading a secret from a terminal without showing it. Must not know what the secret is for.

use std::io::{self, BufRead};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Reads one line from standard input; on a terminal, what is typed is not shown.
pub fn read_secret_line() -> io::Result<String> {
    let _quiet = Quiet::new();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not echo until this is dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    /// `None` when standard input is not a terminal: then there is nothing to hide.
    fn new() -> Option<Quiet> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Quiet { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
