//! Checks what the backends depend on: a tool's result, a connection, an HTTP status, Redis, a program of the operator.
//!
//! One check is bounded in time and in what it reads, and its failure is a text that says what, where and what to do, without a
//! secret. Must not know when checks run, nor what a failure leads to.

mod command;
mod connect;
mod http;
mod redis;
mod tool;

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

pub(crate) use self::command::prepare;
use crate::config::dependencies::{Check, Dependency};
use crate::upstream::{Backend, PerSlot, Secrets, Slot};

/// Characters of a failure's text.
const REASON_CHARS_MAX: usize = 400;

/// A dependency, and the backend that it is checked at.
#[derive(Clone, PartialEq)]
pub(crate) struct Subject {
    pub(crate) dependency: Dependency,
    /// Of a tool; nothing else is asked of a slot.
    pub(crate) at: Option<(Slot, Backend)>,
}

impl Subject {
    /// Whether the results of one say something about the other: the same is asked at the same place, however often.
    pub(crate) fn is_same_check(&self, other: &Subject) -> bool {
        let same =
            self.dependency.name == other.dependency.name && self.dependency.check == other.dependency.check;
        same && self.at == other.at
    }
}

/// One dependency that was checked once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) name: String,
    pub(crate) slot: Option<Slot>,
    pub(crate) required: bool,
    /// A failure has a reason.
    pub(crate) result: Result<(), String>,
    pub(crate) took: Duration,
}

/// The programs that this process must not run, and the rest: the guard's user may be able to write a program, and root would
/// run it.
pub(crate) fn without_programs_of_root(dependencies: &[Dependency]) -> (Vec<Dependency>, Vec<Dependency>) {
    let is_root = rustix::process::geteuid().is_root();
    let left_out = |one: &Dependency| is_root && matches!(one.check, Check::Command(_));
    dependencies.iter().cloned().partition(left_out)
}

/// Everything that is to be checked: a tool at each of its slots.
pub(crate) fn subjects(dependencies: &[Dependency], backends: &PerSlot<Option<Backend>>) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for dependency in dependencies {
        match &dependency.check {
            Check::Tool { slots, .. } => {
                let backends = slots.iter().filter_map(|slot| Some((*slot, backends[*slot].clone()?)));
                subjects.extend(backends.map(|at| Subject { dependency: dependency.clone(), at: Some(at) }));
            }
            Check::Tcp(_) | Check::Http { .. } | Check::Redis { .. } | Check::Command(_) => {
                subjects.push(Subject { dependency: dependency.clone(), at: None });
            }
        }
    }
    subjects
}

/// Checks all of them once, at the same time, in their order.
pub(crate) async fn check_all(
    dependencies: &[Dependency],
    backends: &PerSlot<Option<Backend>>,
    secrets: &Secrets,
) -> Vec<Checked> {
    let mut running = JoinSet::new();
    for (position, subject) in subjects(dependencies, backends).into_iter().enumerate() {
        let secrets = secrets.clone();
        running.spawn(async move { (position, subject.check(&secrets).await) });
    }
    let mut checked = Vec::new();
    // A task that panicked would be missing, which the caller sees by its count; there is none that does.
    while let Some(ended) = running.join_next().await {
        checked.extend(ended.ok());
    }
    checked.sort_by_key(|(position, _)| *position);
    checked.into_iter().map(|(_, checked)| checked).collect()
}

impl Subject {
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.at.as_ref().map(|(slot, _)| *slot)
    }

    /// Checks it once, within its time.
    pub(crate) async fn check(&self, secrets: &Secrets) -> Checked {
        let started = Instant::now();
        let timeout = self.dependency.timeout;
        let result = match tokio::time::timeout(timeout, self.run(secrets)).await {
            Ok(result) => result.map_err(|reason| shown(&secrets.clean_text(&reason))),
            Err(_elapsed) => Err(format!("{}: no outcome within {timeout:?}", self.what())),
        };
        let Dependency { name, required, .. } = &self.dependency;
        Checked {
            name: name.clone(),
            slot: self.slot(),
            required: *required,
            result,
            took: started.elapsed(),
        }
    }

    async fn run(&self, secrets: &Secrets) -> Result<(), String> {
        let timeout = self.dependency.timeout;
        match &self.dependency.check {
            Check::Tool { name, arguments, expected, .. } => match &self.at {
                Some((_, backend)) => tool::call(backend, name, arguments, expected, timeout, secrets).await,
                None => Err("no slot has a backend (hint: configure one)".to_owned()),
            },
            Check::Tcp(endpoint) => connect::to(endpoint).await.map(drop),
            Check::Http { url, status } => http::get(url, *status, timeout, secrets).await,
            Check::Redis { endpoint, username, password } => {
                redis::ping(endpoint, username.as_deref(), password.as_ref()).await
            }
            Check::Command(program) => command::run(program).await,
        }
    }

    /// What is checked, for a failure without other words.
    fn what(&self) -> String {
        match &self.dependency.check {
            Check::Tool { name, .. } => format!("tool `{name}`"),
            Check::Tcp(endpoint) => endpoint.to_string(),
            Check::Http { url, .. } => url.clone(),
            Check::Redis { endpoint, .. } => format!("Redis at {endpoint}"),
            Check::Command(program) => program.program.display().to_string(),
        }
    }
}

/// A reason that is fit for a terminal and for a line of the log: text of strangers may be a part of it.
fn shown(reason: &str) -> String {
    let plain = reason.trim().chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut shown: String = plain.take(REASON_CHARS_MAX).collect();
    if reason.trim().chars().nth(REASON_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
