//! One open connection to a backend, in clear or over TLS. Must not know HTTP, nor how it was opened.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::pin::Pin;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client;

use crate::proxy::io::{ReadWrite, reads_and_writes};
use crate::proxy::tls_stream::TlsStream;

/// An open connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<client::TlsStream<TcpStream>>>),
}

/// With which runtime a socket is registered.
pub(crate) enum Registered {
    Here(Socket),
    /// With the one that it was opened in.
    There(Socket),
}

impl Socket {
    /// Registers the socket with the runtime that calls this. A TLS session cannot be taken off its socket. An error means that the
    /// connection must not be used.
    pub(crate) fn registered_here(self) -> io::Result<Registered> {
        Ok(match self {
            Socket::Unix(stream) => {
                let stream = stream.into_std()?;
                // What the other runtime knows of the socket may be old, and unasked bytes would be read as the next response.
                if !is_empty(&receive(&stream, &mut [0], RecvFlags::PEEK)) {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Registered::Here(Socket::Unix(UnixStream::from_std(stream)?))
            }
            Socket::Tcp(stream) => Registered::Here(Socket::Tcp(TcpStream::from_std(stream.into_std()?)?)),
            Socket::Tls(stream) => Registered::There(Socket::Tls(stream)),
        })
    }

    /// Whether the backend has neither closed the connection nor sent anything on it.
    ///
    /// On a Unix socket this costs no system call: Tokio remembers that nothing has arrived, and a write fails without a byte
    /// sent after the backend closed. On TCP, peek the socket: a write may succeed after the peer closed.
    pub(crate) fn is_idle_clean(&mut self) -> bool {
        let mut byte = [0];
        match self {
            Socket::Unix(stream) => is_empty(&stream.try_read(&mut byte)),
            Socket::Tcp(stream) => is_empty(&receive(stream, &mut byte, RecvFlags::PEEK)),
            Socket::Tls(stream) => is_silent(&mut stream.0).unwrap_or(false),
        }
    }

    /// A write of several slices was cut short: the next one waits until the socket has room. Tokio draws that conclusion itself only
    /// for a write of one slice, and what is written at once is written to a backend that may be about to respond without it.
    ///
    /// Only for a runtime of one thread, as workers have: on another one, room that is reported at this moment would be forgotten.
    pub(crate) fn set_full(&self) {
        let full = || Err(io::ErrorKind::WouldBlock.into());
        let _: io::Result<()> = match self {
            Socket::Unix(stream) => stream.try_io(Interest::WRITABLE, full),
            Socket::Tcp(stream) => stream.try_io(Interest::WRITABLE, full),
            // Its session keeps what the socket does not take.
            Socket::Tls(_) => Ok(()),
        };
    }

    fn stream(&mut self) -> Pin<&mut dyn ReadWrite> {
        match self {
            Socket::Unix(stream) => Pin::new(stream),
            Socket::Tcp(stream) => Pin::new(stream),
            Socket::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

fn is_empty(read: &io::Result<usize>) -> bool {
    matches!(read, Err(nothing) if nothing.kind() == io::ErrorKind::WouldBlock)
}

fn receive(stream: impl AsFd, bytes: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    rustix::net::recv(stream, bytes, flags | RecvFlags::DONTWAIT)
        .map(|(read, _)| read)
        .map_err(io::Error::from)
}

/// Takes in what has arrived. What TLS sends for itself, such as tickets for later sessions, says nothing about the connection.
fn is_silent(stream: &mut client::TlsStream<TcpStream>) -> io::Result<bool> {
    let (socket, session) = stream.get_mut();
    loop {
        match session.read_tls(&mut Arrived(socket)) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(nothing) if nothing.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        let state = session.process_new_packets().map_err(io::Error::other)?;
        if state.peer_has_closed() || state.plaintext_bytes_to_read() > 0 {
            return Ok(false);
        }
    }
}

/// What the kernel has received, read past Tokio, which may not know of it yet.
struct Arrived<'s>(&'s TcpStream);

impl Read for Arrived<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        receive(self.0, bytes, RecvFlags::empty())
    }
}

reads_and_writes!(Socket);
