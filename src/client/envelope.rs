//! Telling the answer to a question from whatever else an event stream carries. Must not know what an answer says.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The event, if it is the JSON-RPC answer with this id.
pub(super) fn answers(event: &[u8], id: &Value) -> Option<Bytes> {
    let envelope: Envelope = serde_json::from_slice(event).ok()?;
    let is_answer = envelope.id.as_ref() == Some(id) && !envelope.has_method;
    is_answer.then(|| Bytes::copy_from_slice(event))
}

/// Of a JSON-RPC message what tells an answer from the rest. What else is in it is passed over: it may be long.
#[derive(Default)]
struct Envelope {
    id: Option<Value>,
    has_method: bool,
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == "id" {
                envelope.id = Some(map.next_value()?);
            } else {
                envelope.has_method |= key == "method";
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(envelope)
    }
}
