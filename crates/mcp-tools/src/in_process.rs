//! The server without its socket, for benches: one message in, one response out, through the code that serves the socket.

use std::error::Error;

use bytes::Bytes;
use hyper::HeaderMap;

use crate::catalogue::{self, builtin_sources};
use crate::database::{Address, Databases, MAIN, Settings};
use crate::handler::Context;
use crate::protocol::message;
use crate::registry;
use crate::service::{self, Carrier, Shared, View};

/// The built-in catalogue with its embedded database.
pub struct InProcess {
    view: View,
}

/// The response to one message.
pub struct InProcessResponse {
    /// The HTTP status.
    pub status: u16,
    /// The body: the part with the caller's id, and the part that all callers share.
    pub pieces: [Bytes; 2],
}

impl InProcess {
    /// A server that writes no log.
    pub fn new() -> Result<InProcess, Box<dyn Error>> {
        let registry =
            registry::build(&builtin_sources(), None).map_err(|problems| catalogue::listed(&problems))?;
        let context = Context::without_log(Databases::open(&[(
            MAIN.to_owned(),
            Address::Embedded,
            Settings::default(),
        )])?);
        Ok(InProcess { view: Shared::new(registry, context).view(Carrier::Http) })
    }

    /// The same process with the tools that `text` declares, or why they are refused.
    #[cfg(test)]
    pub(crate) fn with_catalogue(&self, text: &str) -> Result<InProcess, String> {
        let source = catalogue::Source::new("any.toml", text, false);
        let registry =
            registry::build(&[source], Some("".into())).map_err(|problems| catalogue::listed(&problems))?;
        let context = std::sync::Arc::clone(&self.view.context);
        let writes = self.view.writes.clone();
        Ok(InProcess { view: View { registry: registry.into(), context, carrier: Carrier::Http, writes } })
    }

    /// Responds to one message without MCP headers; `None` if the body is not a message.
    pub async fn respond(&self, body: &[u8]) -> Option<InProcessResponse> {
        let message = message::read(body).ok()?;
        let reply = service::respond(&self.view, &HeaderMap::new(), message).await;
        Some(InProcessResponse { status: reply.status().as_u16(), pieces: reply.into_body().into_pieces() })
    }
}
