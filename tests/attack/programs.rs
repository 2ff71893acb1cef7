//! The programs of a run: the guard, and what may stand before it or in its place.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};

use crate::ledger::{CLIENTS, Client, Ledger, TOKEN_MARK};

const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with the test.
pub(crate) struct Program {
    child: Child,
}

impl Drop for Program {
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

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        let name = command.get_program().to_string_lossy().into_owned();
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = quiet.process_group(0).spawn();
        Program {
            child: child.unwrap_or_else(|error| panic!("{name}: {error}; scripts/setup test installs it")),
        }
    }
}

/// Asks again and again until `condition` gives something.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that is free now, for programs that cannot choose one.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback");
    listener.local_addr().expect("bound").port()
}

/// Waits until something listens there.
pub(crate) fn listening(address: SocketAddr) {
    eventually(&format!("a listener on {address}"), || TcpStream::connect(address).ok());
}

/// A program of the system, which may be in a folder for administrators.
pub(crate) fn system(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from(name))
}

/// What the guard has logged, and what is wrong with that.
#[derive(Default)]
struct Log {
    lines: u64,
    last: Vec<String>,
    serving: Option<String>,
    problems: Vec<String>,
}

/// A running guard.
pub(crate) struct Guard {
    child: Child,
    log: Arc<Mutex<Log>>,
    pub(crate) address: SocketAddr,
    metrics: SocketAddr,
    file: PathBuf,
}

impl Guard {
    /// Before this backend, with the clients of the ledger.
    pub(crate) fn start(folder: &Path, backend: &Path) -> Guard {
        Guard::with(folder, &configuration(backend), &tokens(|client| client.policy.to_owned()))
    }

    /// With this configuration and these clients.
    pub(crate) fn with(folder: &Path, configuration: &str, tokens: &str) -> Guard {
        let binary = binary();
        std::fs::write(folder.join("tokens.toml"), tokens).expect("a writable directory");
        let file = folder.join("guard.toml");
        std::fs::write(&file, configuration).expect("a writable directory");
        let mut command = Command::new(&binary);
        command.arg("run").arg("--config").arg(&file).stdin(Stdio::null()).stderr(Stdio::piped()).env_clear();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let log = Arc::new(Mutex::new(Log::default()));
        let (lines, writer) = (BufReader::new(child.stderr.take().expect("piped")), log.clone());
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| note(&writer, line)));
        let line = eventually("the guard serves", || {
            if matches!(child.try_wait(), Ok(Some(_))) {
                eventually("the guard's last words", || (!last_lines(&log).is_empty()).then_some(()));
                panic!("the guard ended: {}", last_lines(&log));
            }
            log.lock().expect("no panic while held").serving.clone()
        });
        let after = |mark: &str| {
            let text = line.split(mark).nth(1).unwrap_or_default();
            let address = text.split([',', '"', ' ']).next().unwrap_or_default().to_owned();
            address.parse().unwrap_or_else(|_| panic!("no address behind {mark:?} in {line}"))
        };
        Guard { address: after("serving on "), metrics: after("metrics on "), child, log, file }
    }

    /// Types a command to it. Tells whether it succeeded.
    pub(crate) fn types(&self, words: &[&str]) -> bool {
        let mut command = Command::new(binary());
        command.args(words).arg("--config").arg(&self.file).stdin(Stdio::null());
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    }

    /// The gauges that say how much is under way.
    pub(crate) fn under_way(&self) -> Vec<(String, f64)> {
        let page = crate::fronts::get(self.metrics, "/metrics");
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
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// Nothing is left under way, no descriptor is left open, no line of the log holds a token, and nothing panicked.
    pub(crate) fn judge(&mut self, ledger: &Ledger, descriptors: usize) {
        assert!(!matches!(self.child.try_wait(), Ok(Some(_))), "the guard ended");
        let deadline = Instant::now() + PATIENCE;
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
        let log = self.log.lock().expect("no panic while held");
        ledger.count("log lines", log.lines);
        for problem in &log.problems {
            ledger.violate("in the log", problem);
        }
        assert!(log.lines > 0, "the guard logs nothing, so that no line could hold a token");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock().expect("no panic while held");
            eprintln!("--- the end of the guard's log ---\n{}", log.last.join("\n"));
        }
    }
}

fn last_lines(log: &Mutex<Log>) -> String {
    log.lock().expect("no panic while held").last.join("\n")
}

fn note(log: &Mutex<Log>, line: String) {
    let mut log = log.lock().expect("no panic while held");
    log.lines += 1;
    if log.serving.is_none() && line.contains("serving on ") {
        log.serving = Some(line.clone());
    }
    let is_bad = line.contains(TOKEN_MARK) || line.contains("panicked");
    if is_bad && log.problems.len() < 20 {
        log.problems.push(line.clone());
    }
    if log.last.len() > 30 {
        log.last.remove(0);
    }
    log.last.push(line);
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
