//! Parity: are two MCP servers the same to their clients? Normalize, compare, report.
//!
//! Pure: takes what was observed about two servers and says what differs, where, and whether it breaks a client. The same
//! code serves the command, the gate before each rollout stage and the shadow. Must not know how the facts were got.

pub mod accept;
pub mod checks;
pub mod expectations;
pub mod facts;
pub mod finding;
pub mod normalize;
pub mod render;
pub mod report;
pub mod results;
pub mod schema;
pub mod shadow;

pub use checks::behaviour::says_healthy;
pub use checks::judge;
pub use expectations::Expectations;
pub use finding::{Finding, Severity};
pub use report::{Check, CheckId, CheckStatus, Report};
