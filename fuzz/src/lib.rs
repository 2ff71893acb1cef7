//! Fuzz targets: what must hold for any bytes at all.
//!
//! Each target is a plain function that panics when something does not hold, with the seeds it starts from. They run
//! three ways: in `cargo test` (tests/fuzz.rs, bounded and the same each time), as programs that replay files and
//! mutated seeds (`cargo run --bin head -- --runs 1000000`), and under libFuzzer (`cargo +nightly fuzz run head`).

pub mod chunked;
pub mod head;
pub mod outcome;
pub mod path;
pub mod replay;
pub mod scan;
