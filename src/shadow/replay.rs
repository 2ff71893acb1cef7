//! One copy: the candidate gets stable's call, and stable gets it once more where the responses differ.
//!
//! A difference that stable shows to itself is noise, so stable gets the call again only when there is something to explain.
//! Must not know where the outcome is written.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::client::{Client, Error, KeptConnection, Limits, Request, Target, message_in_stream};
use crate::config::shadow::Shadow;
use crate::parity::shadow::{Mismatch, compare};
use crate::proxy::ShadowedCall;
use crate::rollout::sample::{CallResult, Failure, judge_rpc_error};
use crate::upstream::{Backend, Secrets};
use crate::wire::{Method, bounded};

const CONNECT_MAX: Duration = Duration::from_secs(1);
/// By how much a candidate's response may be larger than the largest that is copied.
const LARGER_BYTES_MAX: usize = 64 << 10;
const SESSION: &str = "mcp-session-id";
/// How old a connection may become. A server that was replaced gets no copies over an old one for longer.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(5);

/// A server that gets copies, and the connections to it that wait for the next one: as many as there were copies at a time.
pub(super) struct CopyTarget {
    backend: Backend,
    client: Client,
    idle: Mutex<Vec<(KeptConnection, Instant)>>,
}

impl CopyTarget {
    pub(super) fn new(backend: &Backend, rules: &Shadow, secrets: &Secrets) -> CopyTarget {
        let limits = Limits {
            connect: rules.timeout.min(CONNECT_MAX),
            total: rules.timeout,
            body_bytes: rules.body_bytes + LARGER_BYTES_MAX,
        };
        let client = Client::new(Target::of_backend(backend), limits).with_secrets(secrets);
        CopyTarget { backend: backend.clone(), client, idle: Mutex::default() }
    }

