//! A controller in a fleet that does what the test says.

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::config::notify::{Channel, Receiver, Secret};
use crate::config::{self, Environment};
use crate::control::commands::{CommandResult, PendingCommand, RolloutCommand};
use crate::control::controller::{Settings, Setup};
use crate::control::fleet::{Fleet, FleetHold, FleetOrder};
use crate::control::fleet_report::{CandidateState, FleetReport};
use crate::control::notify::Notifier;
use crate::control::rollout_record::Pictures;
use crate::rollout::state::ServerSurface;
use crate::rollout::{Stage, Timestamp};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Split;

const CONFIG: &str = r#"
[slots.blue]
address = "unix:/nonexistent/blue.sock"
[slots.green]
address = "unix:/nonexistent/green.sock"
"#;

/// What the controller has told the fleet, and what the fleet says next.
#[derive(Default)]
struct Script {
    told: Vec<FleetInput>,
    says: VecDeque<FleetEvent>,
    view: Option<FleetView>,
    is_away: bool,
    followed: Option<Followed>,
}

#[derive(Clone, Default)]
struct FakeFleet(Arc<Mutex<Script>>);

impl FakeFleet {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn decisions(&self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for input in &self.script().told {
            if let FleetInput::Propose(decision) = input {
                decisions.push(decision.as_ref().clone());
            }
        }
        decisions
    }
}

impl Fleet for FakeFleet {
    fn wait(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    fn handle(&mut self, input: FleetInput) -> Vec<FleetEvent> {
        let mut script = self.script();
        script.told.push(input);
        script.says.drain(..).collect()
    }

    fn view(&self) -> Option<FleetView> {
        self.script().view.clone()
    }

    fn is_away(&self) -> bool {
        self.script().is_away
    }

    fn followed(&self) -> Option<Followed> {
        self.script().followed.clone()
    }

    fn has_state(&self) -> bool {
        self.script().followed.is_some()
    }

    fn has_members(&self) -> bool {
        true
    }

    fn report(&self) -> FleetReport {
        FleetReport {
            name: "test".to_owned(),
            member: "a".to_owned(),
            store_silent_ms: None,
            store_away: self.is_away(),
            store_problem: None,
            generation: 0,
            leader: None,
            live: 1,
            known: 1,
            candidate: CandidateState::Open,
            holds: Vec::new(),
            members: Vec::new(),
        }
    }
}

struct Guard {
    controller: Controller,
    fleet: FakeFleet,
    /// Published splits.
    routes: Arc<Mutex<Vec<Split>>>,
    runtime: tokio::runtime::Runtime,
}

impl Guard {
    fn start() -> Guard {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        let nothing = Environment { variable: &|_| None, now: 1_800_000_000, shown_pairs: None };
        let loaded = config::build(Path::new("/nonexistent/guard.toml"), CONFIG, &nothing);
        let config = loaded.map_err(|findings| findings.to_string()).unwrap().config;
        let (metrics, fleet) = (Metrics::new(1).unwrap(), FakeFleet::default());
        let routes: Arc<Mutex<Vec<Split>>> = Arc::default();
        let (published, joined) = (routes.clone(), fleet.clone());
        let setup = Setup {
            folder: None,
            settings: Settings::of(&config),
            samples: mpsc::channel(1).1,
            metrics: metrics.rollout(),
            dependency_metrics: metrics.dependencies(),
            publish: Box::new(move |split, _, _| published.lock().unwrap().push(split)),
            learn: Box::new(|_, _| ()),
            publish_dependencies: Box::new(|_| ()),
            pictures: Pictures::none(),
            fleet: Some((Box::new(move |_| Ok(Box::new(joined.clone()))), metrics.fleet().unwrap())),
        };
        let entered = runtime.enter();
        let mut controller = Controller::new(setup, runtime.handle().clone());
        drop(entered);
        for slot in Slot::ALL {
            let surface =
                ServerSurface { modern: true, legacy: true, tools: 3, fingerprint: "same".to_owned() };
            controller.handle(Event::Surface { slot, surface });
            controller.handle(Event::Health { slot, health: Health::Healthy, answered: true });
        }
        Guard { controller, fleet, routes, runtime }
    }

