//! Contract, section 18: the keys of issuers, in every state that an issuer can be in. No request waits for any of it.

use std::time::{Duration, Instant};

use mcp_testkit::{Guard, IssuerAnswer, Message, TokenKey, call, eventually, issuer, ok, post};
use serde_json::json;

use crate::guard;
use crate::limits::client;
use crate::oauth::{READERS, answering, claims, oauth};

/// A request that would wait for an issuer that says nothing would take ten seconds.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn ping(guard: &Guard, token: &str) -> Message {
    let since = Instant::now();
    let answer = guard.connect().await.exchange(post(token, "", &call(1, "ping"))).await;
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    answer
}

#[track_caller]
fn unavailable(answer: &Message) {
    assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("5")), "{}", answer.text());
    assert_eq!(answer.text(), r#"{"error": "The token cannot be verified now; retry later"}"#);
    assert_eq!(answer.field("www-authenticate"), None, "a client must not give its token up for this");
}

// "issuer down at start": the guard starts, static tokens hold, and tokens of the issuer hold once it is there.
#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_is_asked_again() {
    let key = TokenKey::es256("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    issuer.set("/.well-known/oauth-authorization-server", IssuerAnswer::Close);
    let tables = oauth(issuer.url(), READERS);
    let guard = guard().token("static-token-of-default").upstream(&backend).config(&tables).start().await;
    let token = key.token(&claims(&issuer, json!({})));
    unavailable(&ping(&guard, &token).await);
    assert_eq!(ping(&guard, "static-token-of-default").await.status(), 200);
    guard.logged("its keys cannot be fetched").await;
    let metadata = format!(r#"{{"issuer":"{0}","jwks_uri":"{0}/jwks"}}"#, issuer.url());
    issuer.set("/.well-known/oauth-authorization-server", IssuerAnswer::Bytes(ok(&metadata)));
    eventually("the token holds", || async { ping(&guard, &token).await.status() == 200 }).await;
    guard.logged("1 keys").await;
}

// "Keys are [..] kept while the issuer is away": also by a guard that starts meanwhile.
#[tokio::test]
async fn keys_outlive_a_restart_while_their_issuer_is_away() {
    let key = TokenKey::es256("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    let tables = oauth(issuer.url(), READERS);
    let mut guard = guard().admin().upstream(&backend).config(&tables).start().await;
    let token = key.token(&claims(&issuer, json!({})));
    assert_eq!(ping(&guard, &token).await.status(), 200);
    issuer.set("/jwks", IssuerAnswer::Close);
    guard.kill_and_start_again().await;
    assert_eq!(ping(&guard, &token).await.status(), 200);
    guard.logged("its keys cannot be fetched").await;
}

// "a set without a key takes that key's tokens out of service at once": also one that was accepted, and is remembered.
#[tokio::test]
async fn a_token_ends_with_the_key_that_its_issuer_has_replaced() {
    let (old, new) = (TokenKey::es256("k1"), TokenKey::es256("k2"));
    let (issuer, backend) = (issuer(&[&old]).await, answering().await);
    let tables = oauth(issuer.url(), READERS);
    let mut guard = guard().admin().upstream(&backend).config(&tables).start().await;
    // A guard that starts while the issuer is away asks it again soon, and not only after half a minute.
    issuer.set("/jwks", IssuerAnswer::Close);
    guard.kill_and_start_again().await;
    let token = old.token(&claims(&issuer, json!({})));
    let next = new.token(&claims(&issuer, json!({ "iat": crate::oauth::now() })));
    assert_eq!([ping(&guard, &token).await.status(), ping(&guard, &token).await.status()], [200, 200]);
    assert_eq!(ping(&guard, &next).await.status(), 503);
    issuer.set_keys(&[&new]);
    eventually("the new key is known", || async { ping(&guard, &next).await.status() == 200 }).await;
    let ended = ping(&guard, &token).await;
    assert_eq!((ended.status(), ended.text()), (401, r#"{"error": "Invalid token"}"#));
}

#[tokio::test]
async fn a_reload_of_other_settings_for_an_issuer_that_is_away_keeps_its_keys() {
    let key = TokenKey::es256("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    let tables = oauth(issuer.url(), READERS);
    let guard = guard().admin().upstream(&backend).config(&tables).start().await;
    let token = key.token(&claims(&issuer, json!({})));
    assert_eq!(ping(&guard, &token).await.status(), 200);
    issuer.set("/jwks", IssuerAnswer::Close);
    let plain = format!("issuers = [\"{}\"]", issuer.url());
    let moved = format!("issuers = [{{ url = \"{0}\", jwks = \"{0}/moved\" }}]", issuer.url());
    for (old, new) in [
        (plain.as_str(), format!("{plain}\nkeep = \"2h\"")),
        (plain.as_str(), format!("{plain}\nrefresh = \"10m\"")),
        (plain.as_str(), moved),
    ] {
        guard.edit(old, &new);
        guard.command_ok("reload").await;
        assert_eq!(ping(&guard, &token).await.status(), 200, "{new}");
    }
    eventually("the new place is asked", || async { issuer.requests("/moved") > 0 }).await;
    assert_eq!(ping(&guard, &token).await.status(), 200);
}

// What a reload takes away ends at once, whatever a new issuer does.
#[tokio::test]
async fn a_reload_does_not_wait_for_a_new_issuer_before_it_revokes_a_token() {
    let (key, backend) = (TokenKey::es256("k1"), answering().await);
    let silent = issuer(&[&key]).await;
    silent.set("/jwks", IssuerAnswer::Silence);
    let both = client("stays", "") + &client("leaves", "");
    let guard = guard().admin().tokens(&both).upstream(&backend).start().await;
    assert_eq!(ping(&guard, "leaves").await.status(), 200);
    let text = std::fs::read_to_string(guard.config()).unwrap();
    std::fs::write(guard.config(), text + &oauth(silent.url(), READERS)).unwrap();
    guard.set_tokens(&client("stays", ""));
    let reloaded = async {
        guard.command_ok("reload").await;
        Instant::now()
    };
    let revoked = async {
        eventually("the token is revoked", || async { ping(&guard, "leaves").await.status() != 200 }).await;
        Instant::now()
    };
    let (reloaded, revoked) = tokio::join!(reloaded, revoked);
    // The command goes on to wait for the issuer, three seconds.
    let before = reloaded.saturating_duration_since(revoked);
    assert!(before > Duration::from_secs(1), "{before:?}");
}

#[tokio::test]
async fn an_issuer_that_never_answers_delays_neither_the_start_nor_a_request() {
    let key = TokenKey::es256("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    issuer.set("/jwks", IssuerAnswer::Silence);
    let since = Instant::now();
    let guard = guard().upstream(&backend).config(&oauth(issuer.url(), READERS)).start().await;
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    unavailable(&ping(&guard, &key.token(&claims(&issuer, json!({})))).await);
}

// "redirects not followed, answers capped, only configured hosts"
#[tokio::test]
async fn keys_come_from_the_issuer_s_own_host_whole_and_bounded() {
    let key = TokenKey::es256("k1");
    let elsewhere = issuer(&[&key]).await;
    let backend = answering().await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nLocation: {}/jwks\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
    let huge = ok(&format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(1 << 20)));
    for (path, answer, says) in [
        ("/jwks", redirect, "answers 302"),
        ("/jwks", huge, "1048576"),
        ("/jwks", ok("<html>"), "is no set of keys"),
        ("/jwks", ok(r#"{"keys":{}}"#), "is no set of keys"),
        ("/jwks", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(), "answers 500"),
        (
            "/.well-known/oauth-authorization-server",
            ok(r#"{"issuer":"https://other.example","jwks_uri":"x"}"#),
            "another issuer",
        ),
    ] {
        let issuer = issuer(&[&key]).await;
        issuer.set(path, IssuerAnswer::Bytes(answer));
        let guard = guard().upstream(&backend).config(&oauth(issuer.url(), READERS)).start().await;
        unavailable(&ping(&guard, &key.token(&claims(&issuer, json!({})))).await);
        guard.logged(says).await;
    }
    let issuer = issuer(&[&key]).await;
    let metadata = format!(r#"{{"issuer":"{}","jwks_uri":"{}/jwks"}}"#, issuer.url(), elsewhere.url());
    issuer.set("/.well-known/oauth-authorization-server", IssuerAnswer::Bytes(ok(&metadata)));
    let guard = guard().upstream(&backend).config(&oauth(issuer.url(), READERS)).start().await;
    unavailable(&ping(&guard, &key.token(&claims(&issuer, json!({})))).await);
    guard.logged("is not on the issuer's own host").await;
    assert_eq!(elsewhere.all_requests(), [""; 0]);
}

#[tokio::test]
async fn metadata_is_found_where_openid_puts_it_and_a_configured_address_needs_none() {
    let key = TokenKey::es256("k1");
    let (openid, plain, backend) = (issuer(&[&key]).await, issuer(&[&key]).await, answering().await);
    let id = format!("{}/realms/mcp", openid.url());
    let metadata = ok(&format!(r#"{{"issuer":"{id}","jwks_uri":"{}/jwks"}}"#, openid.url()));
    openid.set("/realms/mcp/.well-known/openid-configuration", IssuerAnswer::Bytes(metadata));
    // Some servers answer at the first place with the metadata of another one.
    let other = ok(r#"{"issuer":"https://other.example","jwks_uri":"https://other.example/jwks"}"#);
    openid.set("/.well-known/oauth-authorization-server/realms/mcp", IssuerAnswer::Bytes(other));
    plain.set("/jwks?p=mcp", IssuerAnswer::Bytes(ok(&TokenKey::set(&[&key]))));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, TokenKey::set(&[&key])).unwrap();
    let tables = format!(
        "[auth.oauth]\nresource = \"{}\"\nissuers = [\n  {{ url = \"{id}\" }},\n  {{ url = \"https://plain.example\", jwks = \"{}/jwks?p=mcp\" }},\n  \
         {{ url = \"https://file.example\", jwks = \"{}\" }},\n]\n{READERS}",
        crate::oauth::RESOURCE,
        plain.url(),
        file.display()
    );
    let guard = guard().upstream(&backend).config(&tables).start().await;
    for iss in [id.as_str(), "https://plain.example", "https://file.example"] {
        let answer = ping(&guard, &key.token(&claims(&plain, json!({ "iss": iss })))).await;
        assert_eq!(answer.status(), 200, "{iss}: {}", answer.text());
    }
    assert_eq!(plain.all_requests(), ["/jwks?p=mcp"]);
}

// "each is refused with the right status and header, and none makes the guard fetch anything"
#[tokio::test]
async fn no_token_makes_the_guard_fetch_anything_but_the_issuer_s_keys() {
    let key = TokenKey::es256("k1");
    let (issuer, trap, backend) = (issuer(&[&key]).await, issuer(&[&key]).await, answering().await);
    let guard = guard().upstream(&backend).config(&oauth(issuer.url(), READERS)).start().await;
    let body = claims(&issuer, json!({})).to_string();
    let jku = format!("{}/jwks", trap.url());
    for header in [
        json!({"alg": "ES256", "kid": "k1", "jku": jku}),
        json!({"alg": "ES256", "kid": "k1", "x5u": jku}),
        json!({"alg": "ES256", "kid": "k1", "jwk": TokenKey::es256("k1").jwk()}),
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "k1"}),
    ] {
        assert_eq!(ping(&guard, &key.sign(&header.to_string(), &body)).await.status(), 401, "{header}");
    }
    let foreign = claims(&trap, json!({}));
    assert_eq!(ping(&guard, &key.token(&foreign)).await.status(), 401);
    // The keys were fetched a moment ago: a key that is not among them does not exist. One that is younger may.
    for number in 0..20 {
        let unknown = TokenKey::es256(&format!("new-{number}"));
        assert_eq!(ping(&guard, &unknown.token(&claims(&issuer, json!({})))).await.status(), 401);
        let young = unknown.token(&claims(&issuer, json!({ "iat": crate::oauth::now() })));
        let answer = ping(&guard, &young).await;
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("5")));
    }
    assert_eq!(trap.all_requests(), [""; 0]);
    assert_eq!(issuer.requests("/jwks"), 1);
}
