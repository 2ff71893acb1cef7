//! The auth matrix: a server's responses to requests that must not pass, and to `/health`. Nothing here reaches a tool.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use serde_json::json;

use crate::client::{Client, Method, Request};
use crate::parity::facts::{AuthFacts, HttpFacts, Observed};
use crate::parity::says_healthy;
use crate::wire::bounded;

/// No client's token: the guard makes tokens of another form.
const WRONG_TOKEN: HeaderValue = HeaderValue::from_static("Bearer mcp-guard-parity-wrong-token");

/// Makes the requests of the matrix with `client`; `unconfigured` is a guard that was started without any token.
pub(crate) async fn auth_matrix(client: &Client, unconfigured: Option<&Client>) -> Observed<AuthFacts> {
    if !client.target().has_bearer() {
        return Observed::Absent("no token given for the candidate, so there is no door to check".to_owned());
    }
    let unconfigured = match unconfigured {
        Some(guard) => asked(guard, question(Some(WRONG_TOKEN))).await,
        None => Observed::Absent("--unconfigured-url not given".to_owned()),
    };
    Observed::Known(AuthFacts {
        no_token: asked(client, question(None)).await,
        wrong_token: asked(client, question(Some(WRONG_TOKEN))).await,
        get: asked(client, Request::bare(Method::GET, None)).await,
        health: health(client).await,
        unconfigured,
    })
}

/// `/health` at the root, or below the endpoint's own path where the root belongs to another program.
async fn health(client: &Client) -> Observed<HttpFacts> {
    let at_root = asked(client, Request::bare(Method::GET, Some("/health"))).await;
    let path = client.target().path().trim_end_matches('/');
    if path.is_empty() || at_root.known().is_some_and(|http| says_healthy(http.body.as_ref())) {
        return at_root;
    }
    let below = asked(client, Request::bare(Method::GET, Some(&format!("{path}/health")))).await;
    let better = below.known().is_some_and(|http| http.status == 200) || at_root.known().is_none();
    if better { below } else { at_root }
}

/// A harmless question, with this authorization or none.
fn question(authorization: Option<HeaderValue>) -> Request {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).to_string();
    let mut request = Request::post(Bytes::from(body));
    request.authorized = false;
    request.headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    request
}

async fn asked(client: &Client, request: Request) -> Observed<HttpFacts> {
    match client.raw(request).await {
        Ok(reply) => Observed::Known(HttpFacts {
            status: reply.status,
            allow: reply.header("allow").map(|value| client.clean_text(value)),
            body: bounded::parse(&reply.body).ok(),
        }),
        Err(error) => Observed::Failed(error.to_string()),
    }
}
