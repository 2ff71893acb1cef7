//! The control plane's fleet, on a member of `mcp-fleet` and its store.

use std::future::Future;
use std::pin::Pin;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mcp_fleet::{
    Candidacy, CandidateGate, Courier, Direction, Envelope, Event, Input, Member, MemberId, Moment, Output,
    Proposal, RedisStore, RequestId, Response, STATE_BYTES_MAX, View,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Interval, MissedTickBehavior};

use super::tally_window::TallyWindow;
use super::{kept, report, words};
use crate::control::fleet::{Decision, Fleet, FleetEvent, FleetInput, FleetView, MemberFacts};
use crate::control::fleet_report::FleetReport;
use crate::control::state_file::Followed;
use crate::rollout::Withheld;

/// One guard in its fleet.
pub(super) struct FleetMember {
    name: String,
    id: MemberId,
    member: Member<TallyWindow>,
    /// Where moments count from.
    base: Instant,
    courier: Courier<RedisStore>,
    responses: UnboundedReceiver<Response>,
    ticks: Interval,
    arrived: Option<Response>,
    /// The request by which it leaves; greater than any before that is sent.
    leaving: Option<RequestId>,
    /// The fleet's state is not understood.
    is_unreadable: bool,
    /// Of the configuration that all guards must share.
    digest: String,
    /// The store's latest error, until it responds again.
    problem: Option<String>,
}

