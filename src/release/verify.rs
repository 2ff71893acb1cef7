//! Verification: a slot before it gets traffic, and the service as clients see it afterwards.
//!
//! Must not know what a failure leads to.

use std::time::Duration;

use super::host::{Host, block_on};
use super::plan::Operation;
use crate::client::Session;

/// For one request of the verification: what the rollback procedure allows `initialize`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a slot directly.
pub(crate) fn slot(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let expected = match &operation.release {
        Some(name) => host.store.manifest(name).map_err(|error| error.to_string())?.tools,
        None => None,
    };
    let client = host.client(operation.slot, TIMEOUT)?;
    block_on(async {
        let session = Session::open(&client).await.map_err(|error| error.to_string())?;
        let listed = session.list_tools().await.map_err(|error| error.to_string());
        session.close().await;
        let found = listed?.0.len();
        match expected {
            Some(expected) if expected != found => {
                Err(format!("tools/list has {found} tools, the release says {expected}"))
            }
            Some(_) | None => Ok(vec![format!("tools/list has {found} tools")]),
        }
    })?
}

/// Asks the service through the guard.
pub(crate) fn service(host: &Host<'_>, operation: &Operation) -> Result<Vec<String>, String> {
    let status = host.report()?.status;
    let found = status.slots.iter().find(|found| found.slot == operation.slot);
    match found {
        Some(found) if found.health == "healthy" => {
            Ok(vec![format!("slot {} is healthy", found.slot.as_str())])
        }
        Some(found) => Err(format!("slot {} is {}", found.slot.as_str(), found.health)),
        None => Err(format!("the guard does not know slot {}", operation.slot.as_str())),
    }
}
