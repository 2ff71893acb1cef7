//! The store in memory: the same exchange as the script of the Redis store, with a clock that the caller passes in.
//!
//! `real_store/conformance.rs` holds both to equal results.

use std::collections::BTreeMap;

use crate::envelope::{Published, Stamp};
use crate::names::{Incarnation, MemberId};
use crate::request::{Candidacy, Carried, LeaderLease, Reply, Request, ShareRequest, WHOLE, Write, Written};
use crate::rules::{Rule, Rules};

const RECORDS_MAX: usize = 256;

/// What the store has written down.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore {
    /// Which server runs: another one has another clock, and maybe older data.
    pub(crate) run: u64,
    data_of: Option<u64>,
    opened: u64,
    high: u64,
    epoch: u64,
    leader: Option<LeaderLease>,
    lease_end: u64,
    rev: u64,
    /// How many members there were before the memory was lost, and until when that counts.
    before: (u64, u64),
    pub(crate) stamp: Stamp,
    pub(crate) sealed: Vec<u8>,
    seen: BTreeMap<MemberId, u64>,
    starts: BTreeMap<MemberId, (Incarnation, u64)>,
    pub(crate) records: BTreeMap<MemberId, (u64, Vec<u8>)>,
    limits: BTreeMap<String, Bucket>,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    sum: f64,
    demand: f64,
    count: f64,
    sweep: u64,
    leases: BTreeMap<(MemberId, Incarnation), Leased>,
}

#[derive(Debug, Clone, Copy)]
struct Leased {
    share: f64,
    demand: f64,
    ends: u64,
}

/// What the rest of an exchange needs of its beginning.
struct Turn<'a> {
    request: &'a Request,
    now: u64,
    settling: bool,
    rules: Rules,
    silent: f64,
}

impl MemoryStore {
    /// A server without data.
    pub(crate) fn empty(run: u64) -> MemoryStore {
        MemoryStore { run, ..MemoryStore::default() }
    }

    /// Carries out one request at this time of the store's clock, in milliseconds.
    pub(crate) fn exchange(&mut self, request: &Request, now: u64, rules: Rules) -> Reply {
        self.open(now, millis(request.terms.share_lease));
        let settle = millis(request.terms.settle);
        let settling = now < self.opened + settle && rules.keep(Rule::Settle);
        if self.is_late(request) && rules.keep(Rule::RequestOrder) {
            return late(now);
        }
        self.note_member(request, now);
        self.elect(request, now, settling);
        let written = self.write(request, settling, rules);
        let new = match &request.write {
            Write::Publish { published, .. } => Some(published.stamp),
            Write::Nothing | Write::Offer(_) => None,
        };
        let unseen = self.stamp != request.seen && new != Some(self.stamp) && self.stamp != Stamp::default();
        if let Some(record) = request.record.clone().filter(|_| request.candidacy != Candidacy::Leaves) {
            self.rev += 1;
            self.records.insert(request.member.clone(), (self.rev, record));
        }
        let forget_after = millis(request.terms.forget_after);
        if now >= self.before.1 {
            self.before.0 = 0;
        }
        if request.known > self.before.0 {
            self.before = (request.known, now + forget_after);
        }
        let known = (self.seen.len() as u64).max(self.before.0);
        let share_lease = millis(request.terms.share_lease);
        let live = self.seen.values().filter(|at| **at + share_lease > now).count() as u64;
        // The even part of a member that may be cut off is kept before the member takes it.
        let reached = self.seen.values().filter(|at| **at + share_lease / 4 > now).count() as u64;
        let reserve = if rules.keep(Rule::ReserveForSilent) { known - reached } else { 0 };
        let silent = (WHOLE as f64 * reserve as f64 / known.max(1) as f64).floor();
        let turn = Turn { request, now, settling, rules, silent };
        let shares = request
            .shares
            .iter()
            .map(|share| self.limits.entry(share.limit.clone()).or_default().allot(share, &turn))
            .collect();
        let (members, records, records_until) = self.for_leader(request, now);
        Reply {
            now,
            carried: if settling { Carried::Settling } else { Carried::Out },
            epoch: self.epoch,
            leader: self.leader.clone(),
            stamp: self.stamp,
            sealed: unseen.then(|| self.sealed.clone()),
            written,
            live,
            known,
            members,
            records,
            records_until,
            shares,
        }
    }

    fn open(&mut self, now: u64, share_lease: u64) {
        if self.data_of != Some(self.run) {
            self.data_of = Some(self.run);
            (self.opened, self.leader, self.lease_end) = (now, None, 0);
            self.seen.values_mut().for_each(|at| *at = now - share_lease / 4);
        }
        self.opened = self.opened.min(now);
    }

    fn is_late(&self, request: &Request) -> bool {
        self.starts.get(&request.member).is_some_and(|(start, number)| {
            request.incarnation < *start || (request.incarnation == *start && request.id.0 <= *number)
        })
    }

    fn note_member(&mut self, request: &Request, now: u64) {
        let member = &request.member;
        if request.candidacy == Candidacy::Leaves {
            self.forget(member);
            self.before.0 = self.before.0.saturating_sub(1);
        } else {
            self.seen.insert(member.clone(), now.saturating_sub(millis(request.silent)));
            self.starts.insert(member.clone(), (request.incarnation, request.id.0));
        }
        let forget_after = millis(request.terms.forget_after);
        let gone = self.seen.iter().filter(|(_, at)| **at + forget_after <= now);
        for member in gone.map(|(member, _)| member.clone()).take(16).collect::<Vec<_>>() {
            self.forget(&member);
        }
    }

    fn forget(&mut self, member: &MemberId) {
        self.seen.remove(member);
        self.starts.remove(member);
        self.records.remove(member);
    }

