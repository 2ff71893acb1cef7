//! The programs of a run: the guard, and what may stand before it or in its place.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_testkit::{GuardProcess, Program, TIMEOUT, eventually_blocking, guard_command};
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};

use crate::ledger::{CLIENTS, Client, Ledger, TOKEN_MARK};

/// Lines of the guard's log that a failed test shows.
const LAST_LINES: usize = 30;

/// A program of the system that ends with the test, with all its children.
pub(crate) struct SystemProgram {
    child: Child,
}

impl Drop for SystemProgram {
    /// Ends it with all its children: Apache's outlive a parent that is killed.
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

impl SystemProgram {
    pub(crate) fn start(command: &mut Command) -> SystemProgram {
        let name = command.get_program().to_string_lossy().into_owned();
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = quiet.process_group(0).spawn();
        SystemProgram {
            child: child.unwrap_or_else(|error| panic!("{name}: {error}; scripts/setup test installs it")),
        }
    }
}

/// A port that is free now, for programs that cannot choose one.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback");
    listener.local_addr().expect("bound").port()
}

/// Waits until something listens there.
pub(crate) fn listening(address: SocketAddr) {
    eventually_blocking(&format!("a listener on {address}"), || TcpStream::connect(address).ok());
}

/// A program of the system, which may be in a folder for administrators.
pub(crate) fn system(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from(name))
}

/// What is wrong with what the guard has logged.
#[derive(Default)]
struct LogProblems {
    lines: u64,
    found: Vec<String>,
}

/// A running guard.
pub(crate) struct Guard {
    process: GuardProcess,
    problems: Arc<Mutex<LogProblems>>,
    pub(crate) address: SocketAddr,
    file: PathBuf,
}

impl Guard {
    /// Before this backend, with the clients of the ledger.
    pub(crate) fn start(folder: &Path, backend: &Path) -> Guard {
        Guard::with(folder, &configuration(backend), &tokens(|client| client.policy.to_owned()))
    }

    /// With this configuration and these clients.
    pub(crate) fn with(folder: &Path, configuration: &str, tokens: &str) -> Guard {
        std::fs::write(folder.join("tokens.toml"), tokens).expect("a writable directory");
        let file = folder.join("guard.toml");
        std::fs::write(&file, configuration).expect("a writable directory");
        let problems = Arc::<Mutex<LogProblems>>::default();
        let noted = problems.clone();
        let inspect = move |line: &str| note(&mut noted.lock().expect("no panic while held"), line);
        let program = Program::start_inspected(&mut guard_command(&binary(), &file), LAST_LINES, inspect);
        let process = GuardProcess::wait(program);
        Guard { address: process.listen.parse().expect("a TCP listener"), process, problems, file }
    }

    /// Gives it another configuration.
    pub(crate) fn configure(&self, configuration: &str) {
        std::fs::write(&self.file, configuration).expect("a writable directory");
        assert!(self.command(&["reload"]), "the guard refuses its configuration");
    }

    /// Runs a command of the operator. Returns whether it succeeded.
    pub(crate) fn command(&self, words: &[&str]) -> bool {
        let mut command = Command::new(binary());
        command.args(words).arg("--config").arg(&self.file).stdin(Stdio::null());
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    }

    /// The gauges that say how much is under way.
    pub(crate) fn under_way(&self) -> Vec<(String, f64)> {
        let page = crate::fronts::get(self.process.metrics.parse().expect("a TCP listener"), "/metrics");
        let is_load = |name: &str| {
            let name = name.split('{').next().unwrap_or_default();
            let words = ["in_flight", "waiting", "held", "streams", "connections", "bodies"];
            let is_count = name.ends_with("_total") || name.ends_with("_bucket") || name.ends_with("_max");
            name.starts_with("mcp_guard_") && !is_count && words.iter().any(|word| name.contains(word))
        };
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        let found = pairs.filter(|(name, _)| is_load(name) && !name.contains("idle_connections"));
        found.map(|(name, value)| (name.to_owned(), value.parse().unwrap_or(f64::NAN))).collect()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.program.pid())).map_or(0, Iterator::count)
    }

    /// Nothing is left under way, no descriptor is left open, no line of the log holds a token, and nothing panicked.
    pub(crate) fn judge(&mut self, ledger: &Ledger, descriptors: usize) {
        assert_eq!(self.process.program.exit_status(), None, "the guard ended");
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left: Vec<_> = self.under_way().into_iter().filter(|(_, value)| *value != 0.0).collect();
            let open = self.descriptors();
            if left.is_empty() && open <= descriptors {
                break;
            }
            if Instant::now() > deadline {
                ledger.violate("left behind", &format!("{left:?}, {open} descriptors of {descriptors}"));
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = self.problems.lock().expect("no panic while held");
        ledger.count("log lines", log.lines);
        for problem in &log.found {
            ledger.violate("in the log", problem);
        }
        assert!(log.lines > 0, "the guard logs nothing, so that no line could hold a token");
    }
}

fn note(log: &mut LogProblems, line: &str) {
    log.lines += 1;
    let is_bad = line.contains(TOKEN_MARK) || line.contains("panicked");
    if is_bad && log.found.len() < 20 {
        log.found.push(line.to_owned());
    }
}

/// The guard's binary.
fn binary() -> PathBuf {
    std::env::var_os("ATTACK_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_mcp-guard")), PathBuf::from)
}

/// `tokens.toml` of the ledger's clients, each with a policy.
pub(crate) fn tokens(policy: impl Fn(&Client) -> String) -> String {
    let table = |client: &Client| {
        let hash: String = Sha256::digest(client.token).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[clients.{}]\nsha256 = \"{hash}\"\n{}\n", client.name, policy(client))
    };
    CLIENTS.iter().map(table).collect()
}

fn configuration(backend: &Path) -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\nadmin = \"off\"\n\
         [auth]\ntokens_file = \"tokens.toml\"\n\
         [tools]\nread_only = [\"look_*\"]\n\
         [slots.blue]\naddress = \"unix:{}\"\nclient_header = true\n\
         [health]\ninterval = \"1h\"\n\
         [timeouts]\nwaiting = \"30s\"\n",
        backend.display()
    )
}
