//! A compiled `[tool.http]` and how it runs: one call of a declared service, whose response becomes the tool's result.
//!
//! A tool names a service, never a host: arguments are encoded into path, query and body, so no argument can lead
//! elsewhere. No call is repeated. Must not know sockets.

use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use hyper::{Method, StatusCode};
use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Value;

use super::body::{self, Body, Unreadable};
use super::exchange::{ExchangeError, Request, Response, exchange};
use super::headers;
use super::patterns::Patterns;
use super::pick::Pick;
use super::refusal::{self, Openness};
use super::render::{self, BodyTemplate, JsonTemplate, Pairs};
use super::service::{Base, Service};
use super::spans::{Declared, ServiceSpan};
use super::totals;
use crate::call_log::Outcome;
use crate::catalogue::Arguments;
use crate::catalogue::file::{BeforeFile, IdentityFile, TotalFile};
use crate::handler::argument::{canonical, time_before};
use crate::handler::call::{CallInfo, Caller};
use crate::handler::context::Context;
use crate::handler::result::{Content, ToolResult};
use crate::handler::template::Template;
use crate::json::Json;

/// The name of the time of the call.
pub(crate) const NOW: &str = "now";
/// The names of the caller's identity, in a tool that declares `identity`.
pub(crate) const CLIENT: &str = "client";
pub(crate) const SUBJECT: &str = "subject";

/// Why a successful response is no result.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error(transparent)]
    Body(Unreadable),
    #[error("responded without {0}, which the tool picks")]
    Absent(String),
    #[error("responded with something else than a list of records")]
    NoRecords,
}

/// A compiled `[tool.http]`.
pub(crate) struct HttpTool {
    pub(crate) service: Service,
    pub(crate) read_only: bool,
    pub(crate) method: Method,
    pub(crate) path: Template,
    pub(crate) query: Pairs,
    pub(crate) headers: Vec<(HeaderName, Template)>,
    pub(crate) body: Option<BodyTemplate>,
    pub(crate) moments: IndexMap<String, BeforeFile>,
    pub(crate) identity: IdentityFile,
    pub(crate) defaults: IndexMap<String, Value>,
    pub(crate) needs: Vec<String>,
    pub(crate) patterns: Patterns,
    pub(crate) totals: IndexMap<String, TotalFile>,
    pub(crate) pick: Option<Pick>,
    pub(crate) result: Option<JsonTemplate>,
    pub(crate) not_found: Option<Template>,
    pub(crate) openness: Openness,
    pub(crate) time_max: Duration,
}

impl HttpTool {
    pub(crate) async fn run(&self, arguments: &Arguments, context: &Context, call: &CallInfo) -> ToolResult {
        let base = match self.service.configured() {
            Ok(base) => base,
            Err(reason) => return ToolResult::in_band(Outcome::Refused, reason),
        };
        let completed = self.completed(arguments.clone(), &call.caller);
        let (mut request, arguments) =
            match completed.and_then(|arguments| Ok((self.request(base, &arguments)?, arguments))) {
                Ok(made) => made,
                Err(reason) => return ToolResult::in_band(Outcome::Invalid, reason),
            };
        let trace = call.trace.as_deref();
        let traced = trace.map(|trace| ServiceSpan::begin(trace, self.declared(), &mut request));
        let ended = tokio::time::timeout(self.time_max, exchange(request, context)).await;
        if let Some(traced) = traced {
            traced.end(&ended);
        }
        match ended {
            Ok(Ok(response)) => self.mapped(&response, &arguments, call),
            Ok(Err(error)) => self.exchange_failed(&error, call),
            Err(_) => {
                let seconds = self.time_max.as_secs_f64();
                let text = format!(
                    "{} did not respond within {seconds} s{}",
                    self.service.name,
                    self.unknown_outcome()
                );
                ToolResult::failed(Outcome::Timeout, text)
            }
        }
    }

