//! The HTTP admin interface and its page: status, series and events for viewers, orders for operators.
//!
//! Every order is one of the admin commands, carried out by the same code and logged with who gave it and why. On threads of its
//! own: nothing here runs where calls are served. Must not know what a command does.

mod api;
mod body;
mod document;
mod drawing;
mod encryption;
mod feed;
mod order;
mod places;
mod problem;
mod query;
mod refusals;
mod releases;
mod seconds;
mod server;
mod service;
mod who;
mod write_deadline;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use self::encryption::Encryption;
use self::feed::{Feed, lock, now};
use self::seconds::{Rolling, Which};
pub(crate) use self::service::{Over, Running, Service};
use self::who::People;
use crate::config;
use crate::control::Pictures;
use crate::series::Series;

/// For responses under way when another process takes over.
const GRACE: Duration = Duration::from_secs(2);

/// The console, running or not. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Console {
    people: Arc<People>,
    encryption: Arc<Encryption>,
    series: Arc<Mutex<Series>>,
    rolling: Arc<Rolling>,
    /// Whether connections are accepted.
    is_accepting: watch::Sender<bool>,
    address: Option<SocketAddr>,
}

impl Console {
    /// The console of this configuration.
    pub(crate) fn new(config: config::console::Console) -> Console {
        Console {
            people: Arc::new(People::new(config.people)),
            encryption: Arc::new(Encryption::new(config.tls)),
            series: Arc::default(),
            rolling: Arc::default(),
            is_accepting: watch::Sender::new(false),
            address: config.address,
        }
    }

    /// What makes the pictures in the records of rollouts.
    pub(crate) fn pictures(&self) -> Pictures {
        let (series, rolling) = (self.series.clone(), self.rolling.clone());
        Pictures {
            follow: Arc::new(move |is_rolling| rolling.set(is_rolling)),
            draw: Arc::new(move |history| drawing::of_rollout(&lock(&series), history)),
        }
    }

    /// Serves on a listener that is bound already, and counts. Without one it counts for records alone.
    pub(crate) fn start(&self, listener: Option<TcpListener>, service: Service) -> io::Result<()> {
        let which = if listener.is_some() { Which::All } else { Which::OfRollouts };
        seconds::start(which, self.series.clone(), self.rolling.clone(), service.clone())?;
        listener.map_or(Ok(()), |listener| self.serve(listener, service))
    }

    /// Serves on a thread of its own.
    fn serve(&self, listener: TcpListener, service: Service) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        if self.encryption.current().is_some_and(|tls| tls.not_after() <= now()) {
            log::error!(
                "console: its certificate has expired: browsers refuse it until it is renewed (mcp-guard reload)"
            );
        }
        let (series, people, encryption) =
            (self.series.clone(), self.people.clone(), self.encryption.clone());
        self.is_accepting.send_replace(true);
        let is_accepting = self.is_accepting.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("console".to_owned());
        thread.spawn(move || {
            runtime.block_on(async {
                let over = (service.over)();
                let feed = Arc::new(Feed::new(service, people, series));
                let serving = server::serve(listener, encryption, feed.clone());
                tokio::select! {
                    () = over => {}
                    () = feed.stream() => {}
                    () = feed.follow_fleet() => {}
                    ended = serving => {
                        if let Err(error) = ended {
                            log::error!("console: {error}");
                        }
                    }
                }
                // The listener is closed: what was asked already is still responded to.
                is_accepting.send_replace(false);
                feed.end();
                tokio::time::sleep(GRACE).await;
            });
            // A read of a file system that hangs is left alone.
            runtime.shutdown_background();
        })?;
        Ok(())
    }

    /// Returns when no connection is accepted any more.
    pub(crate) async fn accepts_no_more(&self) {
        // The sender is here, so this ends for that reason alone.
        let _ = self.is_accepting.subscribe().wait_for(|is_accepting| !is_accepting).await;
    }

    /// Where it listens, as a browser takes it.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.encryption.current().is_some() { "https" } else { "http" };
        format!("{scheme}://{address}/")
    }

    /// Replaces who may look and order, and what new connections are shown: the next request, and the next event of a stream, follow
    /// it. Puts what stays until the next start into the configuration, and returns the names of these keys.
    pub(crate) fn configure(&self, config: &mut config::console::Console) -> Vec<&'static str> {
        if let Some(address) = config.blocked_by(self.address) {
            log::warn!(
                "console.address: {address} needs a restart: an upgrade cannot bind it beside the present one"
            );
        }
        let kept = config.keep(self.address, self.encryption.current().as_ref());
        self.people.replace(config.people.clone());
        self.encryption.replace(config.tls.as_ref());
        kept
    }

    /// The digests of the pairs that are shown.
    pub(crate) fn shown_pairs(&self) -> Vec<[u8; 32]> {
        self.encryption.current().map(|tls| tls.pairs().to_vec()).unwrap_or_default()
    }
}
