//! A real redis-server on a Unix socket of its own, ended by its process.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::names::FleetName;
use crate::redis::{RedisStore, StoreAddress, Topology};

/// A server that runs until it is dropped.
pub(super) struct Server {
    folder: TempDir,
    child: Child,
}

impl Server {
    /// Starts one without persistence.
    pub(super) fn start() -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let child = spawn(&folder);
        let server = Server { folder, child };
        server.wait();
        server
    }

    /// Ends the process at once, and starts another one without data.
    pub(super) fn restart_empty(&mut self) {
        self.stop();
        self.child = spawn(&self.folder);
        self.wait();
    }

    /// Stops the process's execution, or lets it go on.
    pub(super) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &id]).status().expect("kill runs");
        assert!(status.success());
    }

    /// A store on this server.
    pub(super) fn store(&self) -> RedisStore {
        self.store_as("")
    }

    /// The same with a user and a password, as they stand in the query of a URL.
    pub(super) fn store_as(&self, login: &str) -> RedisStore {
        let address = StoreAddress {
            urls: vec![format!("unix://{}{login}", self.socket().display())],
            topology: Topology::Single,
            ca: None,
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_millis(400),
        };
        RedisStore::new(FleetName::new("sim").expect("a name"), address).expect("an address")
    }

    /// What the server says of the time that scripts took.
    pub(super) fn statistics(&self) -> String {
        let text = self.command(&["info", "commandstats"]);
        text.lines().filter(|line| line.contains("evalsha")).collect()
    }

    /// Sends a command to the server.
    pub(super) fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(arguments).output();
        String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).into_owned()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::yield_now();
        }
    }

    fn stop(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(folder: &TempDir) -> Child {
    let socket = folder.path().join("redis.sock");
    drop(std::fs::remove_file(&socket));
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: scripts/setup")
}
