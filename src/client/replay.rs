//! Sends a recorded request as it is and returns the whole JSON-RPC message. Only for requests that may be sent twice.

use serde_json::Value;

use super::error::Error;
use super::exchange::{Client, KeptConnection, ReadUntil, Request, Response, response_in};
use crate::wire::bounded;
use crate::wire::sse::Events;

impl Client {
    /// Sends the request, named `what` in errors, over a connection that is kept, and returns the message that responds to this
    /// id. A connection that was used before may be closed at any time, because it is idle: then the request is sent once more
    /// over another.
    pub(crate) async fn replay_kept(
        &self,
        kept: &mut KeptConnection,
        what: &str,
        request: Request,
        id: &Value,
    ) -> Result<Value, Error> {
        let awaited = ReadUntil::Response(id);
        let first = self.exchange_kept(kept, what, request.clone(), awaited).await;
        let reply = match first {
            Err(_) if kept.was_closed => self.exchange_kept(kept, what, request, awaited).await?,
            result => result?,
        };
        self.message(what, &reply)
    }

    fn message(&self, what: &str, reply: &Response) -> Result<Value, Error> {
        if let Some(message) = self.tree(what, &reply.body)?
            && (message.get("result").is_some() || message.get("error").is_some())
        {
            return Ok(message);
        }
        let (question, excerpt, status) = (self.question(what), reply.excerpt(), reply.status);
        if !(200..300).contains(&status) {
            return Err(Error::Status { question, status, excerpt });
        }
        Err(Error::NotRpc { question, status, content_type: reply.content_type(), excerpt })
    }
}

/// The message in a recorded event stream that responds to this id.
pub(crate) fn message_in_stream(stream: &[u8], id: &Value) -> Option<Value> {
    bounded::parse(&response_in(&mut Events::default(), stream, id)?).ok()
}
