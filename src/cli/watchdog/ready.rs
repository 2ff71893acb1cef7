//! What the guard's own `/ready` says of the dependencies. A server without such a path, or with another body, says nothing.
//!
//! A restart of the service brings no dependency back, so nothing here leads to one.

use crate::client::{Client, Method, Request};
use crate::wire::bounded;

/// The guard's checks of itself; whatever else is listed is a dependency.
const OWN_CHECKS: [&str; 3] = ["listening", "tokens", "backend"];

/// How the dependencies are, by name where they are down.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dependencies {
    Up,
    /// None of them is required.
    Degraded(String),
    Unready(String),
}

/// Asks once. No response is no statement: the probe itself has found the service well.
pub(super) async fn ask(client: &Client) -> Dependencies {
    match client.raw(Request::bare(Method::GET, Some("/ready"))).await {
        Ok(response) => read(&response.body),
        Err(_) => Dependencies::Up,
    }
}

fn read(body: &[u8]) -> Dependencies {
    let Ok(body) = bounded::parse(body) else { return Dependencies::Up };
    let checks = body.get("checks").and_then(|checks| checks.as_object()).into_iter().flatten();
    let down: Vec<&str> = checks
        .filter(|(name, word)| *word == "failed" && !OWN_CHECKS.contains(&name.as_str()))
        // The names of the guard are plain; another server's may be anything.
        .filter(|(name, _)| name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(|(name, _)| name.as_str())
        .collect();
    let status = body.get("status").and_then(|status| status.as_str());
    match status {
        Some("degraded") if !down.is_empty() => Dependencies::Degraded(down.join(", ")),
        Some("unready") if !down.is_empty() => Dependencies::Unready(down.join(", ")),
        Some(_) | None => Dependencies::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dependency_of_the_guard_counts() {
        let down = |names: &str| names.to_owned();
        for (body, expect) in [
            ("{\"status\":\"ok\",\"checks\":{\"database\":\"ok\"}}", Dependencies::Up),
            (
                "{\"status\":\"degraded\",\"checks\":{\"backend\":\"ok\",\"database\":\"failed\",\"cache\":\"failed\"}}",
                Dependencies::Degraded(down("database, cache")),
            ),
            (
                "{\"status\":\"unready\",\"checks\":{\"backend\":\"failed\",\"database\":\"failed\"}}",
                Dependencies::Unready(down("database")),
            ),
            // The probe itself has judged the backend.
            ("{\"status\":\"unready\",\"checks\":{\"backend\":\"failed\"}}", Dependencies::Up),
            ("{\"status\":\"unready\",\"checks\":{\"a\\u001bb\":\"failed\"}}", Dependencies::Up),
            ("<html>404</html>", Dependencies::Up),
        ] {
            assert_eq!(read(body.as_bytes()), expect, "{body}");
        }
    }
}
