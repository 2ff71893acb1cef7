//! The state file against truncation, corruption, foreign files, and SIGKILL at any moment.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::rollout::plan::Plan;
use crate::rollout::state::Run;
use crate::rollout::{self, Event, Rollout, Timestamp};
use crate::upstream::Slot;

const CHILD: &str = "MCP_GUARD_TEST_STATE_CHILD";

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

/// A state with a rollout and a transition in its history; different for every number.
fn saved(number: u64) -> Saved {
    let run = |step| Run {
        id: format!("r{number}"),
        plan: Plan::default(),
        step,
        started: at(number),
        since: at(number),
        paused: None,
        pinned: None,
    };
    let mut state = State::new(if number.is_multiple_of(2) { Slot::Blue } else { Slot::Green });
    state.seq = number;
    state.run = (!number.is_multiple_of(3)).then(|| run(usize::try_from(number % 6).unwrap()));
    let mut rollout =
        Rollout::new(State { run: Some(run(1)), ..state.clone() }, &Slot::ALL, &Plan::default(), at(0));
    let back = Event::Command { command: rollout::Command::Rollback { to: None }, who: "tests".to_owned() };
    Saved { history: rollout.handle(back, at(number)).into_iter().collect(), ..Saved::new(state) }
}

fn store(folder: &Path) -> Store {
    Store::open(folder).unwrap().expect("no other process has it")
}

#[test]
fn the_state_that_was_saved_is_read_back_and_the_one_before_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("made/on/demand"));
    assert_eq!(store.load().unwrap(), None, "nothing was ever saved");
    for number in 1..10 {
        store.save(&saved(number)).unwrap();
        assert_eq!(store.load().unwrap(), Some(saved(number)));
    }
    let previous = fs::read(store.folder.join(PREVIOUS)).unwrap();
    assert_eq!(decode(&previous).unwrap(), saved(8));
}

#[test]
fn only_one_guard_owns_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path());
    assert!(Store::open(folder.path()).unwrap().is_none());
    drop(first);
    assert!(Store::open(folder.path()).unwrap().is_some());
}

#[test]
fn the_history_is_bounded() {
    let mut full = saved(2);
    for _ in 0..HISTORY_MAX + 50 {
        let next = full.history[0].clone();
        full.remember(next);
    }
    assert_eq!(full.history.len(), HISTORY_MAX);
    assert!((encode(&full).len() as u64) < BYTES_MAX / 4);
}

#[test]
fn a_file_cut_short_at_any_byte_is_refused() {
    let whole = encode(&saved(4));
    for length in 0..whole.len() {
        let refusal = decode(&whole[..length]).unwrap_err();
        assert!(matches!(refusal, Refused::Damaged(_)), "{length}: {refusal:?}");
    }
}

#[test]
fn a_file_with_any_byte_changed_is_refused() {
    let whole = encode(&saved(4));
    for place in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[place] ^= flip;
            assert!(decode(&bytes).is_err(), "byte {place} changed by {flip:#x} went unnoticed");
        }
    }
}

#[test]
fn a_contradiction_with_a_right_checksum_is_refused() {
    let mut wrong = saved(4);
    wrong.state.run.as_mut().unwrap().step = 99;
    assert_eq!(decode(&encode(&wrong)), Err(Refused::Damaged("its content contradicts itself")));
}

#[track_caller]
fn check_refused(bytes: &[u8], why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    fs::write(folder.path().join(NAME), bytes).unwrap();
    let error = store.load().unwrap_err().to_string();
    assert!(error.contains(why), "{error:?} does not say {why:?}");
    store.quarantine().unwrap();
    store.save(&saved(1)).unwrap();
    assert_eq!(fs::read(folder.path().join(REFUSED)).unwrap(), bytes, "what was refused is still there");
    assert_eq!(store.load().unwrap(), Some(saved(1)));
}

#[test]
fn says_what_is_wrong_with_a_file_and_does_not_destroy_it() {
    check_refused(b"", "it is empty");
    check_refused(b"[slots.blue]\naddress = \"unix:/x\"\n", "no rollout state of mcp-guard");
    check_refused(&[0u8; 4096], "no rollout state of mcp-guard");
    check_refused(b"mcp-guard-rollout 2 abc\n{}\n", "newer mcp-guard (format 2");
    check_refused(b"mcp-guard-rollout 1 abc\n{}\n", "its checksum does not fit");
    check_refused(&encode(&saved(1))[..200], "it is cut short");
}

#[test]
fn a_state_file_that_was_removed_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.save(&saved(1)).unwrap();
    store.save(&saved(2)).unwrap();
    fs::remove_file(folder.path().join(NAME)).unwrap();
    assert!(store.load().unwrap_err().to_string().contains("it is missing"));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_keeps_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.save(&saved(1)).unwrap();
    // A directory in the way of the new file: fails for root, too, as a full disk would.
    fs::create_dir(folder.path().join(NEW)).unwrap();
    assert!(store.save(&saved(2)).is_err());
    assert_eq!(store.load().unwrap(), Some(saved(1)));
}

/// Not a test by itself: the process that the next one kills. Saves one state after the other and says so.
#[test]
fn child_that_saves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let store = store(Path::new(&folder));
    let first = store.load().unwrap().map_or(0, |saved| saved.state.seq);
    for number in first + 1.. {
        store.save(&saved(number)).unwrap();
        writeln!(io::stdout(), "saved {number}").unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_state_before_or_after() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..300u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "control::state_file::tests::child_that_saves_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Let it get going, then kill it at a moment that differs from round to round.
        let first = lines.by_ref().map_while(Result::ok).find(|line| line.contains("saved ")).unwrap();
        std::thread::sleep(Duration::from_micros(round * 7_919 % 4_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let rest = lines.map_while(Result::ok);
        let number = |line: String| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
        for number in std::iter::once(first).chain(rest).filter_map(number) {
            acknowledged = acknowledged.max(number);
        }
        let found = load(folder.path()).unwrap().expect("something was saved");
        let number = found.state.seq;
        assert!(
            number == acknowledged || number == acknowledged + 1,
            "round {round}: {acknowledged} was acknowledged, {number} came back"
        );
        assert_eq!(found, saved(number), "round {round}: half of one and half of another");
        let previous = fs::read(folder.path().join(PREVIOUS)).ok().map(|bytes| decode(&bytes).unwrap());
        assert!(previous.is_none_or(|previous| previous.state.seq + 1 >= number), "round {round}");
    }
    assert!(acknowledged > 300, "each child saves at least once");
}