    /// A guard that leads, with a rollout that its fleet has.
    fn in_rollout() -> Guard {
        let mut guard = Guard::start();
        guard.leads();
        guard.start_rollout();
        guard.take_over();
        guard
    }

    /// The guard leads a fleet that has a state.
    fn leads(&mut self) {
        let followed = Followed {
            fleet: "test".to_owned(),
            generation: 1,
            epoch: 1,
            writer: 1,
            state: String::new(),
            done: Vec::new(),
            members: 1,
        };
        self.fleet.script().followed = Some(followed);
        self.fleet.script().view = Some(FleetView::default());
        self.fleet.script().says.push_back(FleetEvent::Withheld(None));
        self.wake();
    }

    fn wake(&mut self) {
        let _entered = self.runtime.enter();
        self.controller.on_fleet();
    }

    /// The fleet takes the latest decision over.
    fn take_over(&mut self) {
        let decision = self.fleet.decisions().pop().unwrap();
        self.fleet.script().says.push_back(FleetEvent::Follow(Box::new(decision.state)));
        self.wake();
    }

    fn start_rollout(&mut self) {
        let plan = self.controller.settings.rollout.plan.clone();
        let command = Command::Start { id: "r1".to_owned(), plan: Box::new(plan), force: false };
        self.controller.handle(Event::Command { command, who: "a test".to_owned() });
    }

    fn stage(&self) -> Stage {
        self.controller.rollout.state().position().stage
    }

    fn publications(&self) -> usize {
        self.routes.lock().unwrap().len()
    }

    /// This guard leads, and an operator's order of this number is put forward.
    fn decides_on(&mut self, number: u64, command: RolloutCommand) {
        let order = Box::new(FleetOrder { command, who: "an operator".to_owned() });
        self.fleet.script().says.push_back(FleetEvent::Decide(OrderId(7, number), order));
        self.wake();
    }

