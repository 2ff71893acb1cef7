//! Hands the listening sockets of a process to the program that replaces it, in steps, so that at every moment exactly one
//! of the two accepts connections.
//!
//! The running process starts the new program with one end of a socket pair as its standard input and sends the sockets
//! over it. The messages are then "prepared" (everything is loaded, nothing has started), "go", "serving" (it can accept
//! connections) and "yours" (it may, and the old process accepts no more). With a failure before "yours" the old process
//! carries on: it ends the new one and reports why. The new process ends, too, where the old one ends before "yours": it
//! would serve without the service manager. A new process that is told to stop says "failed", and leaves it to the old one
//! whether the upgrade is given up or, if it is the main process already, completed. What follows on the channel is in
//! `changes`. Must not know what is served.

mod changes;
mod channel;
mod signals;
mod sockets;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

pub use self::changes::{ChangeReceiver, Finishing, Watch};
pub use self::channel::HandoffError;
use self::channel::{MESSAGE_BYTES_MAX, Seen, channel, look, next, receive};
pub use self::signals::is_stop_pending;
use self::sockets::{receive_sockets, send_sockets};
use super::process::wait_for;
use super::socket_activation::InheritedListener;

/// The variable that marks standard input as a hand-off channel, and says how the new program was started.
const ENV_MARK: &str = "MCP_GUARD_HANDOFF";
/// The new program starts itself once more and waits: see [`launch`].
const LAUNCHER: &str = "launch";
/// A launcher started the new program.
const LAUNCHED: &str = "launched";
const PREPARED: &str = "prepared ";
const FAILED: &str = "failed ";
const START: &str = "go";
const SERVING: &str = "serving";
const TAKEOVER: &str = "yours";
/// The old process ends, and the new one does not take over.
const STOPPED: &str = "stopped";
/// For a process to end that has closed the channel.
const END_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the new process waits for the old one until it may start. The old process's own deadline is shorter.
const PREDECESSOR_TIME_MAX: Duration = Duration::from_secs(60);

/// The new process, seen from the old one. Dropping it before the hand-off is completed ends the new process.
pub struct Successor {
    process: NewProcess,
    channel: UnixStream,
    deadline: Instant,
    time_max: Duration,
}

/// Gives an upgrade up, from either side, also while the process waits for the other one.
#[derive(Debug)]
pub struct GiveUp {
    channel: UnixStream,
}

struct NewProcess {
    /// The process that was started: a launcher, or (in an older version) the server itself.
    child: Child,
    /// The server, where it is a child of the launcher.
    launched: Option<Pid>,
    /// Set once the new process has taken over; dropping before that ends it.
    completed: bool,
}

impl Successor {
    /// Starts the program of this process again, by the same name and with the same arguments, and sends the sockets. The
    /// whole hand-off must complete within `time_max`.
    pub fn start(sockets: &[InheritedListener], time_max: Duration) -> Result<Successor, HandoffError> {
        let mut arguments = std::env::args_os();
        // By name, not /proc/self/exe: that is the file this process runs, and a newer one may have replaced it.
        let program = arguments.next().unwrap_or_else(|| OsString::from("mcp-guard"));
        let (channel, theirs) = channel()?;
        let started = Command::new(&program)
            .args(arguments)
            .env(ENV_MARK, LAUNCHER)
            // These variables are for this process only.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn();
        let program = || program.to_string_lossy().into_owned();
        let child = started.map_err(|source| HandoffError::Start { program: program(), source })?;
        let deadline = Instant::now() + time_max;
        let process = NewProcess { child, launched: None, completed: false };
        let successor = Successor { process, channel, deadline, time_max };
        match send_sockets(&successor.channel, sockets) {
            // It has ended already; the next receive reports how.
            Err(HandoffError::Channel(gone)) if gone.kind() == io::ErrorKind::BrokenPipe => Ok(successor),
            sent => sent.map(|()| successor),
        }
    }

    pub fn pid(&self) -> u32 {
        let NewProcess { child, launched, .. } = &self.process;
        launched.map_or_else(|| child.id(), |pid| pid.as_raw_pid().cast_unsigned())
    }

    /// What gives the upgrade up.
    pub fn give_up(&self) -> io::Result<GiveUp> {
        Ok(GiveUp { channel: self.channel.try_clone()? })
    }

    /// Waits until the new process has loaded everything, and returns its version. It does not accept connections yet.
    pub fn wait_prepared(&mut self) -> Result<String, HandoffError> {
        let message = self.receive()?;
        let version = message.strip_prefix(PREPARED).ok_or(HandoffError::Garbled)?;
        let Some((version, pid)) = version.split_once(' ') else { return Ok(version.to_owned()) };
        self.process.launched = Some(pid.parse().ok().and_then(Pid::from_raw).ok_or(HandoffError::Garbled)?);
        Ok(version.to_owned())
    }

