//! How this process was started: with which sockets, and whether it replaces another one. The new process's side of an upgrade.
//!
//! Must not know what is served.

use super::old_process::OldProcess;
use crate::proxy::Handle;
use mcp_host::handoff::{HandoffError, Predecessor};
use mcp_host::socket_activation::{InheritError, Inherited};

/// How this process was started: with which sockets, and which process it replaces.
pub(super) struct Startup {
    predecessor: Option<Predecessor>,
    pub(super) inherited: Inherited,
    /// What it has replaced, once it has.
    pub(super) old: OldProcess,
}

/// Why a process cannot take its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    #[error("cannot take the sockets of the service manager over")]
    Inherit(#[from] InheritError),
    #[error("cannot take over from the running guard")]
    Handoff(#[from] HandoffError),
    #[error(
        "the service manager passed a socket for {0}, which is not an address of this configuration (hint: \
         ListenStream= of the .socket unit and the [listen] table must name the same addresses)"
    )]
    Unwanted(String),
    #[error("stopped before the upgrade was complete")]
    Stopping(#[source] HandoffError),
}

impl Startup {
    /// Takes the sockets that this process was started with. Call it once.
    pub(super) fn inherit() -> Result<Startup, StartupError> {
        let old = OldProcess::default();
        if let Some((predecessor, sockets)) = Predecessor::accept()? {
            old.is_expected(predecessor.give_up().map_err(HandoffError::from)?);
            return Ok(Startup { predecessor: Some(predecessor), inherited: Inherited::new(sockets), old });
        }
        Ok(Startup { predecessor: None, inherited: Inherited::from_service_manager()?, old })
    }

    /// Everything is bound and nothing has begun. Returns when this process may begin.
    pub(super) fn prepared(&mut self) -> Result<(), StartupError> {
        let left: Vec<String> = self.inherited.unclaimed().map(ToString::to_string).collect();
        self.inherited = Inherited::default();
        match &mut self.predecessor {
            None if !left.is_empty() => Err(StartupError::Unwanted(left.join(", "))),
            None => Ok(()),
            Some(predecessor) => {
                for place in left {
                    log::info!("no longer listening on {place}");
                }
                Ok(predecessor.prepared(env!("CARGO_PKG_VERSION"))?)
            }
        }
    }

    /// This process can serve. Returns true if it took over from another one, which accepts no more. `Err` if it must not serve:
    /// this process or the other one was told to stop, or no service manager would know of this one.
    pub(super) fn serving(&mut self, handle: &Handle) -> Result<bool, StartupError> {
        let Some(predecessor) = self.predecessor.take() else { return Ok(false) };
        let (finishing, served) = match predecessor.serving() {
            Ok(finishing) => (Some(finishing), Ok(true)),
            Err(why @ HandoffError::Stopped) => (None, Err(StartupError::Stopping(why))),
            // The other one carries on, as this one has asked for.
            Err(why) if handle.status().draining => (None, Err(StartupError::Stopping(why))),
            Err(error) => (None, Err(error.into())),
        };
        self.old.finishes(finishing);
        served
    }

    /// Sends the reason to the process that was to be replaced.
    pub(super) fn failed(self, why: &str) {
        if let Some(predecessor) = self.predecessor {
            predecessor.failed(why);
        }
    }
}
