//! `[traces]`: which requests are traced, and where their spans go.
//!
//! The headers of the collector may hold a credential: they come from the environment and are never shown. Must not know what a
//! span says.

#![cfg_attr(
    not(feature = "traces"),
    expect(dead_code, reason = "without the export of spans nothing reads or makes it")
)]

use std::num::NonZeroU32;

use mcp_traces::Ratio;

#[cfg(feature = "traces")]
use super::environment::Environment;
#[cfg(feature = "traces")]
use super::table::Table;

/// `[traces]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Traces {
    pub(crate) sampling: Sampling,
    #[cfg(feature = "traces")]
    pub(crate) collector: mcp_traces::Settings,
}

/// What requests need of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// The share of those traces that begin here.
    pub(crate) ratio: Ratio,
    /// Requests a second that are sampled because their caller asks for it.
    pub(crate) asked_per_second: NonZeroU32,
    pub(crate) request_ids: RequestIds,
}

/// Whether spans carry the ids of JSON-RPC, which clients choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestIds {
    Shown,
    Hidden,
}

/// The table, in a program that can export spans; none where it has no endpoint.
#[cfg(feature = "traces")]
pub(super) fn traces(mut table: Table<'_>, environment: &Environment<'_>) -> Option<Traces> {
    use super::diagnostics::InvalidValue;
    use mcp_traces::{Endpoint, Headers};

    let endpoint = table.text("endpoint", |text| {
        // A password may stand in it.
        Endpoint::parse(text).map_err(|error| InvalidValue::new(error.to_string()).secret())
    });
    let headers = table.text("headers_env", |name| {
        let name = super::value::variable_name(name)?;
        let invalid = |reason: String| InvalidValue::new(format!("the variable {name} {reason}"));
        let Some(value) = (environment.variable)(&name) else {
            return Err(invalid("is not set".to_owned())
                .hint("as in api-key=…, in the form of OTEL_EXPORTER_OTLP_HEADERS"));
        };
        let text = value.into_string().map_err(|_| invalid("is not UTF-8 text".to_owned()))?;
        Headers::parse(&text).map_err(|error| invalid(error.to_string()))
    });
    let ratio = table.text("sample", ratio);
    let asked = table.integer("sample_asked", 1..=100_000, 100);
    let request_ids = if table.flag("request_ids", false) { RequestIds::Shown } else { RequestIds::Hidden };
    if let Some(exposed) = endpoint.as_ref().filter(|endpoint| endpoint.is_exposed()) {
        let reason = format!("spans go to {exposed} unencrypted");
        table
            .warn("endpoint", InvalidValue::new(reason).hint("an https URL, or a collector on this machine"));
    }
    let sampling = Sampling {
        ratio: ratio.or_else(|| Ratio::new(0.1))?,
        asked_per_second: u32::try_from(asked).ok().and_then(NonZeroU32::new)?,
        request_ids,
    };
    table.finish();
    Some(Traces {
        sampling,
        collector: mcp_traces::Settings { endpoint: endpoint?, headers: headers.unwrap_or_default() },
    })
}

/// A part of the traces, as in `"10%"`.
#[cfg(feature = "traces")]
fn ratio(text: &str) -> Result<Ratio, super::diagnostics::InvalidValue> {
    Ratio::of_percent(text).ok_or_else(|| {
        super::diagnostics::InvalidValue::new("must be 0% to 100%")
            .hint("with \"0%\" only those requests are traced whose callers ask for it")
    })
}

#[cfg(test)]
#[cfg(feature = "traces")]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::*;
    use crate::config::{Config, build};

    fn read(table: &str) -> Result<Config, Vec<String>> {
        let text = format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n[traces]\n{table}");
        let variable = |name: &str| match name {
            "HEADERS" => Some(OsString::from("api-key=t0p-secret")),
            "BROKEN" => Some(OsString::from("t0p-secret")),
            _ => None,
        };
        let environment = Environment { variable: &variable, now: 0, shown_pairs: None };
        match build(Path::new("guard.toml"), &text, &environment) {
            Ok(loaded) => Ok(loaded.config),
            Err(found) => Err(found.problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[track_caller]
    fn check_refused(table: &str, says: &str) {
        let problems = read(table).err().unwrap_or_default();
        assert!(problems.iter().any(|problem| problem.contains(says)), "{table}: {problems:?}");
        assert!(problems.iter().all(|problem| !problem.contains("t0p-secret")), "{problems:?}");
    }

    #[test]
    fn traces_are_off_without_an_endpoint_and_have_defaults_with_one() {
        assert_eq!(read("").unwrap().traces, None);
        let traces = read("endpoint = \"http://127.0.0.1:4318\"").unwrap().traces.unwrap();
        let Sampling { ratio, asked_per_second, request_ids } = traces.sampling;
        assert_eq!((ratio.get(), asked_per_second.get(), request_ids), (0.1, 100, RequestIds::Hidden));
        assert!(traces.collector.headers.is_empty());
        let all = "endpoint = \"https://o.example\"\nsample = \"2.5%\"\nsample_asked = 7\nrequest_ids = true\nheaders_env = \"HEADERS\"";
        let traces = read(all).unwrap().traces.unwrap();
        let Sampling { ratio, asked_per_second, request_ids } = traces.sampling;
        assert_eq!((ratio.get(), asked_per_second.get(), request_ids), (0.025, 7, RequestIds::Shown));
        assert_eq!(format!("{:?}", traces.collector.headers), r#"{"api-key"}"#);
    }

    #[test]
    fn wrong_keys_of_traces_are_reported_without_their_secrets() {
        check_refused("endpoint = \"grpc://127.0.0.1:4317\"", "traces.endpoint");
        check_refused("endpoint = \"https://a:t0p-secret@o.example\"", "must hold no user");
        check_refused("headers_env = \"BROKEN\"", "the variable BROKEN must be key=value");
        check_refused("headers_env = \"ABSENT\"", "the variable ABSENT is not set");
        check_refused("sample = \"101%\"", "must be 0% to 100%");
        check_refused("sample = 0.1", "traces.sample");
        check_refused("sample_asked = 0", "traces.sample_asked");
        check_refused("ratio = 1", "ratio");
    }
}
