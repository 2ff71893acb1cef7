//! One guard's part in its fleet: inputs in, outputs out, time passed in.
//!
//! [`Member::handle`] is the only way in which anything changes. The caller sends [`Output::Send`] to a store, feeds replies
//! back, routes calls by [`Output::Follow`] and [`Output::Candidate`], and decides while the member leads: it looks at
//! [`Member::view`] and proposes states. Must not know what a state means.

mod evidence;
mod exchange;
mod following;
mod lead;
mod look;
mod messages;
mod own;
mod pending;
mod propose;
mod roster;

use std::time::Duration;

pub use evidence::{Evidence, Hold, Peer, View};
pub use messages::{CandidateGate, Direction, Event, Input, Output, Proposal, ProposalRefusal};
pub use roster::Roster;

use crate::envelope::Envelope;
use crate::key::FleetKey;
use crate::limits::{Contact, Limits};
use crate::moment::Moment;
use crate::names::{FleetName, Incarnation, MemberId};
use crate::record::Window;
use crate::rules::{Rule, Rules};
use crate::settings::Settings;
use evidence::Standing;
use following::{Following, StoreState};
use lead::Lead;
use own::OwnRecord;
use pending::Pending;
use roster::Look;

/// After this time a member that is apart from the store's state is ready to lead all the same.
const ABSTAINS: Duration = Duration::from_secs(3);

/// Who a member is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The fleet.
    pub fleet: FleetName,
    /// The fleet's key.
    pub key: FleetKey,
    /// The member's name.
    pub member: MemberId,
    /// This start of it; random.
    pub incarnation: Incarnation,
    /// The program's version.
    pub version: String,
    /// Digest of the configuration that must be the same on all members.
    pub digest: String,
}

/// What a guard has kept of its last run.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The state that it followed.
    pub followed: Option<Envelope>,
    /// How many members it saw; 0 if it does not know.
    pub members: u64,
}

/// How the member stands to the store and the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// How long ago the last request was sent that got a response; none before the first.
    pub silent: Option<Duration>,
    /// Whether the store counts as away.
    pub away: bool,
    /// Members that were not silent, when the store responded last.
    pub live: u64,
    /// Members in all.
    pub known: u64,
}

/// One guard in its fleet.
#[derive(Debug)]
pub struct Member<W> {
    settings: Settings,
    identity: Identity,
    rules: Rules,
    following: Following,
    gate: CandidateGate,
    lead: Option<Lead<W>>,
    /// Who leads, as the store said last.
    leader: Option<MemberId>,
    /// The store's clock in its latest response, and when that came.
    store_clock: Option<(u64, Moment)>,
    /// The members, while an operator looks at them.
    look: Option<Look<W>>,
    own: OwnRecord<W>,
    pending: Pending,
    limits: Limits,
    leaving: bool,
    /// The epoch in which it led last, which is not taken up again: what it was writing then is forgotten.
    ended: Option<u64>,
    /// It gives back a lead that the store says it has.
    gives_back: bool,
    /// The highest epoch that was seen.
    epoch: u64,
    /// The newest request with a reply.
    replied: u64,
    /// When the newest request with a reply was sent.
    contact: Option<Moment>,
    started: Moment,
    away: bool,
    live: u64,
    known: u64,
    /// Whether the store was settling when it responded last.
    settling: bool,
    /// How many members there were before the store lost its memory, and when that was.
    known_before: Option<(u64, Moment)>,
    /// When it gave the lead back because another member follows a later state.
    yielded: Option<Moment>,
    /// Since when the store's state is not the one that is followed, or cannot be read.
    apart_since: Option<Moment>,
    /// Something waits that the next tick is too late for.
    urgent: bool,
}

