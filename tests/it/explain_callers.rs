//! Contract, section 19: what `mcp-guard explain` says of callers, routes and issuers, and what it says where no guard is asked.

use std::fs;

use serde_json::{Value, json};

use mcp_testkit::{TokenKey, call, issuer, post};

use crate::explain::{canary, decider, explained};
use crate::guard;
use crate::limits::client;
use crate::oauth::{READERS, answering, claims, oauth};

const METADATA: &str =
    "GET /.well-known/oauth-protected-resource/swf/mcp HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn notes(found: &Value) -> String {
    found["notes"].to_string()
}

#[tokio::test]
async fn explain_judges_a_route_with_the_named_client_and_names_one_that_is_off() {
    let backend = answering().await;
    let address = backend.address();
    let route = |name: &str, auth: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nprefix = \"/{name}\"\naddress = \"{address}\"\nauth = \"{auth}\"\n"
        )
    };
    let tables = route("api", "bearer") + &route("open", "none");
    let guard = guard().tokens(&client("bot", "")).admin().config(&tables).upstream(&backend).start().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let bare = explained(&guard, "--request -", &get("/api/x")).await;
    let real = guard.connect().await.exchange(get("/api/x")).await;
    assert_eq!(bare["verdict"]["code"], "authorization_missing", "{bare:#}");
    assert_eq!((&bare["verdict"]["status"], &bare["route"]), (&json!(real.status()), &json!("api")));
    let named = explained(&guard, "--client bot --request -", &get("/api/x")).await;
    assert_eq!(
        (&named["verdict"]["outcome"], &named["client"]),
        (&json!("route"), &json!("bot")),
        "{named:#}"
    );
    let open = explained(&guard, "--client bot --request -", &get("/open")).await;
    assert!(notes(&open).contains("--client says nothing to the route"), "{open:#}");
    guard.command_ok("feature off route:api").await;
    let off = explained(&guard, "--request -", &get("/api/x")).await;
    let real = guard.connect().await.exchange(get("/api/x")).await;
    assert_eq!((&off["verdict"]["status"], decider(&off)), (&json!(real.status()), "http method"), "{off:#}");
    assert_eq!((&off["route"], &off["off"][0]["feature"]), (&json!("api"), &json!("route:api")), "{off:#}");
    assert!(notes(&off).contains("the route api takes such requests, and is switched off"), "{off:#}");
}

// "nothing is sent": an explained token of an unknown key causes no fetch, and a good one is not remembered.
#[tokio::test]
async fn explain_judges_tokens_of_issuers_with_and_without_a_guard() {
    let (key, other) = (TokenKey::es256("k1"), TokenKey::es256("k2"));
    let (issuer, backend) = (issuer(&[&key]).await, answering().await);
    let tables = oauth(issuer.url(), READERS);
    let mut guard =
        guard().tokens(&client("bot", "")).admin().upstream(&backend).config(&tables).start().await;
    let ping = |token: &str| post(token, "", &call(1, "ping"));
    let good = ping(&key.token(&claims(&issuer, json!({}))));
    let unknown = ping(&other.token(&claims(&issuer, json!({}))));
    let wrong = ping("word");
    let asked = issuer.all_requests();
    let check = async |guard: &mcp_testkit::Guard| {
        for (request, outcome, code) in [
            (good.as_str(), "forwarded", Value::Null),
            (wrong.as_str(), "refused", json!("token_invalid")),
            (METADATA, "answered", Value::Null),
        ] {
            let found = explained(guard, "--request -", request).await;
            let verdict = &found["verdict"];
            assert_eq!((&verdict["outcome"], &verdict["code"]), (&json!(outcome), &code), "{found:#}");
        }
        let found = explained(guard, "--request -", &good).await;
        assert_eq!((&found["client"], &found["subject"]), (&json!("readers"), &json!("desktop")));
        explained(guard, "--request -", &wrong).await["verdict"]["status"].clone()
    };
    let status = check(&guard).await;
    assert_eq!(status, guard.connect().await.exchange(&wrong).await.status());
    let looked_at = explained(&guard, "--request -", &unknown).await;
    let bot = guard.command("explain --client bot --subject x --method ping").await;
    assert!(bot.code == 2 && bot.stderr.contains("bot stands for itself"), "{bot:?}");
    assert_eq!(issuer.all_requests(), asked, "no token that is looked at causes a fetch");
    let real = guard.connect().await.exchange(&unknown).await;
    assert_eq!(looked_at["verdict"]["status"], real.status(), "{looked_at:#}");
    guard.signal(rustix::process::Signal::TERM);
    guard.ended().await;
    let asked = issuer.all_requests();
    // The keys that the guard has saved.
    assert_eq!(check(&guard).await, status);
    assert_eq!(issuer.all_requests(), asked);
    for entry in fs::read_dir(guard.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "keys") {
            fs::remove_file(path).unwrap();
        }
    }
    let found = explained(&guard, "--request -", &good).await;
    assert_eq!(found["verdict"]["code"], "jwt_keys_unavailable", "{found:#}");
}

