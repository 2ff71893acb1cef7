//! The server of the admin socket.
//!
//! Bounded in connections, bytes and time, so that a stuck client cannot block the others. Must not know what a command
//! does: its handler does.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::protocol::{
    self, AdminCommand, AdminRefusal, AdminResponse, QUESTION_BYTES_MAX, REQUEST_BYTES_MAX,
};
use mcp_host::socket::{self, BindError, BoundSocket, SocketFile};
use mcp_host::socket_activation::{Inherited, InheritedListener, ListenAddr, SocketOwner};

const SOCKET_MODE: u32 = 0o600;
const CONNECTIONS_MAX: usize = 16;
/// For the request to arrive, and again for the response to be read.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Carries out a command of this user.
pub(crate) type Handler = Arc<dyn Fn(AdminCommand, String) -> HandlerFuture + Send + Sync>;
/// A command that is being carried out. The handler bounds its time.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = AdminResponse> + Send>>;

/// A bound admin socket.
pub(crate) struct Server {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    owner: SocketOwner,
    timeout: Duration,
    /// One for each connection; copies share them.
    permits: Arc<Semaphore>,
}

impl Server {
    /// Binds the socket with mode 0600, unless it is inherited. Dropping the second value removes its file.
    pub(crate) fn bind(
        path: &Path,
        inherited: &mut Inherited,
    ) -> Result<(Server, Option<SocketFile>), BindError> {
        let (listener, owner, file) = match inherited.take_unix(path) {
            Some((listener, owner)) => (listener, owner, None),
            None => {
                let BoundSocket { listener, file } = socket::bind_unix(path, SOCKET_MODE)?;
                (listener, SocketOwner::Server, Some(file))
            }
        };
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok((Server { listener, path: path.to_owned(), owner, timeout: TIMEOUT, permits }, file))
    }

    /// A copy of the listener, for the process that replaces this one.
    pub(crate) fn listening(&self) -> io::Result<InheritedListener> {
        let socket = self.listener.try_clone()?.into();
        Ok(InheritedListener { address: ListenAddr::Unix(self.path.clone()), owner: self.owner, socket })
    }

    /// Takes ownership of the socket file, which the previous process has released.
    pub(crate) fn take_over(&self) -> Option<SocketFile> {
        match self.owner {
            SocketOwner::Server => SocketFile::adopt(&self.path),
            SocketOwner::ServiceManager => None,
        }
    }

    /// A second server on the same socket.
    pub(crate) fn try_clone(&self) -> io::Result<Server> {
        let (listener, permits) = (self.listener.try_clone()?, self.permits.clone());
        Ok(Server { listener, path: self.path.clone(), owner: self.owner, timeout: self.timeout, permits })
    }

    /// Waits until every command has its response, but not for ever. A process that ends before it has said that another one
    /// serves would leave the operator with nothing.
    pub(crate) fn wait_responded(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        // For the work of a command, and for its response to be read.
        let most = self.timeout * 2;
        let waited = async { tokio::time::timeout(most, self.permits.acquire_many(all)).await.is_ok() };
        if !runtime.block_on(waited) {
            log::warn!("admin: a command has no response yet");
        }
    }

    /// Serves until the future is dropped.
    pub(crate) async fn serve(self, handler: Handler) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener)?;
        let permits = self.permits;
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: try again, but not in a tight loop.
                    log::warn!("admin: cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let permit = permits.clone().try_acquire_owned();
            let handler = handler.clone();
            tokio::spawn(async move {
                // Without a permit the request is refused at once.
                let handler = permit.is_ok().then_some(handler);
                handle_connection(stream, handler, self.timeout).await;
                drop(permit);
            });
        }
    }
}

