//! How a member speaks to the store: what it asks, and what it makes of the response.

use std::time::Duration;

use super::following::{Change, StoreState};
use super::lead::Lead;
use super::messages::{Event, Output};
use super::pending::Sent;
use super::roster::Roster;
use super::{ABSTAINS, Member};
use crate::envelope::Stamp;
use crate::moment::Moment;
use crate::names::MemberId;
use crate::record::{Record, Window};
use crate::request::{Candidacy, Carried, Reply, Request, RequestId, Terms, Write, Written};
use crate::rules::Rule;

impl<W: Window> Member<W> {
    /// Makes the next request.
    pub(super) fn send(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.urgent = false;
        let id = self.pending.next_id();
        let leads = self.leads(now);
        let identity = &self.identity;
        let record = self.own.is_due(self.settings.record_interval, now).then(|| {
            let about = (identity.incarnation, identity.version.as_str(), identity.digest.as_str());
            let record = self.own.write(about, self.following.stamp(), now);
            record.seal(&identity.member, &identity.key, &identity.fleet)
        });
        // A member that was cut off must say what it uses with the first request that gets through.
        if self.is_cut_off(now) || self.leaving {
            self.pending.forget_shares();
        }
        let shares = if self.leaving {
            self.limits.release(now)
        } else if self.pending.may_ask_for_shares() {
            self.limits.requests(self.settings.share_lease, now)
        } else {
            Vec::new()
        };
        let request = Request {
            id,
            member: identity.member.clone(),
            incarnation: identity.incarnation,
            terms: Terms {
                leader_lease: self.settings.leader_lease,
                share_lease: self.settings.share_lease,
                forget_after: self.settings.forget_after,
                settle: self.settings.settle,
            },
            epoch: self.epoch,
            leads,
            silent: self.silent(now),
            known: self.known_before.filter(|_| self.settling).map_or(0, |(known, _)| known),
            seen: self.following.seen(),
            candidacy: self.candidacy(now),
            records_since: self.records_since(leads.is_some()),
            record,
            write: self.write(),
            shares: shares.clone(),
        };
        self.gives_back = false;
        self.pending.insert(id, Sent { at: now, record: request.record.is_some(), shares });
        out.push(Output::Send(Box::new(request)));
    }

    fn candidacy(&self, now: Moment) -> Candidacy {
        // A member that cannot read the state, or follows another one, leaves the lead to those that follow the store's.
        let is_early = |since: Moment| now.since(since) < ABSTAINS && self.lead.is_none();
        match self.apart_since {
            _ if self.leaving => Candidacy::Leaves,
            _ if self.gives_back || self.yielded.is_some_and(is_early) => Candidacy::Abstains,
            Some(since) if is_early(since) => Candidacy::Abstains,
            Some(_) | None => Candidacy::Ready,
        }
    }

    fn write(&self) -> Write {
        let identity = &self.identity;
        if let Some((epoch, publication)) =
            self.lead.as_ref().and_then(|lead| Some((lead.epoch, lead.publication.as_ref()?)))
        {
            let published = publication.envelope.seal(&identity.key, &identity.fleet);
            return Write::Publish { epoch, instead_of: publication.instead_of, published };
        }
        match (self.following.store(), self.following.followed()) {
            (StoreState::Empty | StoreState::Other(_) | StoreState::Bad, Some(followed))
                if self.rules.keep(Rule::Offer) =>
            {
                Write::Offer(followed.seal(&identity.key, &identity.fleet))
            }
            _ => Write::Nothing,
        }
    }

    /// Takes a response. One to an older request than another that was answered can only lead to a higher generation.
    pub(super) fn reply(&mut self, id: RequestId, reply: Reply, now: Moment, out: &mut Vec<Output>) {
        let Some(sent) = self.pending.remove(id) else { return };
        if reply.carried == Carried::Late {
            self.own.lost(sent.record);
            out.push(Output::Event(Event::NameInUse));
            return;
        }
        let late = id.0 < self.replied;
        self.replied = self.replied.max(id.0);
        if self.is_cut_off(now) {
            // What was told during the cut may be lost; the next request says it again.
            self.pending.forget_shares();
        }
        self.contact = self.contact.max(Some(sent.at));
        if self.away {
            self.away = false;
            out.push(Output::Event(Event::StoreBack));
        }
        self.epoch = self.epoch.max(reply.epoch);
        if !late {
            self.store_clock = Some((reply.now, now));
            self.take_members(&reply, now);
            self.renew_limits(now);
            self.take_lead(&reply, sent.at, now, out);
            let until = sent.at.plus(self.settings.share_lease);
            self.urgent |= self.limits.granted(&sent.shares, &reply.shares, until, now);
        }
        self.take_written(reply.stamp, reply.written, now, out);
        self.take_state(reply.stamp, reply.sealed, late, now, out);
        let has_records = !late && !reply.records.is_empty();
        if !late {
            self.take_records(reply.members, reply.records, reply.records_until, now, out);
        }
        self.merge_windows(has_records, now);
        self.lead_on(now, out);
    }

