//! A running guard of one test, in a folder of its own, with a service manager that listens.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const TOKEN: &str = "swf_0123456789abcdefghijklmnop";
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = "[listen]\naddress = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\nadmin = \"admin.sock\"\n\
                      [slots.blue]\naddress = \"unix:tools.sock\"\n";

pub(crate) struct Guard {
    folder: tempfile::TempDir,
    config: String,
    manager: UnixDatagram,
    child: Child,
}

/// What was left when the guard had ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
    pub(crate) notified: Vec<String>,
    pub(crate) admin_socket_is_left: bool,
}

impl Guard {
    /// Starts a guard and returns when it is ready.
    pub(crate) fn start() -> Guard {
        Guard::start_with("")
    }

    /// The same, with these lines in `[listen]`.
    pub(crate) fn start_with(listen: &str) -> Guard {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("guard.toml");
        fs::write(&config, CONFIG.replacen("[listen]\n", &format!("[listen]\n{listen}"), 1)).unwrap();
        let notify = folder.path().join("notify");
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
            .args(["run", "--config"])
            .arg(&config)
            .env("MCP_BEARER_TOKEN", TOKEN)
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let guard = Guard { config: config.to_str().unwrap().to_owned(), folder, manager, child };
        assert!(guard.notified().starts_with("STATUS=serving on 127.0.0.1:"), "{}", guard.log());
        guard
    }

    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next message to the service manager.
    #[track_caller]
    pub(crate) fn notified(&self) -> String {
        let mut buffer = [0; 256];
        let length = self.manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in {}", self.log());
            std::thread::yield_now();
        }
    }

    /// Puts these lines behind the configuration.
    pub(crate) fn rewrite(&self, more: &str) {
        fs::write(&self.config, format!("{CONFIG}{more}")).unwrap();
    }

    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Ends the guard as a service manager does.
    pub(crate) fn terminate(mut self) -> Ended {
        self.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None => assert!(Instant::now() < deadline, "does not end: {}", self.log()),
            }
            std::thread::yield_now();
        };
        self.manager.set_nonblocking(true).unwrap();
        let mut notified = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(length) = self.manager.recv(&mut buffer) {
            notified.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        let admin: PathBuf = self.folder.path().join("admin.sock");
        Ended { code, log: self.log(), notified, admin_socket_is_left: admin.exists() }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
