//! An explanation on a terminal: who calls what, every check, the limits, the slot, and the verdict last.
//!
//! Words of clients come escaped from the guard. Must not know how they came about.

use crate::cli::output::{Style, say, table};
use crate::proxy::explain::{CheckResult, ExplainedOutcome, Explanation, LimitResult, SlotChoice, Source};
use crate::upstream::Slot;

pub(super) fn show(found: &Explanation) {
    let style = Style::of_stdout();
    say(who(found));
    say(match found.source {
        Source::Guard => "explained by the running guard",
        Source::Configuration => "explained by the configuration and the saved state: no guard was asked",
    });
    say("");
    let rows: Vec<[String; 4]> = found
        .checks
        .iter()
        .map(|row| {
            let result = match row.result {
                CheckResult::Passed => "passed",
                CheckResult::Decides => "DECIDES",
                CheckResult::NotReached => "-",
            };
            let why = row.why.clone().unwrap_or_default();
            [row.number.clone(), row.check.clone(), result.to_owned(), why]
        })
        .collect();
    table(["NO.", "CHECK", "RESULT", "WHY"], &rows);
    if !found.limits.is_empty() {
        say("");
        let rows: Vec<[String; 5]> = found
            .limits
            .iter()
            .map(|limit| {
                let result = match limit.result {
                    LimitResult::Passes => "passes",
                    LimitResult::Waits => "WAITS",
                    LimitResult::Refuses => "REFUSES",
                    LimitResult::Unknown => "-",
                };
                let now = limit.now.clone().unwrap_or_else(|| "-".to_owned());
                [limit.limit.clone(), limit.of.clone(), limit.allows.clone(), now, result.to_owned()]
            })
            .collect();
        table(["LIMIT", "OF", "ALLOWS", "NOW", "RESULT"], &rows);
    }
    say("");
    if let Some(slot) = &found.slot {
        show_slot(slot);
    }
    if let Some(rollout) = &found.rollout {
        say(format_args!("rollout   {rollout}"));
    }
    if let Some(version) = &found.newest_version {
        let why = if found.fenced { "the era fence" } else { "protocol.max_version" };
        say(format_args!("versions  up to {version} ({why})"));
    }
    for off in &found.off {
        say(format_args!("off       {}  (since {} by {})", off.feature, off.at, off.who));
    }
    for note in &found.notes {
        say(format_args!("note      {note}"));
    }
    say(format_args!("verdict   {}", verdict(found, style)));
}

fn who(found: &Explanation) -> String {
    let client = match (&found.client, &found.known_by) {
        (Some(client), Some(known_by)) => format!("client {client} (by {known_by})"),
        (Some(client), None) => format!("client {client}"),
        (None, _) => "no client".to_owned(),
    };
    let more = [
        found.subject.as_ref().map(|subject| format!("subject {subject}")),
        found.method.clone(),
        found.tool.as_ref().map(|tool| format!("tool {tool}")),
        found.era.as_ref().map(|era| format!("{era} era")),
    ];
    std::iter::once(client).chain(more.into_iter().flatten()).collect::<Vec<_>>().join(", ")
}

fn show_slot(slot: &SlotChoice) {
    let address = slot.address.as_ref().map_or(String::new(), |address| format!(" at {address}"));
    let reachable = match slot.reachable {
        Some(false) => ", which could not be reached last",
        Some(true) | None => "",
    };
    let name = slot.slot.map_or("by request", Slot::as_str);
    say(format_args!("slot      {name}{address}{reachable}"));
    say(format_args!("because   {}", slot.why));
    if let Some(fallback) = slot.fallback {
        say(format_args!("stands in {} when it cannot be reached", fallback.as_str()));
    }
    if let Some(shadow) = slot.shadow {
        say(format_args!("copies    of read-only calls go to {}", shadow.as_str()));
    }
}

fn verdict(found: &Explanation, style: Style) -> String {
    let verdict = &found.verdict;
    let word = match verdict.outcome {
        ExplainedOutcome::Forwarded => style.good("forwarded"),
        ExplainedOutcome::Waits => style.bold("waits"),
        ExplainedOutcome::Answered => style.good("answered by the guard"),
        ExplainedOutcome::Route => style.good("a route's"),
        ExplainedOutcome::Refused => style.bad("refused"),
    };
    let status = verdict.status.map_or(String::new(), |status| format!(" with {status}"));
    let code = verdict.code.as_ref().map_or(String::new(), |code| format!(" {code}"));
    let retry = verdict.retry_after_ms.map_or(String::new(), |time| format!("; room again in {time} ms"));
    format!("{word}{status}{code}: {}{retry}", verdict.why)
}
