//! Listening sockets in one message, each with its place and its owner.
//!
//! Must not know what follows on the channel.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::channel::{HandoffError, MESSAGE_BYTES_MAX};
use crate::socket_activation::{InheritedListener, ListenAddr, SocketOwner};

const PROTOCOL: &str = "mcp-guard hand-off 1";
const SOCKETS_MAX: usize = 8;

pub(super) fn send_sockets(channel: &UnixStream, sockets: &[InheritedListener]) -> Result<(), HandoffError> {
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

pub(super) fn receive_sockets(channel: &UnixStream) -> Result<Vec<InheritedListener>, HandoffError> {
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
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::handoff::channel::channel;

    #[test]
    fn sockets_arrive_with_their_places() {
        let (old, new) = channel().unwrap();
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
    fn a_stranger_on_the_channel_is_refused() {
        for message in ["hello", "mcp-guard hand-off 2", "mcp-guard hand-off 1\nours tcp 127.0.0.1:1"] {
            let (mut old, new) = channel().unwrap();
            old.write_all(message.as_bytes()).unwrap();
            assert!(matches!(receive_sockets(&new), Err(HandoffError::Garbled)), "{message}");
        }
    }
}
