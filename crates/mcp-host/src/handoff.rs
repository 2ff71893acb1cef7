//! Hands the listening sockets of a process to the program that replaces it, in steps, so that at every moment exactly one
//! of the two accepts connections.
//!
//! The running process starts the new program with one end of a socket pair as its standard input and sends the sockets
//! over it. The messages are then "prepared" (everything is loaded, nothing has started), "go", "serving" and "yours" (the
//! old process accepts no more connections). A failure before the end changes nothing in the old process: it ends the new
//! one and reports why. While the old process finishes its calls, "changed" and "done" follow: what the new one has
//! changed holds in both. Must not know what is served.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::socket_activation::{InheritedListener, ListenAddr, SocketOwner};

/// The variable that marks standard input as a hand-off channel, and says how the new program was started.
const ENV_MARK: &str = "MCP_GUARD_HANDOFF";
/// The new program starts itself once more and waits: see [`launch`].
const LAUNCHER: &str = "launch";
/// A launcher started the new program.
const LAUNCHED: &str = "launched";
const PROTOCOL: &str = "mcp-guard hand-off 1";
const PREPARED: &str = "prepared ";
const FAILED: &str = "failed ";
const START: &str = "go";
const SERVING: &str = "serving";
const TAKEOVER: &str = "yours";
const CHANGED: &str = "changed";
const DONE: &str = "done";
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
const SOCKETS_MAX: usize = 8;
/// How long the new process waits for the old one. The old process's own deadline is shorter.
const PREDECESSOR_TIME_MAX: Duration = Duration::from_secs(60);

/// Why a hand-off failed.
#[derive(Debug, thiserror::Error)]
pub enum HandoffError {
    #[error("{program}: cannot start it")]
    Start { program: String, source: io::Error },
    #[error("the new process said: {0}")]
    Failed(String),
    #[error("the new process ended ({0}) before it was ready; its log says more")]
    Ended(String),
    #[error("the new process was not ready within {0} s")]
    Late(u64),
    #[error("the other process does not understand hand-offs of this version")]
    Garbled,
    #[error("the old process has gone, or has changed its mind")]
    Abandoned,
    #[error("the channel between the two processes failed")]
    Channel(#[from] io::Error),
}

/// The new process, seen from the old one. Dropping it before the hand-off is completed ends the new process.
pub struct Successor {
    /// The process that was started: a launcher, or (in an older version) the server itself.
    child: Child,
    /// The server, where it is a child of the launcher.
    launched: Option<Pid>,
    channel: UnixStream,
    deadline: Instant,
    time_max: Duration,
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
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(io::Error::from)?;
        let started = Command::new(&program)
            .args(arguments)
            .env(ENV_MARK, LAUNCHER)
            // These variables are for this process only.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(theirs))
            .spawn();
        let program = || program.to_string_lossy().into_owned();
        let child = started.map_err(|source| HandoffError::Start { program: program(), source })?;
        let deadline = Instant::now() + time_max;
        let channel = UnixStream::from(ours);
        let successor = Successor { child, launched: None, channel, deadline, time_max, completed: false };
        match send_sockets(&successor.channel, sockets) {
            // It has ended already; the next receive reports how.
            Err(HandoffError::Channel(gone)) if gone.kind() == io::ErrorKind::BrokenPipe => Ok(successor),
            sent => sent.map(|()| successor),
        }
    }

    pub fn pid(&self) -> u32 {
        self.launched.map_or_else(|| self.child.id(), |pid| pid.as_raw_pid().cast_unsigned())
    }

    /// Waits until the new process has loaded everything, and returns its version. It does not accept connections yet.
    pub fn wait_prepared(&mut self) -> Result<String, HandoffError> {
        let message = self.receive()?;
        let version = message.strip_prefix(PREPARED).ok_or(HandoffError::Garbled)?;
        let Some((version, pid)) = version.split_once(' ') else { return Ok(version.to_owned()) };
        self.launched = Some(pid.parse().ok().and_then(Pid::from_raw).ok_or(HandoffError::Garbled)?);
        Ok(version.to_owned())
    }

    /// Starts the new process, and waits until it accepts connections.
    pub fn start_serving(&mut self) -> Result<(), HandoffError> {
        // If it has ended, the receive below reports how.
        let _ = self.channel.write_all(START.as_bytes());
        if self.receive()? == SERVING { Ok(()) } else { Err(HandoffError::Garbled) }
    }

