//! HTTP/1.1 message syntax (RFC 9112), judged strictly on raw bytes.
//!
//! Everything here is a function of bytes: no I/O, no clock, no policy. Parsing borrows from the caller's buffer and
//! reuses the caller's span storage, so a warm connection parses without allocating. What is not plainly valid is an
//! error: there is no lenient mode.

mod arriving;
mod authority;
mod bytes;
pub mod chunked;
mod copies;
mod error;
pub mod fields;
pub mod framing;
mod head_end;
pub mod hop_by_hop;
mod known;
mod relied_on;
pub mod request;
pub mod response;
mod target;
mod version;

pub use arriving::Arriving;
pub use authority::Authority;
pub use error::FramingError;
pub use fields::{Field, FieldSpans, Fields, Occurs};
pub use framing::BodyLength;
pub use head_end::{HeadLimits, head_end};
pub use known::{KnownField, same_name};
pub use relied_on::is_of_family;
pub use request::RequestHead;
pub use response::ResponseHead;
pub use version::Version;
