//! Sends a recorded request as it is and returns the whole JSON-RPC message.

use serde_json::Value;

use super::error::Error;
use super::exchange::{Client, ReadUntil, Request, response_in};
use crate::wire::bounded;
use crate::wire::sse::Events;

impl Client {
    /// Sends the request, named `what` in errors, and returns the message that responds to this id.
    pub(crate) async fn replay(&self, what: &str, request: Request, id: &Value) -> Result<Value, Error> {
        let reply = self.exchange(what, request, ReadUntil::Response(id)).await?;
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
