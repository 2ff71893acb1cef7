//! The path from bytes to a verdict on the head allocates nothing, whatever the verdict.
//!
//! A binary of its own, because counting needs an allocator of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mcp_guard::http1::{FieldSpans, HeadLimits, RequestHead, chunked, head_end, request};
use mcp_guard::parity::normalize::normalize;
use mcp_guard::parity::results::compare;
use mcp_guard::parity::schema;
use mcp_guard::policy::auth::{AuthRules, ClientConfig, TokenHash, WrongToken};
use mcp_guard::policy::{Clients, Limits, Local, Policy, Presented, Verdict, origin, paths};
use serde_json::{Map, Value, json};

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

const TOKEN: &str = "swf_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

fn policy() -> Policy {
    let client = |number: u32| ClientConfig {
        not_after: Some(u64::MAX),
        ..ClientConfig::new(
            &format!("bot-{number}"),
            vec![TokenHash::of(format!("{TOKEN}{number}").as_bytes())],
        )
    };
    let prefixes = ["/swf-monitor/mcp", "/mcp", "/"].map(|prefix| paths::Prefix::parse(prefix).unwrap());
    let origin = origin::OriginRules {
        allowed: vec![origin::Origin::parse("https://monitor.example").unwrap()],
        hosts: vec![origin::Host::parse("mcp.test").unwrap()],
    };
    Policy::new(
        &paths::PathRules { prefixes: prefixes.to_vec() },
        origin,
        AuthRules { wrong_token: WrongToken::Forbidden },
        LIMITS,
        Clients::new((0..100).map(client).collect()).unwrap(),
    )
}

fn head(line: &str, fields: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: mcp.test\r\n{fields}Content-Type: application/json\r\nContent-Length: 40\r\n\
         Accept: application/json, text/event-stream\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n"
    )
}

/// Allocations while `work` runs on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[track_caller]
fn check(line: &str, fields: &str, expect: impl Fn(&Verdict) -> bool) {
    let (policy, bytes) = (policy(), head(line, fields));
    let mut spans = FieldSpans::default();
    let head: RequestHead<'_> = request::parse(bytes.as_bytes(), &mut spans, &LIMITS.head).unwrap();
    let mut verdict = None;
    let count = allocations(|| verdict = Some(policy.decide(&head, Presented::default(), 1)));
    assert!(verdict.as_ref().is_some_and(expect), "{line} {fields}: {verdict:?}");
    assert_eq!(count, 0, "{line} {fields}");
}

