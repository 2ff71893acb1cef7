//! One JSON-RPC message of a client, read from the body without building a tree of it.
//!
//! Checks the envelope only: `params` stays text until a method needs it. Must not know HTTP or what a method does.

use std::borrow::Cow;

use rmcp::model::{ErrorCode, ErrorData, ProtocolVersion, RequestId, RequestMetaObject};
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A message by its kind.
pub(crate) enum Message<'a> {
    Request(Call<'a>),
    /// Accepted without effect.
    Notification(Notification<'a>),
    /// A response to a request that this server never sends, with its id.
    Response(Option<Id<'a>>),
}

/// A request: a notification with an id (JSON-RPC 2.0, section 4.1).
pub(crate) struct Call<'a> {
    pub(crate) id: Id<'a>,
    pub(crate) notification: Notification<'a>,
    meta: Option<RequestMetaObject>,
}

/// Method and parameters, which requests and notifications both have.
pub(crate) struct Notification<'a> {
    pub(crate) method: Cow<'a, str>,
    params: Option<&'a RawValue>,
}

/// The id of a request, as JSON.
pub(crate) struct Id<'a>(Cow<'a, str>);

impl Id<'_> {
    pub(crate) fn json(&self) -> &str {
        &self.0
    }
}

impl<'a> Notification<'a> {
    /// The parameters as `T`, if they have its form. Absent parameters are an empty object.
    pub(crate) fn params<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.params_text()).ok()
    }

    pub(crate) fn params_text(&self) -> &'a str {
        self.params.map_or("{}", RawValue::get)
    }
}

impl Call<'_> {
    /// The version that the request declares itself; only requests of the stateless era do.
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.meta.as_ref()?.protocol_version()
    }

    /// Metadata fields that a request without a handshake needs and this one lacks.
    pub(crate) fn missing_metadata(&self) -> Vec<&'static str> {
        let none = RequestMetaObject::default();
        self.meta.as_ref().unwrap_or(&none).missing_required_keys(&ProtocolVersion::V_2026_07_28)
    }
}

/// The error for a body that is not a message, and the id of its response.
pub(crate) struct InvalidMessage {
    pub(crate) error: ErrorData,
    pub(crate) id: Value,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

/// A key that is present, even with `null`: in JSON-RPC its presence makes a message a request.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a body.
pub(crate) fn read(body: &[u8]) -> Result<Message<'_>, Box<InvalidMessage>> {
    message(body).ok_or_else(|| Box::new(invalid_message(body)))
}

fn message(body: &[u8]) -> Option<Message<'_>> {
    // An array would be read as the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    if envelope.jsonrpc.0 != "2.0" {
        return None;
    }
    let is_error = |error: &RawValue| serde_json::from_str::<ErrorData>(error.get()).is_ok();
    match (envelope.method, envelope.id, envelope.result, envelope.error) {
        (Some(method), id, None, None) => {
            let (params, meta) = params(envelope.params)?;
            let notification = Notification { method: method.0, params };
            let Some(id) = id else { return Some(Message::Notification(notification)) };
            Some(Message::Request(Call { id: id_of_request(id)?, notification, meta }))
        }
        (None, Some(id), Some(_), None) => Some(Message::Response(Some(id_of_request(id)?))),
        (None, id, None, Some(error)) if is_error(error) => {
            Some(Message::Response(id.and_then(id_of_request)))
        }
        (_, _, _, _) => None,
    }
}

/// The parameters must be an object, and so must their metadata.
fn params(given: Option<&RawValue>) -> Option<(Option<&RawValue>, Option<RequestMetaObject>)> {
    let Some(given) = given else { return Some((None, None)) };
    if !given.get().starts_with('{') {
        return None;
    }
    // Without a backslash, a key is written as it is.
    let may_have_meta = given.get().contains("_meta") || given.get().contains('\\');
    if !may_have_meta {
        return Some((Some(given), None));
    }
    let read: Params<'_> = serde_json::from_str(given.get()).ok()?;
    let meta = match read.meta {
        Some(meta) => Some(serde_json::from_str(meta.get()).ok()?),
        None => None,
    };
    Some((Some(given), meta))
}

/// An integer or a text, in canonical form. An id that has this form already is not copied.
fn id_of_request(id: &RawValue) -> Option<Id<'_>> {
    const DIGITS_SAFE: usize = 18;
    let text = id.get();
    let is_plain_number = text.len() <= DIGITS_SAFE && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain_text = text.starts_with('"') && !text.contains('\\');
    if is_plain_number || is_plain_text {
        return Some(Id(Cow::Borrowed(text)));
    }
    let id: RequestId = serde_json::from_str(text).ok()?;
    serde_json::to_string(&id).ok().map(|json| Id(Cow::Owned(json)))
}

/// Explains why a body is not a message. Slow, because nothing depends on its speed.
fn invalid_message(body: &[u8]) -> InvalidMessage {
    let error = match serde_json::from_slice::<Value>(body) {
        Ok(_) => ErrorData::invalid_request("not a JSON-RPC 2.0 message of MCP", None),
        Err(error) => ErrorData::new(ErrorCode::PARSE_ERROR, format!("the body is not JSON: {error}"), None),
    };
    InvalidMessage { error, id: id_for_error(body) }
}

/// The id for an error response to a body that is not a message: its own id, if that has a valid type.
pub(crate) fn id_for_error(body: &[u8]) -> Value {
    let id = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut message)) => message.remove("id"),
        Ok(_) | Err(_) => None,
    };
    id.filter(|id| id.is_string() || id.is_i64() || id.is_u64()).unwrap_or(Value::Null)
}

/// JSON of a value whose serialization cannot fail.
pub(crate) fn json_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
