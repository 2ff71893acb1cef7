//! What a fleet's member reports, in words: for the log, and for operators who ask what the fleet waits for.

use mcp_fleet::{Event, Hold, View};

use super::tally_window::TallyWindow;
use crate::control::fleet::FleetHold;

/// Reasons that one sentence lists.
const HOLDS_MAX: usize = 3;

/// Why nothing moves forward; none if it may.
pub(super) fn hold(view: &View<TallyWindow>, own_digest: &str) -> Option<FleetHold> {
    let listed: Vec<String> = view.holds.iter().take(HOLDS_MAX).map(|hold| word(hold, own_digest)).collect();
    let more = view.holds.len().saturating_sub(listed.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let is_brief = view.holds.iter().all(ends_by_itself);
    (!listed.is_empty()).then(|| FleetHold { why: format!("{}{more}", listed.join("; ")), is_brief })
}

/// Whether the next exchanges of a live member end it.
fn ends_by_itself(hold: &Hold) -> bool {
    match hold {
        Hold::NotCaughtUp | Hold::Behind(_) | Hold::NoWindow(_) => true,
        Hold::FewMembers { .. } | Hold::Differs { .. } => false,
    }
}

fn word(hold: &Hold, own_digest: &str) -> String {
    match hold {
        Hold::NotCaughtUp => "the guard that leads has not seen the store's present state".to_owned(),
        Hold::FewMembers { live, known } => format!("only {live} of {known} guards are there"),
        Hold::Behind(member) => format!("{member} follows another state"),
        Hold::NoWindow(member) => format!("{member} has not counted under the present state yet"),
        Hold::Differs { member, digest } => {
            let parts = differing(own_digest, digest);
            format!("{member} has another configuration than the guard that leads: {}", parts.join(", "))
        }
    }
}

/// The parts of the configuration whose digests differ.
fn differing<'a>(own: &'a str, other: &'a str) -> Vec<&'a str> {
    let has = |digests: &str, part: &str| digests.split(' ').any(|known| known == part);
    let of_own = own.split(' ').filter(|part| !has(other, part));
    let names = of_own.filter_map(|part| Some(part.split_once('=')?.0));
    names.collect()
}

/// Writes an event into the log. `first` is whether the store responded before.
pub(super) fn log(event: &Event, first: bool) {
    match event {
        Event::StoreAway => log::warn!(
            "fleet: the store does not respond: the route stays, nothing moves forward, and limits are this guard's part"
        ),
        Event::StoreBack => log::info!("fleet: the store responds"),
        Event::RequestFailed(error) if first => log::warn!("fleet: {error}"),
        Event::RequestFailed(error) => log::debug!("fleet: {error}"),
        Event::Leads { epoch } => log::info!("fleet: this guard leads (epoch {epoch})"),
        Event::LeadEnded => log::info!("fleet: this guard no longer leads"),
        Event::Published(stamp) => log::info!("fleet: generation {} is the fleet's", stamp.generation),
        Event::PublishRefused(stamp) => {
            log::warn!("fleet: generation {} was not taken over: another one came first", stamp.generation);
        }
        Event::ProposalRefused(refusal) => log::warn!("fleet: a decision was not taken over: {refusal:?}"),
        Event::StoreForgot { holds, followed } => log::warn!(
            "fleet: the store holds generation {}, this guard follows {}: it will be written again",
            holds.generation,
            followed.generation
        ),
        Event::BadState(stamp) => log::error!(
            "fleet: the store's generation {} was not made with this fleet's key; it is not followed (hint: does every \
             guard have the same fleet.key?)",
            stamp.generation
        ),
        Event::BadRecord(member) => log::error!(
            "fleet: what {member} writes was not made with this fleet's key, or is of another version; it does not count"
        ),
        Event::NameInUse => log::error!(
            "fleet: another guard has this guard's name, or this guard's requests arrive late (hint: give each guard a \
             fleet.member of its own)"
        ),
        Event::OrderExpired(_) | Event::OrderRefused => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_fleet::MemberId;

    #[test]
    fn the_parts_of_the_configuration_that_differ_are_named() {
        let other = "plan=1 slots=9 clients=3 limits=8".to_owned();
        let hold = Hold::Differs { member: MemberId::new("b").unwrap(), digest: other };
        let words = word(&hold, "plan=1 slots=2 clients=3 limits=4");
        assert_eq!(words, "b has another configuration than the guard that leads: slots, limits");
    }
}
