//! Settings of this process and messages to its service manager. A failure is logged and changes nothing else.

use crate::config::Config;
use crate::upstream::Slot;
use mcp_host::process;
use mcp_host::sd_notify::{State, notify};

/// Open files besides connections: listeners, log, runtime.
const OTHER_FILES: usize = 64;

/// Sends a state to the service manager, if there is one.
pub(super) fn sd_notify(state: State<'_>) {
    if let Err(error) = notify(state) {
        log::warn!("cannot tell the service manager: {error}");
    }
}

/// Raises the limit of open files, and warns if it is below the connections that the configuration allows.
pub(super) fn raise_fd_limit(config: &Config) {
    let slots = Slot::ALL.into_iter().filter_map(|slot| config.backend(slot));
    let backend: usize = slots.map(|backend| backend.pool + config.limits.in_flight_max).sum();
    let needed = config.limits.connections_max + backend + OTHER_FILES;
    match process::raise_open_files() {
        Ok(allowed) if allowed < needed as u64 => log::warn!(
            "limits.connections: {needed} open files may be needed and {allowed} are allowed (hint: LimitNOFILE=)"
        ),
        Ok(_) => {}
        Err(error) => log::warn!("cannot raise the number of open files: {error}"),
    }
}