impl<W: Window> Member<W> {
    /// A member that has not yet spoken to its store, with the limits of its process.
    pub fn new(settings: Settings, identity: Identity, kept: Kept, limits: Limits, now: Moment) -> Member<W> {
        Member {
            limits,
            following: Following::new(kept.followed),
            gate: CandidateGate::NotCaughtUp,
            own: OwnRecord::new(),
            settings,
            identity,
            rules: Rules::default(),
            lead: None,
            leader: None,
            store_clock: None,
            look: None,
            pending: Pending::default(),
            leaving: false,
            ended: None,
            gives_back: false,
            started: now,
            epoch: 0,
            replied: 0,
            contact: None,
            away: true,
            live: 0,
            known: kept.members,
            settling: false,
            known_before: None,
            yielded: None,
            apart_since: None,
            urgent: false,
        }
    }

    /// Takes note of an input.
    pub fn handle(&mut self, input: Input<W>, now: Moment) -> Vec<Output> {
        let mut out = Vec::new();
        self.end_lead_in_time(now, &mut out);
        match input {
            Input::Tick => self.tick(now, &mut out),
            Input::Reply { request, reply } => self.reply(request, *reply, now, &mut out),
            Input::Failed { request, error } => {
                if let Some(sent) = self.pending.remove(request) {
                    self.own.lost(sent.record);
                    out.push(Output::Event(Event::RequestFailed(error)));
                }
            }
            Input::Window { stamp, window } => self.own.window = Some((stamp, window)),
            Input::Facts(facts) => self.own.facts = facts,
            Input::Configured { digest } => {
                self.identity.digest = digest;
                self.urge_record();
            }
            Input::Eject { why } => {
                self.own.eject(why);
                self.urge_record();
            }
            Input::Restore => {
                self.own.ejected = None;
                self.urge_record();
            }
            Input::Order(text) => match self.own.take_order(text, self.identity.incarnation, now) {
                Some(id) => {
                    out.push(Output::OrderTaken(id));
                    self.urge_record();
                }
                None => out.push(Output::Event(Event::OrderRefused)),
            },
            Input::Propose(proposal) => self.propose(proposal, now, &mut out),
            Input::Look => self.look(now),
            Input::Leave => {
                self.leaving = true;
                self.urgent = true;
                self.end_lead(&mut out);
            }
        }
        self.renew_gate(&mut out);
        if self.urgent && self.pending.has_room(true) {
            self.send(now, &mut out);
        }
        out
    }

    /// The limits that the fleet shares.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The state that the member follows.
    pub fn followed(&self) -> Option<&Envelope> {
        self.following.followed()
    }

    /// Whether calls may go to this guard's candidate.
    pub fn candidate(&self) -> CandidateGate {
        self.gate
    }

    /// The epoch in which the member leads now, if it does.
    pub fn leads(&self, now: Moment) -> Option<u64> {
        let in_time = |lead: &&Lead<W>| now < lead.until || !self.rules.keep(Rule::LeaseEnd);
        self.lead.as_ref().filter(in_time).map(|lead| lead.epoch)
    }

    /// What the store's clock showed in its latest response, in milliseconds since 1970, and how long ago that came.
    pub fn store_clock(&self, now: Moment) -> Option<(u64, Duration)> {
        self.store_clock.map(|(clock, at)| (clock, now.since(at)))
    }

    /// Who leads, as the store said last.
    pub fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    /// How it stands to the store.
    pub fn fleet(&self, now: Moment) -> Fleet {
        let silent = self.contact.map(|contact| now.since(contact));
        Fleet { silent, away: self.away, live: self.live, known: self.known }
    }