    /// The path of the tool alone: the one of the service comes from the environment, and may be a secret.
    fn declared(&self) -> Declared<'_> {
        Declared { service: &self.service.name, path: self.path.declared() }
    }

    /// The request of a call; the error is for the caller.
    fn request<'a>(&self, base: &'a Base, arguments: &Arguments) -> Result<Request<'a>, String> {
        let mut headers = HeaderMap::new();
        headers.extend(self.service.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.extend(self.service.authorization.clone().map(|value| (AUTHORIZATION, value)));
        headers.extend(headers::filled(&self.headers, arguments)?);
        let target = render::target(base.path(), &self.path, &self.query, arguments)?;
        let target = self.service.query.added_to(target);
        let body = self.body.as_ref().map(|body| body.fill(arguments)).transpose()?.flatten();
        Ok(Request { base, method: self.method.clone(), target, headers, body })
    }

    /// The arguments with what the declaration adds to them; the error is for the caller.
    fn completed(&self, mut arguments: Arguments, caller: &Caller) -> Result<Arguments, String> {
        if let Some(name) = self.needs.iter().find(|name| arguments.get(name).is_null()) {
            return Err(format!("Please give {name}: it is needed here."));
        }
        for (name, value) in &self.defaults {
            if arguments.get(name).is_null() {
                arguments.set(name, value.clone());
            }
        }
        self.patterns.check(&arguments)?;
        let now = Timestamp::now();
        arguments.set(NOW, Value::from(canonical(now)));
        if self.identity.client {
            arguments.set(CLIENT, Value::from(caller.client.clone()));
        }
        if self.identity.subject {
            arguments.set(SUBJECT, Value::from(caller.subject.clone()));
        }
        for (name, before) in &self.moments {
            if let Some(then) = time_before(before, &arguments, now)? {
                arguments.set(name, Value::from(canonical(then)));
            }
        }
        Ok(arguments)
    }

    fn mapped(&self, response: &Response, arguments: &Arguments, call: &CallInfo) -> ToolResult {
        if response.status.is_success() {
            return self.accepted(response, arguments).unwrap_or_else(|reason| {
                call.log_event("service_error", &format!("{} {reason}", self.service.name));
                let text = match reason {
                    Misfit::Body(Unreadable::TooLarge) => return self.too_large(),
                    Misfit::NoRecords => format!("{} {reason}", self.service.name),
                    Misfit::Body(_) | Misfit::Absent(_) => {
                        format!("{} {reason}{}", self.service.name, self.unknown_outcome())
                    }
                };
                ToolResult::failed(Outcome::Failed, text)
            });
        }
        if let (StatusCode::NOT_FOUND, Some(message)) = (response.status, &self.not_found) {
            return ToolResult::in_band(Outcome::NotFound, message.to_text(arguments));
        }
        let (name, secrets) = (&self.service.name, self.service.secrets());
        call.log_event("service_error", &refusal::logged(name, response, self.openness, &secrets));
        let outcome = match response.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Outcome::Refused
            }
            _ => Outcome::Failed,
        };
        let text = refusal::told(name, response, self.openness, &secrets, self.unknown_outcome());
        ToolResult::failed(outcome, text)
    }

    /// The result of a response of 2xx.
    fn accepted(&self, response: &Response, arguments: &Arguments) -> Result<ToolResult, Misfit> {
        let result = self.result.as_ref().map(|result| result.fill(arguments).unwrap_or_else(Json::null));
        let body = body::read(&response.headers, &response.body);
        let body = match (body, &result) {
            (Ok(body), _) => body,
            // Such a body says nothing that the declared result would use; a page says that nothing was done.
            (Err(reason), Some(_)) if self.totals.is_empty() && reason != Unreadable::Page => Body::Empty,
            (Err(reason), _) => return Err(Misfit::Body(reason)),
        };
        if self.totals.is_empty() {
            return match result {
                Some(result) => Ok(ToolResult::ok(Content::Json(result))),
                None => self.content(body, response.status).map(ToolResult::ok),
            };
        }
        let records = match (body, &self.pick) {
            (Body::Json(json), Some(pick)) => {
                pick.of(&json).map_err(|path| Misfit::Absent(path.to_owned()))?
            }
            (Body::Json(json), None) => json,
            (Body::Empty | Body::Text(_), _) => return Err(Misfit::NoRecords),
        };
        let records = serde_json::from_str(records.as_str()).unwrap_or_default();
        let totals = totals::add_up(&records, &self.totals).ok_or(Misfit::NoRecords)?;
        let totals = totals.iter().map(|(name, total)| (name.clone(), Json::of(total)));
        let all: IndexMap<String, Json> = totals.chain(result.iter().flat_map(Json::members)).collect();
        Ok(ToolResult::ok(Content::Json(Json::object(
            all.iter().map(|(name, value)| (name.as_str(), value)),
        ))))
    }

    /// The body, or the picked parts of it.
    fn content(&self, body: Body, status: StatusCode) -> Result<Content, Misfit> {
        match (body, &self.pick) {
            (Body::Json(json), None) => Ok(Content::Json(json)),
            (Body::Json(json), Some(pick)) => match pick.of(&json) {
                Ok(picked) => Ok(Content::Json(picked)),
                Err(path) => Err(Misfit::Absent(path.to_owned())),
            },
            (Body::Text(_) | Body::Empty, Some(_)) => Err(Misfit::Body(Unreadable::NotJson)),
            (Body::Text(text), None) => Ok(Content::Text(text)),
            (Body::Empty, None) => {
                let (name, status) = (&self.service.name, status.as_u16());
                Ok(Content::Text(format!(
                    "{name} accepted the call (status {status}); its response has no content."
                )))
            }
        }
    }

    fn too_large(&self) -> ToolResult {
        let hint = if self.read_only { "; narrow the filters" } else { self.unknown_outcome() };
        let text = format!("the response of {} is too large{hint}", self.service.name);
        ToolResult::failed(Outcome::Failed, text)
    }

    fn exchange_failed(&self, error: &ExchangeError, call: &CallInfo) -> ToolResult {
        let name = &self.service.name;
        call.log_event("service_error", &format!("{name}: {error}"));
        match error {
            ExchangeError::Connect(_) => ToolResult::failed(
                Outcome::Unavailable,
                format!("{name} cannot be reached; nothing was done, try again later"),
            ),
            ExchangeError::Broken(_) => {
                let text = format!("the connection to {name} broke{}", self.unknown_outcome());
                ToolResult::failed(Outcome::Unavailable, text)
            }
            ExchangeError::TooLarge => self.too_large(),
        }
    }

    /// A warning for tools that write: the service may have executed a call that has no response.
    fn unknown_outcome(&self) -> &'static str {
        if self.read_only {
            ""
        } else {
            "; whether it was carried out is unknown, check before you repeat it"
        }
    }
}
