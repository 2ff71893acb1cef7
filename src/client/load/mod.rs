//! A load of equal requests: many clients at once, each with its own session and connection, until the number is reached.
//!
//! Each client sends its next request when it has its response, as bots do; the rate follows from the server. Must not know
//! whether the result is good enough, nor where it is kept.

mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::report::{Failed, Tally};
use super::error::{Error, excerpt};
use super::exchange::{Client, KeptConnection, Response};
use super::session::Session;
use crate::wire::bounded;
use crate::wire::declaration::Declared;
use crate::wire::envelope::Envelope;

pub(crate) use report::Report;

/// What every request of a load is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LoadCall {
    ListTools,
    /// In a session opened with `initialize`: 2026-07-28 has no `ping`.
    Ping,
    Tool {
        name: String,
        arguments: Value,
        writes: Writes,
    },
}

/// Whether a tool may be called that does not say `readOnlyHint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    Refuse,
    Allow,
}

/// Whether a client uses its connection again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    Keep,
    OneEach,
}

/// A load to be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) call: LoadCall,
    pub(crate) requests: u32,
    pub(crate) concurrency: u16,
    pub(crate) connections: Connections,
    /// After this no request is begun.
    pub(crate) time_max: Duration,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            call: LoadCall::ListTools,
            requests: 200,
            concurrency: 4,
            connections: Connections::Keep,
            time_max: Duration::from_secs(60),
        }
    }
}

impl Plan {
    /// The report of this load before its first request.
    pub(crate) fn report(&self) -> Report {
        let keeps_connections = self.connections == Connections::Keep;
        Report::planned(self.call.label(), self.concurrency, keeps_connections, self.requests)
    }
}

/// Why no request of a load was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Session(#[from] Error),
    #[error("{0} is not listed by the server; name one that this client may call")]
    NoSuchTool(String),
    #[error("{0} does not say that it is read-only (readOnlyHint); name a tool that does")]
    MayWrite(String),
}

/// Makes the load. Fails only before its first request: later failures are counted.
pub(crate) async fn run(client: Client, plan: &Plan) -> Result<Report, LoadError> {
    let client = Arc::new(client);
    if let LoadCall::Tool { name, writes: Writes::Refuse, .. } = &plan.call {
        check_read_only(&client, name).await?;
    }
    let (mut workers, remaining) = (JoinSet::new(), Arc::new(AtomicU32::new(plan.requests)));
    let (opened, mut openings) = mpsc::channel(usize::from(plan.concurrency).max(1));
    let (go, start) = watch::channel(None);
    for _ in 0..plan.concurrency {
        let worker = Worker { plan: plan.clone(), remaining: Arc::clone(&remaining) };
        workers.spawn(worker.run(Arc::clone(&client), opened.clone(), start.clone()));
    }
    drop(opened);
    while let Some(opening) = openings.recv().await {
        opening?;
    }
    let started = Instant::now();
    go.send_replace(Some(started + plan.time_max));
    let (mut total, mut last) = (Tally::default(), started);
    while let Some(ended) = workers.join_next().await {
        // A worker that has panicked has no numbers; the report then shows fewer requests than planned.
        let Ok((tally, at)) = ended else { continue };
        total.add(tally);
        last = last.max(at);
    }
    let mut report = plan.report();
    total.fill(&mut report, last - started);
    Ok(report)
}

/// One of the clients.
struct Worker {
    plan: Plan,
    remaining: Arc<AtomicU32>,
}

