//! Disconnects at any byte, failing backends and commands of the operator: every permit, queue entry and turn is given back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcp_testkit::eventually_blocking;

use crate::dice::{Dice, mix};
use crate::ledger::{CLIENTS, Client, Ledger};
use crate::programs::{self, Guard};
use crate::unruly::Unruly;
use crate::wire::{Target, Wire};
use crate::{plain, seconds, seed};

/// Clients at a time: many more than places, and than the lines are long.
const CROWD: u64 = 40;
/// How much longer the crowd stays for the first orders to be carried out.
const ORDERS_TIME: Duration = Duration::from_secs(30);

/// Calls end by these, now and then.
const SHORT: &str = "[timeouts]\ntotal = \"3s\"\nwaiting = \"300ms\"\nhold = \"300ms\"\nstream_idle = \"1s\"\n\
                     [health]\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 1\n";
/// Enough for calls that are made at the same time.
const PATIENT: &str = "[timeouts]\ntotal = \"60s\"\nwaiting = \"20s\"\nhold = \"20s\"\nstream_idle = \"1s\"\n\
                       [health]\ninterval = \"5s\"\ntimeout = \"5s\"\nrise = 1\n";

fn configuration([blue, green]: &[Unruly; 2], times: &str) -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\nadmin = \"admin.sock\"\nstate = \"state\"\n\
         [auth]\ntokens_file = \"tokens.toml\"\n[tools]\nread_only = [\"look_*\"]\n\
         [slots.blue]\naddress = \"unix:{}\"\n[slots.green]\naddress = \"unix:{}\"\n\
         [limits]\nin_flight = 4\nwaiting = 5\nheld = 8\nstreams = 6\nstreams_per_client = 3\n\
         [limits.tools]\n\"ok_*\" = {{ concurrency = 2 }}\n\
         {times}",
        blue.path.display(),
        green.path.display()
    )
}

