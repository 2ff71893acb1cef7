//! The loop of the control plane, and the only owner of the rollout.
//!
//! Whatever comes in is handed to `Rollout::handle`; what comes out is published first (that is what protects clients),
//! then told and saved. Must not decide anything itself. Orders are `ordering`, a change of owner is `lending`,
//! what metrics show is `gauges`, when to look next is `poll`.

mod commands;
mod gauges;
mod ownership;
mod poll_interval;

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::clock::Clock;
use super::notify::Notifier;
use super::{Request, Settings, Setup};
use crate::control::commands::{CommandResult, RolloutReport};
use crate::control::controller::commands::PendingCommand;
use crate::control::controller::poll_interval::{INTERVAL_MIN, PollInterval};
use crate::control::parity_check;
use crate::control::parity_check::{Comparison, describe};
use crate::control::persistence::{Persistence, contradiction, open, resume_from};
use crate::control::probe_tasks::{Observation, ProbeTasks};
use crate::control::state_file::Saved;
use crate::control::state_writer::{Progress, StateWriter};
use crate::parity::accept::Acceptance;
use crate::rollout::sample::FinishedCall;
use crate::rollout::{Event, Health, Rollout, State, Transition};
use crate::telemetry::metrics::RolloutMetrics;
use crate::upstream::{Slot, Split};

/// Between two looks at what is slow to change: gauges, and whether another guard has let go of the state.
const NOW_AND_THEN: Duration = Duration::from_millis(500);
const SEEN_MAX: usize = 256;
/// Samples taken out of their queue at a time.
const BATCH: usize = 256;

/// The answer to an order.
pub(super) type Reply = oneshot::Sender<Result<CommandResult, String>>;

pub(super) struct Controller {
    clock: Clock,
    rollout: Rollout,
    history: Vec<Transition>,
    /// Reviewed differences, for the rollout under way.
    accepted: Vec<Acceptance>,
    settings: Settings,
    folder: Option<PathBuf>,
    /// The same directory, while it belongs to the process that replaces this one.
    released_to: Option<PathBuf>,
    persistence: Persistence,
    samples: mpsc::Receiver<FinishedCall>,
    /// Samples just taken out of their queue; empty between looks.
    batch: Vec<FinishedCall>,
    metrics: RolloutMetrics,
    publish: Box<dyn Fn(Split, bool) + Send>,
    learn: Box<dyn Fn(Slot, Vec<String>) + Send>,
    published: Option<(Split, bool)>,
    /// The names of each slot's tools, as its probes last saw them.
    names: [Option<Vec<String>>; 2],
    /// Starts with the loop.
    notifier: Option<Notifier>,
    /// A start is being prepared.
    comparing: bool,
}

