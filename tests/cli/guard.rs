//! A running guard of one test, in a folder of its own, with a service manager that reads its messages.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use mcp_testkit::{GuardProcess, Program, TIMEOUT, guard_command};
use rustix::process::Signal;

pub(crate) const TOKEN: &str = "swf_0123456789abcdefghijklmnop";

const CONFIG: &str = "[listen]\naddress = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\nadmin = \"admin.sock\"\n\
                      [slots.blue]\naddress = \"unix:tools.sock\"\n";

pub(crate) struct Guard {
    folder: tempfile::TempDir,
    config: String,
    manager: UnixDatagram,
    program: Program,
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
        manager.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut command = guard_command(Path::new(env!("CARGO_BIN_EXE_mcp-guard")), &config);
        command.env("MCP_BEARER_TOKEN", TOKEN).env("NOTIFY_SOCKET", &notify);
        let program = GuardProcess::wait(Program::start(&mut command)).program;
        let guard = Guard { config: config.to_str().unwrap().to_owned(), folder, manager, program };
        assert!(guard.notified().starts_with("STATUS=serving on 127.0.0.1:"), "{}", guard.log());
        guard
    }

    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The next message to the service manager.
    #[track_caller]
    pub(crate) fn notified(&self) -> String {
        let mut buffer = [0; 256];
        let length = self.manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.program.log().join("\n")
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.program.wait_for_log(text);
    }

    /// Puts these lines behind the configuration.
    pub(crate) fn rewrite(&self, more: &str) {
        fs::write(&self.config, format!("{CONFIG}{more}")).unwrap();
    }

    pub(crate) fn hang_up(&self) {
        self.program.signal(Signal::HUP);
    }

    /// Ends the guard as a service manager does.
    pub(crate) fn terminate(mut self) -> Ended {
        self.program.signal(Signal::TERM);
        let code = self.program.wait().code();
        self.manager.set_nonblocking(true).unwrap();
        let mut notified = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(length) = self.manager.recv(&mut buffer) {
            notified.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        Ended {
            code,
            log: self.log(),
            notified,
            admin_socket_is_left: self.folder.path().join("admin.sock").exists(),
        }
    }
}
