//! The retry rule as a table: every event in every state.

use super::*;
use crate::http1::FramingError;

use Denial::{BackendInvalid, BackendNoAnswer, BackendReset};
use ExchangeError::{
    ConnectionClosed, InvalidResponse, NoResponse, NotSent, TooLong, TooManyInformational, Unreadable,
};
use Failure::{Garbage, NoConnection};
use Liveness::{Alive, Gone};
use Reused::{Fresh, Pooled};

const ERRORS: [ExchangeError; 7] = [
    NotSent,
    NoResponse,
    ConnectionClosed,
    InvalidResponse(FramingError::StatusLine),
    TooManyInformational,
    TooLong,
    Unreadable,
];

fn failed(error: ExchangeError, reused: Reused) -> FailedExchange {
    FailedExchange { error, reused, generation: 0 }
}

/// Every state that can be reached.
fn states() -> impl Iterator<Item = RetryPolicy> {
    let all = [Replay::Safe, Replay::Unsafe].into_iter();
    let all = all.flat_map(|replay| [false, true].map(|fallback_tried| (replay, fallback_tried)));
    let all = all.flat_map(|(replay, fallback_tried)| {
        (0..=RETRIES_MAX).map(move |unsent| (replay, fallback_tried, unsent))
    });
    all.flat_map(|(replay, fallback_tried, unsent)| {
        let repeated_max = if replay == Replay::Safe { RETRIES_MAX } else { 0 };
        (0..=repeated_max).map(move |repeated| RetryPolicy { replay, fallback_tried, unsent, repeated })
    })
}

/// Every event.
fn events() -> impl Iterator<Item = Event> {
    let exchanges =
        || ERRORS.into_iter().flat_map(|error| [Fresh, Pooled].map(|reused| failed(error, reused)));
    let probed = exchanges()
        .filter(|failed| matches!(failed.error, NoResponse | ConnectionClosed))
        .flat_map(|failed| [Alive, Gone].map(|liveness| Event::Probed(failed, liveness)));
    [Event::Rerouted, Event::Unreachable].into_iter().chain(exchanges().map(Event::Failed)).chain(probed)
}

/// What the rule says of one event in one state: the step, the failure of the slot, and the counters afterwards.
fn expected(state: RetryPolicy, event: Event) -> (Step, Option<Failure>, (bool, u32, u32)) {
    let RetryPolicy { replay, fallback_tried, unsent, repeated } = state;
    let same = (fallback_tried, unsent, repeated);
    let blamed = |reused| (reused == Fresh || unsent == 2).then_some(NoConnection);
    let may_repeat = replay == Replay::Safe && repeated < 2;
    match event {
        Event::Rerouted => (Step::Send(None), None, (false, 0, repeated)),
        Event::Unreachable => {
            let step = if fallback_tried { Step::Hold } else { Step::UseFallback };
            (step, Some(NoConnection), (true, unsent, repeated))
        }
        Event::Failed(failed @ FailedExchange { error, reused, .. }) => match error {
            NotSent if unsent < 2 => {
                (Step::Send(Some(Retry::Unsent)), blamed(reused), (fallback_tried, unsent + 1, repeated))
            }
            NoResponse | ConnectionClosed if may_repeat => (Step::Probe(failed), None, same),
            NotSent | NoResponse | ConnectionClosed => (Step::Deny(BackendReset), blamed(reused), same),
            InvalidResponse(_) | TooManyInformational => (Step::Deny(BackendInvalid), Some(Garbage), same),
            TooLong | Unreadable => (Step::Deny(BackendNoAnswer), Some(Garbage), same),
        },
        Event::Probed(FailedExchange { error, reused, .. }, liveness) => match (liveness, error) {
            (Alive, ConnectionClosed) => (Step::Deny(BackendReset), blamed(reused), same),
            (Alive, _) if repeated > 0 => (Step::Deny(BackendReset), blamed(reused), same),
            (Alive | Gone, _) => {
                (Step::Send(Some(Retry::Repeatable)), None, (fallback_tried, unsent, repeated + 1))
            }
        },
    }
}

/// 2 x 3 states of a call that is not repeatable, 2 x 3 x 3 of one that is; 24 events.
#[test]
fn retry_rule_covers_every_event_in_every_state() {
    let mut cases = 0;
    for (state, event) in states().flat_map(|state| events().map(move |event| (state, event))) {
        let mut policy = state;
        let decision = policy.next(event);
        let after = (policy.fallback_tried, policy.unsent, policy.repeated);
        assert_eq!((decision.step, decision.failure, after), expected(state, event), "{state:?} {event:?}");
        cases += 1;
    }
    assert_eq!(cases, (6 + 18) * 24);
}

#[track_caller]
fn check(replay: Replay, events: &[(Event, Step)]) {
    let mut policy = RetryPolicy::new(replay);
    for (event, step) in events {
        assert_eq!(policy.next(*event).step, *step, "{event:?}");
    }
}

// RFC 9110, 9.2.2: "A client SHOULD NOT automatically retry a request with a non-idempotent method".
#[test]
fn retry_never_sends_a_call_twice_that_may_have_been_executed() {
    for event in events() {
        let mut policy = RetryPolicy::new(Replay::Unsafe);
        let step = policy.next(event).step;
        let is_taken = matches!(event, Event::Failed(failed) if failed.error != NotSent);
        assert!(!is_taken || matches!(step, Step::Deny(_)), "{event:?}: {step:?}");
    }
}

#[test]
fn retry_of_a_read_goes_again_where_its_backend_is_gone_and_once_where_it_is_silent() {
    let silent = failed(NoResponse, Pooled);
    let again = Step::Send(Some(Retry::Repeatable));
    let gone = [(Event::Failed(silent), Step::Probe(silent)), (Event::Probed(silent, Gone), again)];
    let denied = (Event::Failed(silent), Step::Deny(BackendReset));
    check(Replay::Safe, &[gone[0], gone[1], gone[0], gone[1], denied]);
    let alive = (Event::Probed(silent, Alive), again);
    let denied = (Event::Probed(silent, Alive), Step::Deny(BackendReset));
    check(Replay::Safe, &[gone[0], alive, gone[0], denied]);
}

#[test]
fn retry_of_an_unsent_call_is_bounded_and_opens_connections() {
    let unsent = Event::Failed(failed(NotSent, Pooled));
    let again = Step::Send(Some(Retry::Unsent));
    check(Replay::Unsafe, &[(unsent, again), (unsent, again), (unsent, Step::Deny(BackendReset))]);
    let mut policy = RetryPolicy::new(Replay::Unsafe);
    assert!(policy.may_reuse());
    policy.next(unsent);
    assert!(!policy.may_reuse());
}

#[test]
fn hold_begins_where_neither_slot_can_be_reached() {
    let (away, rerouted) = (Event::Unreachable, (Event::Rerouted, Step::Send(None)));
    check(Replay::Unsafe, &[(away, Step::UseFallback), (away, Step::Hold), (away, Step::Hold)]);
    check(Replay::Unsafe, &[(away, Step::UseFallback), rerouted, (away, Step::UseFallback)]);
}