impl Controller {
    /// Reads the state and publishes the route that it asks for.
    pub(super) fn prepare(setup: Setup) -> Controller {
        let Setup { folder, settings, samples, metrics, publish, learn } = setup;
        let clock = Clock::start();
        let (saved, persistence) = match &folder {
            None => (
                None,
                Persistence::Unavailable("listen.state is not set: a restart forgets the rollout".to_owned()),
            ),
            Some(folder) => open(folder),
        };
        if let (Persistence::ForeignOwner, Some(folder)) = (&persistence, &folder) {
            log::warn!(
                "rollout: another guard keeps its state in {}: this one follows it and takes no orders about slots and \
                 rollouts before that one ends (hint: give each guard a listen.state of its own)",
                folder.display()
            );
        }
        let Saved { state, history, accepted } = resume_from(saved, &settings);
        let rollout = rollout_from(state, &settings, &clock);
        let mut task = Controller {
            clock,
            rollout,
            history,
            accepted,
            settings,
            folder,
            released_to: None,
            persistence,
            samples,
            batch: Vec::new(),
            metrics,
            publish,
            learn,
            published: None,
            names: [None, None],
            notifier: None,
            comparing: false,
        };
        task.publish();
        task
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>, reader: Handle) {
        let (reports, mut seen) = mpsc::channel(SEEN_MAX);
        self.notifier = Some(Notifier::start(self.settings.rollout.receivers.clone(), &self.metrics));
        let mut watches = ProbeTasks::new(reports, reader.clone());
        let (looked, mut looks) = mpsc::channel(SEEN_MAX);
        let (compared, mut gates) = mpsc::channel(SEEN_MAX);
        self.keep();
        watches.probe(&self.settings);
        self.show();
        let (mut ticked, mut shown, mut poll) = (Instant::now(), Instant::now(), PollInterval::new());
        loop {
            watches.check(&self.settings, &self.rollout);
            let pause = self.pause(&poll);
            tokio::select! {
                biased;
                request = requests.recv() => match request {
                    None => return,
                    Some(Request::RolloutReport(reply)) => {
                        self.tick();
                        let _ = reply.send(self.overview());
                    }
                    Some(Request::History(reply)) => { let _ = reply.send(self.history.clone()); }
                    Some(Request::Configure(settings, reply)) => {
                        let may = self.may_configure(&settings);
                        if may.is_ok() {
                            watches.configure(&self.settings, &settings);
                            self.configure(*settings);
                        }
                        let _ = reply.send(may);
                    }
                    Some(Request::ReleaseState(reply)) => self.release_state(reply),
                    Some(Request::ReclaimState) => self.reclaim_state(),
                    Some(Request::RolloutCommand { order, who, reply }) => {
                        let pending = PendingCommand { order, who, reply, notes: Vec::new() };
                        self.take(pending, &reader, &looked);
                    }
                },
                Some(looked) = looks.recv() => {
                    if looked.verdict.is_ok() && *self.rollout.health(looked.at) == Health::Healthy {
                        watches.restart_after_success(looked.at, &self.settings);
                    }
                    self.looked(looked);
                }
                Some((step, outcome)) = gates.recv() => self.pass(step, outcome),
                Some(seen) = seen.recv() => {
                    self.see(seen);
                    // Awake for this anyway: while nobody calls, what is slow to change needs no wake-up of its own.
                    if poll.is_asleep() && shown.elapsed() >= NOW_AND_THEN {
                        shown = Instant::now();
                        self.now_and_then();
                    }
                }
                // Whoever waits here is woken by every sample: so nobody does while they keep coming.
                Some(ended) = self.samples.recv(), if poll.is_asleep() => {
                    self.take_note(ended);
                    poll.wake();
                    ticked = Instant::now();
                }
                () = tokio::time::sleep_until(ticked + pause) => {
                    ticked = Instant::now();
                    poll.seen(self.tick());
                    if ticked >= shown + NOW_AND_THEN {
                        shown = ticked;
                        self.now_and_then();
                    }
                }
            }
            self.publish();
            self.come_to_gate(&reader, &compared);
        }
    }

    /// Compares the backends where the rollout waits for that. It goes on beside everything else.
    fn come_to_gate(&mut self, reader: &Handle, compared: &mpsc::Sender<(usize, Comparison)>) {
        let Some(step) = self.rollout.wants_comparison() else { return };
        let state = self.rollout.state();
        let (stable, candidate) =
            (self.settings.backend(state.stable), self.settings.backend(state.candidate()));
        let (Some(stable), Some(candidate)) = (stable.cloned(), candidate.cloned()) else { return };
        let (accepted, compared) = (self.accepted.clone(), compared.clone());
        let secrets = self.settings.secrets.clone();
        reader.spawn(async move {
            let outcome = parity_check::compare(&stable, &candidate, &secrets, accepted).await;
            let _ = compared.send((step, outcome)).await;
        });
    }

    /// The comparison before the end of a step has ended.
    fn pass(&mut self, step: usize, outcome: Comparison) {
        let Comparison { compared, notes } = outcome;
        log::info!("rollout: parity before the end of step {}: {}", step + 1, describe(&compared, &notes));
        self.handle(Event::Gate { step, compared });
    }

