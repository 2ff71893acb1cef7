//! The controller: the loop of the control plane, and the only owner of the rollout.
//!
//! Each input is passed to `Rollout::handle`. A transition is published first, because that protects clients, then logged,
//! sent to receivers and saved. Must not decide anything itself.

mod commands;
mod dependencies;
mod fleet;
mod gauges;
mod ownership;
mod poll_interval;
mod preflight;
mod report;
mod seat;
mod transitions;

use std::path::PathBuf;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::poll_interval::{INTERVAL_MIN, PollInterval};
use self::preflight::PreflightResult;
use self::seat::Seat;
use super::clock::Clock;
use super::commands::{ControllerRequest, OrderId};
use super::dependency_tasks::DependencyTasks;
use super::fleet::JoinFleet;
use super::notification::Notification;
use super::notify::Notifier;
use super::parity_check::{self, Comparison, describe};
use super::persistence::{Persistence, contradiction, open, resume_from};
use super::probe_tasks::{Observation, ProbeTasks};
use super::rollout_record::Pictures;
use super::settings::Settings;
use super::state_file::Saved;
use crate::parity::accept::Acceptance;
use crate::rollout::sample::FinishedCall;
use crate::rollout::{Event, Health, Rollout, Stage, State, Transition};
use crate::telemetry::metrics::{DependencyMetrics, DependencyStatus, FleetMetrics, RolloutMetrics};
use crate::upstream::{PerSlot, Slot, Split};

/// Interval of the slow tick: gauges, and whether another guard has released the state.
const SLOW_TICK: Duration = Duration::from_millis(500);
const RESULTS_MAX: usize = 256;
/// Samples taken out of their queue at a time.
const BATCH: usize = 256;

/// What the control plane is built from.
pub(crate) struct Setup {
    /// Where the state is saved; without it, the state ends with the process.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) settings: Settings,
    /// Every finished call.
    pub(crate) samples: mpsc::Receiver<FinishedCall>,
    pub(crate) metrics: RolloutMetrics,
    pub(crate) dependency_metrics: DependencyMetrics,
    /// Publishes the route: the split, and whether newer protocol versions are fenced off. Must return at once.
    pub(crate) publish: Box<dyn Fn(Split, bool, Stage) + Send>,
    /// Passes on the names of a slot's tools. Must return at once.
    pub(crate) learn: Box<dyn Fn(Slot, Vec<String>) + Send>,
    /// Publishes the states of all dependencies. Must return at once.
    pub(crate) publish_dependencies: Box<dyn Fn(Vec<DependencyStatus>) + Send>,
    pub(crate) pictures: Pictures,
    /// How to join the fleet, and what is measured of it; none for a guard on its own.
    pub(crate) fleet: Option<(JoinFleet, FleetMetrics)>,
}

/// A channel whose both ends the controller holds: its tasks send, its loop receives.
type Results<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

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
    /// Samples just taken out of their queue; empty between ticks.
    batch: Vec<FinishedCall>,
    metrics: RolloutMetrics,
    publish: Box<dyn Fn(Split, bool, Stage) + Send>,
    learn: Box<dyn Fn(Slot, Vec<String>) + Send>,
    published: Option<(Split, bool, Stage)>,
    /// What `pictures.follow` got last.
    followed: bool,
    /// The names of each slot's tools, from its latest probe.
    tool_names: PerSlot<Option<Vec<String>>>,
    notifier: Notifier,
    probes: ProbeTasks,
    dependency_tasks: DependencyTasks,
    dependencies: Vec<DependencyStatus>,
    dependency_metrics: DependencyMetrics,
    publish_dependencies: Box<dyn Fn(Vec<DependencyStatus>) + Send>,
    pictures: Pictures,
    observations: mpsc::Receiver<Observation>,
    preflights: Results<PreflightResult>,
    comparisons: Results<(usize, Comparison)>,
    /// The preflight of a start is running.
    preparing_start: bool,
    /// The place in the fleet, if the guard has one.
    seat: Option<Seat>,
    /// How to join it, and what is measured of it.
    fleet: Option<(JoinFleet, FleetMetrics)>,
    /// Orders of the fleet that this guard has refused, and why.
    refusals: Results<(OrderId, String)>,
    /// Where the responses of backends are parsed.
    reader: Handle,
    poll: PollInterval,
    ticked: Instant,
    slow_ticked: Instant,
}

