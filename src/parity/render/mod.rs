//! A report in words, as JSON, and as JUnit.

mod json;
mod junit;
mod text;

pub use json::json;
pub use junit::junit;
pub use text::safe;
pub use text::text;
