//! Fuzz targets: what must hold for any bytes at all.
//!
//! Each target is a plain function that panics when something does not hold, with the seeds it starts from. They run
//! three ways: in `cargo test` (tests/replay.rs, bounded and the same each time), as a program that replays files and mutated
//! seeds (`scripts/fuzz`), and under libFuzzer, guided by coverage (`scripts/fuzz guided`).

pub mod admin;
pub mod catalogue;
pub mod chunked;
pub mod config;
pub mod decoder;
pub mod exchange;
pub mod front;
pub mod head;

pub mod path;
pub mod replay;
pub mod response_scan;
pub mod scan;
pub mod signed_token;
pub mod state;
pub mod tokens;

/// A target by its name, with the seeds that mutation starts from.
pub struct Named {
    /// As the command line has it.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub target: replay::Target,
    /// Inputs near to what is valid.
    pub seeds: &'static [&'static [u8]],
}

/// Every target.
pub const TARGETS: &[Named] = &[
    Named { name: "admin", target: admin::target, seeds: admin::SEEDS },
    Named { name: "catalogue", target: catalogue::target, seeds: catalogue::SEEDS },
    Named { name: "chunked", target: chunked::target, seeds: chunked::SEEDS },
    Named { name: "config", target: config::target, seeds: config::SEEDS },
    Named { name: "front", target: front::target, seeds: front::SEEDS },
    Named { name: "head", target: head::target, seeds: head::SEEDS },
    Named { name: "outcome", target: response_scan::target, seeds: response_scan::SEEDS },
    Named { name: "path", target: path::target, seeds: path::SEEDS },
    Named { name: "scan", target: scan::target, seeds: scan::SEEDS },
    Named { name: "signed_token", target: signed_token::target, seeds: signed_token::SEEDS },
    Named { name: "state", target: state::target, seeds: state::SEEDS },
    Named { name: "tokens", target: tokens::target, seeds: tokens::SEEDS },
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Named> {
    TARGETS.iter().find(|named| named.name == name)
}
