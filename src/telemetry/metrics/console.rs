//! The family of the console: requests that it refused for their token.

use prometheus::IntCounterVec;

use super::registration::Registration;

/// Why a request to the console was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsoleRefusal {
    /// No token, or more than one.
    NoToken,
    /// A token that is none of the console.
    UnknownToken,
    /// A viewer's token where an operator's is needed.
    Role,
}

impl ConsoleRefusal {
    const ALL: [ConsoleRefusal; 3] =
        [ConsoleRefusal::NoToken, ConsoleRefusal::UnknownToken, ConsoleRefusal::Role];

    /// The name in the metric and the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ConsoleRefusal::NoToken => "no_token",
            ConsoleRefusal::UnknownToken => "unknown_token",
            ConsoleRefusal::Role => "role",
        }
    }
}

/// What is measured of the console.
pub(crate) struct ConsoleMetrics {
    #[cfg_attr(
        not(feature = "console"),
        expect(dead_code, reason = "the family is there, and nothing counts")
    )]
    refusals: IntCounterVec,
}

impl ConsoleMetrics {
    pub(super) fn new(add: &Registration<'_>) -> Result<ConsoleMetrics, prometheus::Error> {
        let refusals = add.counters(
            "mcp_guard_console_refusals_total",
            "Requests to the console without a valid token or without the role, by reason: no_token, unknown_token, role.",
            &["reason"],
        )?;
        // Present from the first scrape, so that a rate starts at zero.
        for refusal in ConsoleRefusal::ALL {
            refusals.with_label_values(&[refusal.as_str()]);
        }
        Ok(ConsoleMetrics { refusals })
    }

    /// Counts a refusal.
    #[cfg(feature = "console")]
    pub(crate) fn refused(&self, refusal: ConsoleRefusal) {
        self.refusals.with_label_values(&[refusal.as_str()]).inc();
    }
}
