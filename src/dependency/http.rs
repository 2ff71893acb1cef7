//! Requests a URL and compares the status. Redirects are not followed: their status is what came back.

use std::time::Duration;

use crate::client::{Client, Limits, Method, Request, Target};
use crate::upstream::Secrets;

/// A health page is smaller.
const BODY_BYTES_MAX: usize = 1 << 20;

/// `GET`; any other status than the expected one is a failure.
pub(super) async fn get(
    url: &str,
    expected: u16,
    timeout: Duration,
    secrets: &Secrets,
) -> Result<(), String> {
    let target = Target::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let limits = Limits { connect: timeout, total: timeout, body_bytes: BODY_BYTES_MAX };
    let client = Client::new(target, limits).with_secrets(secrets);
    let response = client
        .raw(Request::bare(Method::GET, None))
        .await
        .map_err(|error| format!("{error} (hint: is it running, and may this machine reach it?)"))?;
    if response.status == expected {
        return Ok(());
    }
    let status = response.status;
    Err(format!("GET {url}: HTTP {status} instead of {expected} (hint: its own log says why)"))
}
