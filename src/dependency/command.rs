//! Runs a program of the operator in a process group of its own: bounded output, and nothing of the group outlives the check.
//!
//! A program gets nothing of this process's environment but `PATH`: tokens are there.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::notify::Program;

/// The first bytes of the output hold the reason.
const WORDS_MAX: usize = 200;
/// Of each of the two outputs; a program that writes more is ended.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// For output that is still in a pipe when the program has ended.
const REST_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs the program to its end; exit 0 is good. The caller bounds the time: a run that is dropped is killed.
pub(super) async fn run(command: &Program) -> Result<(), String> {
    let named = command.program.display();
    let mut child = prepare(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| {
            format!("cannot run {named}: {error} (hint: may this user run it, and is it in the PATH?)")
        })?;
    let mut group = ProcessGroup::of(&child);
    let (mut out, mut err) = (Output::of(child.stdout.take()), Output::of(child.stderr.take()));
    let ended = tokio::select! {
        biased;
        ended = end(&mut child, &mut group) => ended,
        () = out.overflows() => return Err(floods(&named)),
        () = err.overflows() => return Err(floods(&named)),
    };
    let status = ended.map_err(|error| format!("cannot wait for {named}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    // A process that has left the group may hold a pipe open for ever.
    let _rest = tokio::time::timeout(REST_TIMEOUT, async { tokio::join!(out.read(), err.read()) }).await;
    let words = [err.words(), out.words()].into_iter().find(|words| !words.is_empty());
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    Err(format!("{named} ended with {status}{words}"))
}

fn floods(named: &impl std::fmt::Display) -> String {
    format!("{named} wrote more than {OUTPUT_BYTES_MAX} bytes and was ended (hint: make it quiet)")
}

/// The program with only `PATH` in its environment; it is killed when the task that waits for it ends.
pub(crate) fn prepare(command: &Program) -> Command {
    let mut prepared = Command::new(&command.program);
    prepared.args(&command.arguments).env_clear().kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        prepared.env("PATH", path);
    }
    prepared
}

/// Waits for the program, kills what is left of its group, then takes its status. In this order the number of the group cannot
/// have become that of another one.
async fn end(child: &mut Child, group: &mut ProcessGroup) -> io::Result<ExitStatus> {
    let mut changes = signal(SignalKind::child())?;
    while let Some(leader) = group.leader {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(leader), options)?.is_some() {
            group.kill();
        } else {
            changes.recv().await;
        }
    }
    child.wait().await
}

/// The processes that the program leads. They are killed when this is dropped.
struct ProcessGroup {
    leader: Option<Pid>,
}

impl ProcessGroup {
    fn of(child: &Child) -> ProcessGroup {
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        ProcessGroup { leader }
    }

    /// Once: afterwards the number may be another group's.
    fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            // A group without processes is gone already.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One output of the program: its first bytes are kept, the rest is counted.
struct Output<P> {
    pipe: Option<P>,
    first: Vec<u8>,
    read: usize,
}

impl<P: AsyncRead + Unpin> Output<P> {
    fn of(pipe: Option<P>) -> Output<P> {
        Output { pipe, first: Vec::new(), read: 0 }
    }

    /// Reads on. Completes only when there is too much.
    async fn overflows(&mut self) {
        self.read().await;
        if self.read <= OUTPUT_BYTES_MAX {
            std::future::pending::<()>().await;
        }
    }

    /// Reads to the end, or to the limit.
    async fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.pipe
            && self.read <= OUTPUT_BYTES_MAX
        {
            match pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => self.pipe = None,
                Ok(count) => {
                    let kept = count.min(WORDS_MAX - self.first.len());
                    self.first.extend_from_slice(&buffer[..kept]);
                    self.read += count;
                }
            }
        }
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.first).trim().to_owned()
    }
}