impl FleetMember {
    pub(super) fn new(
        name: String,
        id: MemberId,
        member: Member<TallyWindow>,
        (store, sync_interval): (RedisStore, std::time::Duration),
        base: Instant,
    ) -> FleetMember {
        let (courier, responses) = Courier::new(std::sync::Arc::new(store));
        let mut ticks = tokio::time::interval(sync_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        FleetMember {
            name,
            id,
            member,
            base,
            courier,
            responses,
            ticks,
            arrived: None,
            leaving: None,
            is_unreadable: false,
            digest: String::new(),
            problem: None,
        }
    }

    fn now(&self) -> Moment {
        Moment::after_start(self.base.elapsed())
    }

    /// One input for the member, and what the control plane must know of what follows.
    fn feed(&mut self, input: Input<TallyWindow>, events: &mut Vec<FleetEvent>) {
        for output in self.member.handle(input, self.now()) {
            match output {
                Output::Send(request) => {
                    if self.leaving.is_some() && request.candidacy == Candidacy::Leaves {
                        self.leaving = self.leaving.min(Some(request.id));
                    }
                    self.courier.send(*request);
                }
                Output::Follow(envelope) => self.follow(&envelope, events),
                Output::Candidate(_) => events.push(FleetEvent::Withheld(self.withheld())),
                Output::Decide { member, order } => match serde_json::from_slice(&order.text) {
                    Ok(text) => events.push(FleetEvent::Decide(kept::order_id(order.id), Box::new(text))),
                    Err(error) => log::error!("fleet: an order of {member} is not understood: {error}"),
                },
                Output::OrderTaken(id) => events.push(FleetEvent::OrderTaken(kept::order_id(id))),
                Output::OrderDone(done) => {
                    events
                        .push(FleetEvent::OrderDone(kept::order_id(done.order), kept::result(&done.outcome)));
                }
                Output::Event(event) => self.on_event(event, events),
            }
        }
    }

    fn follow(&mut self, envelope: &Envelope, events: &mut Vec<FleetEvent>) {
        let state = kept::decode(&envelope.state);
        let generation = envelope.stamp.generation;
        if state.is_none() {
            log::error!(
                "fleet: generation {generation} is not understood: this guard keeps its own state, and its candidate gets no \
                 calls (hint: are all guards of one version?)"
            );
        }
        let was_unreadable = std::mem::replace(&mut self.is_unreadable, state.is_none());
        events.extend(state.map(|state| FleetEvent::Follow(Box::new(state))));
        if self.is_unreadable || was_unreadable {
            events.push(FleetEvent::Withheld(self.withheld()));
        }
    }

    /// Why the candidate gets no calls from this guard.
    fn withheld(&self) -> Option<Withheld> {
        match self.member.candidate() {
            CandidateGate::Ejected => Some(Withheld::Fails),
            CandidateGate::NotCaughtUp => Some(Withheld::NotCaughtUp),
            CandidateGate::Open => self.is_unreadable.then_some(Withheld::NotCaughtUp),
        }
    }

    fn on_event(&mut self, event: Event, events: &mut Vec<FleetEvent>) {
        words::log(&event, self.problem.is_none());
        match event {
            Event::RequestFailed(error) => {
                self.problem = Some(error.to_string());
                events.push(FleetEvent::StoreFailed);
            }
            Event::StoreBack => self.problem = None,
            Event::PublishRefused(_) | Event::ProposalRefused(_) | Event::LeadEnded => {
                events.push(FleetEvent::NotTaken);
            }
            Event::OrderExpired(id) => events.push(FleetEvent::OrderExpired(kept::order_id(id))),
            Event::OrderRefused => events.push(FleetEvent::OrderRefused),
            Event::StoreAway
            | Event::Leads { .. }
            | Event::Published(_)
            | Event::StoreForgot { .. }
            | Event::BadState(_)
            | Event::BadRecord(_)
            | Event::NameInUse => {}
        }
    }

    fn woken(&mut self, events: &mut Vec<FleetEvent>) {
        match self.arrived.take() {
            Some(response) => {
                let has_left = self.leaving.is_some_and(|leaves| response.request() >= leaves);
                self.feed(response.into_input(), events);
                if has_left {
                    self.left(events);
                }
            }
            // A store that is away does not keep a guard from leaving.
            None if self.leaving.is_some() && self.is_away() => self.left(events),
            None => self.feed(Input::Tick, events),
        }
    }

    /// The limits are this guard's own from now on.
    fn left(&mut self, events: &mut Vec<FleetEvent>) {
        self.member.limits().alone(self.now());
        events.push(FleetEvent::Left);
    }

    fn propose(&mut self, decision: &Decision, events: &mut Vec<FleetEvent>) {
        let evidence = self.member.view(self.now()).and_then(|view| view.evidence);
        let direction = match (decision.needs_evidence, evidence) {
            (false, _) => Direction::Back,
            (true, Some(evidence)) => Direction::Forward(evidence),
            (true, None) => return events.push(FleetEvent::NotTaken),
        };
        let done = decision.order.iter().map(|(id, result)| kept::done(*id, result)).collect();
        let proposal =
            Proposal { state: kept::encode_within(&decision.state, STATE_BYTES_MAX), direction, done };
        self.feed(Input::Propose(proposal), events);
    }
}

impl Fleet for FleetMember {
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            if self.arrived.is_some() {
                return;
            }
            tokio::select! {
                Some(response) = self.responses.recv() => self.arrived = Some(response),
                _ = self.ticks.tick() => {}
            }
        })
    }

    fn handle(&mut self, input: FleetInput) -> Vec<FleetEvent> {
        let mut events = Vec::new();
        match input {
            FleetInput::Woken => self.woken(&mut events),
            FleetInput::Counted(tally, facts) => {
                let facts = MemberFacts { clock_off_ms: self.clock_off_ms(), ..facts };
                let stamp = self.member.followed().map(|envelope| envelope.stamp).unwrap_or_default();
                if !self.is_unreadable {
                    self.feed(Input::Window { stamp, window: TallyWindow(*tally) }, &mut events);
                }
                self.feed(Input::Facts(serde_json::to_vec(&facts).unwrap_or_default()), &mut events);
            }
            FleetInput::Failed(why) => self.feed(Input::Eject { why }, &mut events),
            FleetInput::Recovered => self.feed(Input::Restore, &mut events),
            FleetInput::Configured(digest) => {
                self.digest.clone_from(&digest);
                self.feed(Input::Configured { digest }, &mut events);
            }
            FleetInput::Order(order) => {
                self.feed(Input::Order(serde_json::to_vec(&order).unwrap_or_default()), &mut events);
            }
            FleetInput::Propose(decision) => self.propose(&decision, &mut events),
            FleetInput::Look => self.feed(Input::Look, &mut events),
            FleetInput::Leave => {
                self.leaving = Some(RequestId(u64::MAX));
                self.feed(Input::Leave, &mut events);
            }
        }
        events
    }

    fn view(&self) -> Option<FleetView> {
        let view = self.member.view(self.now())?;
        let mut seen = FleetView { hold: words::hold(&view, &self.digest), ..FleetView::default() };
        for (member, facts) in self.facts_of_others(&view) {
            let unhealthy = facts.slots.into_iter().filter_map(|(slot, why)| Some((slot, why?)));
            seen.unhealthy.extend(unhealthy.map(|(slot, why)| (slot, format!("{member}: {why}"))));
            for (run, mut fired) in facts.fired {
                fired.detail = format!("at {member}: {}", fired.detail);
                seen.fired.push((run, fired));
            }
        }
        seen.counted = view.others.0;
        Some(seen)
    }

    fn is_away(&self) -> bool {
        self.member.fleet(self.now()).away
    }

    fn followed(&self) -> Option<Followed> {
        let known = self.member.fleet(self.now()).known;
        self.member.followed().map(|envelope| kept::followed(envelope, &self.name, known))
    }

    fn has_state(&self) -> bool {
        self.member.followed().is_some()
    }

    fn has_members(&self) -> bool {
        self.member.roster().is_some_and(|roster| !roster.members().is_empty())
    }

    fn report(&self) -> FleetReport {
        let (problem, now) = (self.problem.clone(), self.now());
        report::report(&report::Seen {
            name: &self.name,
            id: &self.id,
            member: &self.member,
            digest: &self.digest,
            problem,
            now,
        })
    }
}

impl FleetMember {
    /// How far the machine's clock is ahead of the store's.
    fn clock_off_ms(&self) -> Option<i64> {
        let (store, since) = self.member.store_clock(self.now())?;
        let own = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let store = i64::try_from(store).ok()?.checked_add(i64::try_from(since.as_millis()).ok()?)?;
        i64::try_from(own.as_millis()).ok()?.checked_sub(store)
    }

    /// What the others that are not silent say, besides their counts.
    fn facts_of_others(&self, view: &View<TallyWindow>) -> Vec<(MemberId, MemberFacts)> {
        let others = view.peers.iter().filter(|(member, _)| **member != self.id);
        let facts = others.filter_map(|(member, peer)| {
            let record = peer.record.as_ref().filter(|_| peer.silent < report::SILENT_AFTER)?;
            Some((member.clone(), serde_json::from_slice(&record.facts).ok()?))
        });
        facts.collect()
    }
}
