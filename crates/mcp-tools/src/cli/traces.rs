//! The flags of traces, and the exporter behind them.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mcp_traces::{Counts, Endpoint, Exporter, Headers, Ids, Ratio, Report, Service, Settings};

use super::report::{CommandError, other};
use crate::call_log;
use crate::metrics::Metrics;
use crate::traces::Traces;

/// How long the end of the process waits for the collector.
const CLOSE_TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct TraceFlags {
    /// Send spans of calls by OTLP over HTTP to this collector, as in http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    traces: Option<String>,
    /// Share of the calls that are traced where the caller names no trace.
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = ratio, requires = "traces")]
    traces_sample: Ratio,
    /// Variable with headers for the collector: key=value,key=value.
    #[arg(long, value_name = "VARIABLE", requires = "traces")]
    traces_headers_env: Option<String>,
}

/// Spans on their way to the collector.
pub(crate) struct Export {
    exporter: Exporter,
    pub(crate) traces: Arc<Traces>,
}

impl TraceFlags {
    /// Starts the exporter; none without a collector. `transport` is what calls arrive on.
    pub(crate) fn start(
        &self,
        transport: &'static str,
        metrics: Option<&Arc<Metrics>>,
    ) -> Result<Option<Export>, CommandError> {
        let Some(url) = &self.traces else { return Ok(None) };
        // The value is not repeated: it may hold a secret.
        let endpoint = Endpoint::parse(url)
            .map_err(|error| other(std::io::Error::other(format!("--traces: its value {error}"))))?;
        let headers = self.headers().map_err(|reason| other(std::io::Error::other(reason)))?;
        call_log::event("traces", &format!("spans go to {endpoint}"));
        let instance = Ids::new().map_err(|error| other(std::io::Error::from(error)))?.trace().to_string();
        let service = Service { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION"), instance };
        let exporter = Exporter::start(service, Settings { endpoint, headers }, log_report).map_err(other)?;
        if let Some(metrics) = metrics {
            let counted = exporter.clone();
            metrics.watch_spans(move || {
                let Counts { exported, dropped, failed } = counted.counts();
                [("exported", exported), ("dropped", dropped), ("failed", failed)]
            });
        }
        let sending = exporter.clone();
        let traces = Traces::new(self.traces_sample, transport, move |spans| sending.send(&spans));
        Ok(Some(Export { exporter, traces: traces.map_err(other)? }))
    }

    fn headers(&self) -> Result<Headers, String> {
        let Some(variable) = &self.traces_headers_env else { return Ok(Headers::default()) };
        let text = std::env::var(variable)
            .map_err(|_| format!("--traces-headers-env {variable}: the variable is not set"))?;
        Headers::parse(&text).map_err(|error| format!("--traces-headers-env {variable}: its value {error}"))
    }
}

impl Export {
    /// Exports what is left. The last thing before the end of the process.
    pub(crate) fn close(&self) {
        self.exporter.close(CLOSE_TIME);
    }
}

fn ratio(text: &str) -> Result<Ratio, String> {
    Ratio::of_percent(text).ok_or_else(|| "must be 0% to 100%".to_owned())
}

fn log_report(report: Report) {
    match report {
        Report::Arriving => call_log::event("traces", "spans arrive at the collector"),
        Report::Failing(why) => call_log::event("traces", &format!("spans do not arrive: {why}")),
    }
}
