//! How a leader's states come about: by proposal, or because a member or the store is out of step.

use super::Member;
use super::following::StoreState;
use super::lead::{Latest, Publication};
use super::messages::{Direction, Event, Output, Proposal, ProposalRefusal};
use crate::envelope::{Envelope, STATE_BYTES_MAX, Stamp};
use crate::moment::Moment;
use crate::record::Window;
use crate::rules::Rule;

impl<W: Window> Member<W> {
    /// Takes a decider's new state, if this member may write it.
    pub(super) fn propose(&mut self, proposal: Proposal, now: Moment, out: &mut Vec<Output>) {
        match self.check(&proposal, now) {
            Ok(epoch) => {
                let base = self.base().cloned().unwrap_or_default();
                let generation = base.stamp.generation + 1;
                self.publish(base, generation, epoch, proposal);
            }
            // The way back waits for what is being written, and until the store's state is this member's.
            Err(ProposalRefusal::Busy) if proposal.direction == Direction::Back => {
                let made_from = self.followed_state();
                if let Some(lead) = &mut self.lead {
                    lead.next = Some((proposal, made_from));
                }
            }
            Err(refusal) => out.push(Output::Event(Event::ProposalRefused(refusal))),
        }
    }

    /// Proposes the way back that has waited, if there is one.
    pub(super) fn propose_next(&mut self, now: Moment, out: &mut Vec<Output>) {
        let Some((next, made_from)) = self.lead.as_mut().and_then(|lead| lead.next.take()) else { return };
        // The decider may have proposed again what was just written.
        let is_new = |followed: &Envelope| followed.state != next.state || !next.done.is_empty();
        if !self.following.followed().is_none_or(is_new) {
            return;
        }
        if self.followed_state() == made_from || !self.rules.keep(Rule::MadeFrom) {
            self.propose(next, now, out);
        } else {
            // What was written meanwhile may be a rollback, which this would undo.
            out.push(Output::Event(Event::ProposalRefused(ProposalRefusal::Outdated)));
        }
    }

    fn followed_state(&self) -> Vec<u8> {
        self.following.followed().map(|followed| followed.state.clone()).unwrap_or_default()
    }

    fn check(&self, proposal: &Proposal, now: Moment) -> Result<u64, ProposalRefusal> {
        let epoch = self.leads(now).ok_or(ProposalRefusal::NotLeading)?;
        // Before its own state is in the store, what it proposes would be put in place of what another member follows.
        let is_apart = self.is_apart() && self.rules.keep(Rule::Yield);
        if is_apart || self.lead.as_ref().is_some_and(|lead| lead.publication.is_some()) {
            return Err(ProposalRefusal::Busy);
        }
        if proposal.state.len() > STATE_BYTES_MAX {
            return Err(ProposalRefusal::TooLarge);
        }
        let done = self.base().map(|envelope| &envelope.done[..]).unwrap_or_default();
        if proposal.done.iter().any(|new| done.iter().any(|old| old.order == new.order)) {
            return Err(ProposalRefusal::AlreadyDone);
        }
        match &proposal.direction {
            Direction::Back => Ok(epoch),
            Direction::Forward(evidence) if evidence.holds(self.following.stamp(), epoch, now) => Ok(epoch),
            Direction::Forward(_) => Err(ProposalRefusal::NoEvidence),
        }
    }

    fn publish(&mut self, base: Envelope, generation: u64, epoch: u64, proposal: Proposal) {
        let tried = self.lead.as_ref().map_or(0, |lead| lead.tried);
        let generation = generation.max(tried + 1);
        let stamp = Stamp { generation, epoch, writer: self.identity.incarnation };
        let envelope = base.next(stamp, proposal.state, proposal.done);
        let instead_of = self.following.seen();
        if let Some(lead) = &mut self.lead {
            lead.publication = Some(Publication { envelope, instead_of });
            lead.tried = generation;
            self.urgent = true;
        }
    }

    /// The latest state that the store has taken, or may have taken, from a leader.
    fn base(&self) -> Option<&Envelope> {
        let unsure = self.lead.as_ref().and_then(|lead| lead.unsure.as_ref());
        unsure.filter(|unsure| unsure.stamp > self.following.stamp()).or(self.following.followed())
    }

    /// Whether the store holds another state than the one that is followed.
    fn is_apart(&self) -> bool {
        match self.following.store() {
            StoreState::Same | StoreState::Unknown => false,
            StoreState::Empty => self.base().is_some(),
            StoreState::Bad | StoreState::Other(_) => true,
        }
    }

    /// What a leader does without being asked: puts orders forward, and brings the fleet together under one generation.
    pub(super) fn lead_on(&mut self, now: Moment, out: &mut Vec<Output>) {
        let Some(epoch) = self.leads(now) else { return };
        let (base, is_apart) = (self.base().cloned(), self.is_apart());
        let Some(lead) = &mut self.lead else { return };
        for (member, order) in lead.undecided(base.as_ref(), now) {
            out.push(Output::Decide { member, order });
        }
        if lead.publication.is_some() {
            return;
        }
        // The store's state may be this member's again without anything having been written.
        if lead.next.is_some() && !is_apart {
            return self.propose_next(now, out);
        }
        if !self.rules.keep(Rule::WriteAbove) {
            return;
        }
        let base = base.unwrap_or_default();
        let own = base.stamp;
        let (ahead, latest) = (lead.ahead(own), lead.latest(own, self.settings.share_lease, now));
        match latest {
            _ if !is_apart && ahead.is_none() => return,
            Latest::Unknown if is_apart && self.rules.keep(Rule::Yield) => return,
            // What the store has lost, or an attacker has replaced, may be a rollback: the member that follows it leads.
            Latest::OfAnother if is_apart && self.rules.keep(Rule::Yield) => {
                self.yielded = Some(now);
                self.gives_back = true;
                self.urgent = true;
                return self.end_lead(out);
            }
            Latest::Unknown | Latest::Own | Latest::OfAnother => {}
        }
        // The state that is also the store's wins over one that is not: it was the fleet's while this member followed it.
        let generation = ahead.unwrap_or(0).max(own.generation) + 1;
        let proposal = Proposal { state: base.state.clone(), direction: Direction::Back, done: Vec::new() };
        self.publish(base, generation, epoch, proposal);
    }
}
