//! Starts the console on the parts of a running guard, and hands its listener over to a new process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use mcp_host::socket_activation::{Inherited, InheritedListener, ListenAddr, SocketOwner};

use super::admin::AdminContext;
use crate::console::{Console, Running, Service};

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

    /// Serves.
    pub(super) fn start(self, console: &Console, context: AdminContext) -> io::Result<()> {
        let address = self.listener.local_addr()?;
        let (counted, handed_over) = (context.parts.handle.clone(), context.parts.handle.clone());
        let service = Service {
            run: Arc::new(move |command, who| -> Running { Box::pin(context.clone().run(command, who)) }),
            totals: Arc::new(move || counted.totals()),
            is_over: Arc::new(move || handed_over.is_handed_over()),
        };
        console.start(self.listener, service)?;
        log::info!("console on {}", console.url(address));
        Ok(())
    }
}
