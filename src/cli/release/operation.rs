//! `release deploy`, `rollback`, `restore`, `backup`, `resume`, `undo`: builds an operation and lets it run.

use clap::Args;

use super::ending;
use super::room::{Done, Failure, Room};
use crate::admin::{AdminCommand, AdminResponse};
use crate::cli::doctor;
use crate::cli::exit::Exit;
use crate::cli::guard::Guard;
use crate::cli::output::{complain, complain_of, say};
use crate::config::release::Release;
use crate::control::RolloutCommand;
use crate::incident;
use crate::release::backup::{self, Backup};
use crate::release::calls::{self, Moment};
use crate::release::files::Lock;
use crate::release::host::{GuardPort, Host, unexpected};
use crate::release::journal::{self, Journal};
use crate::release::manifest::ReleaseName;
use crate::release::operate::{Ending, Site, operate};
use crate::release::plan::{Direction, Kind, Operation, OperationStep, Outcome, StepEvent, Strategy};
use crate::release::silence::Silencer;
use crate::rollout::status::RolloutStatus;
use crate::upstream::Slot;

#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// An installed release.
    name: ReleaseName,
    /// How the traffic moves: all at once, or in the stages of the plan.
    #[arg(long, value_name = "STRATEGY", default_value = "switch")]
    strategy: Strategy,
    /// Print the steps and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also where the parity gate does not hold, or the service is slower afterwards.
    #[arg(long)]
    force: bool,
    /// Why, for the record.
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// With a checkpoint directory before, verification and a load check after.
    #[arg(long)]
    standard: bool,
    /// The release to go back to, with --standard; else the one that served before.
    #[arg(requires = "standard")]
    name: Option<ReleaseName>,
    /// Why, for the record.
    #[arg(long)]
    reason: Option<String>,
}

impl GuardPort for Guard {
    fn ask(&self, command: &AdminCommand) -> Result<AdminResponse, String> {
        self.ask_quietly(command).0.map_err(|unasked| unasked.reason)
    }
}

pub(super) fn deploy(room: &Room, guard: &Guard, deploy: &DeployArgs) -> Done {
    let lock = room.lock()?;
    nothing_interrupted(room)?;
    room.store.manifest(&deploy.name).map_err(|error| Failure::refused(error.to_string()))?;
    let mut operation = begin(room, guard, Kind::Deploy, None)?;
    operation.release = Some(deploy.name.clone());
    operation.strategy = deploy.strategy;
    operation.force = deploy.force;
    operation.reason.clone_from(&deploy.reason);
    if deploy.dry_run {
        return dry_run(room, guard, &lock, &operation);
    }
    start(room, guard, &lock, operation)
}

pub(super) fn rollback(room: &Room, guard: &Guard, rollback: RollbackArgs) -> Done {
    let lock = room.lock()?;
    nothing_interrupted(room)?;
    if let Some(run) = rollout(guard)?.run {
        return end_rollout(guard, &run.id);
    }
    if rollback.name.is_none() {
        came_back_already(room)?;
    }
    let kind = if rollback.standard { Kind::StandardRollback } else { Kind::Rollback };
    let mut operation = begin(room, guard, kind, None)?;
    operation.reason = rollback.reason;
    let host = host(room, guard, &lock);
    let former = former(room, operation.slot)?;
    let served = former.is_some() || served_before(guard, operation.slot)?;
    if !rollback.standard && served && still_runs(&host, &operation, former.as_ref()) {
        operation.kind = Kind::SwitchBack;
        operation.steps = Kind::SwitchBack.steps();
        operation.id = id_of(room, Kind::SwitchBack);
        drop(host);
        return start(room, guard, &lock, operation);
    }
    drop(host);
    let release = match rollback.name {
        Some(name) => Some(name),
        None => former,
    };
    let Some(release) = release else {
        let slot = operation.slot.as_str();
        return Err(Failure::refused(format!(
            "slot {slot} has not served before, and no backup names a release to go back to; nothing was touched"
        )));
    };
    operation.release = Some(release);
    start(room, guard, &lock, operation)
}

