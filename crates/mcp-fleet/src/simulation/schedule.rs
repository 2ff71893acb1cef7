//! What goes wrong in one run, when, and to whom: all of it from the seed.

use super::random::Random;

/// Microseconds.
pub(crate) const SECOND: u64 = 1_000_000;
/// Nothing goes wrong after this.
pub(crate) const CALM: u64 = 11 * SECOND;
/// The end of a run: time enough after the calm for a store to settle, a leader, and a state.
pub(crate) const END: u64 = CALM + 6 * SECOND;

/// Which node a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Node(usize),
    Leader,
}

/// What a hostile writer without the key does to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Writes a state of its own under a high generation.
    Forge,
    /// Writes an old state that was sealed once.
    Replay,
    /// Empties the store while it runs.
    Erase,
    /// Changes the records of members.
    Records,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Requests, replies or both are lost.
    Cut {
        whom: Whom,
        requests: bool,
        replies: bool,
    },
    /// The process does not run.
    Pause {
        whom: Whom,
    },
    /// The process ends without a word, and starts again with what it has kept, or without.
    Kill {
        whom: Whom,
        keeps: bool,
    },
    /// The process leaves, and starts again.
    Leave {
        whom: Whom,
    },
    /// Messages of all nodes are lost, late, or come twice.
    Lossy,
    /// The store does not run; what arrives waits.
    StorePause,
    /// Another server takes over with a copy of that age, in milliseconds, and another clock.
    Failover {
        age: u64,
        skew: i64,
    },
    /// The store starts again without data.
    StoreEmpty,
    /// The candidate of one node fails.
    CandidateFails {
        whom: Whom,
    },
    /// A third of the calls to all candidates fail.
    CallsFail,
    /// A node loads another configuration, for the time of the fault.
    Configure {
        whom: Whom,
    },
    /// An operator gives an order.
    Order {
        whom: Whom,
        back: bool,
    },
    /// Calls move to other nodes.
    Demand,
    Attack(Attack),
}

/// When a fault begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) ends: u64,
    pub(crate) fault: Fault,
}

/// Where calls come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Demand {
    /// To some nodes more than to others, changing when a fault says so.
    Uneven,
    /// The same, changing every second.
    Restless,
    /// To one node, and to another one after so many microseconds.
    One(u64),
    /// To all nodes alike.
    All,
    /// The same, so many at once.
    Bursts(u32),
    /// To all nodes alike, and from this time on to one; to each of the rest these percent of the limit.
    Gathers { at: u64, rest: f64 },
    /// To one node, and from this time on to all alike.
    Scatters { at: u64 },
}

impl Demand {
    /// Calls that come together.
    pub(crate) fn at_once(self) -> u32 {
        match self {
            Demand::Bursts(calls) => calls,
            Demand::Uneven
            | Demand::Restless
            | Demand::One(_)
            | Demand::All
            | Demand::Gathers { .. }
            | Demand::Scatters { .. } => 1,
        }
    }
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) nodes: usize,
    pub(crate) events: Vec<Event>,
    pub(crate) demand: Demand,
    /// The limit of the fleet, in calls a second, and its burst.
    pub(crate) limit: (u32, u32),
    /// The store fails over so many microseconds after a rollback was written, and has lost it.
    pub(crate) forgets_back: Option<u64>,
}

impl Schedule {
    /// The schedule of a seed.
    pub(crate) fn new(random: &mut Random) -> Schedule {
        let nodes = random.between(2, 6) as usize;
        let mut events = Vec::new();
        let mut add =
            |at: u64, lasts: u64, fault| events.push(Event { at, ends: (at + lasts).min(CALM), fault });
        let start = random.between(3 * SECOND, 4 * SECOND);
        add(start, 0, Fault::Order { whom: Whom::Node(random.below(nodes as u64) as usize), back: false });
        if random.percent(30) {
            let again = random.between(5 * SECOND, 9 * SECOND);
            add(again, 0, Fault::Order { whom: Whom::Node(0), back: random.percent(50) });
        }
        for _ in 0..random.between(1, 6) {
            let at = random.between(3 * SECOND, CALM - SECOND);
            let lasts = random.between(SECOND / 5, 4 * SECOND);
            let fault = fault(random, nodes);
            add(at, lasts, fault);
        }
        let forgets_back = random.percent(15).then(|| random.below(SECOND / 5));
        let demand = if random.percent(50) { Demand::Restless } else { Demand::Uneven };
        let limit = if random.percent(50) { (20, 8) } else { (60, 3) };
        Schedule { nodes, events, demand, limit, forgets_back }
    }
}

fn fault(random: &mut Random, nodes: usize) -> Fault {
    let whom =
        if random.percent(35) { Whom::Leader } else { Whom::Node(random.below(nodes as u64) as usize) };
    match random.below(20) {
        0..=2 => {
            let (requests, replies) = [(true, true), (true, false), (false, true)][random.below(3) as usize];
            Fault::Cut { whom, requests, replies }
        }
        3 | 4 => Fault::Pause { whom },
        5 | 6 => Fault::Kill { whom, keeps: random.percent(70) },
        7 => Fault::Leave { whom },
        8 | 9 => Fault::Lossy,
        10 => Fault::StorePause,
        11 | 12 => {
            let skew = random.between(0, 6_000) as i64 - 3_000;
            Fault::Failover { age: random.below(1_500), skew }
        }
        13 => Fault::StoreEmpty,
        14 | 15 => Fault::CandidateFails { whom },
        16 => Fault::CallsFail,
        17 => Fault::Configure { whom },
        18 => Fault::Demand,
        _ => {
            let attacks = [Attack::Forge, Attack::Replay, Attack::Erase, Attack::Records];
            Fault::Attack(attacks[random.below(4) as usize])
        }
    }
}
