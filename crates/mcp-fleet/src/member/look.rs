//! An operator looks at the fleet: the store's list of members, also for a member that does not lead.

use std::time::Duration;

use super::Member;
use super::roster::{Look, Roster};
use crate::moment::Moment;
use crate::record::Window;

/// For how long one look keeps the list up to date.
const LOOK_LASTS: Duration = Duration::from_secs(5);

impl<W: Window> Member<W> {
    /// The members, if this one leads or an operator looks at them.
    pub fn roster(&self) -> Option<&Roster<W>> {
        let looked = self.look.as_ref().map(|look| &look.peers);
        self.lead.as_ref().map(|lead| &lead.peers).or(looked)
    }

    pub(super) fn look(&mut self, now: Moment) {
        let until = now.plus(LOOK_LASTS);
        match &mut self.look {
            Some(look) => look.until = until,
            None => self.look = Some(Look { until, peers: Roster::new(now) }),
        }
    }

    pub(super) fn end_look_in_time(&mut self, now: Moment) {
        self.look.take_if(|look| now >= look.until);
    }

    /// From where on the store should send the records of members.
    pub(super) fn records_since(&self, leads: bool) -> Option<u64> {
        let led = self.lead.as_ref().filter(|_| leads).map(|lead| lead.peers.cursor);
        // A lead that may have ended takes no list.
        led.or(self.look.as_ref().filter(|_| self.lead.is_none()).map(|look| look.peers.cursor))
    }
}