    /// The fleet as the leader sees it; none if this member does not lead.
    pub fn view(&self, now: Moment) -> Option<View<'_, W>> {
        let (lead, standing) = (self.lead.as_ref()?, self.standing(now)?);
        Some(standing.view(lead.peers.members(), &lead.merged, now))
    }

    /// Under what it judges the others' records, if it leads.
    fn standing(&self, now: Moment) -> Option<Standing<'_>> {
        let epoch = self.leads(now)?;
        let lead = self.lead.as_ref()?;
        let caught_up = self.following.is_caught_up() || *self.following.store() == StoreState::Empty;
        Some(Standing {
            epoch,
            own: &self.identity.member,
            stamp: (caught_up && !self.away).then(|| self.following.stamp()),
            digest: &self.identity.digest,
            known: self.known,
            live: self.settings.share_lease,
            window_age_max: self.settings.window_age_max,
            listed: lead.peers.listed,
            rules: self.rules,
        })
    }

    /// Merges the others' windows, after records have come or where what was merged is past.
    fn merge_windows(&mut self, has_records: bool, now: Moment) {
        let Some((lead, standing)) = self.lead.as_ref().zip(self.standing(now)) else { return };
        if has_records || standing.is_past(&lead.merged, now) {
            let merged = standing.merge(lead.peers.members(), now);
            if let Some(lead) = &mut self.lead {
                lead.merged = merged;
            }
        }
    }

    /// Breaks a rule.
    #[cfg(test)]
    pub(crate) fn break_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        for sent in self.pending.expire(self.settings.response_timeout, now) {
            self.own.lost(sent.record);
        }
        for expired in self.own.expire_orders(now) {
            out.push(Output::Event(Event::OrderExpired(expired)));
        }
        let is_away = self.contact.is_none_or(|contact| now.since(contact) >= self.settings.away_after);
        if is_away && !self.away {
            self.away = true;
            out.push(Output::Event(Event::StoreAway));
        }
        let is_over = |(_, since): &(u64, Moment)| now.since(*since) >= self.settings.forget_after;
        self.known_before = self.known_before.take_if(|before| !is_over(before));
        self.end_look_in_time(now);
        self.renew_limits(now);
        self.merge_windows(false, now);
        self.lead_on(now, out);
        if self.pending.has_room(false) {
            self.send(now, out);
        }
    }

    /// The parts of all limits follow the contact. The even part begins when no share can hold any more.
    fn renew_limits(&mut self, now: Moment) {
        let silent = self.silent(now);
        // At the start, other guards may still hold the whole; a guard that knows of no other one need not wait.
        let is_alone = self.contact.is_none() && self.known <= 1;
        let contact = if self.contact.is_some() && silent < self.settings.share_lease {
            Contact::Present
        } else if silent < self.settings.share_lease * 5 / 4 && !is_alone {
            Contact::Lost
        } else {
            Contact::Away
        };
        // A store that has just lost its memory knows fewer members than there are.
        let before = self.known_before.map_or(0, |(known, _)| known);
        self.limits.tick(contact, self.known.max(before).max(1), self.rules, now);
    }

    /// The time since the last request that was answered.
    fn silent(&self, now: Moment) -> Duration {
        now.since(self.contact.unwrap_or(self.started))
    }

    fn is_cut_off(&self, now: Moment) -> bool {
        self.contact.is_none() || self.silent(now) >= self.settings.share_lease
    }

    fn renew_gate(&mut self, out: &mut Vec<Output>) {
        let ejected = self.own.ejected.is_some() && self.rules.keep(Rule::LocalEject);
        let caught_up = match self.following.store() {
            StoreState::Same => true,
            // Without a state there is no candidate.
            StoreState::Unknown | StoreState::Empty | StoreState::Other(_) | StoreState::Bad => {
                !self.rules.keep(Rule::CatchUp)
            }
        };
        let gate = match (ejected, caught_up) {
            (true, _) => CandidateGate::Ejected,
            (false, true) => CandidateGate::Open,
            (false, false) => CandidateGate::NotCaughtUp,
        };
        if gate != self.gate {
            self.gate = gate;
            out.push(Output::Candidate(gate));
        }
    }

    fn end_lead_in_time(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.lead.is_some() && self.leads(now).is_none() {
            self.end_lead(out);
        }
    }

    fn end_lead(&mut self, out: &mut Vec<Output>) {
        if let Some(lead) = self.lead.take() {
            self.ended = Some(lead.epoch);
            out.push(Output::Event(Event::LeadEnded));
        }
    }

    fn urge_record(&mut self) {
        self.own.due = true;
        self.urgent = true;
    }
}
