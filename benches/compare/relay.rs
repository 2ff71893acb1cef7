//! The floor of a hop in user space: copies bytes between TCP clients and a Unix socket, both ways, without reading them.
//!
//! One thread, one backend connection for each client connection, 16 KiB of buffer each way.
//! `relay 127.0.0.1:PORT PATH` runs until SIGTERM, and then ends like a program that is done, so that a build that counts its work
//! (scripts/pgo) writes the counts. It must not know HTTP.

use std::{env, io};

use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream, UnixStream},
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

const BUFFER_BYTES: usize = 16 * 1024;

async fn relay(mut client: TcpStream, backend: String) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut backend = UnixStream::connect(backend).await?;
    copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER_BYTES, BUFFER_BYTES).await?;
    Ok(())
}

async fn serve(address: String, backend: String) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let mut end = signal(SignalKind::terminate())?;
    loop {
        let (client, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = end.recv() => return Ok(()),
        };
        // A connection that breaks ends alone: the load reports it.
        tokio::spawn(relay(client, backend.clone()));
    }
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(backend)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: relay 127.0.0.1:PORT PATH"));
    };
    Builder::new_current_thread().enable_io().build()?.block_on(serve(address, backend))
}
