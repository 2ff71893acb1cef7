//! The guard that a command is about: where it is configured, and which socket it serves.
//!
//! An order reaches a running guard whatever has just happened to its file: half edited, moved away, with another socket in
//! it. Must not know the commands.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::exit::{DEFAULT_FILE, Exit};
use super::output::complain;
use super::users::Users;
use crate::admin::client::{AdminError, send_command_to};
use crate::admin::{AdminCommand, AdminResponse};
use crate::config::{self, AdminSockets};
use mcp_host::diagnostics::chain;
use mcp_host::peers;

/// The socket of a guard whose file has the default place, should nothing else be known.
const DEFAULT_SOCKET: &str = "/run/mcp-guard/admin.sock";

/// The guard of a configuration file.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) file: PathBuf,
    /// Named by the operator; nothing else is tried then.
    socket: Option<PathBuf>,
    /// Where it has replied once.
    answers: OnceLock<Place>,
}

/// A socket that the guard may serve.
#[derive(Clone)]
struct Place {
    socket: PathBuf,
    /// The users whose processes may reply there: any on a socket that the operator or the file names.
    users: Option<Users>,
}

impl Place {
    fn named(socket: &Path) -> Place {
        Place { socket: socket.to_owned(), users: None }
    }

    fn ask(&self, command: &AdminCommand) -> Result<AdminResponse, AdminError> {
        send_command_to(&self.socket, command, &|uid| {
            self.users.as_ref().is_none_or(|users| users.trust(uid))
        })
    }
}

/// What is found among the processes of the machine.
#[derive(Default)]
struct Elsewhere {
    places: Vec<Place>,
    /// What looks like this guard and is left alone, for it is another user's.
    strangers: Vec<String>,
}

/// Why a guard could not be queried.
pub(super) struct Unasked {
    pub(super) exit: Exit,
    pub(super) reason: String,
}

impl Guard {
    pub(super) fn new(file: PathBuf, socket: Option<PathBuf>) -> Guard {
        Guard { file, socket, answers: OnceLock::new() }
    }

    /// Whether the operator has named the socket.
    pub(super) fn is_named(&self) -> bool {
        self.socket.is_some()
    }

    /// Sends a command; a failure is printed and becomes the exit code.
    pub(super) fn ask(&self, command: &AdminCommand) -> Result<AdminResponse, Exit> {
        let (asked, notes) = self.ask_quietly(command);
        for note in notes {
            complain(note);
        }
        asked.map_err(|unasked| {
            complain(&unasked.reason);
            unasked.exit
        })
    }

    /// Sends a command, and returns what the operator should know about the way to the guard.
    pub(super) fn ask_quietly(
        &self,
        command: &AdminCommand,
    ) -> (Result<AdminResponse, Unasked>, Vec<String>) {
        let known = self.answers.get().cloned().or_else(|| self.socket.as_deref().map(Place::named));
        if let Some(place) = known {
            return (place.ask(command).map_err(|error| Unasked::of(&error)), Vec::new());
        }
        let AdminSockets { sockets, trouble } = config::admin_sockets(&self.file);
        let mut tried = Tried { command, absent: Vec::new() };
        let named: Vec<Place> = sockets.iter().map(|socket| Place::named(socket)).collect();
        if let Some((place, asked)) = tried.first_of(&named) {
            let socket = place.socket.display();
            let note = trouble.map(|trouble| format!("{trouble}; asked the guard on {socket}"));
            return (self.remembered(place, asked), note.into_iter().collect());
        }
        let Elsewhere { places, strangers } = self.elsewhere(&sockets);
        if let Some((place, asked)) = tried.first_of(&places) {
            let why = trouble.unwrap_or_else(|| {
                let named = sockets.iter().map(|socket| socket.display().to_string());
                format!("no guard answers on {} (listen.admin)", named.collect::<Vec<_>>().join(", "))
            });
            let socket = place.socket.display();
            let found = format!("{why}; asked the guard on {socket}, which was started with this file");
            return (self.remembered(place, asked), vec![found]);
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
        if let Some(stranger) = strangers.first() {
            let _ = write!(reason, "; {stranger}");
        }
        reason.push_str(" (hint: --socket PATH asks the guard on that socket)");
        (Err(Unasked { exit, reason }), Vec::new())
    }

    /// Where this guard is tried first.
    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        match &self.socket {
            Some(socket) => vec![socket.clone()],
            None => config::admin_sockets(&self.file).sockets,
        }
    }

    fn remembered(
        &self,
        place: Place,
        asked: Result<AdminResponse, AdminError>,
    ) -> Result<AdminResponse, Unasked> {
        match asked {
            Ok(response) => {
                let _first = self.answers.set(place);
                Ok(response)
            }
            Err(error) => Err(Unasked::of(&error)),
        }
    }

    /// The socket of a guard that was started with this file; then the default place, for the default file. Any user may
    /// start a program that looks like it: see `Users`.
    fn elsewhere(&self, named: &[PathBuf]) -> Elsewhere {
        let is_default = self.file == Path::new(DEFAULT_FILE);
        let mut known = named.to_vec();
        known.extend(is_default.then(|| DEFAULT_SOCKET.into()));
        let owner = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.uid());
        let users = Users::of(&self.file, &known, rustix::process::geteuid().as_raw(), owner);
        let near = peers::listening(|arguments, folder| {
            started_with(arguments, folder).is_some_and(|file| is_same(&file, &self.file))
        });
        let mut elsewhere = Elsewhere::default();
        for near in near {
            let place = Place { socket: near.socket, users: Some(users.clone()) };
            match place.ask(&AdminCommand::Status) {
                // Another guard may have its socket in the same folder: each says which process it is.
                Ok(AdminResponse::Status(status)) if status.pid == near.process => {
                    elsewhere.places.push(place)
                }
                Err(stranger @ AdminError::UntrustedUser { .. }) => {
                    elsewhere.strangers.push(stranger.to_string())
                }
                Ok(_) | Err(_) => {}
            }
        }
        if is_default {
            elsewhere.places.push(Place { socket: DEFAULT_SOCKET.into(), users: Some(users) });
        }
        elsewhere
    }
}

impl Unasked {
    fn of(error: &AdminError) -> Unasked {
        let exit = match error {
            AdminError::NotRunning { .. } => Exit::No,
            AdminError::Io { .. }
            | AdminError::Timeout { .. }
            | AdminError::InvalidResponse { .. }
            | AdminError::UntrustedUser { .. }
            | AdminError::Refused(_) => Exit::CouldNotRun,
        };
        Unasked { exit, reason: chain(error) }
    }
}

/// The sockets that gave no response.
struct Tried<'a> {
    command: &'a AdminCommand,
    absent: Vec<PathBuf>,
}

impl Tried<'_> {
    /// The first socket on which a guard replies, or refuses this user, with the result.
    fn first_of(&mut self, places: &[Place]) -> Option<(Place, Result<AdminResponse, AdminError>)> {
        for place in places {
            match place.ask(self.command) {
                Err(AdminError::NotRunning { .. } | AdminError::InvalidResponse { .. })
                    if !self.absent.contains(&place.socket) =>
                {
                    self.absent.push(place.socket.clone());
                }
                Err(AdminError::NotRunning { .. }) => {}
                asked => return Some((place.clone(), asked)),
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
