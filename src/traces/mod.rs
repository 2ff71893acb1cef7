//! Makes spans of what is known of a request at its end, and exports them: one for the request, one for each exchange.
//!
//! Attributes are named as OpenTelemetry's conventions for MCP name them, or begin with `mcp_guard.`. Nothing of a body is in
//! them but the name of a tool that the slot has listed and, where it is asked for, the id of JSON-RPC.

mod attributes;

use std::borrow::Cow;
use std::io;
use std::time::{Duration, SystemTime};

use mcp_traces::{Counts, Exporter, Ids, Report, Service, Settings, Span, Status};

use self::attributes::{describe, error_type, transport};
use crate::telemetry::Record;
use crate::telemetry::span_sink::{SpanCounts, SpanSink};
use crate::telemetry::trace::{Exchange, RequestTrace, ServerAddress, TraceFacts};

/// The exporter behind the data plane.
pub(crate) struct Spans {
    exporter: Exporter,
}

impl Spans {
    pub(crate) fn start(settings: Settings) -> io::Result<Spans> {
        let ids = Ids::new().map_err(io::Error::from)?;
        let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let service = Service { name, version, instance: ids.trace().to_string() };
        log::info!("traces: spans go to {}", settings.endpoint);
        Ok(Spans { exporter: Exporter::start(service, settings, log_report)? })
    }

    pub(crate) fn configure(&self, settings: Settings) {
        self.exporter.configure(settings);
    }

    /// Drops what waits: no collector is configured any more.
    pub(crate) fn discard(&self) {
        self.exporter.discard();
    }

    pub(crate) fn close(&self, within: Duration) {
        self.exporter.close(within);
    }
}

impl SpanSink for Spans {
    fn end(&self, record: &Record<'_>, trace: &RequestTrace, begun: SystemTime) {
        let Some(facts) = trace.facts() else { return };
        self.exporter.send(&spans(record, trace, &facts, begun));
    }

    fn counts(&self) -> SpanCounts {
        let Counts { exported, dropped, failed } = self.exporter.counts();
        SpanCounts { exported, dropped, failed, limited: 0 }
    }
}

fn log_report(report: Report) {
    match report {
        Report::Arriving => log::info!("traces: spans arrive at the collector"),
        Report::Failing(why) => log::warn!("traces: spans do not arrive: {why}"),
    }
}

/// The span of the request, and one for each exchange.
fn spans<'a>(
    record: &'a Record<'_>,
    trace: &'a RequestTrace,
    facts: &'a TraceFacts,
    begun: SystemTime,
) -> Vec<Span<'a>> {
    let total = record.total.unwrap_or_default();
    let mut server = Span::server(&trace.context, name(record, facts), begun, total);
    server.trace_state = trace.state.as_deref().unwrap_or_default().into();
    server.link = trace.link;
    describe(&mut server, record, facts);
    let mut spans = Vec::with_capacity(1 + facts.exchanges.len());
    for (index, exchange) in facts.exchanges.iter().enumerate() {
        let next = facts.exchanges.get(index + 1);
        let ended = match (exchange.failed, next) {
            (Some((failed, _)), _) => failed,
            (None, Some(next)) => next.begun,
            (None, None) => trace.started + total,
        };
        let since = exchange.begun.saturating_duration_since(trace.started);
        let took = ended.saturating_duration_since(exchange.begun);
        let begun = begun.checked_add(since).unwrap_or(begun);
        let mut span = Span::client(&trace.context, exchange.id, server.name.clone(), begun, took);
        span.trace_state.clone_from(&server.trace_state);
        describe_exchange(&mut span, exchange, record, facts);
        if index > 0 {
            span.number("http.request.resend_count", i64::try_from(index).unwrap_or(i64::MAX));
        }
        spans.push(span);
    }
    spans.push(server);
    spans
}

/// The name of both kinds of spans: of few values, however many requests there are.
fn name(record: &Record<'_>, facts: &TraceFacts) -> Cow<'static, str> {
    // OpenTelemetry: "{method}" is HTTP where the method is not known.
    let http = facts.http_method.filter(|method| *method != "_OTHER").unwrap_or("HTTP");
    match (record.method, &record.tool, record.route) {
        (Some(method), Some(tool), _) => format!("{} {tool}", method.as_str()).into(),
        (Some(method), None, _) => method.as_str().into(),
        (None, _, Some(route)) => format!("{http} {route}").into(),
        (None, _, None) => http.into(),
    }
}

fn describe_exchange<'a>(
    span: &mut Span<'a>,
    exchange: &'a Exchange,
    record: &'a Record<'_>,
    facts: &'a TraceFacts,
) {
    attributes::of_mcp(span, record, facts);
    match &exchange.server {
        ServerAddress::Unix(path) => {
            span.word("network.transport", transport(true));
            span.text("server.address", path);
        }
        ServerAddress::Tcp { host, port } => {
            span.word("network.transport", transport(false));
            span.text("server.address", host);
            span.number("server.port", *port);
        }
    }
    if let Some(slot) = exchange.slot {
        span.word("mcp_guard.slot", slot.as_str());
    }
    if exchange.failed.is_none() {
        attributes::add_rpc_code(span, facts);
    }
    let error = exchange.failed.map(|(_, why)| Cow::Borrowed(why)).or_else(|| error_type(record, facts));
    if let Some(error) = error {
        span.text("error.type", error);
        span.status = Status::Error;
    }
}

#[cfg(test)]
mod tests;