/// Reads one request, writes one response and logs one line.
async fn handle_connection(mut stream: UnixStream, handler: Option<Handler>, timeout: Duration) {
    // The user only: a process of another PID namespace has no PID here.
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let (name, level, response) = match receive(&mut stream, uid, handler.is_some(), timeout).await {
        Ok(command) => {
            let name = command.as_str();
            let level = level_of(&command);
            let response = match handler.zip(uid) {
                Some((handler, uid)) => Some(handler(command, format!("uid {uid}")).await),
                None => None,
            };
            (name, level, response)
        }
        Err(refusal) => ("-", log::Level::Info, Some(AdminResponse::Refused(refusal))),
    };
    let response = response.unwrap_or(AdminResponse::Refused(AdminRefusal::Busy));
    let asked_by = uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string());
    match &response {
        AdminResponse::Refused(refusal) => {
            log::warn!("admin: command={name} uid={asked_by} refused: {refusal}")
        }
        AdminResponse::NotReloaded(problems) => {
            log::warn!("admin: command={name} uid={asked_by} refused: {} problems", problems.len());
        }
        AdminResponse::Rejected(why) => log::warn!("admin: command={name} uid={asked_by} refused: {why}"),
        #[cfg(feature = "console")]
        AdminResponse::Overview(_) => log::log!(level, "admin: command={name} uid={asked_by} done"),
        AdminResponse::Status(_)
        | AdminResponse::Rollout(_)
        | AdminResponse::History(_)
        | AdminResponse::Shadow(_)
        | AdminResponse::Done(_)
        | AdminResponse::Upgraded(_)
        | AdminResponse::Reloaded(_)
        | AdminResponse::Tokens(_)
        | AdminResponse::Notified(_)
        | AdminResponse::Fleet(_)
        | AdminResponse::LeftFleet
        | AdminResponse::Features(_)
        | AdminResponse::Explained(_) => {
            log::log!(level, "admin: command={name} uid={asked_by} done");
        }
    }
    let line = protocol::encode_response(response);
    let send = async {
        stream.write_all(&line).await?;
        stream.shutdown().await?;
        // Closing with an unread request would reset the connection and lose the response.
        let mut rest = stream.take(QUESTION_BYTES_MAX as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    let sent = tokio::time::timeout(timeout, send).await.unwrap_or_else(|late| Err(late.into()));
    if let Err(error) = sent {
        log::debug!("admin: the answer was not taken: {error}");
    }
}

/// How a command is logged. A view looks every second: its first look is logged like other commands.
fn level_of(command: &AdminCommand) -> log::Level {
    #[cfg(feature = "console")]
    if matches!(command, AdminCommand::Overview { first: false }) {
        return log::Level::Debug;
    }
    let _ = command;
    log::Level::Info
}

async fn receive(
    stream: &mut UnixStream,
    uid: Option<u32>,
    has_permit: bool,
    timeout: Duration,
) -> Result<AdminCommand, AdminRefusal> {
    let own = rustix::process::geteuid().as_raw();
    if !uid.is_some_and(|uid| uid == 0 || uid == own) {
        return Err(AdminRefusal::User);
    }
    if !has_permit {
        return Err(AdminRefusal::Busy);
    }
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream);
    let read = async {
        (&mut reader).take(REQUEST_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
        if line.len() == REQUEST_BYTES_MAX && protocol::is_question(&line) {
            let more = (QUESTION_BYTES_MAX - REQUEST_BYTES_MAX) as u64;
            (&mut reader).take(more).read_until(b'\n', &mut line).await?;
        }
        io::Result::Ok(())
    };
    match tokio::time::timeout(timeout, read).await {
        Ok(Ok(())) if line.ends_with(b"\n") => protocol::decode_request(&line),
        Ok(_) | Err(_) => Err(AdminRefusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::client::{AdminError, send_command};
    use super::*;
    use crate::proxy::GuardStatus;
    use crate::telemetry::metrics::SlotStatus;
    use crate::upstream::Slot;

    fn status() -> GuardStatus {
        let slot = SlotStatus {
            slot: Slot::Blue,
            address: "unix:/a".to_owned(),
            reachable: Some(true),
            in_flight: 1,
            waiting: 2,
            held: 3,
            idle_connections: 4,
        };
        GuardStatus {
            version: "1.2.3".to_owned(),
            pid: 1,
            uptime_seconds: 5,
            draining: false,
            listen: "127.0.0.1:1".to_owned(),
            metrics: None,
            connections: 6,
            clients: 7,
            stable: "blue".to_owned(),
            slots: vec![slot],
            issuers: Vec::new(),
            dependencies: Vec::new(),
            fleet: None,
            features: crate::config::feature::FeatureStatus::default(),
        }
    }

    /// A served socket in a temporary folder, for as long as the test.
    struct Served {
        folder: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
        _file: Option<SocketFile>,
    }

    impl Served {
        fn start() -> Served {
            Served::with_timeout(TIMEOUT)
        }

        fn with_timeout(timeout: Duration) -> Served {
            let folder = tempfile::tempdir().unwrap();
            let (mut server, file) =
                Server::bind(&folder.path().join("admin.sock"), &mut Inherited::default()).unwrap();
            server.timeout = timeout;
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let handler: Handler = Arc::new(|command, _who| match command {
                AdminCommand::Status => Box::pin(async { AdminResponse::Status(Box::new(status())) }),
                AdminCommand::Rollout
                | AdminCommand::History
                | AdminCommand::Shadow { .. }
                | AdminCommand::Control(_)
                | AdminCommand::Upgrade
                | AdminCommand::Reload
                | AdminCommand::Tokens
                | AdminCommand::OperationEnded(_)
                | AdminCommand::Fleet
                | AdminCommand::LeaveFleet
                | AdminCommand::Features
                | AdminCommand::Feature { .. }
                | AdminCommand::Explain(_) => {
                    Box::pin(async { AdminResponse::Rejected("nothing is in rollout".to_owned()) })
                }
                #[cfg(feature = "console")]
                AdminCommand::Overview { .. } => {
                    Box::pin(async { AdminResponse::Rejected("nothing to see".to_owned()) })
                }
            });
            runtime.spawn(server.serve(handler));
            Served { folder, runtime, _file: file }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("admin.sock")
        }

        /// What comes back for these bytes.
        fn raw(&self, bytes: &[u8]) -> String {
            self.runtime.block_on(async {
                let mut stream = UnixStream::connect(self.path()).await.unwrap();
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
                let mut response = String::new();
                let read = stream.read_to_string(&mut response);
                tokio::time::timeout(TIMEOUT * 2, read).await.unwrap().unwrap();
                response
            })
        }
    }

    #[test]
    fn replies_to_its_own_user_over_a_private_socket() {
        let served = Served::start();
        assert_eq!(
            send_command(&served.path(), &AdminCommand::Status).unwrap(),
            AdminResponse::Status(Box::new(status()))
        );
        let mode = std::fs::metadata(served.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn refuses_what_it_does_not_understand_and_keeps_serving() {
        let served = Served::start();
        assert!(served.raw(b"hello\n").contains("malformed"));
        assert!(served.raw(b"").contains("malformed"), "a request needs its newline");
        assert!(served.raw(b"{\"version\":9}\n").contains("version"));
        assert!(served.raw(b"{\"version\":1,\"command\":\"fly\"}\n").contains("\"command\""));
        assert!(send_command(&served.path(), &AdminCommand::Status).is_ok());
    }

    #[test]
    fn refuses_a_request_that_is_too_large() {
        let served = Served::start();
        let endless = vec![b' '; REQUEST_BYTES_MAX];
        assert!(served.raw(&endless).contains("malformed"));
        let padded = |beginning: &str, bytes: usize, end: &str| {
            let fill = "x".repeat(bytes - beginning.len() - end.len());
            format!("{beginning}{fill}{end}")
        };
        // Only a question about a request, which carries that, may be longer; and that has a bound, too.
        let question = r#"{"version":1,"command":{"explain":{"request":""#;
        let rejected = served.raw(padded(question, QUESTION_BYTES_MAX, "\"}}}\n").as_bytes());
        assert!(rejected.contains("nothing is in rollout"), "{rejected}");
        let rejected = served.raw(padded(question, QUESTION_BYTES_MAX + 1, "\"}}}\n").as_bytes());
        assert!(rejected.contains("malformed"), "{rejected}");
        let feature = r#"{"version":1,"command":{"feature":{"feature":"shadow","to":"off","reason":""#;
        let rejected = served.raw(padded(feature, REQUEST_BYTES_MAX + 1, "\"}}}\n").as_bytes());
        assert!(rejected.contains("malformed"), "{rejected}");
    }

    #[test]
    fn silent_connections_cannot_keep_others_out_for_long() {
        let served = Served::with_timeout(Duration::from_millis(200));
        let silent: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|_| served.runtime.block_on(UnixStream::connect(served.path())).unwrap())
            .collect();
        let deadline = std::time::Instant::now() + TIMEOUT * 3;
        let mut busy = false;
        loop {
            match send_command(&served.path(), &AdminCommand::Status) {
                Ok(_) if busy => break,
                Ok(_) => {}
                Err(AdminError::Refused(AdminRefusal::Busy)) => busy = true,
                Err(other) => panic!("{other}"),
            }
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        drop(silent);
    }

    #[test]
    fn says_when_no_guard_is_running() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        assert!(matches!(send_command(&path, &AdminCommand::Status), Err(AdminError::NotRunning { .. })));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(
            matches!(send_command(&path, &AdminCommand::Status), Err(AdminError::NotRunning { .. })),
            "a stale socket"
        );
    }
}
