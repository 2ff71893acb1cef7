//! Messages to the service manager (sd_notify): one datagram each, none when `NOTIFY_SOCKET` is not set.
//!
//! The protocol is one line of text on a datagram socket; a library would be larger than this file. Must not know what
//! readiness means.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

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

/// Sends a message to the service manager, if there is one.
pub fn notify(state: State<'_>) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => send(&socket, state),
        Some(_) | None => Ok(()),
    }
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
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A service manager that does not read must not block this process.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message(state).as_bytes(), &address)?;
    Ok(())
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
    fn a_manager_that_is_gone_is_an_error_not_a_wait() {
        let home = tempfile::tempdir().unwrap();
        assert!(send(home.path().join("gone").as_os_str(), State::Ready).is_err());
    }
}
