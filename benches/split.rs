//! How long it takes to find a call's slot: `cargo bench --bench split`.
//!
//! Every case asserts its result: a split that sends all clients the same way would look fast.

use std::hint::black_box;

use criterion::Criterion;
use mcp_guard::upstream::{Percent, Share, Slot, Split};

const CLIENTS: usize = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    picks(&mut criterion);
    criterion.final_summary();
}

fn picks(criterion: &mut Criterion) {
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("testbed-bot-{number}")).collect();
    let half = || Share::new(Percent::new(50).unwrap_or(Percent::ALL), "r17");
    let listed = Share {
        candidate_clients: names.iter().take(100).cloned().collect(),
        stable_clients: names.iter().skip(100).take(100).cloned().collect(),
        ..half()
    };
    let alone = Split::all(Slot::Blue);
    let cases = [
        ("split/pick", alone.clone().with_share(half())),
        ("split/pick_with_lists", alone.clone().with_share(listed)),
        ("split/pick_without_candidate", alone),
    ];
    for (name, split) in cases {
        let taken = names.iter().filter(|client| split.pick(client.as_bytes()) == Slot::Green).count();
        let expected = if name.ends_with("without_candidate") { 0..=0 } else { 450..=550 };
        assert!(expected.contains(&taken), "{name}: {taken} of {CLIENTS} on the candidate");
        let mut next = names.iter().cycle();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let client = next.next().map_or("", String::as_str);
                black_box(split.pick(black_box(client.as_bytes())))
            });
        });
    }
}
