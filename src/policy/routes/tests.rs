//! What belongs to a route and who may pass, on heads as they arrive.

use super::super::auth::{AuthRules, ClientConfig, Clients, WrongToken};
use super::super::{Limits, origin, paths};
use super::*;
use crate::http1::{FieldSpans, request};

fn rule(prefix: &str, auth: Auth) -> RouteRule {
    RouteRule {
        name: "r".to_owned(),
        prefix: prefix.to_owned(),
        path_match: PathMatch::Prefix,
        methods: vec![HttpMethod::Get, HttpMethod::Post],
        upgrades: Upgrades::Refused,
        auth,
        body_bytes_max: 10,
    }
}

fn policy() -> Policy {
    let bot = ClientConfig::new("bot", vec![TokenHash::of(b"good")]);
    let clients = Clients::new(vec![bot]).unwrap();
    let auth = AuthRules { wrong_token: WrongToken::Forbidden };
    Policy::new(
        &paths::PathRules { prefixes: Vec::new() },
        origin::OriginRules::default(),
        auth,
        Limits::SMALL,
        clients,
    )
}

fn with_head<T>(line: &str, fields: &str, see: impl FnOnce(&RequestHead<'_>) -> T) -> T {
    let text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let mut spans = FieldSpans::default();
    see(&request::parse(text.as_bytes(), &mut spans, &Limits::SMALL.head).unwrap())
}

#[track_caller]
fn check(rule: &RouteRule, line: &str, fields: &str, expect: Result<Caller, Denial>) {
    let verdict =
        with_head(line, fields, |head| policy().decide_route(rule, head, Presented::default(), 100));
    assert_eq!(verdict.map(|permit| permit.caller()), expect, "{line} {fields}");
}

#[track_caller]
fn check_find(rules: &[RouteRule], line: &str, expect: Match) {
    assert_eq!(with_head(line, "", |head| find(rules.iter(), head)), expect, "{line}");
}

#[test]
fn a_request_belongs_to_the_route_at_its_path_that_takes_its_method() {
    let list = RouteRule { methods: vec![HttpMethod::Get], ..rule("/a", Auth::None) };
    let run = RouteRule {
        methods: vec![HttpMethod::Post],
        path_match: PathMatch::Exact,
        ..rule("/a/run", Auth::None)
    };
    let rules = [list, run];
    for line in ["GET /a", "GET /a/", "GET /a/run", "GET http://localhost/a?b", "GET /a/b/c"] {
        check_find(&rules, line, Match::Route(0));
    }
    for line in ["POST /a/run", "POST /a/run/"] {
        check_find(&rules, line, Match::Route(1));
    }
    for line in ["POST /a", "DELETE /a/run", "get /a", "POST /a/run/x", "PURGE /a"] {
        check_find(&rules, line, Match::OtherMethods);
    }
    for line in ["GET /", "GET /b", "GET /ab", "GET /a//run", "GET /a/../a", "GET /a/.well-known/x", "GET /A"]
    {
        check_find(&rules, line, Match::None);
    }
    assert_eq!(allow(rules.iter(), b"/a/run"), "GET, POST");
    assert_eq!(allow(rules.iter(), b"/a"), "GET");
}

// The order of the checks: origin and host, credentials, single fields, size.
#[test]
fn faults_are_named_in_the_order_of_the_contract() {
    let route = rule("/a", Auth::Bearer);
    let (twice, big) = ("Content-Type: a\r\nContent-Type: a\r\n", "Content-Length: 11\r\n");
    let token = "Authorization: Bearer good\r\n";
    for (fields, expect) in [
        (format!("Origin: null\r\n{twice}{big}"), Err(Denial::OriginNotAllowed)),
        (format!("{twice}{big}"), Err(Denial::AuthorizationMissing)),
        (
            format!("Authorization: Bearer bad\r\n{twice}{big}"),
            Err(Denial::TokenInvalid(WrongToken::Forbidden)),
        ),
        (format!("{token}{token}"), Err(Denial::RepeatedField(KnownField::Authorization))),
        (format!("{token}{twice}{big}"), Err(Denial::RepeatedField(KnownField::ContentType))),
        (format!("{token}{big}"), Err(Denial::BodyTooLarge)),
        (format!("{token}Content-Length: 10\r\nContent-Type: text/csv\r\n"), Ok(())),
    ] {
        let verdict = with_head("POST /a", &fields, |head| {
            policy().decide_route(&route, head, Presented::default(), 100)
        });
        assert_eq!(verdict.map(|_| ()), expect, "{fields}");
    }
}

#[test]
fn each_key_is_its_holders() {
    let key = |name: &str| ApiKey { name: name.to_owned(), hash: TokenHash::of(name.as_bytes()) };
    let auth = Auth::ApiKey { field: "X-Key".to_owned(), keys: vec![key("one"), key("two"), key("three")] };
    let route = rule("/a", auth);
    for (sent, expect) in [
        ("X-Key: one", Ok(Caller::Key(0))),
        ("x-kEY: three", Ok(Caller::Key(2))),
        ("X-Key: on", Err(Denial::ApiKeyInvalid)),
        ("X-Key: one two", Err(Denial::ApiKeyInvalid)),
        ("X-Key: ONE", Err(Denial::ApiKeyInvalid)),
        ("X-Key:", Err(Denial::ApiKeyMissing)),
        ("X_Key: one", Err(Denial::ApiKeyMissing)),
        ("X-API-Key: one", Err(Denial::ApiKeyMissing)),
        ("X-Key: one\r\nX-Key: one", Err(Denial::RepeatedField(KnownField::Other))),
        ("X-Key: one\r\nConnection: x-key", Err(Denial::Framing(FramingError::Nomination))),
    ] {
        check(&route, "GET /a?X-Key=one", &format!("{sent}\r\n"), expect);
    }
    let locked = rule("/a", Auth::ApiKey { field: "X-Key".to_owned(), keys: Vec::new() });
    check(&locked, "GET /a", "X-Key: one\r\n", Err(Denial::ApiKeyInvalid));
    check(&rule("/a", Auth::None), "GET /a", "", Ok(Caller::Anyone));
}

// RFC 6455, 4.1
#[test]
fn an_upgrade_is_a_whole_handshake_or_nothing() {
    let route = RouteRule { upgrades: Upgrades::WebSocket, ..rule("/a", Auth::None) };
    let good = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n";
    let permit =
        with_head("GET /a", good, |head| policy().decide_route(&route, head, Presented::default(), 1));
    assert!(permit.is_ok_and(|permit| permit.is_upgrade()));
    let forbidden = Err(Denial::Framing(FramingError::Forbidden));
    for bad in [
        good.replace("WebSocket\r\nSec", "h2c, websocket\r\nSec"),
        good.replace("Connection: Upgrade\r\n", ""),
        good.replace("Sec-WebSocket-Key: x\r\n", ""),
        format!("{good}Upgrade: websocket\r\n"),
        format!("{good}Content-Length: 1\r\n"),
    ] {
        check(&route, "GET /a", &bad, forbidden);
    }
    check(&route, "POST /a", good, forbidden);
}

// RFC 9110, 7.8: an offered upgrade "cannot be used to insist on a protocol change"
#[test]
fn an_offered_upgrade_is_ignored_off_its_route() {
    let websocket = RouteRule { upgrades: Upgrades::WebSocket, ..rule("/a", Auth::None) };
    let plain = rule("/a", Auth::None);
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n";
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n";
    for (route, fields) in
        [(&websocket, h2c), (&plain, h2c), (&plain, handshake), (&plain, "Upgrade: x/2\r\n")]
    {
        let permit =
            with_head("GET /a", fields, |head| policy().decide_route(route, head, Presented::default(), 1));
        assert!(permit.is_ok_and(|permit| !permit.is_upgrade()), "{fields}");
    }
}
