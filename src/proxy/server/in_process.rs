//! The connection front without its listener: any stream, one connection at a time, in the caller's runtime.
//!
//! For fuzzing and for nothing else. Everything behind the listener is the real thing.

use std::sync::Arc;

use pingora::apps::ServerApp;
use tokio::io::DuplexStream;
use tokio::sync::watch;

use crate::config::Config;
use crate::proxy::Error;
use crate::proxy::downstream::connection::Front;
use crate::proxy::server::share;
use crate::telemetry::Log;

/// A front without a listener.
pub(crate) struct Rig {
    front: Arc<Front>,
    shutdown: watch::Receiver<bool>,
    /// Its end would be taken for a shutdown.
    _running: watch::Sender<bool>,
}

impl Rig {
    pub(crate) fn new(config: Config, log: Log) -> Result<Rig, Error> {
        let front = Arc::new(Front::new(Arc::new(share(config, log)?)));
        let (running, shutdown) = watch::channel(false);
        Ok(Rig { front, shutdown, _running: running })
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, stream: DuplexStream) {
        self.front.process_new(Box::new(stream), &self.shutdown).await;
    }
}
