//! A stand-in at a slot's address whose responses are no MCP: how a drill makes any release answer wrong.
//!
//! Of a Unix socket only the name is taken, and given back: the release keeps its own socket and hears nothing. A port is taken while
//! the release is stopped. Must not know what is found out with it.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};

use crate::upstream::{Address, Backend};

/// JSON, and no JSON-RPC.
const BODY: &str = "{\"drill\": \"a wrong response on purpose\"}";
const POLL: Duration = Duration::from_millis(10);
/// For a request to arrive whole.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Responds until it drops.
pub(super) struct StandIn {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Takes the place of what listens at an address. The unit behind a port is stopped before.
pub(super) fn begin(address: &Address) -> io::Result<StandIn> {
    match address {
        Address::Unix(path) => {
            let listener = take_name(path)?;
            listener.set_nonblocking(true)?;
            StandIn::start(move || listener.accept().map(|(stream, _)| Peer::Unix(stream)))
        }
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            StandIn::start(move || listener.accept().map(|(stream, _)| Peer::Tcp(stream)))
        }
        Address::Name { .. } => Err(io::Error::new(io::ErrorKind::InvalidInput, "a name cannot be taken")),
    }
}

/// Gives a name back, also one that a killed drill had taken, half or whole. Nothing happens where none was.
pub(super) fn end(address: &Address) -> io::Result<()> {
    let Address::Unix(path) = address else { return Ok(()) };
    let [aside, own] = names(path);
    mcp_host::files::remove(&own)?;
    match fs::symlink_metadata(&aside) {
        Ok(_) => fs::rename(&aside, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Why nothing can stand in for a backend, if that is so.
pub(super) fn obstacle(backend: &Backend) -> Option<String> {
    if backend.tls.is_some() {
        return Some(format!("{} speaks TLS, and a stand-in has no certificate", backend.place()));
    }
    match &backend.address {
        Address::Unix(_) => None,
        Address::Tcp(address) if is_here(address) => None,
        Address::Tcp(address) => Some(format!("{address} is on another machine, where nothing can stand in")),
        Address::Name { host, .. } => {
            Some(format!("{host} is a name, at whose addresses nothing can stand in"))
        }
    }
}

fn is_here(address: &SocketAddr) -> bool {
    // A port of the system's choice shows whose address it is, and takes nothing from anyone.
    TcpListener::bind(SocketAddr::new(address.ip(), 0)).is_ok()
}

/// Where the release's socket waits, and where ours is made.
fn names(path: &Path) -> [PathBuf; 2] {
    ["drilled", "drill"].map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    })
}

/// A listener under the name of another socket, with its owner and mode; the other one gets a name beside it.
fn take_name(path: &Path) -> io::Result<UnixListener> {
    end(&Address::Unix(path.to_owned()))?;
    let [aside, own] = names(path);
    let theirs = fs::symlink_metadata(path)?;
    if !theirs.file_type().is_socket() {
        return Err(io::Error::other("it is no socket"));
    }
    let listener = UnixListener::bind(&own)?;
    // The directory may be another user's: what has the name now need not be what was bound.
    let found = rustix::fs::open(&own, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Socket {
        return Err(io::Error::other("its directory was changed meanwhile"));
    }
    let found = format!("/proc/self/fd/{}", found.as_raw_fd());
    std::os::unix::fs::chown(&found, Some(theirs.uid()), Some(theirs.gid()))?;
    fs::set_permissions(&found, Permissions::from_mode(theirs.mode() & 0o777))?;
    fs::rename(path, &aside)?;
    fs::rename(&own, path)?;
    Ok(listener)
}

enum Peer {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

impl StandIn {
    fn start(accept: impl Fn() -> io::Result<Peer> + Send + 'static) -> io::Result<StandIn> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let respond = move || {
            while !stopped.load(Ordering::Relaxed) {
                match accept() {
                    // A peer that leaves has its response as far as it wants it.
                    Ok(peer) => drop(peer.respond()),
                    Err(_) => thread::sleep(POLL),
                }
            }
        };
        let thread = thread::Builder::new().name("stand-in".to_owned()).spawn(respond)?;
        Ok(StandIn { stop, thread: Some(thread) })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only responds; a panic there loses nothing.
            let _ended = thread.join();
        }
    }
}

impl Peer {
    fn respond(self) -> io::Result<()> {
        match self {
            Peer::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(READ_TIMEOUT))?;
                respond_to(stream)
            }
            Peer::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(READ_TIMEOUT))?;
                respond_to(stream)
            }
        }
    }
}

/// Reads one request and responds. A close with an unread request would take the response back.
fn respond_to(mut stream: impl Read + Write) -> io::Result<()> {
    let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
    while request.len() < REQUEST_BYTES_MAX && !is_whole(&request) {
        match stream.read(&mut chunk)? {
            0 => break,
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    let length = BODY.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{BODY}").as_bytes())
}

/// Whether the head and as much body as it announces are there.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::config::{self, Environment};
    use crate::upstream::Slot;

    /// What the server behind the name says.
    fn asked(path: &Path) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n").unwrap();
        stream.write_all(b"{}").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    /// A release's server, which says one word to each connection.
    fn release(path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o660)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                respond_with(stream.unwrap(), "release");
            }
        });
    }

    fn respond_with(mut stream: UnixStream, word: &str) {
        let mut request = Vec::new();
        let mut chunk = [0; 512];
        while !is_whole(&request) {
            let count = stream.read(&mut chunk).unwrap();
            request.extend_from_slice(&chunk[..count]);
        }
        stream.write_all(word.as_bytes()).unwrap();
    }

    #[test]
    fn a_stand_in_takes_the_name_of_a_socket_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("green.sock");
        let address = Address::Unix(path.clone());
        release(&path);
        assert_eq!(asked(&path), "release");
        let stand_in = begin(&address).unwrap();
        assert!(asked(&path).ends_with(BODY), "{}", asked(&path));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        drop(stand_in);
        // A second drill, after the first was killed.
        let stand_in = begin(&address).unwrap();
        assert!(asked(&path).ends_with(BODY));
        drop(stand_in);
        end(&address).unwrap();
        assert_eq!(asked(&path), "release");
        end(&address).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
    }

    #[test]
    fn a_name_that_a_killed_drill_had_taken_half_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("green.sock");
        release(&path);
        let [aside, own] = names(&path);
        let _own = UnixListener::bind(own).unwrap();
        fs::rename(&path, aside).unwrap();
        end(&Address::Unix(path.clone())).unwrap();
        assert_eq!(asked(&path), "release");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_takes_the_name_of_what_is_no_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("green.sock");
        fs::write(&path, "a file").unwrap();
        assert!(begin(&Address::Unix(path.clone())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }

    #[test]
    fn nothing_stands_in_for_a_backend_that_speaks_tls() {
        let certificates = mcp_testkit::Certificates::new();
        let authority = certificates.file("ca.pem").display().to_string();
        let refused = |address: &str, tls: &str| {
            let text = format!("[slots.blue]\naddress = \"{address}\"\n{tls}");
            let loaded = config::build(Path::new("g.toml"), &text, &Environment::NOTHING).unwrap();
            obstacle(loaded.config.backend(Slot::Blue).unwrap())
        };
        let why = refused("https://127.0.0.1:9", &format!("[slots.blue.tls]\nca = {authority:?}"));
        assert!(why.is_some_and(|why| why.contains("speaks TLS")));
        assert_eq!(refused("127.0.0.1:9", ""), None);
    }
}