    fn elect(&mut self, request: &Request, now: u64, settling: bool) {
        let lease = millis(request.terms.leader_lease);
        self.high = self.high.max(request.epoch);
        self.lease_end = self.lease_end.min(now + lease);
        let is_own = self.leads(request);
        let is_ready = request.candidacy == Candidacy::Ready;
        if now >= self.lease_end || (is_own && !is_ready) {
            (self.leader, self.lease_end) = (None, 0);
        }
        if self.leads(request) {
            // A member that does not receive its replies must not keep the lead from others.
            if request.leads == Some(self.epoch) {
                self.lease_end = now + lease;
            }
        } else if self.leader.is_none() && is_ready && !settling {
            self.high = (self.high + 1).max(now);
            let own =
                LeaderLease { member: request.member.clone(), incarnation: request.incarnation, left: 0 };
            (self.epoch, self.leader, self.lease_end) = (self.high, Some(own), now + lease);
        }
        if let Some(leader) = &mut self.leader {
            leader.left = self.lease_end - now;
        }
    }

    fn leads(&self, request: &Request) -> bool {
        self.leader.as_ref().is_some_and(|leader| {
            leader.member == request.member && leader.incarnation == request.incarnation
        })
    }

    fn write(&mut self, request: &Request, settling: bool, rules: Rules) -> Written {
        match &request.write {
            Write::Nothing => Written::Nothing,
            Write::Offer(offered) => {
                let (new, old) = (offered.stamp, self.stamp);
                if settling && (new.generation, new.epoch) > (old.generation, old.epoch) {
                    self.take(offered);
                }
                Written::Nothing
            }
            Write::Publish { published, .. } if published.stamp == self.stamp => Written::Done,
            Write::Publish { epoch, instead_of, published } => {
                let under_epoch = self.leads(request) && *epoch == self.epoch;
                let in_place = *instead_of == self.stamp;
                if (under_epoch || !rules.keep(Rule::EpochOfWriter)) && in_place {
                    self.take(published);
                    Written::Done
                } else {
                    Written::Refused
                }
            }
        }
    }

    fn take(&mut self, published: &Published) {
        self.stamp = published.stamp;
        self.sealed = published.sealed.clone();
    }

    #[expect(clippy::type_complexity, reason = "three fields of the reply")]
    fn for_leader(
        &self,
        request: &Request,
        now: u64,
    ) -> (Vec<(MemberId, u64)>, Vec<(MemberId, Vec<u8>)>, u64) {
        let Some(since) = request.records_since else { return Default::default() };
        let mut members: Vec<(MemberId, u64)> =
            self.seen.iter().map(|(member, at)| (member.clone(), now.saturating_sub(*at))).collect();
        // As the real store sorts them: by time, then by name.
        members.sort_by(|(one, silent), (other, other_silent)| other_silent.cmp(silent).then(one.cmp(other)));
        let since = if since > self.rev { 0 } else { since };
        let mut changed: Vec<_> = self.records.iter().filter(|(_, (rev, _))| *rev > since).collect();
        changed.sort_by_key(|(_, (rev, _))| *rev);
        changed.truncate(RECORDS_MAX);
        let until = changed.last().map_or(since, |(_, (rev, _))| *rev);
        let records =
            changed.into_iter().map(|(member, (_, sealed))| (member.clone(), sealed.clone())).collect();
        (members, records, until)
    }
}

impl Bucket {
    fn allot(&mut self, asked: &ShareRequest, turn: &Turn<'_>) -> u64 {
        let (now, lease) = (turn.now, millis(turn.request.terms.share_lease));
        if now >= self.sweep || self.sweep > now + 500 {
            self.leases.retain(|_, leased| now < leased.ends && leased.ends <= now + lease);
            self.sum = self.leases.values().map(|leased| leased.share).sum();
            self.demand = self.leases.values().map(|leased| leased.demand).sum();
            self.count = self.leases.len() as f64;
            self.sweep = now + 500;
        }
        let name = (turn.request.member.clone(), turn.request.incarnation);
        if let Some(old) = self.leases.remove(&name) {
            self.sum -= old.share;
            self.demand -= old.demand;
            self.count -= 1.0;
        }
        let (demand, holds, rate, whole) =
            (asked.demand as f64, asked.holds as f64, asked.rate as f64, WHOLE as f64);
        if (asked.demand == 0 && asked.holds == 0) || turn.request.candidacy == Candidacy::Leaves {
            return 0;
        }
        self.demand += demand;
        self.count += 1.0;
        let free = whole - turn.silent - self.sum;
        let target = if self.demand >= rate {
            (whole * demand / self.demand).floor()
        } else {
            let spare = whole - (whole * self.demand / rate).floor();
            (whole * demand / rate).floor() + (spare / self.count).floor()
        };
        // What is given up is not used before the others take it: little differences are left as they are.
        let target = if target < holds && target * 8.0 >= holds * 7.0 { holds } else { target };
        let most = if turn.settling { free.min(holds) } else { free };
        let grant = target.min(most).max(0.0);
        let held = if turn.rules.keep(Rule::CountHeldShares) { holds } else { 0.0 };
        let share = held.max(grant);
        self.sum += share;
        self.leases.insert(name, Leased { share, demand, ends: now + lease });
        grant as u64
    }
}

fn millis(span: std::time::Duration) -> u64 {
    span.as_millis() as u64
}

fn late(now: u64) -> Reply {
    Reply {
        now,
        carried: Carried::Late,
        epoch: 0,
        leader: None,
        stamp: Stamp::default(),
        sealed: None,
        written: Written::Nothing,
        live: 0,
        known: 0,
        members: Vec::new(),
        records: Vec::new(),
        records_until: 0,
        shares: Vec::new(),
    }
}
