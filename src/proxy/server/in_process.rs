//! The connection handler without a listener: any stream, one connection at a time, in the caller's runtime.
//!
//! For fuzzing and for nothing else. Everything behind the listener is the real thing.

use std::sync::Arc;

use pingora::apps::ServerApp;
use tokio::io::DuplexStream;
use tokio::sync::watch;

use crate::config::Config;
use crate::proxy::Error;
use crate::proxy::downstream::connection::ConnectionHandler;
use crate::proxy::state::ProxyState;
use crate::telemetry::Log;

/// A connection handler without a listener.
pub(crate) struct InProcessServer {
    handler: Arc<ConnectionHandler>,
    shutdown: watch::Receiver<bool>,
    /// Kept, because its drop would signal a shutdown.
    _running: watch::Sender<bool>,
}

impl InProcessServer {
    pub(crate) fn new(config: Config, log: Log) -> Result<InProcessServer, Error> {
        let handler = Arc::new(ConnectionHandler::new(Arc::new(ProxyState::new(config, log)?), 1));
        let (running, shutdown) = watch::channel(false);
        Ok(InProcessServer { handler, shutdown, _running: running })
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, stream: DuplexStream) {
        self.handler.process_new(Box::new(stream), &self.shutdown).await;
    }
}
