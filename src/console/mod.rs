//! The HTTP admin interface and its page: status, series and events for viewers, orders for operators.
//!
//! Every order is one of the admin commands, carried out by the same code and logged with who gave it and why. A thread of its
//! own: nothing here runs where calls are served. Must not know what a command does.

mod api;
mod body;
mod document;
mod feed;
mod order;
mod problem;
mod server;
mod service;
mod who;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use self::feed::Feed;
pub(crate) use self::service::{Running, Service};
use self::who::People;
use crate::config;

/// For responses under way when another process takes over.
const GRACE: Duration = Duration::from_secs(2);

/// The console, running or not. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Console {
    people: Arc<People>,
    address: Option<SocketAddr>,
}

impl Console {
    /// The console of this configuration.
    pub(crate) fn new(config: config::console::Console) -> Console {
        Console { people: Arc::new(People::new(config.people)), address: config.address }
    }

    /// Serves on a listener that is bound already, on a thread of its own.
    pub(crate) fn start(&self, listener: TcpListener, service: Service) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let feed = Arc::new(Feed::new(service, self.people.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("console".to_owned());
        thread.spawn(move || {
            runtime.block_on(async {
                let serving = server::serve(listener, feed.clone());
                tokio::select! {
                    () = feed.sample() => {}
                    ended = serving => {
                        if let Err(error) = ended {
                            log::error!("console: {error}");
                        }
                    }
                }
                // The listener is closed: what was asked already is still responded to.
                feed.end();
                tokio::time::sleep(GRACE).await;
            });
        })?;
        Ok(())
    }

    /// Replaces who may look and order: the next request, and the next event of a stream, follow it. Returns whether the address
    /// is still that of the start.
    pub(crate) fn configure(&self, config: config::console::Console) -> bool {
        self.people.replace(config.people);
        config.address == self.address
    }
}