/// A request of some kind, whole.
fn request(dice: &mut Dice, client: &Client) -> Vec<u8> {
    let tool = *dice.pick(client.tools);
    let is_modern = dice.chance(40);
    let (method, name) = match dice.below(10) {
        0 => ("ping", None),
        1 => ("server/discover", None),
        2 if is_modern => ("subscriptions/listen", None),
        _ => ("tools/call", Some(tool)),
    };
    let filler = "x".repeat(if dice.chance(5) { 300_000 } else { dice.below(200) });
    let meta =
        if is_modern { r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"# } else { "" };
    let target = name.map_or(String::new(), |name| format!("\"name\":\"{name}\","));
    let params = format!("{{{target}\"arguments\":{{\"x\":\"{filler}\"}}{meta}}}");
    let is_notification = dice.chance(5);
    let body = match is_notification {
        true => r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#.to_owned(),
        false => {
            format!(r#"{{"jsonrpc":"2.0","id":{},"method":"{method}","params":{params}}}"#, dice.below(999))
        }
    };
    let mut fields = String::new();
    if is_modern && !is_notification {
        fields = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n");
        fields += &name.map_or(String::new(), |name| format!("Mcp-Name: {name}\r\n"));
    }
    let length = body.len();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n{fields}",
        client.token
    );
    format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// One client that leaves at some moment in some way.
fn visit(target: &Target, dice: &mut Dice) {
    let mut bytes = Vec::new();
    for _ in 0..=dice.below(2) {
        let client = dice.pick(CLIENTS);
        bytes.extend(request(dice, client));
    }
    let Ok(mut wire) = Wire::open(target) else { return };
    let sent = if dice.chance(40) { dice.below(bytes.len()) } else { bytes.len() };
    let is_sent = wire.send(&bytes[..sent]).is_ok();
    if dice.chance(30) {
        wire.half_close();
    }
    let mut piece = vec![0; 4096];
    let reads = if dice.chance(40) { 0 } else { dice.below(12) };
    for _ in 0..reads {
        if !is_sent || !matches!(wire.receive(&mut piece), Ok(1..)) {
            break;
        }
    }
    if dice.chance(50) {
        wire.abort();
    }
}

/// What the operator has done, and what the crowd waits for.
#[derive(Default)]
struct Done {
    reloads: AtomicU64,
    switches: AtomicU64,
}

impl Done {
    fn both(&self) -> bool {
        self.reloads.load(Ordering::SeqCst) > 0 && self.switches.load(Ordering::SeqCst) > 0
    }
}

/// Reloads, switches and kills until the crowd has gone.
fn operate(guard: &Guard, backends: &[Unruly; 2], is_over: &AtomicBool, done: &Done, dice: &mut Dice) {
    while !is_over.load(Ordering::SeqCst) {
        let which = dice.below(2);
        match dice.below(3) {
            0 => done.reloads.fetch_add(u64::from(guard.command(&["reload"])), Ordering::SeqCst),
            1 => {
                let is_switched = guard.command(&["slots", "switch", ["blue", "green"][which]]);
                done.switches.fetch_add(u64::from(is_switched), Ordering::SeqCst)
            }
            _ => {
                backends[which].kill();
                std::thread::sleep(Duration::from_millis(dice.below(400) as u64));
                backends[which].revive();
                0
            }
        };
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a call is answered.
fn ask(target: &Target, client: &Client, tool: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        client.token,
        body.len()
    );
    let Ok(mut wire) = Wire::open(target) else { return "no connection".to_owned() };
    if wire.send(format!("{head}{body}").as_bytes()).is_err() {
        return "not taken".to_owned();
    }
    let (mut answer, mut piece) = (Vec::new(), vec![0; 4096]);
    while let Ok(read @ 1..) = wire.receive(&mut piece) {
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// These calls at a time: the backends answer none before all are there.
#[track_caller]
fn check_together(guard: &Guard, backends: &[Unruly; 2], calls: &[(&'static Client, &'static str)]) {
    for backend in backends {
        backend.calm(calls.len());
    }
    let target = plain(guard.address);
    let begin = Instant::now();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let target = &target;
        let ask = |(client, tool): &(&'static Client, &'static str)| {
            let (client, tool) = (*client, *tool);
            scope.spawn(move || ask(target, client, tool))
        };
        let running: Vec<_> = calls.iter().map(ask).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let told: Vec<_> = calls.iter().map(|(client, tool)| (client.name, *tool)).collect();
    let are_served = answers.iter().all(|answer| answer.contains("\"result\""));
    assert!(are_served, "places are lost: {told:?} at a time, {:?}: {answers:#?}", begin.elapsed());
}

#[test]
fn every_permit_is_given_back_after_any_disconnect_and_failure() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let seed = seed();
    let backends = ["blue", "green"].map(|name| Unruly::start(folder.path(), name, mix(seed)));
    let tokens = programs::tokens(|client| format!("{}\nconcurrency = 2", client.policy));
    let mut guard = Guard::with(folder.path(), &configuration(&backends, SHORT), &tokens);
    let descriptors = guard.descriptors() + crate::POOL;
    let (begin, is_over, visits) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    let long = seconds(15).max(Duration::from_secs(3));
    let target = Target { timeout: Duration::from_millis(400), ..plain(guard.address) };
    let done = Done::default();
    std::thread::scope(|scope| {
        scope.spawn(|| operate(&guard, &backends, &is_over, &done, &mut Dice::new(mix(seed + 1))));
        let crowd: Vec<_> = (0..CROWD)
            .map(|number| {
                let (target, visits, done) = (&target, &visits, &done);
                scope.spawn(move || {
                    let mut dice = Dice::new(mix(seed ^ mix(number)));
                    // On a crowded machine an order may take longer than all the rest.
                    while begin.elapsed() < long || !done.both() && begin.elapsed() < long + ORDERS_TIME {
                        visit(target, &mut dice);
                        visits.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = crowd.into_iter().map(|client| client.join().is_ok()).collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(|is_ended| *is_ended));
    });
    let Done { reloads, switches } = &done;
    crate::tell(&format!(
        "accounting: seed {seed}, {visits:?} visits, {reloads:?} reloads, {switches:?} switches"
    ));
    assert!(done.both(), "the operator did nothing");
    let ledger = Ledger::default();
    guard.judge(&ledger, descriptors);
    assert!(ledger.violations().is_empty(), "{:#?}", ledger.told());
    // From here on every call has its place, however slow the machine is.
    guard.configure(&configuration(&backends, PATIENT));
    eventually_blocking("the stable slot serves", || {
        backends.iter().for_each(|backend| backend.calm(1));
        ask(&plain(guard.address), &CLIENTS[0], "act_a").contains("\"result\"").then_some(())
    });
    for client in CLIENTS {
        let last = client.tools.len() - 1;
        check_together(&guard, &backends, &[(client, client.tools[0]), (client, client.tools[last])]);
    }
    let [full, second, bounded, reader] = CLIENTS else { panic!("four clients") };
    check_together(
        &guard,
        &backends,
        &[(full, "act_a"), (second, "ok_a"), (bounded, "ok_b"), (reader, "look_a")],
    );
}
