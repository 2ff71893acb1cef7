//! Settings of this process: no core dumps (they would hold tokens), enough open files, small memory pages; and whether
//! another process may replace it.
//!
//! Must not know what the process does.

use std::io;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Between two looks at a child.
const POLL: Duration = Duration::from_millis(20);

/// Protects the memory, which holds tokens, from core dumps and from other processes of the same user (debuggers,
/// `/proc/PID/environ`, `/proc/PID/mem`).
pub fn keep_memory_private() -> io::Result<()> {
    // Try both: a hardened unit may forbid one of them, and the other still protects.
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(no_core?)
}

/// Raises the limit of open files to the hard limit, and returns it.
pub fn raise_open_files() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Disables huge pages. The allocator requests them, and a few live bytes then keep 2 MiB: a guard under load uses 18 MiB
/// instead of 8, without a measurable gain. Child processes inherit the setting.
pub fn take_small_pages() {
    // If the kernel refuses, the process only uses more memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Waits for a child to end; `None` when it still runs after `timeout`.
pub fn wait_for(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        match child.try_wait()? {
            None if started.elapsed() <= timeout => std::thread::sleep(POLL),
            ended_or_not => return Ok(ended_or_not),
        }
    }
}

/// Lowers the scheduling priority of the calling thread.
pub fn yield_to_others() -> io::Result<()> {
    // On Linux, "this process" of setpriority(2) is the calling thread.
    Ok(rustix::process::setpriority_process(None, 10)?)
}

/// Why no other process may replace this one: its container would end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Irreplaceable {
    #[error(
        "this guard is the first process of its container (PID 1), which ends with it; nothing was done (hint: replace \
         the container)"
    )]
    First,
    #[error(
        "the container ends with this process: its first process waits for no other; nothing was done (hint: replace \
         the container)"
    )]
    OnlyChild,
}

/// Init programs of containers that end when their only child ends (`docker run --init` and similar).
const INITS_OF_ONE_CHILD: &[&str] =
    &["catatonit", "docker-init", "dumb-init", "podman-init", "tini", "tini-static"];

/// Whether another process may replace this one.
pub fn may_be_replaced() -> Result<(), Irreplaceable> {
    let first = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    check_replaceable(std::process::id(), std::os::unix::process::parent_id(), first.trim_end())
}

/// `first` is the name of process 1.
fn check_replaceable(own: u32, parent: u32, first: &str) -> Result<(), Irreplaceable> {
    match (own, parent) {
        (1, _) => Err(Irreplaceable::First),
        (_, 1) if INITS_OF_ONE_CHILD.contains(&first) => Err(Irreplaceable::OnlyChild),
        (_, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_the_number_of_open_files_to_the_hard_limit() {
        let allowed = raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), allowed);
    }

    #[test]
    fn no_huge_pages_are_taken_from_then_on() {
        take_small_pages();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
    }

    #[test]
    fn a_process_with_which_its_container_ends_is_not_replaced() {
        for (own, parent, first, expect) in [
            (1, 0, "mcp-guard", Err(Irreplaceable::First)),
            (7, 1, "tini", Err(Irreplaceable::OnlyChild)),
            (7, 1, "docker-init", Err(Irreplaceable::OnlyChild)),
            (7, 1, "systemd", Ok(())),
            (7, 3, "tini", Ok(())),
            (7, 1, "init", Ok(())),
        ] {
            assert_eq!(check_replaceable(own, parent, first), expect, "{own} {parent} {first}");
        }
    }

    #[test]
    fn a_private_process_leaves_no_core() {
        keep_memory_private().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