pub(super) fn restore(room: &Room, guard: &Guard, name: &str, reason: Option<String>) -> Done {
    let lock = room.lock()?;
    nothing_interrupted(room)?;
    let backup =
        backup::read(room.store.layout(), name).map_err(|error| Failure::refused(error.to_string()))?;
    let Some(release) = backup.releases.get(&backup.serving).cloned() else {
        return Err(Failure::refused(format!("backup {name} names no release of the slot that served")));
    };
    let mut operation = begin(room, guard, Kind::Restore, reason)?;
    operation.release = Some(release);
    operation.backup = Some(backup.name);
    start(room, guard, &lock, operation)
}

pub(super) fn backup(room: &Room, guard: &Guard) -> Done {
    let lock = room.lock()?;
    nothing_interrupted(room)?;
    let operation = begin(room, guard, Kind::Deploy, None)?;
    let mut operation = Operation { id: incident::id(jiff::Timestamp::now(), "manual"), ..operation };
    operation.former = room.store.current(operation.slot)?;
    let mut host = host(room, guard, &lock);
    let notes = host.perform(OperationStep::Backup, &operation).map_err(Failure::refused)?;
    for note in notes {
        say(note);
    }
    ending::forget_backups(room, &lock);
    Ok(Exit::Done)
}

pub(super) fn resume(room: &Room, guard: &Guard) -> Done {
    go_on(room, guard, Direction::Finish)
}

pub(super) fn undo(room: &Room, guard: &Guard) -> Done {
    go_on(room, guard, Direction::Undo)
}

fn go_on(room: &Room, guard: &Guard, direction: Direction) -> Done {
    let lock = room.lock()?;
    let Some(journal) = Journal::open(room.store.layout())? else {
        return Err(Failure::refused("nothing was interrupted"));
    };
    // Without a guard every step would fail, and the operation could only go back.
    rollout(guard)?;
    let progress = journal.recorded.progress();
    say(format_args!("{} {}", journal.recorded.operation.id, where_it_stands(&journal)));
    if direction == Direction::Finish && progress.forced() == Some(Direction::Undo) {
        say("a step had failed, so it is undone");
    }
    run(room, guard, &lock, journal, direction)
}

/// Refuses to begin while another operation is half done.
pub(super) fn nothing_interrupted(room: &Room) -> Result<(), Failure> {
    let Some(recorded) = journal::read(room.store.layout())? else { return Ok(()) };
    let step = recorded.progress().interrupted().map_or("a step", OperationStep::as_str);
    Err(Failure::refused(format!(
        "{} was interrupted at `{step}` (hint: `mcp-guard release resume` finishes it, `mcp-guard release undo` puts the slot back)",
        recorded.operation.id
    )))
}

fn where_it_stands(journal: &Journal) -> String {
    let progress = journal.recorded.progress();
    match (progress.failure(), progress.interrupted()) {
        (Some((step, why)), _) => format!("failed at `{}`: {why}", step.as_str()),
        (None, Some(step)) => format!("was interrupted at `{}`", step.as_str()),
        (None, None) => "was interrupted between two steps".to_owned(),
    }
}

/// Where the rollout of the running guard stands.
fn rollout(guard: &Guard) -> Result<RolloutStatus, Failure> {
    let response = GuardPort::ask(guard, &AdminCommand::Rollout)
        .map_err(|why| Failure { exit: Exit::CouldNotRun, why })?;
    if let AdminResponse::Rollout(report) = response {
        Ok(report.status)
    } else {
        Err(Failure::refused(unexpected(&response)))
    }
}

/// An operation on the slot that does not serve.
pub(super) fn begin(
    room: &Room,
    guard: &Guard,
    kind: Kind,
    reason: Option<String>,
) -> Result<Operation, Failure> {
    let serving = rollout(guard)?.position.stable;
    let slot = serving.other();
    let property = |slot: Slot, name: &str| {
        let unit = room.settings.unit.replace("{slot}", slot.as_str());
        let unit: mcp_host::systemctl::Unit = unit.parse().map_err(Failure::refused)?;
        unit.property(name).map_err(|why| Failure { exit: Exit::CouldNotRun, why })
    };
    let state = property(slot, "ActiveState")?;
    let enables_unit =
        property(slot, "UnitFileState")? == "disabled" && property(serving, "UnitFileState")? == "enabled";
    Ok(Operation {
        id: id_of(room, kind),
        kind,
        steps: kind.steps(),
        slot,
        serving,
        release: None,
        former: room.store.current(slot)?,
        was_active: state == "active" || state == "activating",
        enables_unit,
        strategy: Strategy::Switch,
        force: false,
        backup: None,
        failure: None,
        began_millis: u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default(),
        who: who(),
        reason,
    })
}