    /// How long to wait for the next look.
    fn pause(&self, poll: &PollInterval) -> Duration {
        // The state may change hands at any moment.
        let changing = matches!(self.persistence, Persistence::ForeignOwner) || self.released_to.is_some();
        match self.rollout.state().run {
            Some(_) => INTERVAL_MIN,
            None if changing => poll.pause().min(NOW_AND_THEN),
            None => poll.pause(),
        }
    }

    /// Everything that ended since the last look, then the time. Returns how much it was.
    fn tick(&mut self) -> usize {
        let seen = self.take_notes();
        self.handle(Event::Tick);
        self.follow_owner();
        seen
    }

    /// All samples that wait, in batches: one by one, each would take and give back a lock.
    fn take_notes(&mut self) -> usize {
        // Nobody is woken: whoever looks again does so by the clock.
        let (mut seen, mut context) = (0, Context::from_waker(Waker::noop()));
        let mut batch = std::mem::take(&mut self.batch);
        while let Poll::Ready(1..) = self.samples.poll_recv_many(&mut context, &mut batch, BATCH) {
            seen += batch.len();
            batch.drain(..).for_each(|ended| self.take_note(ended));
        }
        self.batch = batch;
        seen
    }

    fn take_note(&mut self, ended: FinishedCall) {
        let at = self.clock.at(ended.when);
        // A sample alone decides nothing, so the time of the look does not matter to it.
        let _ = self.rollout.handle(Event::Sample(ended.at(at)), at);
    }

    fn see(&mut self, seen: Observation) {
        match seen {
            Observation::Probe { slot, health, surface, names } => {
                if let Some(names) = names {
                    self.names[usize::from(slot == Slot::Green)] = Some(names.clone());
                    (self.learn)(slot, names);
                }
                if *self.rollout.health(slot) != health {
                    tell_health(slot, &health);
                }
                self.metrics.set_healthy(slot, health == Health::Healthy);
                let answered = surface.as_ref().is_some_and(|surface| surface.tools > 0);
                if let Some(surface) = surface {
                    self.handle(Event::Surface { slot, surface });
                }
                self.handle(Event::Health { slot, health, answered });
            }
            Observation::Memory { slot, memory } => {
                self.metrics.set_memory(slot, memory.part());
                self.handle(Event::Memory { slot, used: memory.used, limit: memory.limit });
            }
            Observation::Check { name, failure } => {
                self.handle(Event::Check { name, failure });
            }
        }
    }

    /// Lets the rollout decide. The route follows at once; then the transition is told and saved.
    fn handle(&mut self, event: Event) -> Option<Transition> {
        if matches!(self.persistence, Persistence::ForeignOwner) {
            return None;
        }
        let transition = self.rollout.handle(event, self.clock.now())?;
        self.publish();
        log::warn!("rollout: {transition}");
        if transition.from.step != transition.to.step
            && let Some(nobody) = self.rollout.empty_share()
        {
            log::warn!("rollout: {nobody}");
        }
        self.metrics.transition(&transition);
        if self.rollout.state().run.is_none() {
            self.accepted.clear();
        }
        let mut saved = Saved {
            state: self.rollout.state().clone(),
            history: std::mem::take(&mut self.history),
            accepted: self.accepted.clone(),
        };
        saved.remember(transition.clone());
        self.history.clone_from(&saved.history);
        if let Persistence::Active(writer) = &self.persistence {
            writer.save(saved);
        }
        if let Some(notifier) = &self.notifier {
            notifier.tell(&Arc::new(transition.clone()));
        }
        self.show();
        Some(transition)
    }

    /// Publishes the route if it is another one than before.
    fn publish(&mut self) {
        let route = (self.rollout.split(), self.rollout.fenced());
        if self.published.as_ref() != Some(&route) {
            self.metrics.set_fence(route.1);
            (self.publish)(route.0.clone(), route.1);
            self.published = Some(route);
        }
    }

