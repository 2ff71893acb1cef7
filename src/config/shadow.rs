//! `[shadow]`: which calls are copied to the candidate in a shadow stage, and within which bounds.
//!
//! Must not know how a copy is made or judged.

use std::collections::HashSet;
use std::time::Duration;

use super::table::Table;
use crate::config::diagnostics::InvalidValue;
use crate::parity::results::IgnoreRule;

const TOOLS_MAX: usize = 1_000;
const RULES_MAX: usize = 200;
const NAME_BYTES_MAX: usize = 256;
/// Copies that may wait, whatever the file says.
pub(crate) const QUEUE_MAX: usize = 1_024;
const MILLION: f64 = 1_000_000.0;

/// `[shadow]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shadow {
    /// Of a million calls that may be copied, how many are.
    pub(crate) per_million: u32,
    /// Copies under way at a time.
    pub(crate) in_flight: usize,
    /// Copies that may wait; the next one is dropped.
    pub(crate) queue: usize,
    /// For the candidate's response, and again for stable's second one.
    pub(crate) timeout: Duration,
    /// The largest request, and the largest response, that is copied.
    pub(crate) body_bytes: usize,
    /// Tools whose calls are copied: the operator vouches that they only read.
    pub(crate) tools: HashSet<String>,
    /// Paths of responses that say nothing.
    pub(crate) ignore: Vec<IgnoreRule>,
}

pub(super) fn shadow(mut table: Table<'_>) -> Shadow {
    let name = |text: &str| {
        let plain = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains(['*', '?']);
        let hint = "a pattern might one day cover a tool that writes";
        plain
            .then(|| text.to_owned())
            .ok_or_else(|| InvalidValue::new("must be a tool's whole name").hint(hint))
    };
    let rule = |text: &str| {
        IgnoreRule::parse(text).ok_or_else(|| {
            InvalidValue::new("names no path").hint("as in \"content[*].text.items[*].age\" or \"**.age\"")
        })
    };
    let shadow = Shadow {
        per_million: table.text("sample", sample).unwrap_or(1_000_000),
        in_flight: table.count("in_flight", 1..=64, 4),
        queue: table.count("queue", 1..=QUEUE_MAX as u64, 64),
        timeout: table.duration(
            "timeout",
            Duration::from_millis(10)..=Duration::from_secs(60),
            Duration::from_secs(10),
        ),
        body_bytes: table.count("body_bytes", 1..=4 << 20, 256 << 10),
        tools: table.list("tools", TOOLS_MAX, name).unwrap_or_default().into_iter().collect(),
        ignore: table.list("ignore", RULES_MAX, rule).unwrap_or_default(),
    };
    table.finish();
    shadow
}

/// A part of the calls, as in `"10%"`.
fn sample(text: &str) -> Result<u32, InvalidValue> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let part = number.filter(|number| *number > 0.0 && *number <= 100.0).map(|number| number / 100.0);
    let part = part.ok_or_else(|| {
        InvalidValue::new("must be more than 0% and at most 100%")
            .hint("a plan without a shadow stage copies nothing")
    })?;
    Ok((part * MILLION).ceil().min(MILLION) as u32)
}