    /// Ends the launcher. The new process is then a child of the service manager.
    pub fn orphan(&mut self) {
        if self.launched.is_some() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Makes the new process the only server. `Err` if it does not say what changes from then on.
    pub fn complete(mut self) -> Result<Changes, HandoffError> {
        self.completed = true;
        // If the new process does not read this, the closed channel has the same meaning.
        let _ = self.channel.write_all(TAKEOVER.as_bytes());
        Ok(Changes { channel: self.channel.try_clone()? })
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
            Ok(None) => Err(HandoffError::Ended(match self.child.wait() {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            })),
            Err(_) if self.deadline <= Instant::now() => Err(HandoffError::Late(self.time_max.as_secs())),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Successor {
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

/// What changes in the new process, seen from the old one.
pub struct Changes {
    channel: UnixStream,
}

impl Changes {
    /// Waits until something has changed. False once the new process has gone, or if it is of a version that does not say so.
    pub fn wait(&mut self) -> bool {
        let message = self.channel.set_read_timeout(None).and_then(|()| read(&self.channel));
        matches!(message, Ok(bytes) if bytes == CHANGED.as_bytes())
    }

    /// It holds in this process, too.
    pub fn done(&mut self) {
        // If the new process has gone, the next wait says so.
        let _ = self.channel.write_all(DONE.as_bytes());
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

    /// Reports that this process accepts connections, and waits until the old process confirms that it has stopped. It still
    /// finishes its calls.
    pub fn serving(mut self) -> Result<Finishing, HandoffError> {
        self.channel.write_all(SERVING.as_bytes())?;
        match receive(&self.channel, PREDECESSOR_TIME_MAX)? {
            Some(message) if message == TAKEOVER => Ok(Finishing { channel: self.channel }),
            Some(_) => Err(HandoffError::Garbled),
            None => Err(HandoffError::Abandoned),
        }
    }

    /// Reports why this process does not start.
    pub fn failed(mut self, why: &str) {
        let text: String = format!("{FAILED}{why}").chars().take(MESSAGE_BYTES_MAX / 4).collect();
        let _ = self.channel.write_all(text.as_bytes());
    }
}

/// The old process while it finishes its calls, seen from the new one.
#[derive(Debug)]
pub struct Finishing {
    channel: UnixStream,
}

impl Finishing {
    /// Says that something has changed, and waits until it holds in the old process. False once that has gone, or if it is of a
    /// version that does not follow.
    pub fn follow(&mut self, time_max: Duration) -> Result<bool, HandoffError> {
        if self.channel.write_all(CHANGED.as_bytes()).is_err() {
            return Ok(false);
        }
        match receive(&self.channel, time_max)? {
            Some(message) if message == DONE => Ok(true),
            Some(_) => Err(HandoffError::Garbled),
            None => Ok(false),
        }
    }
}

/// Receives one message; `None` when the other end is closed.
fn receive(channel: &UnixStream, time: Duration) -> Result<Option<String>, HandoffError> {
    channel.set_read_timeout(Some(time))?;
    let message = read(channel)?;
    if message.is_empty() {
        return Ok(None);
    }
    String::from_utf8(message).map(Some).map_err(|_| HandoffError::Garbled)
}

/// One message; empty when the other end is closed.
fn read(mut channel: &UnixStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    let length = match channel.read(&mut message) {
        Err(reset) if reset.kind() == io::ErrorKind::ConnectionReset => 0,
        other => other?,
    };
    message.truncate(length);
    Ok(message)
}

fn send_sockets(channel: &UnixStream, sockets: &[InheritedListener]) -> Result<(), HandoffError> {
    let mut message = PROTOCOL.to_owned();
    for InheritedListener { address, owner, .. } in sockets {
        let owner = match owner {
            SocketOwner::Server => "ours",
            SocketOwner::ServiceManager => "lent",
        };
        let (family, address) = match address {
            ListenAddr::Tcp(address) => ("tcp", address.to_string()),
            ListenAddr::Unix(path) => {
                ("unix", path.to_str().map(str::to_owned).ok_or(HandoffError::Garbled)?)
            }
        };
        message.push_str(&format!("\n{owner} {family} {address}"));
    }
    let files: Vec<BorrowedFd<'_>> = sockets.iter().map(|listening| listening.socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(HandoffError::Garbled);
    }
    sendmsg(channel, &[IoSlice::new(message.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)
        .map_err(io::Error::from)?;
    Ok(())
}

fn receive_sockets(channel: &UnixStream) -> Result<Vec<InheritedListener>, HandoffError> {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(channel, &mut [IoSliceMut::new(&mut message)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .map_err(io::Error::from)?;
    let mut files: Vec<OwnedFd> = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            files.extend(rights);
        }
    }
    let text = std::str::from_utf8(&message[..received.bytes]).map_err(|_| HandoffError::Garbled)?;
    let mut lines = text.split('\n');
    if lines.next() != Some(PROTOCOL) {
        return Err(HandoffError::Garbled);
    }
    let addresses: Vec<_> = lines.map(parse).collect::<Option<_>>().ok_or(HandoffError::Garbled)?;
    if addresses.len() != files.len() {
        return Err(HandoffError::Garbled);
    }
    let sockets = addresses.into_iter().zip(files);
    Ok(sockets.map(|((owner, address), socket)| InheritedListener { address, owner, socket }).collect())
}

fn parse(line: &str) -> Option<(SocketOwner, ListenAddr)> {
    let (owner, rest) = line.split_once(' ')?;
    let owner = match owner {
        "ours" => SocketOwner::Server,
        "lent" => SocketOwner::ServiceManager,
        _ => return None,
    };
    match rest.split_once(' ')? {
        ("tcp", address) => Some((owner, ListenAddr::Tcp(address.parse().ok()?))),
        ("unix", path) => Some((owner, ListenAddr::Unix(path.into()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (one.into(), other.into())
    }

    #[test]
    fn sockets_arrive_with_their_places() {
        let (old, new) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a b");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let sockets = [
            InheritedListener {
                address: ListenAddr::Tcp(address),
                owner: SocketOwner::Server,
                socket: listener.into(),
            },
            InheritedListener {
                address: ListenAddr::Unix(path),
                owner: SocketOwner::ServiceManager,
                socket: unix.into(),
            },
        ];
        send_sockets(&old, &sockets).unwrap();
        let received = receive_sockets(&new).unwrap();
        for (sent, received) in sockets.iter().zip(&received) {
            assert_eq!((&sent.address, sent.owner), (&received.address, received.owner));
        }
        drop(sockets);
        assert!(std::net::TcpStream::connect(address).is_ok(), "the copy listens on");
    }

    #[test]
    fn a_change_after_the_hand_off_holds_in_both_before_the_new_process_goes_on() {
        let (old, new) = pair();
        let (mut changes, mut finishing) = (Changes { channel: old }, Finishing { channel: new });
        let second = Duration::from_secs(1);
        let old = std::thread::spawn(move || {
            let mut followed = 0;
            while changes.wait() {
                followed += 1;
                changes.done();
            }
            followed
        });
        assert!(finishing.follow(second).unwrap() && finishing.follow(second).unwrap());
        drop(finishing);
        assert_eq!(old.join().unwrap(), 2);
    }

    #[test]
    fn an_old_process_that_has_gone_or_hangs_delays_the_new_one_for_a_bounded_time() {
        let (old, new) = pair();
        let mut finishing = Finishing { channel: new };
        assert!(finishing.follow(Duration::from_millis(20)).is_err(), "it hangs");
        drop(old);
        assert!(!finishing.follow(PREDECESSOR_TIME_MAX).unwrap());
        // An older version closes the channel when it has handed over.
        let (old, new) = pair();
        drop(new);
        assert!(!Changes { channel: old }.wait());
    }

    #[test]
    fn a_stranger_on_the_channel_is_refused() {
        for message in ["hello", "mcp-guard hand-off 2", "mcp-guard hand-off 1\nours tcp 127.0.0.1:1"] {
            let (mut old, new) = pair();
            old.write_all(message.as_bytes()).unwrap();
            assert!(matches!(receive_sockets(&new), Err(HandoffError::Garbled)), "{message}");
        }
    }

    #[test]
    fn the_new_process_begins_only_at_the_go_message() {
        let (old, new) = pair();
        let theirs =
            std::thread::spawn(move || Predecessor { channel: new, launched: false }.prepared("1.2.3"));
        assert_eq!(receive(&old, PREDECESSOR_TIME_MAX).unwrap().as_deref(), Some("prepared 1.2.3"));
        drop(old);
        assert!(matches!(theirs.join().unwrap(), Err(HandoffError::Abandoned)));
    }
}
