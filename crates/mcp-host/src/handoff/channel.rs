//! The channel of a hand-off: whole messages between two processes, and why a hand-off fails.
//!
//! Must not know what the messages say.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

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
    #[error("the new process has ended, or has closed the channel, before it took over")]
    Closed,
    #[error("the old process has ended, or has given the upgrade up")]
    Abandoned,
    #[error("the old process was told to stop")]
    Stopped,
    #[error("the channel between the two processes failed")]
    Channel(#[from] io::Error),
}

/// Receives one message; `None` when the other end is closed.
pub(super) fn receive(channel: &UnixStream, time: Duration) -> Result<Option<String>, HandoffError> {
    channel.set_read_timeout(Some(time))?;
    next(channel)
}

/// The same, within the time that was set for this channel.
pub(super) fn next(channel: &UnixStream) -> Result<Option<String>, HandoffError> {
    let message = read(channel)?;
    if message.is_empty() {
        return Ok(None);
    }
    String::from_utf8(message).map(Some).map_err(|_| HandoffError::Garbled)
}

/// One message; empty when the other end is closed.
pub(super) fn read(mut channel: &UnixStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    let length = loop {
        match channel.read(&mut message) {
            // A signal, or a debugger; the kernel does not resume a wait that has a timeout.
            Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
            Err(reset) if reset.kind() == io::ErrorKind::ConnectionReset => break 0,
            other => break other?,
        }
    };
    message.truncate(length);
    Ok(message)
}

/// What a look at a channel shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Message,
    /// The other end is closed, and every message of it was received.
    End,
}

/// Looks at what has come, without waiting. `PEEK` leaves a message on the channel.
pub(super) fn look(channel: &UnixStream, flags: RecvFlags) -> Seen {
    match recv(channel, &mut [0; 1], flags | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Seen::End,
        Ok((_, _)) => Seen::Message,
        Err(Errno::AGAIN | Errno::INTR) => Seen::Nothing,
        Err(_broken) => Seen::End,
    }
}

/// Two ends of a channel.
pub(super) fn channel() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((ours.into(), theirs.into()))
}
