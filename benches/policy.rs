//! How long the front door takes: `cargo bench --bench policy`.
//!
//! Every case asserts its result: a decision that takes a wrong turn would look fast.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use mcp_guard::http1::{BodyLength, FieldSpans, HeadLimits, head_end, request};
use mcp_guard::policy::auth::{AuthRules, ClientConfig, TokenHash, WrongToken};
use mcp_guard::policy::oauth::keys::KeySet;
use mcp_guard::policy::oauth::resource::ProtectedResource;
use mcp_guard::policy::oauth::rules::{Algorithm, Grant, Rules};
use mcp_guard::policy::rate::Rate;
use mcp_guard::policy::shared_rates::{Messages, RateOf};
use mcp_guard::policy::{Clients, Denial, Limits, Policy, Presented, Verdict, origin, paths};
use mcp_testkit::TokenKey;
use serde_json::json;

const LIMITS: Limits = Limits {
    head: HeadLimits { bytes_max: 16384, fields_max: 100 },
    body_bytes_max: 4 << 20,
    bodies_bytes_max: 1 << 20,
    connections_max: 1024,
    in_flight_max: 32,
    waiting_max: 64,
    held_max: 256,
    streams_max: 256,
    streams_per_client_max: 256,
};

const TOKEN: &str = "swf_0123456789abcdefghijklmnopqrstuvwxyzABCDEF";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decisions(&mut criterion);
    signed(&mut criterion);
    heads(&mut criterion);
    rates(&mut criterion);
    criterion.final_summary();
}

/// The head of a call as the Python SDK sends it and Apache hands it on.
fn typical_head(token: &str) -> Vec<u8> {
    format!(
        "POST /swf-monitor/mcp/ HTTP/1.1\r\nHost: 127.0.0.1:8001\r\nAccept: application/json, text/event-stream\r\n\
         Accept-Encoding: gzip, deflate\r\nUser-Agent: python-httpx/0.28.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Host: monitor.example\r\nX-Forwarded-Server: monitor.example\r\nConnection: Keep-Alive\r\n\
         Content-Length: 118\r\n\r\n"
    )
    .into_bytes()
}

fn policy(clients: u32) -> Policy {
    let client = |number: u32| {
        let hash = TokenHash::of(format!("{TOKEN}{number}").as_bytes());
        ClientConfig::new(&format!("bot-{number}"), vec![hash])
    };
    policy_of(Clients::new((0..clients).map(client).collect()).unwrap_or_default())
}

fn policy_of(clients: Clients) -> Policy {
    let prefixes = ["/swf-monitor/mcp", "/mcp", "/"].iter().flat_map(|text| paths::Prefix::parse(text));
    let auth = AuthRules { wrong_token: WrongToken::Forbidden };
    Policy::new(
        &paths::PathRules { prefixes: prefixes.collect() },
        origin::OriginRules::default(),
        auth,
        LIMITS,
        clients,
    )
}

fn decisions(criterion: &mut Criterion) {
    let wrong: fn(&Verdict) -> bool =
        |verdict| *verdict == Verdict::Deny(Denial::TokenInvalid(WrongToken::Forbidden));
    let passes: fn(&Verdict) -> bool = |verdict| matches!(verdict, Verdict::Forward(_));
    let mut group = criterion.benchmark_group("policy");
    for (name, clients, token, expect) in [
        ("decide_typical_head", 3, format!("{TOKEN}1"), passes),
        // The same cost, however many clients there are.
        ("decide_1_client", 1, format!("{TOKEN}0"), passes),
        ("decide_1k_clients", 1_000, format!("{TOKEN}777"), passes),
        ("decide_100k_clients", 100_000, format!("{TOKEN}77777"), passes),
        ("decide_wrong_token", 3, format!("{TOKEN}9"), wrong),
    ] {
        let (policy, bytes) = (policy(clients), typical_head(&token));
        let mut spans = FieldSpans::default();
        let head = request::parse(&bytes, &mut spans, &LIMITS.head);
        assert!(head.is_ok(), "{name}: {head:?}");
        let Ok(head) = head else { return };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = policy.decide(black_box(&head), Presented::default(), black_box(1_800_000_000));
                assert!(expect(&verdict));
                verdict
            });
        });
    }
    group.finish();
}

/// What the rate of a client costs a call: counted by the guard alone, and by its share of the fleet's.
fn rates(criterion: &mut Criterion) {
    let shared = mcp_guard::fuzzing::shared_rates();
    let limiter = |shared| RateOf::Client("bot", Messages::Requests).limiter(shared);
    let cases = [("rate/admit", limiter(None)), ("rate/admit_shared", limiter(Some(shared.as_ref())))];
    let most = NonZeroU32::new(100_000).unwrap_or(NonZeroU32::MIN);
    let Some(rate) = Rate::new(most, Duration::from_secs(1), most) else { return };
    for (name, limiter) in cases {
        // A bucket that is full, and calls at the rate.
        let mut now_ns = 100_000_000_000;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                now_ns += 11_000;
                let admitted = limiter.admit(black_box(&rate), black_box(now_ns));
                assert!(admitted.is_ok(), "{name}");
            });
        });
        let refused = (0..200_000).any(|_| limiter.admit(&rate, now_ns).is_err());
        assert!(refused, "{name} bounds nothing");
    }
}