impl Worker {
    /// Opens its session, reports that, waits for the start, and makes requests until there is none left or the time is over.
    async fn run(
        self,
        client: Arc<Client>,
        opened: mpsc::Sender<Result<(), Error>>,
        mut start: watch::Receiver<Option<Instant>>,
    ) -> (Tally, Instant) {
        let mut tally = Tally::default();
        let session = match self.plan.call.open(&client).await {
            Ok(session) => session,
            Err(error) => {
                let _ended = opened.send(Err(error)).await;
                return (tally, Instant::now());
            }
        };
        let _ended = opened.send(Ok(())).await;
        drop(opened);
        let Ok(end) = start.wait_for(Option::is_some).await.map(|end| *end) else {
            return (tally, Instant::now());
        };
        let mut kept = KeptConnection::default();
        while end.is_some_and(|end| Instant::now() < end) && self.takes_one() {
            match self.plan.call.send(&session, &mut kept).await {
                Ok(time) => tally.times.push(time),
                Err(reason) => tally.failed(reason),
            }
            if self.plan.connections == Connections::OneEach {
                kept.close();
            }
        }
        let ended = Instant::now();
        tally.connections = kept.opened;
        session.close().await;
        (tally, ended)
    }

    fn takes_one(&self) -> bool {
        self.remaining.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl LoadCall {
    /// What a report calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            LoadCall::Tool { name, .. } => format!("tools/call {name}"),
            LoadCall::ListTools | LoadCall::Ping => self.method().to_owned(),
        }
    }

    fn method(&self) -> &'static str {
        match self {
            LoadCall::ListTools => "tools/list",
            LoadCall::Ping => "ping",
            LoadCall::Tool { .. } => "tools/call",
        }
    }

    async fn open<'c>(&self, client: &'c Client) -> Result<Session<'c>, Error> {
        match self {
            LoadCall::Ping => Session::legacy(client).await,
            LoadCall::ListTools | LoadCall::Tool { .. } => Session::open(client).await,
        }
    }

    /// Sends one request: its time, or why it failed.
    async fn send(&self, session: &Session<'_>, kept: &mut KeptConnection) -> Result<Duration, Failed> {
        let (params, name) = match self {
            LoadCall::ListTools | LoadCall::Ping => (json!({}), None),
            LoadCall::Tool { name, arguments, .. } => {
                (json!({"name": name, "arguments": arguments}), Some(name.as_str()))
            }
        };
        let sent = session.send_kept(kept, self.method(), params, name).await;
        let (id, reply) = sent.map_err(|error| Failed::from(&error))?;
        self.judge(session, &id, &reply).map(|()| reply.elapsed)
    }

    /// Without a tree of the result: reading it would take more time than the request, and delay the others.
    fn judge(&self, session: &Session<'_>, id: &Value, reply: &Response) -> Result<(), Failed> {
        let result = Envelope::read(&reply.body).and_then(|envelope| envelope.result_for(id));
        let Some(result) = result.filter(|_| (200..300).contains(&reply.status)) else {
            let read = session.read(self.method(), id, reply);
            return match read.and_then(|answered| session.result_of(self.method(), answered)) {
                Ok(_) => Err(format!("{}: HTTP {} with a result", self.label(), reply.status).into()),
                Err(error) => Err(Failed::from(&error)),
            };
        };
        let members = bounded::members(result.get().as_bytes(), ["isError", "content"]);
        let [is_error, content] =
            members.ok_or_else(|| format!("{}: the result is no object", self.label()))?;
        match is_error {
            Some(is_error) if is_error.get() == "true" => {
                let content = content.map(|content| excerpt(content.get().as_bytes())).unwrap_or_default();
                Err(format!("{}: isError: {content}", self.label()).into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

async fn check_read_only(client: &Client, name: &str) -> Result<(), LoadError> {
    let session = Session::open(client).await?;
    let listed = session.list_tools().await;
    session.close().await;
    let (tools, _) = listed?;
    let tool = tools.iter().find(|tool| tool.name == name);
    let tool = tool.ok_or_else(|| LoadError::NoSuchTool(name.to_owned()))?;
    let hints = tool.annotations.as_ref().and_then(|hints: &Declared| hints.value().ok());
    match hints.as_ref().and_then(|hints| hints.get("readOnlyHint")) {
        Some(Value::Bool(true)) => Ok(()),
        Some(_) | None => Err(LoadError::MayWrite(name.to_owned())),
    }
}