    fn take_members(&mut self, reply: &Reply, now: Moment) {
        // A store that has lost its memory gets the number of members that there were: some may be cut off from it.
        let settling = reply.carried == Carried::Settling;
        if settling && !self.settling && self.known > reply.known {
            self.known_before = Some((self.known, now));
        }
        self.settling = settling;
        (self.live, self.known) = (reply.live, reply.known.max(1));
    }

    fn take_lead(&mut self, reply: &Reply, sent: Moment, now: Moment, out: &mut Vec<Output>) {
        self.leader = reply.leader.as_ref().map(|leader| leader.member.clone());
        let identity = &self.identity;
        let own = reply
            .leader
            .as_ref()
            .filter(|leader| leader.member == identity.member && leader.incarnation == identity.incarnation);
        let Some(own) = own.filter(|_| !self.leaving) else {
            if self.rules.keep(Rule::LeaseEnd) {
                self.end_lead(out);
            }
            return;
        };
        // Counted from the sending, and a little less, because two clocks do not run alike.
        let until = sent.plus(Duration::from_millis(own.left) * 19 / 20);
        if self.ended == Some(reply.epoch) && self.rules.keep(Rule::LeaseEnd) {
            self.gives_back = true;
            return;
        }
        match &mut self.lead {
            Some(lead) if lead.epoch == reply.epoch => lead.until = until,
            _ if now < until => {
                self.end_lead(out);
                // Its list goes on from what was looked at: an older record would not be sent again.
                let peers = self.look.take().map_or_else(|| Roster::new(now), |look| look.peers);
                self.lead = Some(Lead::new(reply.epoch, until, peers, now));
                self.urgent = true;
                out.push(Output::Event(Event::Leads { epoch: reply.epoch }));
            }
            _ => {}
        }
    }

    /// What became of the state that this leader is writing.
    fn take_written(&mut self, stamp: Stamp, written: Written, now: Moment, out: &mut Vec<Output>) {
        let Some(publication) = self.lead.as_mut().and_then(|lead| lead.publication.take()) else { return };
        let own = publication.envelope.stamp;
        match written {
            Written::Done if stamp == own => {
                out.push(Output::Event(Event::Published(own)));
                if self.following.stamp() != own {
                    self.following.written(publication.envelope);
                    self.follow(out);
                }
            }
            // This reply is older than the publication.
            Written::Nothing | Written::Done => {
                if let Some(lead) = &mut self.lead {
                    lead.publication = Some(publication);
                }
                return;
            }
            Written::Refused => {
                out.push(Output::Event(Event::PublishRefused(own)));
                if let Some(lead) = &mut self.lead {
                    lead.unsure = Some(publication.envelope).filter(|_| self.rules.keep(Rule::PutBack));
                }
            }
        }
        self.propose_next(now, out);
    }

    fn take_state(
        &mut self,
        stamp: Stamp,
        sealed: Option<Vec<u8>>,
        late: bool,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let identity = &self.identity;
        let checks = (&identity.key, &identity.fleet, self.rules);
        let change = self.following.look(stamp, sealed, late, checks);
        match change {
            Change::Nothing => {}
            Change::Followed => self.follow(out),
            Change::Forgot => {
                let followed = self.following.stamp();
                out.push(Output::Event(Event::StoreForgot { holds: stamp, followed }));
                self.urgent = true;
            }
            Change::Bad => out.push(Output::Event(Event::BadState(stamp))),
        }
        self.apart_since = match self.following.store() {
            StoreState::Bad | StoreState::Other(_) => self.apart_since.or(Some(now)),
            StoreState::Unknown | StoreState::Same | StoreState::Empty => None,
        };
        if self.following.is_caught_up() {
            self.yielded = None;
            self.lead.iter_mut().for_each(|lead| lead.unsure = None);
        }
    }

    /// The member follows a new state: the caller gets it at once, the leader learns of it by the next request.
    fn follow(&mut self, out: &mut Vec<Output>) {
        let Some(followed) = self.following.followed().cloned() else { return };
        self.epoch = self.epoch.max(followed.stamp.epoch);
        for done in self.own.finish_orders(&followed.done) {
            out.push(Output::OrderDone(done));
        }
        self.own.window = None;
        self.own.due = true;
        out.push(Output::Follow(followed));
    }

    fn take_records(
        &mut self,
        members: Vec<(MemberId, u64)>,
        records: Vec<(MemberId, Vec<u8>)>,
        until: u64,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        // Only a request of a leader, or of one who looks, is answered with the list.
        if members.is_empty() {
            return;
        }
        let identity = &self.identity;
        let peers = match (&mut self.lead, &mut self.look) {
            (Some(lead), _) => &mut lead.peers,
            (None, Some(look)) => &mut look.peers,
            (None, None) => return,
        };
        peers.list(members, now);
        peers.cursor = peers.cursor.max(until);
        for (member, sealed) in records {
            match Record::open(&sealed, &member, &identity.key, &identity.fleet) {
                Some(record) => peers.record(&member, record, now),
                None => out.push(Output::Event(Event::BadRecord(member))),
            }
        }
    }
}
