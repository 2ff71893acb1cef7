//! The fleet's state between what the control plane keeps and what members send each other.

use mcp_fleet::{Done, Envelope, Incarnation, Kept, OrderId, Stamp};
use serde_json::Value;

use crate::control;
use crate::control::fleet::OrderResult;
use crate::control::state_file::{Followed, Saved};
use crate::rollout::Transition;

/// What a member takes up again after a restart; of another fleet: nothing.
pub(super) fn kept(followed: Option<Followed>, fleet: &str) -> Kept {
    let Some(followed) = followed.filter(|followed| followed.fleet == fleet) else { return Kept::default() };
    let writer = Incarnation::new(followed.writer);
    let stamp = Stamp { generation: followed.generation, epoch: followed.epoch, writer };
    let done = followed.done.into_iter().map(|(incarnation, number, outcome)| {
        let order = OrderId { incarnation: Incarnation::new(incarnation), number };
        Done { order, outcome }
    });
    let envelope = Envelope { stamp, done: done.collect(), state: followed.state.into_bytes() };
    Kept { followed: Some(envelope), members: followed.members }
}

/// What must be kept of a state that is followed.
pub(super) fn followed(envelope: &Envelope, fleet: &str, members: u64) -> Followed {
    let Stamp { generation, epoch, writer } = envelope.stamp;
    let done = envelope.done.iter().map(|done| {
        let OrderId { incarnation, number } = done.order;
        (incarnation.get(), number, done.outcome.clone())
    });
    Followed {
        fleet: fleet.to_owned(),
        generation,
        epoch,
        writer: writer.get(),
        state: String::from_utf8_lossy(&envelope.state).into_owned(),
        done: done.collect(),
        members,
    }
}

/// The state as all guards have it.
pub(super) fn encode(saved: &Saved) -> Vec<u8> {
    // Plain data with text keys: it cannot fail, and nothing would not be decoded.
    serde_json::to_vec(saved).unwrap_or_default()
}

/// The same within so many bytes: the oldest transitions are left out, which guards that were there have already.
pub(super) fn encode_within(saved: &Saved, bytes_max: usize) -> Vec<u8> {
    let mut saved = saved.clone();
    loop {
        let bytes = encode(&saved);
        if bytes.len() <= bytes_max || saved.history.len() <= 1 {
            return bytes;
        }
        saved.history.remove(0);
    }
}

/// Reads it; none for what no guard can follow. A transition that is not understood is left out: another version has written it.
pub(super) fn decode(bytes: &[u8]) -> Option<Saved> {
    let mut shared: Value = serde_json::from_slice(bytes).ok()?;
    if let Some(history) = shared.get_mut("history").and_then(Value::as_array_mut) {
        history.retain(|transition| serde_json::from_value::<Transition>(transition.clone()).is_ok());
    }
    serde_json::from_value(shared).ok().filter(|saved: &Saved| saved.state.is_legal())
}

/// The name of an order, as the control plane has it.
pub(super) fn order_id(order: OrderId) -> control::OrderId {
    control::OrderId(order.incarnation.get(), order.number)
}

/// A result as text. The first line says what became of the order, the others are facts for the operator; the end may be cut.
pub(super) fn outcome(result: &OrderResult) -> String {
    match result {
        OrderResult::Done(seq, notes) => {
            let lines = notes.iter().map(|note| note.replace('\n', " "));
            std::iter::once(format!("done {seq}")).chain(lines).collect::<Vec<_>>().join("\n")
        }
        OrderResult::Refused(why) => format!("refused {why}"),
    }
}

/// Reads it.
pub(super) fn result(outcome: &str) -> OrderResult {
    let mut lines = outcome.lines();
    let seq = lines.next().and_then(|first| first.strip_prefix("done ")?.parse().ok());
    match (seq, outcome.strip_prefix("refused ")) {
        (Some(seq), _) => OrderResult::Done(seq, lines.map(str::to_owned).collect()),
        (None, Some(why)) => OrderResult::Refused(why.to_owned()),
        (None, None) => OrderResult::Refused(format!("its result is not understood: {outcome}")),
    }
}

/// A result as members send it.
pub(super) fn done(order: control::OrderId, result: &OrderResult) -> Done {
    let control::OrderId(incarnation, number) = order;
    let order = OrderId { incarnation: Incarnation::new(incarnation), number };
    Done { order, outcome: outcome(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::State;
    use crate::upstream::Slot;

    #[test]
    fn a_state_that_was_kept_is_taken_up_in_its_own_fleet_only() {
        let saved = Saved::new(State::new(Slot::Green));
        let order = OrderId { incarnation: Incarnation::new(7), number: 3 };
        let envelope = Envelope {
            stamp: Stamp { generation: 9, epoch: 4, writer: Incarnation::new(5) },
            done: vec![Done { order, outcome: "done 2".to_owned() }],
            state: encode(&saved),
        };
        let kept_of = |fleet| kept(Some(followed(&envelope, "prod", 5)), fleet);
        assert_eq!(kept_of("prod").followed.unwrap(), envelope);
        assert_eq!(kept_of("prod").members, 5);
        assert!(kept_of("test").followed.is_none());
        assert_eq!(decode(&envelope.state).as_ref(), Some(&saved));
        assert_eq!(decode(b"{}"), None);
        let newer = String::from_utf8(encode(&saved))
            .unwrap()
            .replace(r#""history":[]"#, r#""history":[{"kind":"new"}]"#);
        assert!(
            newer.contains("new") && decode(newer.as_bytes()) == Some(saved),
            "unknown history does not matter"
        );
    }

    #[test]
    fn results_of_orders_come_back_as_they_were_and_cut_ones_do_no_harm() {
        let notes = vec!["13 parity checks hold".to_owned(), "two\nlines".to_owned()];
        let back = result(&outcome(&OrderResult::Done(12, notes)));
        assert_eq!(
            back,
            OrderResult::Done(12, vec!["13 parity checks hold".to_owned(), "two lines".to_owned()])
        );
        let refused = OrderResult::Refused("green is not healthy:\nno answer".to_owned());
        assert_eq!(result(&outcome(&refused)), refused);
        assert!(matches!(result("don"), OrderResult::Refused(why) if why.contains("not understood")));
    }
}
