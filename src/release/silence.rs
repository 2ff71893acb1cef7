//! Silences in an Alertmanager while an operation runs: a slot that is stopped on purpose must not page.
//!
//! A silence is found by the operation's id in its comment, so that one that a killed command left is ended by the next. A
//! failure here is a warning: no operation waits for an Alertmanager. Must not know what an operation does.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::host::block_on;
use crate::client::{Client, Limits, Method, Request, Response, Target};
use crate::config::release::Release;

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(3);
const BODY_BYTES_MAX: usize = 4 << 20;
/// The alerts that ship with the guard.
const ALERTS: &str = "McpGuard.*";

/// The Alertmanager that the configuration names.
pub(crate) struct Silencer {
    base: String,
    client: Client,
    /// How long a silence lasts that is not ended.
    length: Duration,
    /// Labels of this guard's alerts.
    labels: Vec<(String, String)>,
}

/// A silence, as the API lists it.
#[derive(Deserialize)]
struct Listed {
    id: String,
    comment: String,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    state: String,
}

impl Silencer {
    /// `None` where no Alertmanager is configured.
    pub(crate) fn new(settings: &Release) -> Result<Option<Silencer>, String> {
        let Some(url) = &settings.alertmanager else { return Ok(None) };
        let target = Target::parse(url).map_err(|error| format!("release.alertmanager: {error}"))?;
        let base = target.path().trim_end_matches('/').to_owned();
        let labels = settings.silence_labels.clone();
        let limits = Limits { connect: TIMEOUT, total: TIMEOUT, body_bytes: BODY_BYTES_MAX };
        Ok(Some(Silencer { base, client: Client::new(target, limits), length: settings.silence, labels }))
    }

    /// Silences the guard's alerts for an operation, unless they are already: after an interruption.
    pub(crate) fn begin(&self, operation: &str, who: &str) -> Result<String, String> {
        block_on(async {
            if let Some(found) = self.of(operation).await?.into_iter().next() {
                return Ok(format!("alerts are silenced already (silence {})", found.id));
            }
            let now = jiff::Timestamp::now();
            let ends = now.checked_add(self.length).map_err(|error| error.to_string())?;
            let mut matchers =
                vec![json!({"name": "alertname", "value": ALERTS, "isRegex": true, "isEqual": true})];
            matchers.extend(self.labels.iter().map(
                |(name, value)| json!({"name": name, "value": value, "isRegex": false, "isEqual": true}),
            ));
            let body = json!({
                "matchers": matchers,
                "startsAt": format!("{now:.3}"),
                "endsAt": format!("{ends:.3}"),
                "createdBy": format!("mcp-guard, {who}"),
                "comment": comment(operation),
            });
            let mut request = Request::post(Bytes::from(body.to_string()));
            request.path = Some(format!("{}/api/v2/silences", self.base));
            self.send(request).await?;
            let minutes = self.length.as_secs() / 60;
            Ok(format!("alerts are silenced for the operation, {minutes} min at most"))
        })?
    }

    /// Ends every silence of an operation. Returns how many there were.
    pub(crate) fn end(&self, operation: &str) -> Result<usize, String> {
        block_on(async {
            let found = self.of(operation).await?;
            for silence in &found {
                let path = format!("{}/api/v2/silence/{}", self.base, silence.id);
                self.send(Request::bare(Method::DELETE, Some(&path))).await?;
            }
            Ok(found.len())
        })?
    }

    /// The silences of an operation that are in force.
    async fn of(&self, operation: &str) -> Result<Vec<Listed>, String> {
        let path = format!("{}/api/v2/silences", self.base);
        let response = self.send(Request::bare(Method::GET, Some(&path))).await?;
        let listed: Vec<Listed> = serde_json::from_slice(&response.body)
            .map_err(|_| "its list of silences is not understood (is it an Alertmanager?)".to_owned())?;
        let comment = comment(operation);
        let plain = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_ours = |silence: &Listed| {
            silence.comment == comment && silence.status.state != "expired" && plain(&silence.id)
        };
        Ok(listed.into_iter().filter(is_ours).collect())
    }

    async fn send(&self, request: Request) -> Result<Response, String> {
        let response = self.client.raw(request).await.map_err(|error| error.to_string())?;
        if (200..300).contains(&response.status) {
            Ok(response)
        } else {
            Err(format!("it responded with HTTP {}", response.status))
        }
    }
}

fn comment(operation: &str) -> String {
    format!("mcp-guard {operation}")
}