fn denies(code: &'static str) -> impl Fn(&Verdict) -> bool {
    move |verdict| matches!(verdict, Verdict::Deny(denial) if denial.code() == code)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

// "zero heap allocations in the policy decision"
#[test]
fn no_verdict_on_a_head_allocates() {
    let good = format!("Authorization: Bearer {TOKEN}7\r\n");
    check("POST /swf-monitor/mcp/", &good, |verdict| matches!(verdict, Verdict::Forward(_)));
    check("GET /mcp/health", "", |verdict| *verdict == Verdict::Answer(Local::Health));
    check("GET /ready", "", |verdict| *verdict == Verdict::Answer(Local::Ready));
    check("GET /.well-known/oauth-protected-resource", "", denies("oauth_metadata"));
    check("GET /mcp", "", denies("method_not_allowed"));
    check("POST /mcp", "Origin: https://evil.example\r\n", denies("origin_not_allowed"));
    check("POST /mcp", "Origin: https://monitor.example\r\n", denies("authorization_missing"));
    check("POST /mcp", "Authorization: Bearer wrong\r\n", denies("token_invalid"));
    check("POST /mcp/x", &good, denies("path_not_found"));
    check("POST /mcp", &format!("{good}Content-Encoding: gzip\r\n"), denies("content_encoding"));
}

#[test]
fn a_warm_connection_finds_and_parses_heads_without_allocating() {
    let bytes = head("POST /mcp", &format!("Authorization: Bearer {TOKEN}7\r\n"));
    let mut spans = FieldSpans::default();
    request::parse(bytes.as_bytes(), &mut spans, &LIMITS.head).unwrap();
    let mut fields = 0;
    let count = allocations(|| {
        assert_eq!(head_end(bytes.as_bytes(), 0, &LIMITS.head), Ok(Some(bytes.len())));
        fields =
            request::parse(bytes.as_bytes(), &mut spans, &LIMITS.head).map_or(0, |head| head.fields.len());
    });
    assert_eq!((fields, count), (7, 0));
}

#[test]
fn decoding_chunks_allocates_nothing() {
    let mut data = 0;
    let count = allocations(|| {
        let (mut decoder, mut rest) =
            (chunked::Decoder::new(), b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n".as_slice());
        while let Ok(chunked::Piece::Data { start, end }) = decoder.next(rest) {
            data += end - start;
            rest = &rest[end..];
        }
    });
    assert_eq!((data, count), (5, 0));
}

/// What a comparison of two answers, or of two schemas, may take above its input.
const COMPARED_BYTES_MAX: u64 = 32 << 20;

/// The most that `work` has allocated at a time.
fn peak(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).bytes_max
}

fn nested(levels: usize, leaf: &Value, width: usize) -> Value {
    (0..levels).fold(leaf.clone(), |inner, level| {
        let mut list: Vec<Value> = (0..width).map(|n| json!([level, n])).collect();
        list.push(inner);
        Value::Array(list)
    })
}

/// Pairs of answers of which a naive comparison keeps, or looks at, far more than it was given.
fn answers() -> Vec<(&'static str, Value, Value)> {
    let numbers = |from: usize| -> Vec<Value> { (0..20_000).map(|n| json!(n + from)).collect() };
    let long = "k".repeat(256 << 10);
    let keyed = |from| json!({ long.clone(): numbers(from) });
    let texts = |n: usize| -> Value {
        (0..500).map(|m| json!(json!({"n": n + m, "list": vec![m; 50]}).to_string())).collect()
    };
    vec![
        ("many differences below a long key", keyed(0), keyed(1)),
        ("many members on one side", json!({}), (0..20_000).map(|n| (format!("m{n}"), json!([n]))).collect()),
        ("the other order at every level", nested(100, &json!(0), 100), nested(100, &json!("x"), 100)),
        ("texts that hold JSON", texts(0), texts(1)),
        ("long values", json!(vec!["a".repeat(1 << 20); 4]), json!(vec!["b".repeat(1 << 20); 4])),
    ]
}

#[test]
fn a_comparison_of_answers_takes_bounded_memory() {
    for (name, live, candidate) in answers() {
        for lives in [vec![live.clone()], vec![live.clone(), candidate.clone()]] {
            let candidates = vec![candidate.clone(), live.clone()];
            let mut found = None;
            let bytes = peak(|| found = Some(compare(&lives, &candidates, &[])));
            assert!(bytes < COMPARED_BYTES_MAX, "{name}: {bytes}");
            let found = found.unwrap();
            let noisy = lives.len() > 1;
            assert!(noisy || !found.differences.is_empty() || found.unlisted > 0, "{name} is found");
        }
    }
}

#[test]
fn a_comparison_of_schemas_takes_bounded_memory() {
    let variants = |kind: &str, n: usize| -> Vec<Value> {
        (0..n).map(|n| json!({"type": "object", "properties": {"p": {"enum": [kind, n]}}})).collect()
    };
    let names = |n: usize, value: &Value| -> Map<String, Value> {
        (0..n).map(|n| (format!("p{n}"), value.clone())).collect()
    };
    let long = "n".repeat(200 << 10);
    let below = |kind: &str| json!({"properties": {long.clone(): {"properties": names(5_000, &json!({"type": kind}))}}});
    let pairs = [
        ("variants", json!({"anyOf": variants("a", 2_000)}), json!({"anyOf": variants("b", 2_000)})),
        (
            "variants on one side",
            json!({"properties": names(2_000, &json!({}))}),
            json!({"anyOf": variants("b", 2_000)}),
        ),
        ("parameters below a long name", below("string"), below("integer")),
        (
            "wide enums",
            json!({"enum": (0..20_000).collect::<Vec<u32>>()}),
            json!({"enum": (1..20_000).collect::<Vec<u32>>()}),
        ),
    ];
    for (name, live, candidate) in pairs {
        let mut normal = None;
        let bytes = peak(|| normal = Some([normalize(&live), normalize(&candidate)]));
        assert!(bytes < COMPARED_BYTES_MAX, "{name}: {bytes}");
        let mut found = Vec::new();
        let bytes = peak(|| found = schema::compare(&live, &candidate));
        assert!(bytes < COMPARED_BYTES_MAX, "{name}: {bytes}");
        assert!(!found.is_empty(), "{name} is found");
    }
}
