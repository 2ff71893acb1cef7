//! The tools about the process itself: the time, its state and that of its databases.
//!
//! Must not know what the databases hold.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::context::Context;
use super::self_description::SelfDescription;
use crate::catalogue::file::ServerReport;
use crate::database::{Access, Batch, Database, Statement};

/// A database that does not respond within this time is reported as failed.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn report(report: ServerReport, context: &Context, server: &SelfDescription) -> Value {
    match report {
        ServerReport::Time => {
            let now = jiff::Timestamp::now();
            json!({ "utc": format!("{now:.3}"), "unix_seconds": now.as_second() })
        }
        ServerReport::Status => {
            let mut databases = Map::new();
            for (name, database) in context.databases.all() {
                databases.insert(name.to_owned(), Value::from(probe(database).await));
            }
            json!({
                "server": server.identity.name,
                "version": server.identity.version,
                "uptime_seconds": context.started.elapsed().as_secs(),
                "tools": server.tools.len(),
                "databases": databases,
            })
        }
    }
}

async fn probe(database: &Database) -> String {
    let statement = Statement {
        text: "SELECT 1 AS one".into(),
        binds: Vec::new(),
        types: std::sync::Arc::default(),
        rows_max: 1,
        required: false,
        typed: std::sync::Arc::default(),
        columns: std::sync::Arc::default(),
    };
    let batch = Batch::new(Access::Read, PROBE_TIME_MAX, vec![statement]);
    match database.run(batch).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}
