//! libFuzzer's entry to `outcome`; without cargo-fuzz, a replay of files and of mutated seeds.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_guard_fuzz::outcome::target(data));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    mcp_guard_fuzz::replay::main(mcp_guard_fuzz::outcome::target, mcp_guard_fuzz::outcome::SEEDS)
}
