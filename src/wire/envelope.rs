//! The envelope of a JSON-RPC message, its members as texts: no tree is made of what is not read.
//!
//! For whole messages off the way of a call; what streams by is read by `scan` and `response_scan`. Of equal keys the last one
//! counts. Must not know what a result says.

use serde_json::Value;
use serde_json::value::RawValue;

use super::bounded;

/// A longer id is equal to no other: the requests that the guard makes have short ones.
const ID_BYTES_MAX: usize = 1_024;

/// The members of one message.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    version: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads a whole message; nothing if it is no JSON object.
    pub fn read(message: &'a [u8]) -> Option<Envelope<'a>> {
        let [version, id, result, error] = bounded::members(message, ["jsonrpc", "id", "result", "error"])?;
        Some(Envelope { version, id, result, error })
    }

    /// The result of the request with this id.
    pub fn result_for(&self, id: &Value) -> Option<&'a RawValue> {
        let is_version_2 = self.version.and_then(bounded::text).is_some_and(|version| version == "2.0");
        self.result.filter(|_| is_version_2 && self.error.is_none() && is_id(self.id, id))
    }

    /// The result, whatever request it belongs to.
    pub fn result(&self) -> Option<&'a RawValue> {
        self.result
    }
}

/// Whether a message carries this id and is no request. A result that cannot be read does not hide whose it is: the message is
/// found, and refused for what it says.
pub fn responds_to(message: &[u8], id: &Value) -> bool {
    let members = bounded::members(message, ["id", "method"]);
    members.is_some_and(|[found, method]| method.is_none() && is_id(found, id))
}

fn is_id(found: Option<&RawValue>, id: &Value) -> bool {
    found.is_some_and(|found| {
        found.get().len() <= ID_BYTES_MAX && found.get().parse::<Value>().is_ok_and(|found| found == *id)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(message: &str, responds: bool, result: Option<&str>) {
        let envelope = Envelope::read(message.as_bytes()).expect("an object");
        let found = envelope.result_for(&json!(7)).map(RawValue::get);
        assert_eq!((responds_to(message.as_bytes(), &json!(7)), found), (responds, result), "{message}");
    }

    #[test]
    fn a_result_belongs_to_the_request_with_its_id() {
        check(r#"{"jsonrpc":"2.0","id":7,"result":{"a": 1}}"#, true, Some(r#"{"a": 1}"#));
        check(r#"{"id":8,"result":1,"jsonrpc":"2.0","id":7,"result":2}"#, true, Some("2"));
        check(r#"{"jsonrpc":"2.0","id":8,"result":1}"#, false, None);
        check(r#"{"jsonrpc":"2.0","id":"7","result":1}"#, false, None);
        check(r#"{"jsonrpc":"1.0","id":7,"result":1}"#, true, None);
        check(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":""}}"#, true, None);
        check(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, false, None);
        check(r#"{"jsonrpc":"2.0","result":1}"#, false, None);
        let long = format!("\"{}\"", "x".repeat(ID_BYTES_MAX));
        check(&format!(r#"{{"jsonrpc":"2.0","id":{long},"result":1}}"#), false, None);
        assert!(Envelope::read(b"[1]").is_none() && Envelope::read(b"{").is_none());
    }

    // JSON-RPC 2.0: a response repeats the id, and has no method; an id of another type is another id.
    #[test]
    fn a_response_has_the_id_and_no_method() {
        let is = |event: &str| responds_to(event.as_bytes(), &json!(2));
        assert!(responds_to(b"{\"id\":2,\"result\":\"\xff\"}", &json!(2)), "its text is no UTF-8");
        assert!(is(r#"{"jsonrpc":"2.0","id":2,"result":{"id":7,"method":"x"}}"#));
        assert!(is(r#"{"error":{"code":1,"message":""},"\u0069d":2}"#), "an escaped key is the same key");
        assert!(is(r#"{"id":1,"id":2,"result":{}}"#), "the last of two counts, as for every reader here");
        for other in [
            r#"{"id":3,"result":{}}"#,
            r#"{"id":"2","result":{}}"#,
            r#"{"id":2.0,"result":{}}"#,
            r#"{"result":{"id":2}}"#,
            r#"{"id":2,"method":"sampling/createMessage"}"#,
            r#"{"id":2,"method":null}"#,
            r#"[{"id":2,"result":{}}]"#,
            r#"{"id":2,"result":{}"#,
            r#"{"id":2,"result":{}} x"#,
            "2",
            "",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