/// The way back of a rollout: stable has served all the time.
fn end_rollout(guard: &Guard, run: &str) -> Done {
    say(format_args!("rollout {run} is under way and ends"));
    let command = AdminCommand::Control(RolloutCommand::Rollback { to: None });
    let response = GuardPort::ask(guard, &command).map_err(Failure::refused)?;
    let AdminResponse::Done(done) = response else { return Err(Failure::refused(unexpected(&response))) };
    say(&done.transition);
    Ok(Exit::Done)
}

/// Refuses a second rollback in a row: it would bring back what the first one left.
fn came_back_already(room: &Room) -> Result<(), Failure> {
    let records = incident::reading::list(&room.store.layout().incidents())?.into_iter();
    // Two operations may begin in one second, which is what an id tells.
    let done = records
        .filter(|found| found.outcome == Outcome::Done.as_str() && found.kind != Kind::Drill.as_str())
        .max_by(|one, other| one.began.cmp(&other.began));
    let back = [Kind::SwitchBack, Kind::Rollback, Kind::StandardRollback].map(Kind::as_str);
    match done.filter(|found| back.contains(&found.kind.as_str())) {
        Some(found) => Err(Failure::refused(format!(
            "{} was a rollback already; another one would bring back what it left \
             (hint: `mcp-guard release deploy NAME`, or `mcp-guard release rollback --standard NAME`)",
            found.id
        ))),
        None => Ok(()),
    }
}

/// The release that the slot ran when it served last, if a backup knows.
pub(super) fn former(room: &Room, slot: Slot) -> Result<Option<ReleaseName>, Failure> {
    let served = |backup: &Backup| (backup.serving == slot).then(|| backup.releases.get(&slot).cloned());
    let backups = backup::list(room.store.layout())?;
    Ok(backups.into_iter().flatten().find_map(|backup| served(&backup).flatten()))
}

/// Whether the slot was stable before the other one, as the rollout's history tells.
fn served_before(guard: &Guard, slot: Slot) -> Result<bool, Failure> {
    let response = GuardPort::ask(guard, &AdminCommand::History)
        .map_err(|why| Failure { exit: Exit::CouldNotRun, why })?;
    let AdminResponse::History(history) = &response else {
        return Err(Failure::refused(unexpected(&response)));
    };
    let moved = history.iter().rev().find(|transition| transition.from.stable != transition.to.stable);
    Ok(moved.is_some_and(|transition| transition.from.stable == slot))
}

/// Whether the other slot still runs the former release and can take over at once.
fn still_runs(host: &Host<'_>, operation: &Operation, former: Option<&ReleaseName>) -> bool {
    let same = former.is_none() || operation.former.as_ref() == former;
    let healthy = host.report().is_ok_and(|report| {
        report.status.slots.iter().any(|found| found.slot == operation.slot && found.health == "healthy")
    });
    // A unit of another name may serve there: what counts is that the guard can send it calls. Its latest probe may be older
    // than the end of the backend.
    same && healthy && host.responds(operation.slot)
}

fn dry_run(room: &Room, guard: &Guard, lock: &Lock, operation: &Operation) -> Done {
    let mut host = host(room, guard, lock);
    let checked = host.perform(OperationStep::Preflight, operation);
    let slot = operation.slot.as_str();
    for note in checked.as_ref().map_err(Failure::refused)? {
        say(format_args!("preflight: {note}"));
    }
    say(format_args!("slot {slot} would take the release; {} serves meanwhile", operation.serving.as_str()));
    for (number, step) in operation.steps.iter().enumerate() {
        say(format_args!("{:>2}. {}", number + 1, step.as_str()));
    }
    say("nothing was changed");
    Ok(Exit::Done)
}

pub(super) fn start(room: &Room, guard: &Guard, lock: &Lock, operation: Operation) -> Done {
    say(format_args!(
        "{}: slot {}, {} serves",
        operation.id,
        operation.slot.as_str(),
        operation.serving.as_str()
    ));
    let journal = match Journal::begin(room.store.layout(), operation.clone(), lock) {
        // A full disk must not keep traffic on a failed release.
        Err(error) if operation.kind == Kind::SwitchBack => {
            complain_of(&error);
            complain("without a journal there is no backup and no record");
            let notes = host(room, guard, lock).perform(OperationStep::Traffic, &operation);
            told(OperationStep::Traffic.as_str(), "done", &notes.map_err(Failure::refused)?);
            return Ok(Exit::Done);
        }
        begun => begun?,
    };
    run(room, guard, lock, journal, Direction::Finish)
}

