//! One program for all targets, because linking the guard is what takes long. On its own it replays (see `replay`); with
//! the feature `guided` it is libFuzzer's, and the variable FUZZ_TARGET names the target.

#![cfg_attr(feature = "guided", no_main)]

#[cfg(feature = "guided")]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thread_local! {
        static TARGET: mcp_guard_fuzz::replay::Target = std::env::var("FUZZ_TARGET")
            .ok()
            .and_then(|name| mcp_guard_fuzz::find(&name))
            .expect("FUZZ_TARGET is the name of a target")
            .target;
    }
    TARGET.with(|target| target(data));
});

#[cfg(not(feature = "guided"))]
fn main() -> std::process::ExitCode {
    mcp_guard_fuzz::replay::main()
}
