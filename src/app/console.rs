//! Starts the console on the parts of a running guard, and hands its listener over to a new process.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use mcp_host::socket_activation::{Inherited, InheritedListener, ListenAddr, SocketOwner};

use super::admin::AdminContext;
use crate::console::{Console, Over, Running, Service};
use crate::upstream::Slot;

/// A bound listener.
pub(super) struct ConsoleListener {
    listener: TcpListener,
    owner: SocketOwner,
}

impl ConsoleListener {
    /// Binds the address of `[console]`, unless its listener is inherited.
    pub(super) fn bind(address: SocketAddr, inherited: &mut Inherited) -> io::Result<ConsoleListener> {
        if let Some((listener, owner)) = inherited.take_tcp(address) {
            return Ok(ConsoleListener { listener, owner });
        }
        let listener = TcpListener::bind(address)?;
        Ok(ConsoleListener { listener, owner: SocketOwner::Server })
    }

    /// A copy for the process that replaces this one.
    pub(super) fn listening(&self) -> io::Result<InheritedListener> {
        let address = ListenAddr::Tcp(self.listener.local_addr()?);
        let socket = self.listener.try_clone()?.into();
        Ok(InheritedListener { address, owner: self.owner, socket })
    }
}

/// Serves where there is a listener. Without one, the seconds are counted for the records of rollouts, where they are kept.
pub(super) fn start(
    listener: Option<ConsoleListener>,
    console: &Console,
    context: AdminContext,
    file: &Path,
) -> io::Result<()> {
    if listener.is_none() && !context.reloader.keeps_state() {
        return Ok(());
    }
    let address = listener.as_ref().map(|listener| listener.listener.local_addr()).transpose()?;
    let [counted, handed_over, over, refused] = [(); 4].map(|()| context.parts.handle.clone());
    let service = Service {
        run: Arc::new(move |command, who| -> Running { Box::pin(context.clone().run(command, who)) }),
        totals: Arc::new(move || counted.totals()),
        releases: releases(file),
        refused: Arc::new(move |refusal| refused.console_refused(refusal)),
        is_over: Arc::new(move || handed_over.is_handed_over()),
        over: Arc::new(move || -> Over {
            let over = over.clone();
            Box::pin(async move { over.handed_over().await })
        }),
    };
    console.start(listener.map(|listener| listener.listener), service)?;
    if let Some(address) = address {
        log::info!("console on {}", console.url(address));
    }
    Ok(())
}

/// Reads the release that each slot starts from.
type ReadReleases = Arc<dyn Fn() -> Result<BTreeMap<Slot, String>, String> + Send + Sync>;

/// By the links that `mcp-guard release` keeps.
#[cfg(feature = "release")]
fn releases(file: &Path) -> ReadReleases {
    use crate::release::{Layout, store::Store};

    let settings = crate::config::release_settings(file).ok();
    let store = settings.map(|settings| Store::new(Layout::new(settings.directory)));
    Arc::new(move || {
        let mut found = BTreeMap::new();
        let Some(store) = &store else { return Ok(found) };
        for slot in Slot::ALL {
            let current = store.current(slot);
            let current = current.map_err(|error| mcp_host::diagnostics::chain(&error))?;
            found.extend(current.map(|release| (slot, release.as_str().to_owned())));
        }
        Ok(found)
    })
}

#[cfg(not(feature = "release"))]
fn releases(_: &Path) -> ReadReleases {
    Arc::new(|| Ok(BTreeMap::new()))
}
