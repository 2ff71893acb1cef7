//! What the console asks of the guard: admin commands, and what was counted.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::problem::Problem;
use crate::admin::{AdminCommand, AdminResponse};
use crate::telemetry::metrics::{ConsoleRefusal, Totals};
use crate::upstream::Slot;

/// A command that is being carried out.
pub(crate) type Running = Pin<Box<dyn Future<Output = AdminResponse> + Send>>;

/// A wait for the end of the console.
pub(crate) type Over = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the console asks of the guard.
#[derive(Clone)]
pub(crate) struct Service {
    /// Carries out a command of this person.
    pub(crate) run: Arc<dyn Fn(AdminCommand, String) -> Running + Send + Sync>,
    /// What was counted since the start.
    pub(crate) totals: Arc<dyn Fn() -> Totals + Send + Sync>,
    /// Reads which release each slot starts from, where it has one. Blocks as long as the file system does.
    pub(crate) releases: Arc<dyn Fn() -> Result<BTreeMap<Slot, String>, String> + Send + Sync>,
    /// Counts a refusal.
    pub(crate) refused: Arc<dyn Fn(ConsoleRefusal) + Send + Sync>,
    /// Whether another process has taken over: then this console ends.
    pub(crate) is_over: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Returns when another process has taken over.
    pub(crate) over: Arc<dyn Fn() -> Over + Send + Sync>,
}

impl Service {
    /// Carries out a command for a person.
    pub(super) async fn ask(&self, command: AdminCommand, who: &str) -> Result<AdminResponse, Problem> {
        let response = (self.run)(command, who.to_owned()).await;
        if let AdminResponse::Rejected(why) = &response {
            return Err(Problem::refused(why));
        }
        if let AdminResponse::Refused(refusal) = &response {
            return Err(Problem::internal(refusal.to_string()));
        }
        Ok(response)
    }
}

/// What is inside a response, without the word that names its kind.
pub(super) fn value_of(response: AdminResponse) -> Result<Value, Problem> {
    let mut value = serde_json::to_value(response).map_err(|error| Problem::internal(error.to_string()))?;
    let members = value.as_object_mut().map(std::mem::take);
    Ok(members.and_then(|members| members.into_iter().next()).map_or(value, |(_, inside)| inside))
}
