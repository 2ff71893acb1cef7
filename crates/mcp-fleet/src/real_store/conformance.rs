//! The script and the simulated store give the same reply to the same requests at the same time.

use std::time::Duration;

use super::server::Server;
use crate::envelope::{Published, Stamp};
use crate::names::{Incarnation, MemberId};
use crate::request::{Candidacy, Request, RequestId, ShareRequest, Terms, Write};
use crate::rules::Rules;
use crate::simulation::{MemoryStore, Random};
use crate::store::Store;

/// Leases so short that they end within the test.
const TERMS: Terms = Terms {
    leader_lease: Duration::from_millis(60),
    share_lease: Duration::from_millis(80),
    forget_after: Duration::from_millis(200),
    settle: Duration::from_millis(40),
};

fn member(index: u64) -> MemberId {
    MemberId::new(&format!("n{index}")).unwrap()
}

fn published(stamp: Stamp) -> Published {
    Published { stamp, sealed: format!("sealed {stamp:?}").into_bytes() }
}

/// Any request that a member could send, and some that it should not.
fn request(random: &mut Random, numbers: &mut [u64; 4], seen: &[Stamp], epoch: u64) -> Request {
    let index = random.below(4);
    let any = |random: &mut Random| seen[random.below(seen.len() as u64) as usize];
    numbers[index as usize] += 1;
    let number = numbers[index as usize].saturating_sub(if random.percent(5) { random.below(3) } else { 0 });
    let incarnation = Incarnation::new(if random.percent(5) { 500 } else { 1_000 } + index);
    let last = seen[seen.len() - 1];
    let next = Stamp { generation: last.generation + 1, epoch, writer: incarnation };
    let write = match random.below(8) {
        0 => Write::Offer(published(any(random))),
        1 => Write::Offer(published(next)),
        2 | 3 => Write::Publish { epoch, instead_of: last, published: published(next) },
        4 => Write::Publish { epoch: epoch + 1, instead_of: any(random), published: published(next) },
        _ => Write::Nothing,
    };
    let share = |random: &mut Random, limit: &str| ShareRequest {
        limit: limit.to_owned(),
        rate: 20_000,
        demand: if random.percent(20) { 0 } else { random.below(40_000) },
        holds: if random.percent(40) { 0 } else { random.below(600_000) },
    };
    let shares = ["one", "two/x"].into_iter().filter(|_| random.clone().percent(70)).collect::<Vec<_>>();
    Request {
        id: RequestId(number.max(1)),
        member: member(index),
        incarnation,
        terms: TERMS,
        epoch: random.below(3),
        leads: random.percent(50).then_some(epoch),
        silent: Duration::from_millis(if random.percent(20) { random.below(150) } else { 0 }),
        known: if random.percent(5) { random.below(8) } else { 0 },
        seen: any(random),
        candidacy: match random.below(20) {
            0 => Candidacy::Leaves,
            1 | 2 => Candidacy::Abstains,
            _ => Candidacy::Ready,
        },
        records_since: random.percent(40).then(|| random.below(20)),
        record: random.percent(50).then(|| format!("record {}", random.below(100)).into_bytes()),
        write,
        shares: shares.into_iter().map(|limit| share(random, limit)).collect(),
    }
}

#[tokio::test]
async fn the_script_and_the_simulated_store_give_equal_replies() {
    let mut server = Server::start();
    let store = server.store();
    let mut simulated = MemoryStore::default();
    let mut random = Random::new(1);
    let (mut numbers, mut seen, mut epoch) = ([0; 4], vec![Stamp::default()], 1);
    let (mut writes, mut granted) = (0, 0);
    for step in 0..1_500 {
        if step == 700 {
            server.restart_empty();
            simulated = MemoryStore::empty(simulated.run + 1);
        }
        if random.percent(10) {
            // Time for leases to end: the store's clock is the real one.
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        }
        let request = request(&mut random, &mut numbers, &seen, epoch);
        let mut real = store.exchange(request.clone()).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while real.is_err() && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
            real = store.exchange(request.clone()).await;
        }
        let real = real.unwrap();
        let expect = simulated.exchange(&request, real.now, Rules::default());
        assert_eq!(real, expect, "step {step}: {request:#?}");
        if real.stamp != seen[seen.len() - 1] {
            seen.push(real.stamp);
            writes += 1;
        }
        granted += real.shares.iter().filter(|share| **share > 0).count();
        epoch = real.epoch.max(epoch);
    }
    assert!(writes > 20 && granted > 100, "{writes} writes, {granted} grants");
}