impl Controller {
    /// Reads the state and publishes its route. Must be called inside the control plane's runtime.
    pub(super) fn new(setup: Setup, reader: Handle) -> Controller {
        let Setup {
            folder,
            settings,
            samples,
            metrics,
            dependency_metrics,
            publish,
            learn,
            publish_dependencies,
            pictures,
            fleet,
        } = setup;
        let clock = Clock::start();
        let (saved, persistence) = match &folder {
            None => {
                let why = "listen.state is not set: a restart forgets the rollout";
                (None, Persistence::Unavailable(why.to_owned()))
            }
            Some(folder) => open(folder),
        };
        if let (Persistence::ForeignOwner, Some(folder)) = (&persistence, &folder) {
            log::warn!(
                "rollout: another guard keeps its state in {}: this one follows it and takes no orders about slots and \
                 rollouts before that one ends (hint: give each guard a listen.state of its own)",
                folder.display()
            );
        }
        let Saved { state, history, accepted, fleet: followed } = resume_from(saved, &settings);
        let (observations_sender, observations) = mpsc::channel(RESULTS_MAX);
        let mut controller = Controller {
            rollout: rollout_from(state, &settings, &clock),
            clock,
            history,
            accepted,
            folder,
            released_to: None,
            persistence,
            samples,
            batch: Vec::new(),
            publish,
            learn,
            published: None,
            followed: false,
            tool_names: PerSlot::new(|_| None),
            notifier: Notifier::start(settings.rollout.receivers.clone(), &metrics),
            metrics,
            dependency_tasks: DependencyTasks::new(observations_sender.clone(), reader.clone()),
            dependencies: Vec::new(),
            dependency_metrics,
            publish_dependencies,
            pictures,
            probes: ProbeTasks::new(observations_sender, reader.clone()),
            settings,
            observations,
            preflights: mpsc::channel(RESULTS_MAX),
            comparisons: mpsc::channel(RESULTS_MAX),
            preparing_start: false,
            seat: None,
            fleet,
            refusals: mpsc::channel(RESULTS_MAX),
            reader,
            poll: PollInterval::new(),
            ticked: Instant::now(),
            slow_ticked: Instant::now(),
        };
        controller.join_fleet(followed);
        // The process before may have ended between the transition and its record.
        controller.record_last(Vec::new());
        let settings = controller.settings.clone();
        controller.configure_dependencies(None, &settings);
        controller
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<ControllerRequest>) {
        self.probes.start(&self.settings);
        self.update_gauges();
        loop {
            self.probes.follow(&self.rollout);
            self.dependency_tasks.check(&self.settings, &self.rollout);
            let next_tick = self.ticked + self.interval();
            tokio::select! {
                biased;
                request = requests.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => return,
                },
                Some(result) = self.preflights.1.recv() => self.on_preflight(result),
                Some((step, comparison)) = self.comparisons.1.recv() => self.on_comparison(step, comparison),
                Some((order, why)) = self.refusals.1.recv() => self.on_refused_order(order, why),
                () = Seat::wait(self.seat.as_mut()) => self.on_fleet(),
                Some(observation) = self.observations.recv() => self.on_observation(observation),
                // Each sample would wake the loop here, so it waits here only while no samples come.
                Some(call) = self.samples.recv(), if self.poll.is_idle() => self.on_first_sample(call),
                () = tokio::time::sleep_until(next_tick) => self.on_tick(),
            }
            self.publish();
            self.compare_if_due();
        }
    }

    fn on_request(&mut self, request: ControllerRequest) {
        match request {
            ControllerRequest::Command(pending) => self.on_command(pending),
            ControllerRequest::Report(reply) => {
                self.tick();
                let _ = reply.send(self.report());
            }
            ControllerRequest::History(reply) => drop(reply.send(self.history.clone())),
            ControllerRequest::OperationEnded(operation, reply) => {
                let _ = reply.send(self.notifier.notify(Notification::Operation(*operation)));
            }
            ControllerRequest::Configure(settings, reply) => {
                let checked = self.check_settings(&settings);
                if checked.is_ok() {
                    self.configure(*settings);
                }
                let _ = reply.send(checked);
            }
            ControllerRequest::FleetReport(reply) => self.on_look(reply),
            ControllerRequest::LeaveFleet(reply) => self.on_leave(reply),
            ControllerRequest::ReleaseState(reply) => self.on_release_state(reply),
            ControllerRequest::ReclaimState => self.on_reclaim_state(),
        }
    }

    fn on_observation(&mut self, observation: Observation) {
        match observation {
            Observation::Probe { slot, health, surface, names } => {
                if let Some(names) = names {
                    self.tool_names[slot] = Some(names.clone());
                    (self.learn)(slot, names);
                }
                if *self.rollout.health(slot) != health {
                    log_health(slot, &health);
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
            Observation::Dependency(result) => self.on_dependency(result),
        }
        // While no calls come, the slow tick runs with the probes and needs no wake-up of its own.
        if self.poll.is_idle() {
            self.slow_tick_if_due(Instant::now());
        }
    }

    fn on_first_sample(&mut self, call: FinishedCall) {
        self.record(call);
        self.poll.reset();
        self.ticked = Instant::now();
    }

    fn on_tick(&mut self) {
        self.ticked = Instant::now();
        let samples = self.tick();
        self.poll.adapt(samples);
        self.slow_tick_if_due(self.ticked);
    }

    /// The comparison before the end of a step has ended.
    fn on_comparison(&mut self, step: usize, comparison: Comparison) {
        let Comparison { compared, notes } = comparison;
        log::info!("rollout: parity before the end of step {}: {}", step + 1, describe(&compared, &notes));
        self.handle(Event::Gate { step, compared });
    }

    /// Starts the comparison that the rollout waits for. It runs beside everything else.
    fn compare_if_due(&mut self) {
        let Some(step) = self.rollout.wants_comparison() else { return };
        let state = self.rollout.state();
        let (stable, candidate) =
            (self.settings.backend(state.stable), self.settings.backend(state.candidate()));
        let (Some(stable), Some(candidate)) = (stable.cloned(), candidate.cloned()) else { return };
        let (accepted, results) = (self.accepted.clone(), self.comparisons.0.clone());
        let secrets = self.settings.secrets.clone();
        self.reader.spawn(async move {
            let comparison = parity_check::compare(&stable, &candidate, &secrets, accepted).await;
            let _ = results.send((step, comparison)).await;
        });
    }

    /// Time from one tick to the next.
    fn interval(&self) -> Duration {
        // The owner of the state may change at any time.
        let changing = matches!(self.persistence, Persistence::ForeignOwner) || self.released_to.is_some();
        match self.rollout.state().run {
            Some(_) => INTERVAL_MIN,
            None if changing => self.poll.interval().min(SLOW_TICK),
            None => self.poll.interval(),
        }
    }

    /// Counts all samples that wait, then the time. Returns the number of samples.
    fn tick(&mut self) -> usize {
        let samples = self.record_waiting();
        self.handle(Event::Tick);
        self.follow_owner();
        samples
    }

    /// Records all samples that wait, in batches: a lock for each sample would cost more.
    fn record_waiting(&mut self) -> usize {
        // The next tick reads the queue by the clock, so no waker is needed.
        let (mut samples, mut context) = (0, Context::from_waker(Waker::noop()));
        let mut batch = std::mem::take(&mut self.batch);
        while let Poll::Ready(1..) = self.samples.poll_recv_many(&mut context, &mut batch, BATCH) {
            samples += batch.len();
            batch.drain(..).for_each(|call| self.record(call));
        }
        self.batch = batch;
        samples
    }

    fn record(&mut self, call: FinishedCall) {
        let at = self.clock.at(call.when);
        // A sample alone leads to no transition.
        let _ = self.rollout.handle(Event::Sample(call.at(at)), at);
    }

    /// Checks a new configuration: warnings for the operator, or the reason for a refusal.
    fn check_settings(&self, settings: &Settings) -> Result<Vec<String>, String> {
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
        self.probes.configure(&self.settings, &settings);
        let old = self.settings.clone();
        self.configure_dependencies(Some(&old), &settings);
        self.rollout.configure(&settings.configured(), settings.split_context.clone());
        let removed = Slot::ALL.into_iter().filter(|slot| settings.backend(*slot).is_none());
        for slot in removed {
            let health = Health::Unhealthy("it is no longer configured".to_owned());
            self.handle(Event::Health { slot, health, answered: false });
            self.tool_names[slot] = None;
            self.metrics.remove(slot);
        }
        if self.settings.rollout.receivers != settings.rollout.receivers {
            self.notifier = Notifier::start(settings.rollout.receivers.clone(), &self.metrics);
        }
        self.settings = settings;
        self.configure_fleet();
    }

    fn slow_tick_if_due(&mut self, now: Instant) {
        if now < self.slow_ticked + SLOW_TICK {
            return;
        }
        self.slow_ticked = now;
        self.open_released_state();
        self.update_gauges();
    }
}

/// A rollout that continues from a state, with the configured slots and plan.
pub(super) fn rollout_from(state: State, settings: &Settings, clock: &Clock) -> Rollout {
    Rollout::new(state, &settings.configured(), &settings.rollout.plan, clock.now())
        .within(settings.split_context.clone())
}

fn log_health(slot: Slot, health: &Health) {
    match health {
        Health::Healthy => log::info!("slot {}: healthy", slot.as_str()),
        Health::Unhealthy(why) => log::warn!("slot {}: not healthy: {why}", slot.as_str()),
        Health::Unknown => {}
    }
}
