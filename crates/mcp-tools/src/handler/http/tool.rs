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

use super::exchange::{ExchangeError, Request, exchange};
use super::headers;
use super::patterns::Patterns;
use super::render::{self, BodyTemplate, JsonTemplate, Pairs};
use super::service::{Base, Service};
use super::totals;
use crate::call_log::Outcome;
use crate::catalogue::Arguments;
use crate::catalogue::file::{BeforeFile, TotalFile};
use crate::handler::argument::{canonical, time_before};
use crate::handler::call::CallInfo;
use crate::handler::context::Context;
use crate::handler::result::{Content, ToolResult};
use crate::handler::template::Template;

/// The name of the time of the call.
pub(crate) const NOW: &str = "now";

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
    pub(crate) defaults: IndexMap<String, Value>,
    pub(crate) needs: Vec<String>,
    pub(crate) patterns: Patterns,
    pub(crate) totals: IndexMap<String, TotalFile>,
    pub(crate) result: Option<JsonTemplate>,
    pub(crate) not_found: Option<Template>,
    pub(crate) time_max: Duration,
}

impl HttpTool {
    pub(crate) async fn run(&self, arguments: &Arguments, context: &Context, call: &CallInfo) -> ToolResult {
        let base = match self.service.configured() {
            Ok(base) => base,
            Err(reason) => return ToolResult::in_band(Outcome::Refused, reason),
        };
        let completed = self.completed(arguments.clone());
        let (request, arguments) =
            match completed.and_then(|arguments| Ok((self.request(base, &arguments)?, arguments))) {
                Ok(made) => made,
                Err(reason) => return ToolResult::in_band(Outcome::Invalid, reason),
            };
        match tokio::time::timeout(self.time_max, exchange(request, context)).await {
            Ok(Ok((status, body))) => self.mapped(status, &body, &arguments, call),
            Ok(Err(error)) => self.exchange_failed(&error, call),
            Err(_) => {
                let seconds = self.time_max.as_secs_f64();
                let text = format!(
                    "{} did not answer within {seconds} s{}",
                    self.service.name,
                    self.unknown_outcome()
                );
                ToolResult::failed(Outcome::Timeout, text)
            }
        }
    }

    /// The request of a call; the error is for the caller.
    fn request<'a>(&self, base: &'a Base, arguments: &Arguments) -> Result<Request<'a>, String> {
        let mut headers = HeaderMap::new();
        headers.extend(self.service.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.extend(self.service.authorization.clone().map(|value| (AUTHORIZATION, value)));
        headers.extend(headers::filled(&self.headers, arguments)?);
        let target = render::target(base.path(), &self.path, &self.query, arguments)?;
        let body = self.body.as_ref().map(|body| body.fill(arguments)).transpose()?;
        Ok(Request { base, method: self.method.clone(), target, headers, body })
    }

    /// The arguments with what the declaration adds to them; the error is for the caller.
    fn completed(&self, mut arguments: Arguments) -> Result<Arguments, String> {
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
        for (name, before) in &self.moments {
            if let Some(then) = time_before(before, &arguments, now)? {
                arguments.set(name, Value::from(canonical(then)));
            }
        }
        Ok(arguments)
    }

    fn mapped(&self, status: StatusCode, body: &[u8], arguments: &Arguments, call: &CallInfo) -> ToolResult {
        let name = &self.service.name;
        if status.is_success() {
            return self.answer(body, arguments);
        }
        if let (StatusCode::NOT_FOUND, Some(message)) = (status, &self.not_found) {
            return ToolResult::in_band(Outcome::NotFound, message.to_text(arguments));
        }
        call.log_event("service_error", &format!("{name} answered {status}"));
        let text = match status.as_u16() {
            401 | 403 => {
                return ToolResult::failed(
                    Outcome::Refused,
                    format!("{name} refused this server's credentials"),
                );
            }
            300..=399 => format!("{name} redirected the call; redirects are not followed"),
            500..=599 => format!("{name} failed with status {}{}", status.as_u16(), self.unknown_outcome()),
            other => format!("{name} did not accept the call (status {other})"),
        };
        ToolResult::failed(Outcome::Failed, text)
    }

    fn answer(&self, body: &[u8], arguments: &Arguments) -> ToolResult {
        let result = self.result.as_ref().map(|result| result.fill(arguments).unwrap_or_default());
        if self.totals.is_empty() {
            return ToolResult::ok(result.map_or_else(|| parsed(body), Content::Value));
        }
        let answered = serde_json::from_slice(body).unwrap_or_default();
        let Some(mut totals) = totals::add_up(&answered, &self.totals) else {
            let text = format!("{} answered something else than a list of records", self.service.name);
            return ToolResult::failed(Outcome::Failed, text);
        };
        if let Some(Value::Object(result)) = result {
            totals.extend(result);
        }
        ToolResult::ok(Content::Value(Value::Object(totals)))
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
            ExchangeError::TooLarge => ToolResult::failed(
                Outcome::Failed,
                format!("the answer of {name} is too large; narrow the filters"),
            ),
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

fn parsed(body: &[u8]) -> Content {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => Content::Value(value),
        Err(_) => Content::Text(String::from_utf8_lossy(body).into_owned()),
    }
}
