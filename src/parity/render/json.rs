//! A report for programs: one JSON object with stable names.

use serde_json::{Value, json};

use super::super::finding::Finding;
use super::super::report::{Check, CheckStatus, Latency, Percentiles, Report, era_name};
use crate::parity::checks::behaviour::{millis, ratio};

/// Renders the report. `version` rises when a name changes or goes.
pub fn json(report: &Report) -> Value {
    json!({
        "version": 1,
        "verdict": if report.passed() { "pass" } else { "fail" },
        "live": report.live,
        "candidate": report.candidate,
        "counts": {
            "ok": report.count(CheckStatus::Ok),
            "fail": report.count(CheckStatus::Fail),
            "skip": report.count(CheckStatus::Skip),
        },
        "checks": report.checks.iter().map(check).collect::<Vec<_>>(),
        "latency": report.latency.iter().map(latency).collect::<Vec<_>>(),
    })
}

fn check(check: &Check) -> Value {
    json!({
        "number": check.id.number(),
        "id": check.id.code(),
        "era": check.era.map(|era| era_name(Some(era))),
        "status": check.status().code(),
        "summary": check.summary,
        "findings": check.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "verdict": finding.severity.code(),
        "subject": finding.subject,
        "path": finding.path,
        "change": finding.change,
        "live": finding.live,
        "candidate": finding.candidate,
    })
}

fn latency(row: &Latency) -> Value {
    let side = |times: Option<Percentiles>| {
        times.map(|times| {
            json!({"p50_ms": millis(times.p50), "p95_ms": millis(times.p95), "samples": times.samples})
        })
    };
    let times = row.live.zip(row.candidate).map(|(was, is)| ratio(was.p50, is.p50));
    json!({"question": row.question, "live": side(row.live), "candidate": side(row.candidate), "times": times})
}
