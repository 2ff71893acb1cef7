//! Messages to the service manager (sd_notify): one datagram each, none when `NOTIFY_SOCKET` is not set.
//!
//! The protocol is one line of text on a datagram socket; a library would be larger than this file. Must not know what
//! readiness means.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'t> {
    /// The listeners are bound: dependent units may start.
    Ready,
    /// A reload or an upgrade is in progress; [`State::Ready`] ends it.
    Reloading,
    /// This process id is the main process from now on.
    MainPid(u32),
    /// The process is draining.
    Stopping,
    /// Sign of life (`WatchdogSec=`).
    Alive,
    /// One line for `systemctl status`.
    Status(&'t str),
}

/// Whether there is a service manager.
pub fn is_there() -> bool {
    socket().is_some()
}

/// Sends a message to the service manager, if there is one.
pub fn notify(state: State<'_>) -> io::Result<()> {
    socket().map_or(Ok(()), |socket| send(&socket, state))
}

/// Waits until the service manager, if there is one, has read all messages before. `Err` if it has not by then.
pub fn wait_read(time_max: Duration) -> io::Result<()> {
    socket().map_or(Ok(()), |socket| send_barrier(&socket, time_max))
}

fn socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}

/// The interval for [`State::Alive`]: half of the service manager's timeout; `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC")
        .filter(|_| for_us)
        .filter(|usec| *usec > 0)
        .map(|usec| Duration::from_micros(usec / 2))
}

fn send(socket: &OsStr, state: State<'_>) -> io::Result<()> {
    connect(socket)?.send(message(state).as_bytes())?;
    Ok(())
}

/// sd_notify(3): the service manager closes the file descriptor of a `BARRIER=1` when it comes to that message.
fn send_barrier(socket: &OsStr, time_max: Duration) -> io::Result<()> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let descriptors = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(connect(socket)?, &[IoSlice::new(b"BARRIER=1")], &mut ancillary, SendFlags::NOSIGNAL)?;
    drop(theirs);
    ours.set_read_timeout(Some(time_max))?;
    loop {
        match ours.read(&mut [0]) {
            Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map(drop),
        }
    }
}

fn connect(socket: &OsStr) -> io::Result<UnixDatagram> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A service manager that does not read must not block this process.
    sender.set_nonblocking(true)?;
    sender.connect_addr(&address)?;
    Ok(sender)
}

fn message(state: State<'_>) -> String {
    match state {
        State::Ready => "READY=1".to_owned(),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()),
        State::MainPid(pid) => format!("MAINPID={pid}"),
        State::Stopping => "STOPPING=1".to_owned(),
        State::Alive => "WATCHDOG=1".to_owned(),
        State::Status(text) => format!("STATUS={}", text.replace('\n', " ")),
    }
}

/// The service manager distinguishes two reloads by this clock.
fn monotonic_usec() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default().as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_one_datagram_to_a_path_or_an_abstract_name() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 64];
        for (state, expect) in [
            (State::Ready, "READY=1"),
            (State::Stopping, "STOPPING=1"),
            (State::Alive, "WATCHDOG=1"),
            (State::MainPid(7), "MAINPID=7"),
            (State::Status("a\nREADY=1"), "STATUS=a READY=1"),
        ] {
            send(path.as_os_str(), state).unwrap();
            let length = manager.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..length]), Ok(expect));
        }
        let before = monotonic_usec();
        send(path.as_os_str(), State::Reloading).unwrap();
        let length = manager.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<u128>().unwrap();
        assert!((before..=monotonic_usec()).contains(&usec));
        let name = format!("mcp-guard-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), State::Ready).unwrap();
        assert_eq!(manager.recv(&mut buffer).unwrap(), "READY=1".len());
    }

    #[test]
    fn the_wait_for_the_service_manager_ends_when_it_has_read_everything_before() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), State::MainPid(7)).unwrap();
        let late = send_barrier(path.as_os_str(), Duration::from_millis(20)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::WouldBlock);
        let waiting = std::thread::spawn(move || send_barrier(path.as_os_str(), Duration::from_secs(60)));
        // It takes no descriptor, so the kernel closes each.
        for expect in ["MAINPID=7", "BARRIER=1", "BARRIER=1"] {
            assert!(!waiting.is_finished());
            let mut buffer = [0; 64];
            let length = manager.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..length]), Ok(expect));
        }
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error_not_a_wait() {
        let home = tempfile::tempdir().unwrap();
        assert!(send(home.path().join("gone").as_os_str(), State::Ready).is_err());
    }
}