#[tokio::test]
async fn explain_of_a_grant_without_its_subject_names_no_slot() {
    let key = TokenKey::es256("k1");
    let issuer = issuer(&[&key]).await;
    let tables = oauth(issuer.url(), READERS);
    let (guard, _backends, _folder) = canary(false, |guard| guard.config(&tables)).await;
    let open = explained(&guard, "--client readers --method ping", "").await;
    assert_eq!((&open["verdict"]["outcome"], &open["slot"]["slot"]), (&json!("forwarded"), &Value::Null));
    assert!(open["slot"]["why"].as_str().unwrap().contains("it depends on the subject"), "{open:#}");
    assert!(notes(&open).contains("what one has used of limits and shares is not known"), "{open:#}");
    for name in ["desktop", "phone", "laptop", "server"] {
        let named = explained(&guard, &format!("--client readers --subject {name} --method ping"), "").await;
        let token = key.token(&claims(&issuer, json!({ "client_id": name })));
        let proved = explained(&guard, "--request -", &post(&token, "", &call(1, "ping"))).await;
        assert!(named["slot"]["slot"].is_string(), "{named:#}");
        assert_eq!(named["slot"]["slot"], proved["slot"]["slot"], "{name}");
    }
}

#[tokio::test]
async fn explain_without_a_guard_says_what_it_cannot_know() {
    let (mut guard, _backends, _folder) = canary(true, |guard| guard).await;
    for name in ["tool:jobs_a", "tool:jobs_b"] {
        guard.command_ok(&format!("feature off {name}")).await;
    }
    let modern = "--client a --tool echo --protocol 2026-07-28";
    assert_eq!(explained(&guard, modern, "").await["verdict"]["code"], "era_fenced");
    let silent = guard.command("explain --socket /nonexistent/a.sock --client a --method ping").await;
    assert!(silent.code == 2 && silent.stderr.contains("/nonexistent/a.sock"), "{silent:?}");
    guard.signal(rustix::process::Signal::TERM);
    guard.ended().await;
    let found = explained(&guard, modern, "").await;
    assert_eq!(found["verdict"]["outcome"], "forwarded", "{found:#}");
    assert!(notes(&found).contains("the era fence is not known"), "{found:#}");
    // A damaged file: what was off before the last switch, as a guard takes it.
    let file = guard.state().join("features.state");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[1..]).unwrap();
    let off = explained(&guard, "--client a --tool jobs_a", "").await;
    assert_eq!((decider(&off), &off["off"][0]["feature"]), ("tool switched off", &json!("tool:jobs_a")));
    assert!(notes(&off).contains("off is what was off before the last switch"), "{off:#}");
    fs::write(&file, &whole).unwrap();
    let rollout = guard.state().join("rollout.state");
    let saved = fs::read(&rollout).unwrap();
    fs::write(&rollout, &saved[1..]).unwrap();
    let found = explained(&guard, "--client early --method ping", "").await;
    assert!(found["slot"]["slot"] == "blue" && notes(&found).contains("rollout.state"), "{found:#}");
    // Files that cannot be read leave the question open.
    for path in [file, rollout] {
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let typed = guard.command("explain --client a --method ping").await;
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(typed.code == 2 && typed.stderr.contains(name), "{typed:?}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, if name == "features.state" { &whole } else { &saved }).unwrap();
    }
}

#[tokio::test]
async fn explain_asks_for_the_path_of_the_running_guard() {
    let backend = answering().await;
    let asked = guard().token("t").admin().upstream(&backend).start().await;
    asked.edit("[listen]", "[paths]\nprefixes = [\"/another\"]\n[listen]");
    let found = explained(&asked, "--client default --method ping", "").await;
    assert_eq!(found["verdict"]["outcome"], "forwarded", "{found:#}");
    // A guard without an admin socket cannot be asked, and may run all the same.
    let mute = guard().tokens(&client("bot", "")).upstream(&backend).start().await;
    let found = explained(&mute, "--client bot --method ping", "").await;
    assert_eq!(
        (&found["source"], &found["verdict"]["outcome"]),
        (&json!("configuration"), &json!("forwarded"))
    );
    assert!(notes(&found).contains("`listen.admin` is not set"), "{found:#}");
}
