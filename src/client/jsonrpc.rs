//! Telling the answer to a question from whatever else an event stream carries. Must not know what an answer says.

use bytes::Bytes;
use serde_json::Value;

use crate::parity::bounded;

/// Longer ids than those that are asked with.
pub(super) const ID_BYTES_MAX: usize = 1_024;

/// The event, if it is the JSON-RPC answer with this id.
pub(super) fn answers(event: &[u8], id: &Value) -> Option<Bytes> {
    let [found, method] = bounded::members(event, ["id", "method"])?;
    let found: Value = found.filter(|found| found.get().len() <= ID_BYTES_MAX)?.get().parse().ok()?;
    (found == *id && method.is_none()).then(|| Bytes::copy_from_slice(event))
}
