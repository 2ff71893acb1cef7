//! The families of TLS: handshakes of clients by how they ended, and when the first certificate expires.

use prometheus::{IntCounterVec, IntGauge};

use super::registration::Registration;

/// How the handshake of a client's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Done,
    /// It took longer than a request head may.
    Timeout,
    /// Another connection needed the place, or the guard stopped.
    Evicted,
    /// The client closed the connection.
    Closed,
    /// The client refused what it was shown.
    Alert,
    /// No certificate although one is required, or one that does not verify.
    Certificate,
    /// No version, cipher or protocol in common.
    Incompatible,
    /// No TLS, or not by its rules.
    Malformed,
}

impl Handshake {
    fn as_str(self) -> &'static str {
        match self {
            Handshake::Done => "done",
            Handshake::Timeout => "timeout",
            Handshake::Evicted => "evicted",
            Handshake::Closed => "closed",
            Handshake::Alert => "alert",
            Handshake::Certificate => "certificate",
            Handshake::Incompatible => "incompatible",
            Handshake::Malformed => "malformed",
        }
    }
}

/// What is measured of TLS.
pub(crate) struct TlsMetrics {
    handshakes: IntCounterVec,
    not_after: IntGauge,
}

impl TlsMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Result<TlsMetrics, prometheus::Error> {
        Ok(TlsMetrics {
            handshakes: add.counters(
                "mcp_guard_tls_handshakes_total",
                "TLS handshakes of clients by outcome: done, timeout, evicted, closed, alert, certificate, incompatible, malformed.",
                &["outcome"],
            )?,
            not_after: add.gauge(
                "mcp_guard_tls_certificate_not_after_seconds",
                "When the first certificate expires of those that clients and backends are shown, in seconds since the epoch; 0 without one.",
            )?,
        })
    }

    /// Counts a handshake.
    pub(crate) fn handshake(&self, outcome: Handshake) {
        self.handshakes.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Sets when the first certificate expires.
    pub(crate) fn set_not_after(&self, seconds: u64) {
        self.not_after.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}
