//! The limits that hold for a call, and what each would make of it now. Nothing is counted by looking.
//!
//! Must not know how a call passes its limits: the same limiters are asked what is left of them.

use std::time::Duration;

use super::report::{LimitReport, LimitResult};
use super::surroundings::Surroundings;
use crate::policy::SessionRequest;
use crate::policy::explain::JudgedCall;
use crate::policy::rate::{Left, Rate, Window};
use crate::proxy::backend::slot::SlotState;
use crate::proxy::fairness::semaphore::Standing;
use crate::proxy::state::call_limits::{QuotaOf, QuotaView};
use crate::proxy::state::usage::{Usage, Usages};
use crate::telemetry::metrics::Limit;
use crate::wire::Method;

/// The bound of a slot.
pub(super) const IN_FLIGHT: &str = "in_flight";
/// The bound on open streams.
pub(super) const STREAMS: &str = "streams";

/// What a caller has used of one quota.
enum Used<'u> {
    Known(&'u Usage),
    Nothing,
    /// No guard was asked, or the caller has state of its own that its name does not lead to.
    Unknown,
}

/// What is known of the permits that a call needs.
struct Seen {
    /// None where no guard was asked, or the caller has permits of its own that its name does not lead to.
    standing: Option<Standing>,
    own: Own,
}

/// What is known of the caller's own share.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Known,
    /// The caller has used nothing of what is its own alone.
    Unused,
    Unknown,
}

/// The limits of the caller and of its tool, then the bound on streams: in the order in which a call meets them.
pub(super) fn of(around: &Surroundings<'_>, call: &JudgedCall<'_>) -> Vec<LimitReport> {
    let limits = &around.snapshot.call_limits;
    let tool = call.tool.as_deref();
    let views: Vec<QuotaView<'_>> = limits.of(&around.snapshot.tool_rules, call.client, tool).collect();
    let subject = around.subject(call);
    let usages = |view: &QuotaView<'_>| match (view.of, &subject) {
        (QuotaOf::Client, Some(subject)) => subject.as_ref().map(|subject| subject.usages.clone()),
        (QuotaOf::Client, None) | (QuotaOf::Tools(_), _) => Some(view.usages.clone()),
    };
    let usages: Vec<Option<Usages>> = views.iter().map(usages).collect();
    let used = |place: usize| match (&usages[place], around.live) {
        (_, None) => Used::Unknown,
        (Some(usages), Some(_)) => Used::Known(usages.of(call.kind)),
        (None, Some(_)) if around.knows_user(call) => Used::Nothing,
        (None, Some(_)) => Used::Unknown,
    };
    let mut reports = Vec::new();
    for (place, view) in views.iter().enumerate() {
        if let Some(rate) = &view.quota.rate {
            reports.extend(rates(around, (view, call), rate, &used(place)));
        }
    }
    for (place, view) in views.iter().enumerate() {
        if let Some(max) = view.quota.concurrency {
            let limit = name(view, Limit::ClientConcurrency, Limit::ToolConcurrency);
            let within = |usage: &Usage| usage.semaphore.standing_within(around.key(call), view.bounds);
            let seen = match used(place) {
                Used::Known(usage) => Seen { standing: Some(within(usage)), own: own(around, call) },
                Used::Nothing => Seen { standing: None, own: Own::Unused },
                Used::Unknown => Seen { standing: None, own: Own::Unknown },
            };
            reports.push(places(limit, owner(around, view, call), max.get() as usize, &seen));
        }
    }
    reports.extend(streams(around, call));
    reports
}

fn own(around: &Surroundings<'_>, call: &JudgedCall<'_>) -> Own {
    if around.knows_user(call) { Own::Known } else { Own::Unknown }
}

