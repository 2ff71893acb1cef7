//! Reads a secret from a terminal without echo. Must not know what the secret is for.

use std::io::{self, BufRead};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Reads one line from standard input, without echo on a terminal.
pub fn read_secret_line() -> io::Result<String> {
    let _quiet = EchoOff::new();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Disables the terminal's echo until it is dropped.
struct EchoOff {
    before: Termios,
}

impl EchoOff {
    /// `None` when standard input is not a terminal.
    fn new() -> Option<EchoOff> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(EchoOff { before })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
