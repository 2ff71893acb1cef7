//! The guard that a command is about: where it is configured, and where it answers.
//!
//! An order reaches a running guard whatever has just happened to its file: half edited, moved away, with another socket in
//! it. Must not know what is asked.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::output::{chain, complain};
use super::{DEFAULT_FILE, Exit};
use crate::admin::client::{AskError, ask};
use crate::admin::{Answer, Command};
use crate::config::{self, AdminSockets};
use crate::sys::peers::{self, Near};

/// Where a guard answers whose file has the default place, should nothing else be known.
const DEFAULT_SOCKET: &str = "/run/mcp-guard/admin.sock";

/// The guard of a configuration file.
pub(super) struct Guard {
    pub(super) file: PathBuf,
    /// The operator's word; nothing else is asked then.
    socket: Option<PathBuf>,
    /// Where it has answered once.
    answers: OnceCell<PathBuf>,
}

/// Why a guard could not be asked.
pub(super) struct Unasked {
    pub(super) exit: Exit,
    pub(super) reason: String,
}

impl Guard {
    pub(super) fn new(file: PathBuf, socket: Option<PathBuf>) -> Guard {
        Guard { file, socket, answers: OnceCell::new() }
    }

    /// Asks; complains and says how to exit when that fails.
    pub(super) fn ask(&self, command: &Command) -> Result<Answer, Exit> {
        let (asked, notes) = self.ask_quietly(command);
        for note in notes {
            complain(note);
        }
        asked.map_err(|unasked| {
            complain(&unasked.reason);
            unasked.exit
        })
    }

    /// Asks, and says what the operator should know about the way to it.
    pub(super) fn ask_quietly(&self, command: &Command) -> (Result<Answer, Unasked>, Vec<String>) {
        if let Some(socket) = self.answers.get().or(self.socket.as_ref()) {
            let asked = ask(socket, command).map_err(|error| Unasked::of(&error));
            return (asked, Vec::new());
        }
        let AdminSockets { sockets, trouble } = config::admin_sockets(&self.file);
        let mut tried = Tried { command, absent: Vec::new() };
        if let Some((socket, asked)) = tried.first_of(&sockets) {
            let note = trouble.map(|trouble| format!("{trouble}; asked the guard on {}", socket.display()));
            return (self.remembered(socket, asked), note.into_iter().collect());
        }
        if let Some((socket, asked)) = tried.first_of(&self.elsewhere()) {
            let why = trouble.unwrap_or_else(|| {
                let named = sockets.iter().map(|socket| socket.display().to_string());
                format!("no guard answers on {} (listen.admin)", named.collect::<Vec<_>>().join(", "))
            });
            let found =
                format!("{why}; asked the guard on {}, which was started with this file", socket.display());
            return (self.remembered(socket, asked), vec![found]);
        }
        // A broken file may name a socket that is not meant: then nothing is sure.
        let exit = if trouble.is_some() { Exit::CouldNotRun } else { Exit::No };
        let mut reason = String::new();
        if let Some(trouble) = trouble {
            let _ = write!(reason, "{trouble}; ");
        }
        let _ = match tried.absent.as_slice() {
            [] => write!(reason, "no guard that was started with this file is running"),
            absent => {
                let absent: Vec<String> = absent.iter().map(|path| path.display().to_string()).collect();
                write!(reason, "no guard is running: nobody answers on {}", absent.join(", "))
            }
        };
        reason.push_str(" (hint: --socket PATH asks the guard on that socket)");
        (Err(Unasked { exit, reason }), Vec::new())
    }

    /// Where this guard is asked first.
    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        match &self.socket {
            Some(socket) => vec![socket.clone()],
            None => config::admin_sockets(&self.file).sockets,
        }
    }

    fn remembered(&self, socket: PathBuf, asked: Result<Answer, AskError>) -> Result<Answer, Unasked> {
        match asked {
            Ok(answer) => {
                let _first = self.answers.set(socket);
                Ok(answer)
            }
            Err(error) => Err(Unasked::of(&error)),
        }
    }

    /// Where a guard answers that was started with this file; then the default place, for the default file.
    fn elsewhere(&self) -> Vec<PathBuf> {
        let near = peers::listening(|arguments, folder| {
            started_with(arguments, folder).is_some_and(|file| is_same(&file, &self.file))
        });
        // Another guard may have its socket in the same folder: each says which process it is.
        let is_this = |near: &Near| matches!(ask(&near.socket, &Command::Status), Ok(Answer::Status(status)) if status.pid == near.process);
        let mut sockets: Vec<PathBuf> = near.into_iter().filter(is_this).map(|near| near.socket).collect();
        if self.file == Path::new(DEFAULT_FILE) {
            sockets.push(DEFAULT_SOCKET.into());
        }
        sockets
    }
}

impl Unasked {
    fn of(error: &AskError) -> Unasked {
        let exit = match error {
            AskError::NotRunning { .. } => Exit::No,
            AskError::Io { .. }
            | AskError::Silent { .. }
            | AskError::Garbled { .. }
            | AskError::Refused(_) => Exit::CouldNotRun,
        };
        Unasked { exit, reason: chain(error) }
    }
}

/// The sockets on which nobody answered.
struct Tried<'a> {
    command: &'a Command,
    absent: Vec<PathBuf>,
}

impl Tried<'_> {
    /// The first socket on which a guard answers, or may not be asked, with what came of it.
    fn first_of(&mut self, sockets: &[PathBuf]) -> Option<(PathBuf, Result<Answer, AskError>)> {
        for socket in sockets {
            match ask(socket, self.command) {
                Err(AskError::NotRunning { .. } | AskError::Garbled { .. })
                    if !self.absent.contains(socket) =>
                {
                    self.absent.push(socket.clone());
                }
                Err(AskError::NotRunning { .. }) => {}
                asked => return Some((socket.clone(), asked)),
            }
        }
        None
    }
}

/// The configuration file of a process that was started as `... run [--config FILE]`.
fn started_with(arguments: &[OsString], folder: Option<&Path>) -> Option<PathBuf> {
    arguments.iter().skip(1).find(|argument| *argument == "run")?;
    let mut rest = arguments.iter().skip(1);
    let mut file = PathBuf::from(DEFAULT_FILE);
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            file = rest.next()?.into();
        } else if let Some(given) = argument.as_encoded_bytes().strip_prefix(b"--config=") {
            file = OsStr::from_bytes(given).into();
        }
    }
    match folder {
        Some(folder) => Some(folder.join(file)),
        None => Some(file),
    }
}

/// Whether two names are one file, which need not be there: it may just be moved away.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let folder = path.parent()?.canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    place(one).is_some_and(|one| Some(one) == place(other))
}
