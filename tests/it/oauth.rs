//! Contract, section 18: tokens of issuers, what they may do, and the exact answers to those that may not.

use std::time::{SystemTime, UNIX_EPOCH};

use mcp_testkit::{
    Builder, Guard, Issuer, Message, ServingBackend, TokenKey, backend, call, issuer, ok, post, result,
};
use serde_json::{Value, json};

use crate::guard;
use crate::limits::{client, tool_call};

pub(crate) const RESOURCE: &str = "https://mcp.example.org/swf/mcp";
const METADATA: &str =
    r#"resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource/swf/mcp""#;
/// One grant without bounds.
pub(crate) const READERS: &str = "[[auth.oauth.grant]]\nname = \"readers\"\nscopes = [\"mcp\"]\n";

/// `[auth.oauth]` for this issuer.
pub(crate) fn oauth(issuer: &str, grants: &str) -> String {
    format!("[auth.oauth]\nresource = \"{RESOURCE}\"\nissuers = [\"{issuer}\"]\n{grants}")
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a token that holds, with these in place of its own.
pub(crate) fn claims(issuer: &Issuer, changes: Value) -> Value {
    let mut claims = json!({
        "iss": issuer.url(), "aud": RESOURCE, "exp": now() + 600, "sub": "user-1", "client_id": "desktop", "scope": "mcp",
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

pub(crate) async fn answering() -> ServingBackend {
    backend().await.serve(|request| {
        // A CGI program reads `_` and `-` alike.
        let head = request.head.to_ascii_lowercase().replace('_', "-");
        assert!(!head.contains("authorization") && !head.contains("api-key"), "{head}");
        ok(&result(request.try_id().unwrap_or_default()))
    })
}

struct Stage {
    guard: Guard,
    issuer: Issuer,
    key: TokenKey,
    _backend: ServingBackend,
}

async fn stage(grants: &str, more: impl FnOnce(Builder) -> Builder) -> Stage {
    let key = TokenKey::es256("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    let guard = more(guard().upstream(&backend).config(&oauth(issuer.url(), grants))).start().await;
    Stage { guard, issuer, key, _backend: backend }
}

impl Stage {
    fn token(&self, changes: Value) -> String {
        self.key.token(&claims(&self.issuer, changes))
    }

    async fn ping(&self, token: &str) -> Message {
        self.guard.connect().await.exchange(post(token, "", &call(1, "ping"))).await
    }
}

#[track_caller]
fn challenged(answer: &Message, status: u16, challenge: &str) {
    assert_eq!(answer.status(), status, "{}", answer.head);
    assert_eq!(answer.field("www-authenticate"), Some(challenge));
}

#[tokio::test]
async fn a_token_of_an_issuer_calls_as_its_grant() {
    let stage = stage(READERS, |guard| guard).await;
    let token = stage.token(json!({}));
    let answer = stage.ping(&token).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let line = stage.guard.log_line(|line| line["method"] == "ping").await;
    assert_eq!((&line["client"], &line["subject"]), (&json!("readers"), &json!("desktop")));
    let counted =
        r#"mcp_guard_requests_total{client="readers",method="ping",outcome="ok",slot="blue",tool=""}"#;
    assert_eq!(stage.guard.metric(counted).await, 1.0);
    // Neither the same token again nor another one asks the issuer.
    assert_eq!(stage.ping(&token).await.status(), 200);
    assert_eq!(stage.ping(&stage.token(json!({"sub": "user-2"}))).await.status(), 200);
    assert_eq!(stage.issuer.all_requests(), ["/.well-known/oauth-authorization-server", "/jwks"]);
}

// "No credential: 401 [..]. Invalid, expired, foreign: 401 `error="invalid_token"`. No grant: 403 `error="insufficient_scope"`".
#[tokio::test]
async fn each_refusal_of_a_token_has_its_own_challenge() {
    let stage = stage(READERS, |guard| guard.token("static-token-of-default")).await;
    let bare = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let missing = stage.guard.connect().await.exchange(bare).await;
    challenged(&missing, 401, &format!(r#"Bearer realm="mcp", {METADATA}, scope="mcp""#));
    assert_eq!(missing.text(), r#"{"error": "Authorization required"}"#);
    let invalid = format!(r#"Bearer realm="mcp", error="invalid_token", {METADATA}"#);
    for (token, code) in [
        ("no-token-at-all".to_owned(), "token_invalid"),
        (stage.token(json!({"exp": now() - 31})), "jwt_expired"),
        (stage.token(json!({"aud": "https://mcp.example.org/"})), "jwt_invalid"),
        (stage.token(json!({"iss": "https://login.example.org"})), "jwt_invalid"),
        (TokenKey::es256("k1").token(&claims(&stage.issuer, json!({}))), "jwt_invalid"),
    ] {
        let answer = stage.ping(&token).await;
        challenged(&answer, 401, &invalid);
        assert_eq!(answer.text(), r#"{"error": "Invalid token"}"#);
        stage.guard.log_line(|line| line["denial"] == code).await;
    }
    let short = stage.ping(&stage.token(json!({"scope": "openid"}))).await;
    challenged(
        &short,
        403,
        &format!(r#"Bearer realm="mcp", error="insufficient_scope", scope="mcp", {METADATA}"#),
    );
    assert_eq!(short.text(), r#"{"error": "Insufficient scope"}"#);
    assert_eq!(stage.ping("static-token-of-default").await.status(), 200, "static tokens hold as before");
    for detail in
        ["aud is another resource", "iss is not a configured issuer", "the signature does not verify"]
    {
        stage.guard.logged(detail).await;
    }
    assert!(!stage.guard.log().concat().contains("eyJ"), "no token is logged");
}

// RFC 9728, 3.2; every other place below /.well-known stays as it is.
#[tokio::test]
async fn the_metadata_of_the_resource_leads_to_its_issuer() {
    let stage = stage(READERS, |guard| guard).await;
    let get = async |method: &str, path: &str, fields: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        stage.guard.connect().await.exchange(request).await
    };
    for path in ["", "/", "/swf/mcp", "/swf/mcp/", "/mcp", "/swf-monitor/mcp"] {
        let answer = get("GET", &format!("/.well-known/oauth-protected-resource{path}"), "").await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert_eq!(
            answer.json(),
            json!({
                "resource": RESOURCE, "authorization_servers": [stage.issuer.url()],
                "bearer_methods_supported": ["header"], "scopes_supported": ["mcp"],
            })
        );
    }
    // What its user reads of a client that tries to register here leads to the issuer as well.
    let register = get("POST", "/register", "Content-Length: 0\r\n").await;
    assert_eq!(register.status(), 400);
    assert!(register.text().contains("register at its authorization server"), "{}", register.text());
    for path in ["oauth-protected-resource/other", "oauth-authorization-server", "openid-configuration"] {
        let answer = get("GET", &format!("/.well-known/{path}"), "").await;
        assert_eq!((answer.status(), answer.text()), (404, r#"{"error":"not_found"}"#), "{path}");
    }
    let posted = get("POST", "/.well-known/oauth-protected-resource", "Content-Length: 0\r\n").await;
    assert_eq!(posted.status(), 404);
    // A page asks with a field of its own, so its browser asks first.
    let page = "Origin: http://localhost:6274\r\n";
    let asks = format!(
        "{page}Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: mcp-protocol-version\r\n"
    );
    let preflight = get("OPTIONS", "/.well-known/oauth-protected-resource", &asks).await;
    assert_eq!((preflight.status(), preflight.field("access-control-allow-methods")), (204, Some("GET")));
    let answer = get("GET", "/.well-known/oauth-protected-resource", page).await;
    assert_eq!(answer.field("access-control-allow-origin"), Some("http://localhost:6274"));
    let strange = asks.replace("localhost:6274", "evil.example");
    assert_eq!(get("OPTIONS", "/.well-known/oauth-protected-resource", &strange).await.status(), 404);
}

#[tokio::test]
async fn a_grant_bounds_tools_like_a_client() {
    let grants = "[[auth.oauth.grant]]\nname = \"writers\"\nscopes = [\"mcp\", \"write\"]\n\
                  [[auth.oauth.grant]]\nname = \"readers\"\nscopes = [\"mcp\"]\ndeny_tools = [\"panda_kill\"]\n";
    let stage = stage(grants, |guard| guard).await;
    let kills = async |scope: &str| {
        let request = post(&stage.token(json!({ "scope": scope })), "", &tool_call(7, "panda_kill"));
        stage.guard.connect().await.exchange(request).await.json()
    };
    assert!(kills("mcp write").await.get("result").is_some());
    assert_eq!(kills("mcp").await["error"]["message"], "Unknown tool");
}

// "The rate and concurrency of a grant hold for each subject": one user cannot take another's share.
#[tokio::test]
async fn the_rate_of_a_grant_holds_for_each_user() {
    let grants = "[[auth.oauth.grant]]\nname = \"readers\"\nscopes = [\"mcp\"]\nrate = \"2/h\"\n";
    let stage = stage(grants, |guard| guard).await;
    let limited = async |changes: Value| {
        let answer = stage.ping(&stage.token(changes)).await.json();
        answer["error"]["data"]["reason"] == "rate_limited"
    };
    for user in ["one", "two"] {
        let calls = [limited(json!({"sub": user})).await, limited(json!({"sub": user})).await];
        assert_eq!(calls, [false, false], "{user}");
        assert!(limited(json!({"sub": user, "client_id": "another program"})).await, "{user}");
    }
}

// Shares of what all share are divided between the users of a grant, as between clients.
#[tokio::test]
async fn a_user_of_a_grant_leaves_permits_to_other_users() {
    let (key, backend) = (TokenKey::es256("k1"), backend().await);
    let issuer = issuer(&[&key]).await;
    let tables = oauth(issuer.url(), READERS) + "[limits]\nin_flight = 4\n[timeouts]\nwaiting = \"20s\"\n";
    let guard = guard().upstream(&backend).config(&tables).start().await;
    let send = async |user: &str, id: u64| {
        let mut client = guard.connect().await;
        let token = key.token(&claims(&issuer, json!({ "sub": user })));
        client.send(post(&token, "", &call(id, "ping"))).await;
        client
    };
    let mut greedy = Vec::new();
    for id in 1..=5 {
        greedy.push(send("one", id).await);
    }
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = backend.accept().await;
        assert!(peer.request().await.try_id().is_some_and(|id| id <= 5));
        peers.push(peer);
    }
    let mut other = send("two", 9).await;
    let mut peer = backend.accept().await;
    assert_eq!(peer.request().await.try_id(), Some(9), "the last permit is left to another user");
    peer.send(ok(&result(9))).await;
    assert_eq!(other.response().await.status(), 200);
}

#[tokio::test]
async fn a_backend_gets_the_subject_and_no_other_one() {
    let (key, backend) = (TokenKey::es256("k1"), backend().await);
    let issuer = issuer(&[&key]).await;
    let guard = guard()
        .token("static-token-of-default")
        .upstream(&backend)
        .slot("client_header = true")
        .config(&oauth(issuer.url(), READERS))
        .start()
        .await;
    let seen = async |token: &str| {
        let mut client = guard.connect().await;
        let forged = "X-MCP-Subject: root\r\nx_mcp_subject: root\r\n";
        client.send(post(token, forged, &call(1, "ping"))).await;
        let request = backend.accept().await.request().await;
        assert!(!request.head.contains("root"), "{}", request.head);
        (request.field("x-mcp-client").map(str::to_owned), request.field("x-mcp-subject").map(str::to_owned))
    };
    let signed = seen(&key.token(&claims(&issuer, json!({})))).await;
    assert_eq!(signed, (Some("readers".to_owned()), Some("desktop".to_owned())));
    assert_eq!(seen("static-token-of-default").await, (Some("default".to_owned()), None));
}

// "Order: static token first, then client certificate, then JWT"; "emptied on reload".
#[tokio::test]
async fn a_reload_takes_a_grant_away_and_a_switch_an_identity() {
    let stage = stage(READERS, Builder::admin).await;
    let token = stage.token(json!({}));
    assert_eq!(stage.ping(&token).await.status(), 200);
    stage.guard.command_ok("feature off client:readers").await;
    challenged(
        &stage.ping(&token).await,
        401,
        &format!(r#"Bearer realm="mcp", error="invalid_token", {METADATA}"#),
    );
    stage.guard.command_ok("feature on client:readers").await;
    assert_eq!(stage.ping(&token).await.status(), 200);
    stage.guard.edit("scopes = [\"mcp\"]", "scopes = [\"other\"]");
    stage.guard.command_ok("reload").await;
    assert_eq!(stage.ping(&token).await.status(), 403, "a token that was remembered is judged anew");
    assert_eq!(stage.issuer.requests("/jwks"), 1, "an issuer that stays keeps its keys");
}

#[tokio::test]
async fn a_route_for_clients_takes_a_token_of_an_issuer() {
    let rest = answering().await;
    let route = format!(
        "[[route]]\nname = \"api\"\nprefix = \"/api\"\nauth = \"bearer\"\nmethods = [\"GET\"]\nrate = \"2/h\"\naddress = \"{}\"\n",
        rest.address()
    );
    let stage = stage(READERS, |guard| guard.config(&route)).await;
    let get = async |token: &str| {
        let request =
            format!("GET /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
        stage.guard.connect().await.exchange(request).await
    };
    for user in ["one", "two"] {
        let token = stage.token(json!({ "sub": user }));
        assert_eq!([get(&token).await.status(), get(&token).await.status()], [200, 200], "{user}");
        assert_eq!(get(&token).await.status(), 429, "{user}");
    }
    challenged(
        &get("x.y.z").await,
        401,
        &format!(r#"Bearer realm="mcp", error="invalid_token", {METADATA}"#),
    );
    let line = stage.guard.log_line(|line| line["route"] == "api").await;
    assert_eq!((&line["client"], &line["subject"]), (&json!("readers"), &json!("desktop")));
}

// "`auth.header`: `authorization` (default) or also `x-api-key` [..]; two credentials in one request are 400."
#[tokio::test]
async fn an_api_key_field_carries_a_token_where_it_is_configured() {
    let tokens = "[auth]\nheader = [\"authorization\", \"x-api-key\"]";
    let backend = answering().await;
    let open = guard().token("static-token-of-default").config(tokens).upstream(&backend).start().await;
    let closed =
        guard().token("static-token-of-default").upstream(&backend_that_takes_keys().await).start().await;
    let ask = async |guard: &Guard, fields: &str| {
        let body = call(1, "ping");
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        guard.connect().await.exchange(request).await
    };
    let (key, bearer) =
        ("X-API-Key: static-token-of-default\r\n", "Authorization: Bearer static-token-of-default\r\n");
    for (fields, status, body) in [
        (key.to_owned(), 200, None),
        ("x-api-key: wrong\r\n".to_owned(), 403, Some(r#"{"error": "Invalid token"}"#)),
        ("x-api-key:\r\n".to_owned(), 401, None),
        (format!("{key}{bearer}"), 400, Some(r#"{"error": "Two credentials in one request"}"#)),
        (format!("{key}Authorization: Basic eDp5\r\n"), 400, None),
        (format!("{key}{key}"), 400, None),
        (format!("{key}Connection: x-api-key\r\n"), 400, None),
        (format!("{bearer}X_Api_Key: mine\r\n"), 200, None),
        (bearer.to_owned(), 200, None),
    ] {
        let answer = ask(&open, &fields).await;
        assert_eq!(answer.status(), status, "{fields}: {}", answer.text());
        if let Some(body) = body {
            assert_eq!(answer.text(), body, "{fields}");
        }
    }
    // Without the setting the field is a backend's own affair.
    assert_eq!(ask(&closed, key).await.status(), 401);
    assert_eq!(ask(&closed, &format!("{bearer}X-API-Key: mine\r\n")).await.status(), 200);
}

// A client that can send only this field sends its token to every route of the same host.
#[tokio::test]
async fn a_token_in_an_api_key_field_reaches_the_backend_of_no_route() {
    let rest = answering().await;
    let route = |name: &str, auth: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nprefix = \"/{name}\"\naddress = \"{}\"\n{auth}\n",
            rest.address()
        )
    };
    let keys = "auth = \"api_key\"\nmethods = [\"GET\"]\napi_key_header = \"X-Own\"\n\
                api_keys = { ui = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\" }";
    let tables = "[auth]\nheader = [\"authorization\", \"x-api-key\"]\n".to_owned()
        + &route("open", "auth = \"none\"\nmethods = [\"GET\"]")
        + &route("keyed", keys)
        + &route("bearer", "auth = \"bearer\"\nmethods = [\"GET\"]");
    let guard = guard().token("static-token-of-default").config(&tables).start().await;
    for (place, spelling) in
        [("open", "X-API-Key"), ("open", "x_api_key"), ("keyed", "X-Api-Key"), ("bearer", "X-API-Key")]
    {
        let request = format!(
            "GET /{place} HTTP/1.1\r\nHost: localhost\r\nX-Own: secret\r\n{spelling}: static-token-of-default\r\n\r\n"
        );
        let answer = guard.connect().await.exchange(request).await;
        assert_eq!(answer.status(), 200, "{place} {spelling}: {}", answer.text());
    }
}

async fn backend_that_takes_keys() -> ServingBackend {
    backend().await.serve(|request| {
        assert_eq!(request.field("x-api-key"), Some("mine"));
        ok(&result(1))
    })
}

#[tokio::test]
async fn an_api_key_field_may_carry_a_token_of_an_issuer() {
    let key = TokenKey::ed25519("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    let tables =
        format!("[auth]\nheader = [\"authorization\", \"x-api-key\"]\n{}", oauth(issuer.url(), READERS));
    let guard = guard().config(&tables).upstream(&backend).start().await;
    let body = call(1, "ping");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-API-Key: {}\r\nContent-Length: {}\r\n\r\n{body}",
        key.token(&claims(&issuer, json!({}))),
        body.len()
    );
    assert_eq!(guard.connect().await.exchange(request).await.status(), 200);
}

// "Without `[auth.oauth]` every answer is what sections 2 and 4 say, byte for byte."
#[tokio::test]
async fn without_issuers_a_signed_token_is_an_unknown_one() {
    let backend = answering().await;
    let guard = guard().tokens(&client("bot", "")).upstream(&backend).start().await;
    let key = TokenKey::es256("k1");
    let token = key.token(&json!({"iss": "https://a.example", "aud": RESOURCE, "exp": now() + 60}));
    let answer = guard.connect().await.exchange(post(&token, "", &call(1, "ping"))).await;
    assert_eq!((answer.status(), answer.text()), (403, r#"{"error": "Invalid token"}"#));
    assert_eq!(answer.field("www-authenticate"), None);
    let request = "GET /.well-known/oauth-protected-resource HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(guard.connect().await.exchange(request).await.status(), 404);
}