    /// Closes the connections that wait.
    pub(super) fn close(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(KeptConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, and when it was opened; a new one where none waits.
    fn take(&self) -> (KeptConnection, Instant) {
        let mut idle = self.idle();
        idle.retain(|(_, opened)| opened.elapsed() < CONNECTION_AGE_MAX);
        idle.pop().unwrap_or_else(|| (KeptConnection::default(), Instant::now()))
    }

    async fn replay(&self, request: Request, asked: &RecordedRequest) -> Result<Value, Error> {
        let (mut kept, opened) = self.take();
        let result = self.client.replay_kept(&mut kept, &asked.name, request, &asked.id).await;
        if kept.is_open() {
            self.idle().push((kept, opened));
        }
        result
    }
}

/// What a copy came to, and how long the candidate took.
pub(super) enum ReplayOutcome {
    Matched(Duration),
    Mismatched(Vec<Mismatch>, Duration),
    Failed(Failure, Duration),
    /// It says nothing about the candidate.
    Skipped,
}

/// A copied call, as requests and the log name it.
pub(super) struct RecordedRequest {
    /// The method, or `tools/call` and the tool.
    pub(super) name: String,
    pub(super) arguments: Value,
    id: Value,
}

impl RecordedRequest {
    pub(super) fn of(copy: &ShadowedCall) -> RecordedRequest {
        // The guard has read it before: it is JSON, and its method is known.
        let mut body: Value = bounded::parse(&copy.body).unwrap_or_default();
        let mut name = copy.method.as_str().to_owned();
        let params = body.get_mut("params").map(Value::take).unwrap_or_default();
        if let (Method::ToolsCall, Some(tool)) = (copy.method, params.get("name").and_then(Value::as_str)) {
            name = format!("{name} {tool}");
        }
        let arguments = params.get("arguments").cloned().unwrap_or_default();
        RecordedRequest { name, arguments, id: body.get_mut("id").map(Value::take).unwrap_or_default() }
    }
}

pub(super) async fn ask(
    copy: &ShadowedCall,
    asked: &RecordedRequest,
    stable: &CopyTarget,
    candidate: &CopyTarget,
    rules: &Shadow,
) -> ReplayOutcome {
    let answer = stable.client.clean(copy.response.clone());
    let live =
        if copy.streamed { message_in_stream(&answer, &asked.id) } else { bounded::parse(&answer).ok() };
    // A call that stable itself fails is no measure.
    let Some(live) = live.filter(|live: &Value| fails(live).is_none()) else { return ReplayOutcome::Skipped };
    let started = Instant::now();
    let is = match replay(copy, candidate, asked, Side::Candidate).await {
        Ok(is) => is,
        Err(error) => {
            let latency = started.elapsed();
            return match failure(&error) {
                Some(failure) => ReplayOutcome::Failed(failure, latency),
                None => ReplayOutcome::Mismatched(vec![unusable(&error)], latency),
            };
        }
    };
    let latency = started.elapsed();
    if let Some(failure) = fails(&is) {
        return ReplayOutcome::Failed(failure, latency);
    }
    if compare(copy.method, &live, None, &is, &rules.ignore).is_empty() {
        return ReplayOutcome::Matched(latency);
    }
    let Ok(again) = replay(copy, stable, asked, Side::Stable).await else {
        return ReplayOutcome::Skipped;
    };
    let mismatches = compare(copy.method, &live, Some(&again), &is, &rules.ignore);
    if mismatches.is_empty() {
        ReplayOutcome::Matched(latency)
    } else {
        ReplayOutcome::Mismatched(mismatches, latency)
    }
}

/// The server that gets the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// It does not know the session that a client has with stable.
    Candidate,
    Stable,
}

async fn replay(
    copy: &ShadowedCall,
    server: &CopyTarget,
    asked: &RecordedRequest,
    side: Side,
) -> Result<Value, Error> {
    let backend = &server.backend;
    let mut request = Request::post(copy.body.clone());
    let keeps =
        |name: &str| !name.eq_ignore_ascii_case(SESSION) || (side == Side::Stable && !backend.strip_session);
    let mut set = |name: &str, value: &str| {
        let field = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
        request.headers.extend(field);
    };
    for (name, value) in copy.fields.iter().filter(|(name, _)| keeps(name)) {
        set(name, value);
    }
    set("x-request-id", &copy.request_id);
    // So that a backend's log, and a test, can tell a copy from a client's call.
    set("x-mcp-shadow", "1");
    if backend.client_header {
        set("x-mcp-client", &copy.client);
        if let Some(subject) = &copy.subject {
            set("x-mcp-subject", subject);
        }
    }
    server.replay(request, asked).await
}

/// A message that is the server's own fault.
fn fails(message: &Value) -> Option<Failure> {
    match judge_rpc_error(message.pointer("/error/code")?.as_i64()?) {
        CallResult::Failed(failure) => Some(failure),
        CallResult::Completed | CallResult::ToolError => None,
    }
}

/// The candidate's failure; none where it responded, but differently.
fn failure(error: &Error) -> Option<Failure> {
    match error {
        Error::Connect { .. }
        | Error::ConnectTimeout { .. }
        | Error::Authorities { .. }
        | Error::Broken { .. } => Some(Failure::NoConnection),
        Error::Timeout { .. } => Some(Failure::Timeout),
        Error::Status { status, .. } if *status >= 500 => Some(Failure::Status),
        Error::NotRpc { .. } => Some(Failure::Garbage),
        Error::Status { .. }
        | Error::TooLarge { .. }
        | Error::TooHeavy { .. }
        | Error::TooMany { .. }
        | Error::Request { .. }
        | Error::Rpc { .. }
        | Error::Shape { .. }
        | Error::Pages { .. } => None,
    }
}

fn unusable(error: &Error) -> Mismatch {
    let change = match error.status() {
        Some(_) => "refused by HTTP status on the candidate",
        None => "far larger on the candidate",
    };
    let candidate = error.status().map(|status| format!("HTTP {status}"));
    Mismatch { path: String::new(), change, live: None, candidate }
}
