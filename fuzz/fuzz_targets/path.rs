//! libFuzzer's entry to `path`; without cargo-fuzz, a replay of files and of mutated seeds.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_guard_fuzz::path::target(data));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    mcp_guard_fuzz::replay::main(mcp_guard_fuzz::path::target, mcp_guard_fuzz::path::SEEDS)
}
