//! Contract, section 18 and issue of the operator: what a token would be, and whether an issuer can be reached.

use mcp_testkit::{CommandOutput, Guard, Issuer, IssuerAnswer, TokenKey, issuer, ok};
use serde_json::{Value, json};

use crate::guard;
use crate::limits::client;
use crate::oauth::{READERS, answering, claims, now, oauth};

struct Stage {
    guard: Guard,
    issuer: Issuer,
    key: TokenKey,
}

async fn stage() -> Stage {
    let key = TokenKey::es256("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    let guard = guard()
        .tokens(&(client("bot", "") + &client("old", "not_after = 2020-01-01")))
        .upstream(&backend)
        .config(&oauth(issuer.url(), READERS))
        .start()
        .await;
    Stage { guard, issuer, key }
}

async fn inspect(guard: &Guard, token: &str) -> CommandOutput {
    let output = guard.command_with_input("token inspect", token).await;
    let said = format!("{}{}", output.stdout, output.stderr);
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!said.contains(part), "a part of the token is printed: {said}");
    }
    output
}

// "`mcp-guard token inspect` (reads a token from standard input; prints which client/grant/subject it would be, or why it is
// refused with the denial code; no secret in the output)"
#[tokio::test]
async fn a_token_is_explained_without_being_printed() {
    let stage = stage().await;
    let token = |changes: Value| stage.key.token(&claims(&stage.issuer, changes));
    let other = TokenKey::es256("k2").token(&claims(&stage.issuer, json!({})));
    let long_dead = now() - 3600;
    for (token, code, says) in [
        ("bot".to_owned(), 0, &["client       bot", "fingerprint", "expires      never"][..]),
        ("old".to_owned(), 1, &["refused      token_expired (403)"]),
        ("strange".to_owned(), 1, &["refused      token_invalid (401)"]),
        (token(json!({})), 0, &["client       readers", "subject      desktop", "expires      20"]),
        (format!("Bearer {}\n", token(json!({}))), 0, &["client       readers"]),
        (token(json!({"exp": long_dead})), 1, &["refused      jwt_expired (401)"]),
        (
            token(json!({"aud": "https://other.example\u{1b}[2J"})),
            1,
            &[
                "refused      jwt_invalid (401): aud is another resource",
                "https://other.example\\u{1b}[2J (unproved)",
            ],
        ),
        (token(json!({"scope": "x"})), 1, &["refused      insufficient_scope (403): no grant matches"]),
        (other, 1, &["refused      jwt_invalid (401): the issuer has no such key"]),
    ] {
        let output = inspect(&stage.guard, &token).await;
        assert_eq!(output.code, code, "{output:?}");
        for text in says {
            assert!(output.stdout.contains(text), "{text}: {output:?}");
        }
    }
    let json = stage.guard.command_with_input("token inspect --json", &token(json!({}))).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["client"], &json["subject"]), (&json!("readers"), &json!("desktop")));
    stage.issuer.set("/jwks", IssuerAnswer::Close);
    let unknown = inspect(&stage.guard, &token(json!({}))).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("cannot be fetched"), "{unknown:?}");
}

#[tokio::test]
async fn status_and_metrics_show_the_keys_of_an_issuer() {
    let key = TokenKey::es256("k1");
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    let down = "http://127.0.0.1:9";
    let tables = oauth(issuer.url(), READERS).replace("issuers = [", &format!("issuers = [\"{down}\", "));
    let guard = guard().admin().upstream(&backend).config(&tables).start().await;
    let status: Value = serde_json::from_str(&guard.command_ok("status --json").await).unwrap();
    assert_eq!(status["issuers"][1]["keys"], 1, "{status:#}");
    assert!(status["issuers"][1]["confirmed"].as_u64().is_some_and(|when| when + 60 > now()));
    assert_eq!(
        (&status["issuers"][0]["keys"], &status["issuers"][0]["reachable"]),
        (&json!(0), &json!(false))
    );
    let shown = guard.command_ok("status").await;
    assert!(shown.contains("ISSUER") && shown.contains(issuer.url()), "{shown}");
    for (family, url, value) in [
        ("mcp_guard_issuer_keys", issuer.url(), 1.0),
        ("mcp_guard_issuer_reachable", issuer.url(), 1.0),
        ("mcp_guard_issuer_reachable", down, 0.0),
    ] {
        assert_eq!(guard.metric(&format!("{family}{{issuer=\"{url}\"}}")).await, value, "{family} {url}");
    }
}

// "doctor [..] know it: issuer reachable, clock within leeway, audience plausible"
#[tokio::test]
async fn the_doctor_asks_the_issuer_for_its_keys_and_its_clock() {
    let stage = stage().await;
    let finding = async |what: &str| -> (String, String) {
        let output = stage.guard.command("doctor --json").await;
        let all: Value = serde_json::from_str(&output.stdout).unwrap();
        let found = all["findings"].as_array().unwrap().iter();
        let mut found = found.filter(|finding| finding["what"].as_str().unwrap().starts_with(what));
        let found = found.next_back().unwrap_or_else(|| panic!("{what}: {all:#}"));
        (found["state"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
    };
    let keys = finding("issuer").await;
    assert_eq!((keys.0.as_str(), keys.1.contains("1 keys at")), ("ok", true), "{keys:?}");
    assert_eq!(
        finding("resource").await.0,
        "warn",
        "the path of the resource is mapped by a proxy, or wrong"
    );
    let dated =
        ok(&TokenKey::set(&[&stage.key])).replacen("\r\n", "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 1);
    stage.issuer.set("/jwks", IssuerAnswer::Bytes(dated));
    let clock = finding("clock of").await;
    assert_eq!(
        (clock.0.as_str(), clock.1.contains("more than auth.oauth.leeway")),
        ("bad", true),
        "{clock:?}"
    );
    stage.issuer.set("/jwks", IssuerAnswer::Bytes(ok(r#"{"keys":[]}"#)));
    assert!(finding("issuer").await.1.contains("no key"), "an empty set");
    stage.issuer.set("/jwks", IssuerAnswer::Close);
    assert_eq!(finding("issuer").await.0, "bad");
}
