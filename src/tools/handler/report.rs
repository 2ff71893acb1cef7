//! What the process knows about itself: the time, and how it is.
//!
//! Must not know databases or the outside.

use serde_json::{Value, json};

use super::Host;
use crate::tools::catalogue::ServerReport;
use crate::tools::registry::Registry;

pub(super) fn report(report: ServerReport, host: &Host, registry: &Registry) -> Value {
    match report {
        ServerReport::Time => {
            let now = jiff::Timestamp::now();
            json!({ "utc": format!("{now:.3}"), "unix_seconds": now.as_second() })
        }
        ServerReport::Status => json!({
            "server": "swf-testbed",
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": host.started.elapsed().as_secs(),
            "tools": registry.tools().len(),
        }),
    }
}