fn run(room: &Room, guard: &Guard, lock: &Lock, mut journal: Journal, direction: Direction) -> Done {
    let mut host = host(room, guard, lock);
    let operation = journal.recorded.operation.clone();
    let is_new = journal.recorded.steps.is_empty();
    // The way back waits neither for figures nor for an Alertmanager.
    let ending = std::thread::scope(|scope| {
        scope.spawn(|| {
            if is_new {
                calls::note(&room.installation(guard), &operation, Moment::Begin);
            }
            begin_silence(&room.settings, &operation);
        });
        operate(&mut journal, &mut host, direction)
    });
    // Also where a step could not be undone: then alerts are wanted.
    end_silence(&room.settings, &operation);
    match ending? {
        Ending::Stuck { step, why } => {
            let step = step.as_str();
            ending::tell_stuck(&host, &operation, format!("{step}: could not be undone: {why}"));
            let why = format!(
                "`{step}` could not be undone: {why}\n(hint: repair it, then `mcp-guard release undo`)"
            );
            Err(Failure { exit: Exit::CouldNotRun, why })
        }
        Ending::Ended(outcome) => ending::conclude(room, &host, lock, journal, (outcome, direction)),
    }
}

/// Without an Alertmanager that responds, an operation goes on.
fn begin_silence(settings: &Release, operation: &Operation) {
    let begun = Silencer::new(settings).and_then(|silencer| {
        silencer.map(|silencer| silencer.begin(&operation.id, &operation.who)).transpose()
    });
    match begun {
        Ok(note) => note.into_iter().for_each(say),
        Err(why) => complain(format_args!("alerts are not silenced: {why} (release.alertmanager)")),
    }
}

fn end_silence(settings: &Release, operation: &Operation) {
    let ended = Silencer::new(settings)
        .and_then(|silencer| silencer.map(|silencer| silencer.end(&operation.id)).transpose());
    if let Err(why) = ended {
        let left = settings.silence.as_secs() / 60;
        complain(format_args!(
            "the silence is not ended: {why}; it ends by itself {left} min after its start (hint: comment `mcp-guard {}`)",
            operation.id
        ));
    }
}

fn host<'a>(room: &'a Room, guard: &'a Guard, lock: &'a Lock) -> Host<'a> {
    Host {
        installation: room.installation(guard),
        lock,
        preflight: Box::new(move || doctor::before_deployment(guard)),
        tell,
    }
}

fn tell(step: OperationStep, event: &StepEvent) {
    let step = step.as_str();
    match event {
        StepEvent::Begun | StepEvent::UndoBegun => {}
        StepEvent::Done { notes } => told(step, "done", notes),
        StepEvent::Undone { notes } => told(step, "undone", notes),
        StepEvent::Failed { why } => complain(format_args!("{step}: failed: {why}")),
        StepEvent::UndoFailed { why } => complain(format_args!("{step}: could not be undone: {why}")),
    }
}

fn told(step: &str, what: &str, notes: &[String]) {
    say(format_args!("{step:<15} {what}"));
    for note in notes {
        say(format_args!("                {}", note.replace('\n', "\n                ")));
    }
}

/// A name that no record and no backup has.
fn id_of(room: &Room, kind: Kind) -> String {
    let id = incident::id(jiff::Timestamp::now(), kind.as_str());
    let layout = room.store.layout();
    let taken = |id: &str| {
        layout.backups().join(id).exists() || layout.incidents().join(format!("{id}.json")).exists()
    };
    let numbered = (2..).map(|number| format!("{id}-{number}"));
    std::iter::once(id.clone()).chain(numbered).find(|id| !taken(id)).unwrap_or(id)
}

/// Who gives the command: the user behind sudo, else the user of this process.
fn who() -> String {
    let uid = rustix::process::getuid().as_raw();
    match std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")) {
        Ok(name) if !name.chars().any(char::is_control) => format!("{name} (uid {uid})"),
        Ok(_) | Err(_) => format!("uid {uid}"),
    }
}
