//! The connection handler without a listener: any stream, one connection at a time, in the caller's runtime.
//!
//! For fuzzing and for nothing else. Everything behind the listener is the real thing.

use std::sync::Arc;

use tokio::io::DuplexStream;

use crate::config::Config;
use crate::proxy::Error;
use crate::proxy::downstream::client_stream::Accepted;
use crate::proxy::downstream::connection::ConnectionHandler;
use crate::proxy::state::ProxyState;
use crate::telemetry::Log;

/// A connection handler without a listener.
pub(crate) struct InProcessServer {
    handler: ConnectionHandler,
}

impl InProcessServer {
    pub(crate) fn new(config: Config, log: Log) -> Result<InProcessServer, Error> {
        Ok(InProcessServer { handler: ConnectionHandler::new(Arc::new(ProxyState::new(config, log)?)) })
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, stream: DuplexStream) {
        self.handler.serve(Accepted::InProcess(Box::new(stream)), None, self.handler.admit(None)).await;
    }
}