fn name(view: &QuotaView<'_>, client: Limit, tool: Limit) -> &'static str {
    match view.of {
        QuotaOf::Client => client.as_str(),
        QuotaOf::Tools(_) => tool.as_str(),
    }
}

fn owner(around: &Surroundings<'_>, view: &QuotaView<'_>, call: &JudgedCall<'_>) -> String {
    match (view.of, &call.subject) {
        (QuotaOf::Tools(pattern), _) => pattern.to_owned(),
        (QuotaOf::Client, None) => around.snapshot.policy.clients().name(call.client).to_owned(),
        (QuotaOf::Client, Some(subject)) => {
            format!("{} ({})", around.snapshot.policy.clients().name(call.client), subject.text())
        }
    }
}

fn rates(
    around: &Surroundings<'_>,
    (view, call): (&QuotaView<'_>, &JudgedCall<'_>),
    rate: &Rate,
    used: &Used<'_>,
) -> Vec<LimitReport> {
    let (limit, of) = (name(view, Limit::ClientRate, Limit::ToolRate), owner(around, view, call));
    let left_of = |usage: &Usage| usage.meter.left(rate, around.now_ns());
    let left = match used {
        Used::Known(usage) => Some(left_of(usage)),
        Used::Nothing => around.unused(call).map(|usages| left_of(usages.of(call.kind))),
        Used::Unknown => None,
    };
    let (by_all, here) = if around.snapshot.has_shared_rates {
        (", shared by the fleet", " of this guard's share")
    } else {
        ("", "")
    };
    // A call that one window refuses waits until both have room.
    let wait = left.iter().flatten().map(|left| left.wait).max();
    let report = |window: Window, left: Option<Left>| LimitReport {
        limit: limit.to_owned(),
        of: of.clone(),
        allows: format!("{}, {} at once{by_all}", per_time(window.interval()), window.burst()),
        now: left.map(|left| format!("{} left{here}", left.calls)),
        left: left.map(|left| left.calls.into()),
        result: left.map_or(LimitResult::Unknown, |left| {
            if left.calls > 0 { LimitResult::Passes } else { LimitResult::Refuses }
        }),
        retry_after_ms: left.filter(|left| left.calls == 0).and(wait).map(milliseconds),
    };
    match left {
        Some(left) => left.into_iter().map(|left| report(left.window, Some(left))).collect(),
        None => rate.windows().map(|window| report(window, None)).collect(),
    }
}

/// A bound on calls at a time.
fn places(limit: &str, of: String, max: usize, seen: &Seen) -> LimitReport {
    let result = match (seen.standing, seen.own) {
        (None, Own::Unused) => LimitResult::Passes,
        (None, Own::Known | Own::Unknown) | (Some(_), Own::Unknown) => LimitResult::Unknown,
        (Some(standing), _) if standing.has_permit() => LimitResult::Passes,
        (Some(standing), _) if standing.has_room_to_wait => LimitResult::Waits,
        (Some(_), _) => LimitResult::Refuses,
    };
    let standing = seen.standing;
    let shared = standing.filter(|standing| standing.bounds.own_max < standing.bounds.max);
    let share = shared
        .map_or(String::new(), |standing| format!(", {} of them of one client", standing.bounds.own_max));
    let own = shared.filter(|_| seen.own == Own::Known);
    let now = standing.map(|standing| {
        let own = own.map_or(String::new(), |standing| format!(" ({} of this client)", standing.own));
        format!("{} in progress{own}, {} waiting", standing.taken, standing.waiting)
    });
    let left = standing.filter(|_| seen.own == Own::Known).map(|standing| {
        let own = standing.bounds.own_max.saturating_sub(standing.own);
        standing.bounds.max.saturating_sub(standing.taken).min(own) as u64
    });
    let wait =
        standing.filter(|_| result == LimitResult::Refuses).and_then(|standing| standing.expected_wait);
    let allows = format!("{max} at a time{share}");
    LimitReport {
        limit: limit.to_owned(),
        of,
        allows,
        now,
        left,
        result,
        retry_after_ms: wait.map(milliseconds),
    }
}

/// The permits of a slot, which a call holds until its response has ended, and a stream until it has begun.
pub(super) fn in_flight(around: &Surroundings<'_>, call: &JudgedCall<'_>, state: &SlotState) -> LimitReport {
    let standing = around.live.map(|_| {
        let first = state.calls.permits.standing(around.key(call));
        if first.has_permit() {
            return first;
        }
        let queue = state.calls.queue(call.kind).standing(around.key(call));
        // The wait that a refusal names is that of calls, whichever queue is full.
        Standing { expected_wait: first.expected_wait, ..queue }
    });
    let max = around.snapshot.policy.limits().in_flight_max;
    let seen = Seen { standing, own: own(around, call) };
    let report = places(IN_FLIGHT, format!("slot {}", state.slot.as_str()), max, &seen);
    // A discover waits in front.
    if call.is_discover() && report.result == LimitResult::Refuses {
        return LimitReport { result: LimitResult::Waits, retry_after_ms: None, ..report };
    }
    report
}

/// Whether the response has no end of its own: then it is counted apart from calls in flight.
fn is_stream(call: &JudgedCall<'_>) -> bool {
    call.to.method == Method::SubscriptionsListen || call.session == Some(SessionRequest::Stream)
}

fn streams(around: &Surroundings<'_>, call: &JudgedCall<'_>) -> Option<LimitReport> {
    if !is_stream(call) {
        return None;
    }
    let bounds = around.snapshot.stream_bounds();
    let open = around.live.map(|state| (state.streams.count(), state.streams.count_of(around.key(call))));
    let knows_own = own(around, call) == Own::Known;
    let result = open.map_or(LimitResult::Unknown, |(all, own)| match (all < bounds.all_max, knows_own) {
        (false, _) => LimitResult::Refuses,
        (true, false) => LimitResult::Unknown,
        (true, true) if own < bounds.per_client_max => LimitResult::Passes,
        (true, true) => LimitResult::Refuses,
    });
    Some(LimitReport {
        limit: STREAMS.to_owned(),
        of: "open streams".to_owned(),
        allows: format!("{}, {} of them of one client", bounds.all_max, bounds.per_client_max),
        now: open.map(|(all, own)| {
            let own = if knows_own { format!(" ({own} of this client)") } else { String::new() };
            format!("{all} open{own}")
        }),
        left: open.filter(|_| knows_own).map(|(all, own)| {
            bounds.all_max.saturating_sub(all).min(bounds.per_client_max.saturating_sub(own)) as u64
        }),
        result,
        retry_after_ms: None,
    })
}

/// How long the call may take.
pub(super) fn time(around: &Surroundings<'_>, call: &JudgedCall<'_>) -> LimitReport {
    let snapshot = around.snapshot;
    let (time, what) = if is_stream(call) {
        (snapshot.timeouts.stream_idle, "of silence")
    } else {
        (snapshot.total(call.tool.as_deref()), "in all")
    };
    LimitReport {
        limit: "time".to_owned(),
        of: "the call".to_owned(),
        allows: format!("{} s {what}", time.as_secs_f64()),
        now: None,
        left: None,
        result: LimitResult::Passes,
        retry_after_ms: None,
    }
}

/// A rate in the largest unit in which it is a number of one or more.
fn per_time(interval: Duration) -> String {
    let per_second = 1.0 / interval.as_secs_f64();
    let (count, unit) = [(1.0, "a second"), (60.0, "a minute"), (3_600.0, "an hour")]
        .map(|(seconds, unit)| (per_second * seconds, unit))
        .into_iter()
        .find(|(count, _)| *count >= 0.999)
        .unwrap_or((per_second * 86_400.0, "a day"));
    let rounded = (count * 100.0).round() / 100.0;
    format!("{rounded} {unit}")
}

/// Rounded up: a client that comes back a moment too early is refused again.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_in_the_unit_that_fits_it() {
        for (interval, expect) in [
            (Duration::from_millis(100), "10 a second"),
            (Duration::from_secs(1), "1 a second"),
            (Duration::from_secs(2), "30 a minute"),
            (Duration::from_nanos(333_333_333), "3 a second"),
            (Duration::from_secs(1200), "3 an hour"),
            (Duration::from_secs(86_400), "1 a day"),
        ] {
            assert_eq!(per_time(interval), expect);
        }
    }

    // Contract, section 22: "client and tool rates hold over the fleet".
    #[cfg(feature = "fleet")]
    #[test]
    fn a_shared_limit_is_explained_by_this_guard_s_share_and_says_whose_it_is() {
        use std::path::Path;

        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;

        use super::super::report::Question;
        use crate::config::{self, Environment};
        use crate::policy::rate::Rate;
        use crate::proxy::state::ProxyState;
        use crate::telemetry::Log;

        let token =
            |name: &str| (name == "MCP_BEARER_TOKEN").then(|| "swf_0123456789abcdef0123456789abcdef".into());
        let environment = Environment { variable: &token, now: 1_800_000_000, shown_pairs: None };
        let text = "[slots.blue]\naddress = \"127.0.0.1:9\"\n[limits.tools.echo]\nrate = \"4/h\"\n";
        let loaded = config::build(Path::new("/etc/guard/guard.toml"), text, &environment);
        let mut config = loaded.map_err(|found| found.problems).unwrap().config;
        let rates = crate::fuzzing::shared_rates();
        config.shared_rates = Some(rates.clone());
        let log = Log::to(config.log.format, 1, std::io::sink()).unwrap();
        let state = ProxyState::new(config, log).unwrap();
        assert_eq!(state.started, rates.since(), "both clocks are one");
        let body =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json, text/event-stream\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let request = STANDARD.encode(request);
        let question = Question { request, client: Some("default".to_owned()), subject: None, is_made: true };
        let explained = || {
            let found = super::super::running(&state, &[], &question).unwrap();
            let of_tool = found.limits.iter().find(|limit| limit.limit == "tool_rate");
            of_tool.unwrap_or_else(|| panic!("{found:?}")).clone()
        };
        let before = explained();
        assert_eq!(before.allows, "4 an hour, 4 at once, shared by the fleet");
        assert_eq!(before.now.as_deref(), Some("1 left of this guard's share"));
        let (four, hour) = (std::num::NonZeroU32::new(4).unwrap(), Duration::from_secs(3_600));
        let window = Rate::new(four, hour, four).unwrap().windows().next().unwrap();
        assert_eq!(rates.count("tools:echo:requests:1").admit(window, state.now_ns()), Ok(()));
        let after = explained();
        assert_eq!((after.left, after.result), (Some(0), LimitResult::Refuses));
        assert!(after.retry_after_ms.is_some_and(|wait| (890_000..=900_001).contains(&wait)), "{after:?}");
    }
}