    /// Starts the new process, and waits until it can accept connections.
    pub fn start_serving(&mut self) -> Result<(), HandoffError> {
        // If it has ended, the receive below reports how.
        let _ = self.channel.write_all(START.as_bytes());
        if self.receive()? == SERVING { Ok(()) } else { Err(HandoffError::Garbled) }
    }

    /// `Err` if the new process has ended since it could serve, or was told to stop.
    pub fn can_take_over(&mut self) -> Result<(), HandoffError> {
        match look(&self.channel, RecvFlags::PEEK) {
            Seen::Nothing => Ok(()),
            Seen::Message | Seen::End => self.receive().and(Err(HandoffError::Garbled)),
        }
    }

    /// Ends the launcher. The new process is then a child of the service manager, and ends by itself if it does not take over.
    pub fn orphan(&mut self) {
        let NewProcess { child, launched, .. } = &mut self.process;
        if launched.is_some() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Makes the new process the only server. Returns what receives its changes; `Err` if the new process has ended.
    ///
    /// One that was told to stop in the meantime takes over as well: it ends only after the calls of this process.
    pub fn complete(self) -> Result<ChangeReceiver, HandoffError> {
        let Successor { mut process, mut channel, .. } = self;
        channel.write_all(TAKEOVER.as_bytes()).map_err(|_gone| HandoffError::Closed)?;
        process.completed = true;
        Ok(ChangeReceiver::new(channel))
    }

    /// This process ends without a hand-over, because it was told to stop. The new process ends after it.
    pub fn stopped(self) {
        let Successor { mut process, mut channel, .. } = self;
        process.completed = true;
        // If it has ended, there is no need.
        let _ = channel.write_all(STOPPED.as_bytes());
        // The end of this process closes the channel.
        std::mem::forget(channel);
    }

    fn receive(&mut self) -> Result<String, HandoffError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let message =
            if left.is_zero() { Err(HandoffError::Abandoned) } else { receive(&self.channel, left) };
        match message {
            Ok(Some(message)) => match message.strip_prefix(FAILED) {
                Some(why) => Err(HandoffError::Failed(why.to_owned())),
                None => Ok(message),
            },
            // A program that only closes the channel must not hold the upgrade up for longer.
            Ok(None) => Err(match wait_for(&mut self.process.child, END_TIME_MAX) {
                Ok(Some(status)) => HandoffError::Ended(status.to_string()),
                Ok(None) => HandoffError::Closed,
                Err(error) => HandoffError::Ended(error.to_string()),
            }),
            Err(_) if self.deadline <= Instant::now() => Err(HandoffError::Late(self.time_max.as_secs())),
            Err(error) => Err(error),
        }
    }
}

impl GiveUp {
    /// Both processes see a closed channel, and every wait ends with an error.
    pub fn now(&self) {
        // The other one has ended already.
        let _ = self.channel.shutdown(Shutdown::Both);
    }

    /// The new process was told to stop. The old one carries on and closes the channel, or completes the hand-over where
    /// the new process is the main one already.
    pub fn ask(&self, why: &str) {
        send_failed(&self.channel, why);
        // What this process might still send, as it does not stop at once, must not look like an upgrade that goes on.
        let _ = self.channel.shutdown(Shutdown::Write);
    }
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if !self.completed {
            // The launcher is its parent and waits for it, so the process id has not been reused.
            if let (Some(pid), Ok(None)) = (self.launched, self.child.try_wait()) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// If this process is a launcher: starts the server, waits for it, and returns its exit code.
///
/// A service manager does not wait for a main process that is not its child: it would kill an upgraded guard instead of
/// letting it drain. The old process ends the launcher before it names the new main process, so that the service manager
/// becomes its parent.
pub fn launch() -> Option<ExitCode> {
    if std::env::var_os(ENV_MARK).is_none_or(|mark| mark != LAUNCHER) {
        return None;
    }
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| OsString::from("mcp-guard"));
    let ended = Command::new(program).args(arguments).env(ENV_MARK, LAUNCHED).status();
    let code = ended.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Some(ExitCode::from(code.unwrap_or(1)))
}

/// The old process, seen from the new one.
#[derive(Debug)]
pub struct Predecessor {
    channel: UnixStream,
    /// Whether a launcher started this process.
    launched: bool,
}

impl Predecessor {
    /// The process that this one replaces, and its sockets; `None` if there is no hand-off. Standard input is empty
    /// afterwards.
    pub fn accept() -> Result<Option<(Predecessor, Vec<InheritedListener>)>, HandoffError> {
        let Some(mark) = std::env::var_os(ENV_MARK) else { return Ok(None) };
        let launched = mark == LAUNCHED;
        if launched {
            // Until it may start, this process ends when its launcher ends.
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
        }
        let channel =
            UnixStream::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map_err(io::Error::from)?);
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?).map_err(io::Error::from)?;
        channel.set_read_timeout(Some(PREDECESSOR_TIME_MAX))?;
        let sockets = receive_sockets(&channel)?;
        Ok(Some((Predecessor { channel, launched }, sockets)))
    }

    /// What gives the upgrade up.
    pub fn give_up(&self) -> io::Result<GiveUp> {
        Ok(GiveUp { channel: self.channel.try_clone()? })
    }

    /// Reports that everything is loaded, and waits for the permission to start.
    pub fn prepared(&mut self, version: &str) -> Result<(), HandoffError> {
        let mut message = format!("{PREPARED}{version}");
        if self.launched {
            message.push_str(&format!(" {}", std::process::id()));
        }
        self.channel.write_all(message.as_bytes())?;
        match receive(&self.channel, PREDECESSOR_TIME_MAX)? {
            Some(message) if message == START => {
                if self.launched {
                    set_parent_process_death_signal(None).map_err(io::Error::from)?;
                }
                Ok(())
            }
            Some(_) => Err(HandoffError::Garbled),
            None => Err(HandoffError::Abandoned),
        }
    }

    /// Reports that this process can accept connections, and waits until the old process confirms that it has stopped doing
    /// so. The old one still finishes its calls. [`HandoffError::Stopped`] if it has finished them without a hand-over.
    pub fn serving(mut self) -> Result<Finishing, HandoffError> {
        // An old process that is told to stop now finishes its calls first, for as long as its `timeouts.drain` says. Its end
        // closes the channel.
        self.channel.set_read_timeout(None)?;
        self.channel.write_all(SERVING.as_bytes())?;
        match next(&self.channel)? {
            Some(message) if message == TAKEOVER => Ok(Finishing::new(self.channel)),
            Some(message) if message == STOPPED => {
                while next(&self.channel)?.is_some() {}
                Err(HandoffError::Stopped)
            }
            Some(_) => Err(HandoffError::Garbled),
            None => Err(HandoffError::Abandoned),
        }
    }

    /// Reports why this process does not start.
    pub fn failed(self, why: &str) {
        send_failed(&self.channel, why);
    }
}