    fn order(&mut self, command: RolloutCommand) -> oneshot::Receiver<Result<CommandResult, String>> {
        let (reply, response) = oneshot::channel();
        let who = "an operator".to_owned();
        let _entered = self.runtime.enter();
        self.controller.on_command(PendingCommand { command, who, reply, notes: Vec::new(), order: None });
        response
    }
}

#[test]
fn a_step_forward_reaches_the_calls_once_the_fleet_has_taken_it_over() {
    let mut guard = Guard::start();
    guard.leads();
    let before = guard.publications();
    guard.start_rollout();
    let decision = guard.fleet.decisions().pop().unwrap();
    assert!(decision.needs_evidence, "{decision:?}");
    assert_eq!(decision.state.history.last().unwrap().seq, 1);
    assert_eq!(guard.publications(), before, "no route before the fleet has it");
    assert!(guard.controller.history.is_empty());
    guard.take_over();
    assert_ne!(guard.stage(), Stage::Stable);
    assert_eq!(guard.controller.history.len(), 1);
    assert_eq!(guard.fleet.decisions().len(), 1, "one decision, once");
}

#[test]
fn a_decision_that_was_not_taken_over_leaves_everything_as_it_was() {
    let mut guard = Guard::start();
    guard.leads();
    guard.start_rollout();
    guard.fleet.script().says.push_back(FleetEvent::NotTaken);
    guard.fleet.script().view = None;
    guard.wake();
    assert_eq!(guard.stage(), Stage::Stable);
    assert!(guard.controller.history.is_empty());
    guard.start_rollout();
    assert_eq!(guard.stage(), Stage::Stable, "a guard that does not lead decides nothing");
    assert_eq!(guard.fleet.decisions().len(), 1);
}

#[test]
fn the_way_back_reaches_the_calls_before_the_fleet_has_it() {
    let mut guard = Guard::in_rollout();
    let (command, who) = (Command::Rollback { to: None }, "a test".to_owned());
    guard.controller.handle(Event::Command { command, who });
    let decision = guard.fleet.decisions().pop().unwrap();
    assert!(!decision.needs_evidence);
    assert_eq!(guard.routes.lock().unwrap().last().unwrap().candidate_weight().get(), 0);
    // The state before it, under another generation, changes nothing.
    let older = guard.fleet.decisions().remove(0).state;
    guard.fleet.script().says.push_back(FleetEvent::Follow(Box::new(older)));
    guard.wake();
    assert_eq!(guard.stage(), Stage::Stable);
    guard.take_over();
    assert_eq!(guard.controller.history.len(), 2);
}

#[test]
fn a_guard_that_follows_takes_state_and_history_over() {
    let mut leader = Guard::start();
    leader.leads();
    leader.start_rollout();
    let decided = leader.fleet.decisions().pop().unwrap().state;
    let mut guard = Guard::start();
    guard.fleet.script().says.push_back(FleetEvent::Follow(Box::new(decided.clone())));
    guard.wake();
    assert_eq!(guard.controller.rollout.state(), &decided.state);
    assert_eq!(guard.controller.history, decided.history);
    guard.fleet.script().says.push_back(FleetEvent::Follow(Box::new(decided.clone())));
    guard.wake();
    assert_eq!(guard.controller.history.len(), 1, "what is known is not told twice");
}

#[test]
fn a_candidate_that_fails_elsewhere_ends_the_rollout_and_one_of_another_rollout_does_not() {
    let fired = |detail: &str| Fired {
        trigger: crate::rollout::triggers::Trigger::ErrorRate,
        action: Action::Rollback,
        measured: 1.0,
        limit: 0.1,
        samples: 50,
        detail: detail.to_owned(),
    };
    let mut guard = Guard::in_rollout();
    let of_another = FleetView { fired: vec![("r0".to_owned(), fired("at b"))], ..FleetView::default() };
    guard.fleet.script().view = Some(of_another);
    guard.wake();
    assert_ne!(guard.stage(), Stage::Stable);
    let of_this = FleetView { fired: vec![("r1".to_owned(), fired("at b"))], ..FleetView::default() };
    guard.fleet.script().view = Some(of_this);
    guard.wake();
    assert_eq!(guard.stage(), Stage::Stable);
    guard.take_over();
    assert!(guard.controller.history.last().unwrap().to_string().contains("at b"));
}

#[test]
fn a_candidate_that_fails_here_gets_no_calls_and_the_others_learn_of_it() {
    let mut guard = Guard::in_rollout();
    guard.fleet.script().view = None;
    let plan = &guard.controller.rollout.state().run.as_ref().unwrap().plan;
    let lasts = plan.triggers.candidate_health.window + Duration::from_secs(1);
    let (slot, health) = (Slot::Green, Health::Unhealthy("no answer".to_owned()));
    let now = guard.controller.clock.now();
    for at in [now, now + lasts, now + lasts + Duration::from_secs(1)] {
        let event = Event::Health { slot, health: health.clone(), answered: false };
        guard.controller.rollout.observe(event, at);
    }
    let failed = guard.controller.rollout.own_failure(Timestamp::from_millis((now + lasts * 2).millis()));
    guard.controller.fail_candidate("r1".to_owned(), failed.unwrap());
    let told = guard.fleet.script().told.clone();
    assert!(told.iter().any(|input| matches!(input, FleetInput::Failed(_))), "{told:?}");
    let is_told = |input: &FleetInput| matches!(input, FleetInput::Counted(_, facts) if facts.fired.iter().any(|(run, _)| run == "r1"));
    assert!(told.iter().any(is_told), "{told:?}");
    assert!(guard.controller.rollout.split().ejected().is_some());
}

#[test]
fn an_order_is_decided_on_by_the_guard_that_leads_and_its_result_comes_with_the_state() {
    let mut guard = Guard::in_rollout();
    guard.fleet.script().says.push_back(FleetEvent::OrderTaken(OrderId(7, 1)));
    let mut response = guard.order(RolloutCommand::Pause);
    assert!(response.try_recv().is_err(), "it waits for the fleet");
    guard.decides_on(1, RolloutCommand::Pause);
    let decision = guard.fleet.decisions().pop().unwrap();
    let Some((OrderId(7, 1), OrderResult::Done(2, notes))) = &decision.order else { panic!("{decision:?}") };
    guard.fleet.script().says.extend([
        FleetEvent::OrderDone(OrderId(7, 1), OrderResult::Done(2, notes.clone())),
        FleetEvent::Follow(Box::new(decision.state.clone())),
    ]);
    guard.wake();
    let result = guard.runtime.block_on(response).unwrap().unwrap();
    assert_eq!(result.transition.seq, 2);
    // Paused already: the refusal goes to the fleet, too.
    guard.decides_on(2, RolloutCommand::Pause);
    let (id, why) = guard.runtime.block_on(guard.controller.refusals.1.recv()).unwrap();
    guard.controller.on_refused_order(id, why);
    let refused = guard.fleet.decisions().pop().unwrap();
    assert!(matches!(refused.order, Some((OrderId(7, 2), OrderResult::Refused(_)))), "{refused:?}");
}

/// The guard leads, and the fleet waits for this.
fn held(why: &str, is_brief: bool) -> FleetView {
    let hold = FleetHold { why: why.to_owned(), is_brief };
    FleetView { hold: Some(hold), ..FleetView::default() }
}

/// An order to start at a guard that leads while the fleet waits, after this time: whether it is refused, and why.
fn start_while(view: FleetView, passes: Duration) -> (Guard, Option<String>) {
    let mut guard = Guard::start();
    guard.leads();
    guard.fleet.script().view = Some(view);
    guard.decides_on(1, RolloutCommand::Start { force: false, accept: Vec::new() });
    guard.runtime.block_on(tokio::time::advance(passes));
    guard.wake();
    guard.runtime.block_on(tokio::task::yield_now());
    let refused = guard.controller.refusals.1.try_recv().ok().map(|(_, why)| why);
    (guard, refused)
}

#[test]
fn an_order_waits_a_while_for_guards_that_have_still_to_count() {
    let brief = || held("b has not counted under the present state yet", true);
    let (mut guard, refused) = start_while(brief(), Duration::from_secs(4));
    assert_eq!(refused, None, "it waits");
    assert!(!guard.controller.preparing_start, "the candidate is not asked before");
    guard.fleet.script().view = Some(FleetView::default());
    guard.wake();
    assert!(guard.controller.preparing_start, "it goes on by itself");

    let unhealthy = vec![(Slot::Green, "b: not probed often enough yet".to_owned())];
    let starts = FleetView { unhealthy, ..FleetView::default() };
    let (_, refused) = start_while(starts, Duration::from_secs(4));
    assert_eq!(refused, None, "as for one that has just started");
    let (_, refused) = start_while(brief(), Duration::from_secs(6));
    assert!(refused.is_some_and(|why| why.contains("b has not counted")), "but not for ever");
    let (_, refused) = start_while(held("b has another configuration", false), Duration::ZERO);
    assert!(
        refused.is_some_and(|why| why.contains("another configuration")),
        "what lasts is refused at once"
    );
}

#[test]
fn an_order_that_waits_does_not_undo_a_later_one() {
    let mut guard = Guard::in_rollout();
    guard.fleet.script().view = Some(held("b has not counted under the present state yet", true));
    let promote = RolloutCommand::Promote { force: true, accept: Vec::new() };
    for (number, command) in [(1, promote), (2, RolloutCommand::Pause)] {
        guard.decides_on(number, command);
        guard.runtime.block_on(tokio::time::advance(Duration::from_millis(100)));
    }
    let decision = guard.fleet.decisions().pop().unwrap();
    assert!(matches!(decision.order, Some((OrderId(7, 2), OrderResult::Done(..)))), "{decision:?}");
    guard.take_over();
    let (id, why) = guard.runtime.block_on(guard.controller.refusals.1.recv()).unwrap();
    assert!(id == OrderId(7, 1) && why.contains("later order"), "{id:?}: {why}");
    assert!(guard.controller.seat.as_ref().unwrap().waiting.is_empty());
}

#[test]
fn an_order_that_is_prepared_does_not_undo_a_later_one() {
    let mut guard = Guard::in_rollout();
    let (reply, mut response) = oneshot::channel();
    let command = RolloutCommand::Promote { force: true, accept: Vec::new() };
    let who = "an operator".to_owned();
    let prepared = PendingCommand { command, who, reply, notes: Vec::new(), order: Some(OrderId(7, 1)) };
    guard.controller.seat.as_mut().unwrap().deciding.insert(OrderId(7, 1), Instant::now());
    guard.runtime.block_on(tokio::time::advance(Duration::from_millis(100)));
    guard.decides_on(2, RolloutCommand::Pause);
    guard.take_over();
    assert!(guard.controller.put_off(prepared).is_none());
    assert!(response.try_recv().unwrap().is_err_and(|why| why.contains("later order")));
}

#[test]
fn a_decision_whose_response_was_lost_is_this_guards_when_the_fleet_has_it() {
    let mut guard = Guard::start();
    let channel = Channel::Generic { url: Secret("http://127.0.0.1:9/".to_owned()) };
    let receiver = Receiver { name: "a".to_owned(), events: Vec::new(), channel };
    let entered = guard.runtime.enter();
    guard.controller.notifier = Notifier::start(vec![receiver], &guard.controller.metrics);
    drop(entered);
    guard.leads();
    guard.start_rollout();
    let decided = guard.fleet.decisions().pop().unwrap().state;
    guard.fleet.script().says.push_back(FleetEvent::NotTaken);
    guard.wake();
    assert_eq!(guard.stage(), Stage::Stable);
    assert_eq!(guard.controller.notifier.waiting(), 0);
    for _ in 0..2 {
        guard.fleet.script().says.push_back(FleetEvent::Follow(Box::new(decided.clone())));
        guard.wake();
        assert_ne!(guard.stage(), Stage::Stable);
        assert_eq!(guard.controller.notifier.waiting(), 1, "its receivers are notified, once");
    }
}

#[test]
fn a_trigger_that_only_warns_and_fires_here_alone_is_told_to_the_others() {
    let mut guard = Guard::start();
    guard.leads();
    guard.controller.settings.rollout.plan.triggers.memory.action = Action::Notify;
    guard.start_rollout();
    guard.take_over();
    let now = guard.controller.clock.now();
    let lasts = guard.controller.settings.rollout.plan.triggers.memory.window + Duration::from_secs(1);
    for at in [now, now + lasts, now + lasts] {
        let event = Event::Memory { slot: Slot::Green, used: 99, limit: 100 };
        guard.controller.rollout.observe(event, at);
    }
    assert_eq!(guard.controller.own_warnings(now + lasts).len(), 1, "and counts if this guard leads");
    let facts = guard.controller.facts(now + lasts);
    let told: Vec<_> = facts.fired.iter().map(|(run, fired)| (run.as_str(), fired.trigger)).collect();
    assert_eq!(told, [("r1", crate::rollout::triggers::Trigger::Memory)]);
    assert!(guard.controller.rollout.split().ejected().is_none(), "it keeps its calls");
}

#[test]
fn without_the_store_an_order_is_refused_and_the_way_back_holds_here() {
    let mut guard = Guard::in_rollout();
    guard.fleet.script().view = None;
    guard.fleet.script().is_away = true;
    let mut refused = guard.order(RolloutCommand::Pause);
    assert!(refused.try_recv().unwrap().unwrap_err().contains("does not respond"));
    let mut back = guard.order(RolloutCommand::Rollback { to: None });
    assert!(back.try_recv().unwrap().unwrap_err().contains("sends its candidate no calls"));
    assert!(guard.controller.rollout.split().ejected().is_some());
}

#[test]
fn the_first_guard_gives_the_fleet_its_state() {
    let mut guard = Guard::start();
    guard.fleet.script().view = Some(FleetView::default());
    guard.wake();
    let first = guard.fleet.decisions().pop().unwrap();
    assert!(!first.needs_evidence && first.state.state.run.is_none(), "{first:?}");
}