    /// What an operator should know of a new configuration, or why it must not hold.
    fn may_configure(&self, settings: &Settings) -> Result<Vec<String>, String> {
        let serves = self.rollout.state().stable;
        if settings.backend(serves).is_none() {
            let (slot, other) = (serves.as_str(), serves.other().as_str());
            return Err(format!(
                "slots.{slot}: {slot} serves and must not be removed (hint: mcp-guard slots switch {other} first)"
            ));
        }
        Ok(contradiction(settings.stable, settings.says_stable, serves).into_iter().collect())
    }

    fn configure(&mut self, settings: Settings) {
        self.rollout.configure(&settings.configured(), settings.split_context.clone());
        let gone = Slot::ALL.into_iter().filter(|slot| settings.backend(*slot).is_none());
        for slot in gone {
            let health = Health::Unhealthy("it is no longer configured".to_owned());
            self.handle(Event::Health { slot, health, answered: false });
            self.names[usize::from(slot == Slot::Green)] = None;
            self.metrics.remove(slot);
        }
        if self.settings.rollout.receivers != settings.rollout.receivers {
            self.notifier = Some(Notifier::start(settings.rollout.receivers.clone(), &self.metrics));
        }
        self.settings = settings;
    }

    fn now_and_then(&mut self) {
        if let (Persistence::ForeignOwner, Some(folder)) = (&self.persistence, &self.folder) {
            let (saved, persistence) = open(folder);
            if !matches!(persistence, Persistence::ForeignOwner) {
                log::info!("rollout: the guard before this one has let go of the state");
                let Saved { state, history, accepted } = resume_from(saved, &self.settings);
                self.rollout = rollout_from(state, &self.settings, &self.clock);
                (self.history, self.accepted, self.persistence) = (history, accepted, persistence);
                self.keep();
            }
        }
        self.show();
    }

    /// Starts saving, now that there is a runtime to live in.
    fn keep(&mut self) {
        let persistence = std::mem::replace(&mut self.persistence, Persistence::ForeignOwner);
        self.persistence = match persistence {
            Persistence::Opened(store) => match StateWriter::start(store, self.rollout.state().seq) {
                Ok(writer) => Persistence::Active(writer),
                Err(error) => {
                    Persistence::Unavailable(format!("cannot start the thread that saves it: {error}"))
                }
            },
            other @ (Persistence::Active(_) | Persistence::ForeignOwner | Persistence::Unavailable(_)) => {
                other
            }
        };
    }

    fn progress(&self) -> Option<(tokio::sync::watch::Receiver<Progress>, u64)> {
        match &self.persistence {
            Persistence::Active(writer) => Some((writer.progress(), self.rollout.state().seq)),
            Persistence::Opened(_) | Persistence::ForeignOwner | Persistence::Unavailable(_) => None,
        }
    }

    fn overview(&mut self) -> RolloutReport {
        let mut problems = self.warnings();
        if let Some((progress, _)) = self.progress()
            && let Some(problem) = &progress.borrow().problem
        {
            problems.push(format!("the state is not saved: {problem}"));
        }
        if let Err(why) = self.may_order() {
            problems.push(why);
        }
        let (status, last) = (self.rollout.status(self.clock.now()), self.history.last().cloned());
        RolloutReport { status, problems, shadow: None, last }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Persistence::Unavailable(why) = &self.persistence {
            warnings.push(format!("the state is not kept: {why}"));
        }
        let stable = self.rollout.state().stable;
        if let Health::Unhealthy(why) = self.rollout.health(stable) {
            warnings.push(format!("{} is stable and not healthy: {why}", stable.as_str()));
        }
        warnings
    }
}

/// Takes up a state in the surroundings that the configuration makes.
fn rollout_from(state: State, settings: &Settings, clock: &Clock) -> Rollout {
    Rollout::new(state, &settings.configured(), &settings.rollout.plan, clock.now())
        .within(settings.split_context.clone())
}

fn tell_health(slot: Slot, health: &Health) {
    match health {
        Health::Healthy => log::info!("slot {}: healthy", slot.as_str()),
        Health::Unhealthy(why) => log::warn!("slot {}: not healthy: {why}", slot.as_str()),
        Health::Unknown => {}
    }
}