fn send_failed(mut channel: &UnixStream, why: &str) {
    let text: String = format!("{FAILED}{why}").chars().take(MESSAGE_BYTES_MAX / 4).collect();
    // If the other process has ended, there is no need.
    let _ = channel.write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_process_begins_only_at_the_go_message() {
        let (old, new) = channel().unwrap();
        let theirs =
            std::thread::spawn(move || Predecessor { channel: new, launched: false }.prepared("1.2.3"));
        assert_eq!(receive(&old, PREDECESSOR_TIME_MAX).unwrap().as_deref(), Some("prepared 1.2.3"));
        drop(old);
        assert!(matches!(theirs.join().unwrap(), Err(HandoffError::Abandoned)));
    }

    /// A new process whose end of the channel is the test's.
    fn successor() -> (Successor, UnixStream) {
        let (channel, new) = channel().unwrap();
        let child = Command::new("true").spawn().unwrap();
        let process = NewProcess { child, launched: None, completed: false };
        let time_max = Duration::from_secs(60);
        (Successor { process, channel, deadline: Instant::now() + time_max, time_max }, new)
    }

    fn is_taken_over(successor: Successor, new: &UnixStream) -> bool {
        let _changes = successor.complete().unwrap();
        next(new).unwrap().as_deref() == Some(TAKEOVER)
    }

    #[test]
    fn a_new_process_that_has_ended_does_not_take_over() {
        let (mut named_not_yet, new) = successor();
        named_not_yet.can_take_over().unwrap();
        // Not dropped: a process that another test is starting may have a copy for a moment.
        new.shutdown(Shutdown::Both).unwrap();
        assert!(matches!(named_not_yet.can_take_over(), Err(HandoffError::Ended(_))));
        let (named, new) = successor();
        new.shutdown(Shutdown::Both).unwrap();
        assert!(matches!(named.complete(), Err(HandoffError::Closed)));
    }

    #[test]
    fn a_new_process_that_is_told_to_stop_takes_over_only_if_it_is_the_main_one_already() {
        let (mut named_not_yet, new) = successor();
        GiveUp { channel: new.try_clone().unwrap() }.ask("told to stop");
        let why = named_not_yet.can_take_over().unwrap_err();
        assert!(matches!(why, HandoffError::Failed(why) if why == "told to stop"));
        let (named, new) = successor();
        GiveUp { channel: new.try_clone().unwrap() }.ask("told to stop");
        assert!(is_taken_over(named, &new));
    }

    #[test]
    fn a_new_process_that_can_serve_waits_for_as_long_as_the_old_one_lives() {
        let (old, new) = channel().unwrap();
        let same = new.try_clone().unwrap();
        let theirs = std::thread::spawn(move || Predecessor { channel: new, launched: false }.serving());
        assert_eq!(receive(&old, PREDECESSOR_TIME_MAX).unwrap().as_deref(), Some(SERVING));
        assert_eq!(same.read_timeout().unwrap(), None);
        drop(old);
        assert!(matches!(theirs.join().unwrap(), Err(HandoffError::Abandoned)));
    }
}