const RESOURCE: &str = "https://mcp.example.org/mcp";
const ISSUER: &str = "https://login.example.org";
const NOW: u64 = 1_800_000_000;

/// What a token of an issuer costs: remembered, and each signature.
fn signed(criterion: &mut Criterion) {
    let keys = [TokenKey::es256("e"), TokenKey::rsa("r", "RS256"), TokenKey::ed25519("d")];
    let [es256, rs256, ed25519] = &keys;
    let set = TokenKey::set(&[es256, rs256, ed25519]);
    let claims = json!({
        "iss": ISSUER, "aud": [RESOURCE], "exp": NOW + 3600, "nbf": NOW - 10, "iat": NOW - 10, "jti": "Tq1NhA0cJ6yPkxQ2",
        "sub": "9f0d6c9e-2d55-4c6e-8f0b-2f5a4a1f0c77", "client_id": "https://client.example.org/metadata.json",
        "scope": "openid profile mcp mcp:write",
    });
    let mut group = criterion.benchmark_group("policy");
    warm(&mut group, &set, &es256.token(&claims));
    let parsed = KeySet::parse(set.as_bytes(), None);
    let (Ok(parsed), Some(rules)) = (parsed, rules()) else { return };
    let parsed = Arc::new(parsed);
    for key in &keys {
        let token = key.token(&claims);
        group.bench_function(format!("verify_{}", key.algorithm().to_lowercase()), |bencher| {
            bencher.iter(|| {
                let verified = rules.verify(black_box(token.as_bytes()), NOW, |_| Some(parsed.clone()));
                assert!(verified.is_ok());
                verified
            });
        });
    }
    group.finish();
}

fn grants() -> Clients {
    let grant = ClientConfig { is_grant: true, ..ClientConfig::new("users", Vec::new()) };
    Clients::new(vec![grant]).unwrap_or_default()
}

fn rules() -> Option<Rules> {
    let grant = Grant {
        client: grants().named("users")?,
        scopes: vec!["mcp".to_owned()],
        claims: Vec::new(),
        issuer: None,
    };
    Some(Rules {
        resource: RESOURCE.to_owned(),
        issuers: vec![ISSUER.to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        leeway: 30,
        client_claim: vec!["client_id".to_owned()],
        grants: vec![grant],
    })
}

/// The same head as for static tokens, with a token that was verified before.
fn warm(group: &mut BenchmarkGroup<'_, WallTime>, set: &str, token: &str) {
    let file = tempfile::NamedTempFile::new().and_then(|file| {
        std::fs::write(file.path(), set)?;
        Ok(file)
    });
    let Ok(file) = file else { return };
    let text = format!(
        "[slots.blue]\naddress = \"127.0.0.1:1\"\n[auth.oauth]\nresource = \"{RESOURCE}\"\n\
         issuers = [{{ url = \"{ISSUER}\", jwks = \"{}\" }}]\n[[auth.oauth.grant]]\nname = \"users\"\nscopes = [\"mcp\"]\n",
        file.path().display()
    );
    let verifier = mcp_guard::fuzzing::verifier(&text);
    assert!(verifier.is_some(), "the configuration is valid");
    let Some(verifier) = verifier else { return };
    let resource = ProtectedResource::new(RESOURCE, &[ISSUER.to_owned()], &[vec!["mcp".to_owned()]]);
    let policy = policy_of(grants()).with_oauth(Some((resource, verifier)));
    let bytes = typical_head(token);
    let mut spans = FieldSpans::default();
    let head = request::parse(&bytes, &mut spans, &LIMITS.head);
    assert!(head.is_ok(), "{head:?}");
    let Ok(head) = head else { return };
    group.bench_function("decide_remembered_token", |bencher| {
        bencher.iter(|| {
            let verdict = policy.decide(black_box(&head), Presented::default(), black_box(NOW));
            assert!(matches!(verdict, Verdict::Forward(_)));
            verdict
        });
    });
}

fn heads(criterion: &mut Criterion) {
    let bytes = typical_head(TOKEN);
    let mut spans = FieldSpans::default();
    let mut group = criterion.benchmark_group("http1");
    group.bench_function("find_typical_head", |bencher| {
        bencher.iter(|| {
            let end = head_end(black_box(&bytes), 0, &LIMITS.head);
            assert_eq!(end, Ok(Some(bytes.len())));
        });
    });
    group.bench_function("parse_typical_head", |bencher| {
        bencher.iter(|| {
            let head = request::parse(black_box(&bytes), &mut spans, &LIMITS.head);
            assert!(head.is_ok_and(|head| head.body == BodyLength::Bytes(118) && head.fields.len() == 12));
        });
    });
    group.finish();
}
