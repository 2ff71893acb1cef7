//! Programs that run during one test, with what they log.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually_blocking;

/// Held while a process is started: between fork and exec the child has a copy of every socket, and a socket that a test
/// closes then is not closed yet. A test that needs a socket to be closed at once holds it, too.
pub static SPAWNING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A running program, killed when dropped. Its standard error is its log.
pub struct Program {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        Program::start_inspected(command, usize::MAX, |_| ())
    }

    /// Starts while no other test of this process closes a socket.
    pub(crate) async fn start_alone(command: &mut Command) -> Program {
        let _starting = SPAWNING.lock().await;
        Program::start(command)
    }

    /// Keeps the last lines alone, and shows each line to `inspect`.
    pub fn start_inspected(
        command: &mut Command,
        lines_max: usize,
        mut inspect: impl FnMut(&str) + Send + 'static,
    ) -> Program {
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let writer = log.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                inspect(&line);
                let mut log = writer.lock().unwrap_or_else(PoisonError::into_inner);
                if log.len() >= lines_max {
                    log.remove(0);
                }
                log.push(line);
            }
        });
        Program { child, log, reader }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line of the log that contains this.
    pub fn find_in_log(&self, text: &str) -> Option<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().find(|line| line.contains(text)).cloned()
    }

    /// The same, once it is there.
    pub fn wait_for_log(&self, text: &str) -> String {
        eventually_blocking(&format!("{text:?} in the log"), || self.find_in_log(text))
    }

    /// How the program ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of this process")
    }

    /// Waits until the program has ended and its log is complete.
    pub fn wait(&mut self) -> ExitStatus {
        eventually_blocking("the program ends", || self.exit_status().filter(|_| self.reader.is_finished()))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a running program");
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- the program's log ---\n{}", self.log().join("\n"));
        }
    }
}

/// `run` with this configuration, and nothing of the caller's environment.
pub fn guard_command(binary: &Path, config: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(config).stdout(Stdio::null()).env_clear();
    command
}

/// A guard that serves, and where.
pub struct GuardProcess {
    pub program: Program,
    pub listen: String,
    pub metrics: String,
}

const SERVING: &str = "serving on ";

impl GuardProcess {
    /// Waits until this guard serves; for tests without a runtime.
    pub fn wait(mut program: Program) -> GuardProcess {
        eventually_blocking("the guard serves", || is_serving(&mut program).then_some(()));
        GuardProcess::of(program)
    }

    /// Waits until this guard serves.
    pub(crate) async fn serving(mut program: Program) -> GuardProcess {
        crate::eventually("the guard serves", || std::future::ready(is_serving(&mut program))).await;
        GuardProcess::of(program)
    }

    fn of(program: Program) -> GuardProcess {
        let line = program.find_in_log(SERVING).expect("a guard that serves");
        let after = |mark: &str| {
            let text = line.split(mark).nth(1).unwrap_or_default();
            text.split([',', '"', ' ']).next().unwrap_or_default().to_owned()
        };
        GuardProcess { listen: after(SERVING), metrics: after("metrics on "), program }
    }
}

fn is_serving(program: &mut Program) -> bool {
    let ended = program.exit_status();
    assert!(ended.is_none(), "the guard ended at once ({ended:?}):\n{}", program.log().join("\n"));
    program.find_in_log(SERVING).is_some()
}
