//! The channel of a hand-off: whole messages between two processes, and why a hand-off fails.
//!
//! Must not know what the messages say.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

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
    #[error("the new process has closed the channel before it was ready")]
    Closed,
    #[error("the old process has ended, or has given the upgrade up")]
    Abandoned,
    #[error("the channel between the two processes failed")]
    Channel(#[from] io::Error),
}

/// Receives one message; `None` when the other end is closed.
pub(super) fn receive(channel: &UnixStream, time: Duration) -> Result<Option<String>, HandoffError> {
    channel.set_read_timeout(Some(time))?;
    let message = read(channel)?;
    if message.is_empty() {
        return Ok(None);
    }
    String::from_utf8(message).map(Some).map_err(|_| HandoffError::Garbled)
}

/// One message; empty when the other end is closed.
pub(super) fn read(mut channel: &UnixStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    let length = match channel.read(&mut message) {
        Err(reset) if reset.kind() == io::ErrorKind::ConnectionReset => 0,
        other => other?,
    };
    message.truncate(length);
    Ok(message)
}

/// Two ends of a channel.
pub(super) fn channel() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((ours.into(), theirs.into()))
}
