//! Every key of `[[route]]`, and what routes may not be to each other and to the endpoint.

use std::collections::BTreeSet;

use super::super::source;
use super::super::tests::{NOTHING, accepted, problems};
use super::*;
use crate::config::diagnostics::DiagnosticSink;

const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// A configuration of one slot and these routes.
fn text(routes: &[&str]) -> String {
    let routes: String = routes.iter().map(|lines| format!("[[route]]\n{lines}\n")).collect();
    format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n{routes}")
}

const GOOD: &str = "name = \"a\"\nprefix = \"/a\"\nslot = \"blue\"\nauth = \"none\"";

/// `GOOD` with other lines in place of those of the same keys.
fn with(lines: &str) -> String {
    let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let changed: Vec<String> = lines.lines().map(key).collect();
    let kept = GOOD.lines().filter(|line| !changed.contains(&key(line)));
    kept.chain(lines.lines()).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(lines: &str, expect: &[&str]) {
    let found = problems(&text(&[&with(lines)]));
    assert_eq!(found.len(), expect.len(), "{lines}: {found:#?}");
    for (found, expect) in found.iter().zip(expect) {
        assert!(found.contains(expect), "{found:?} does not say {expect:?}");
    }
}

#[track_caller]
fn check_pair(first: &str, second: &str, expect: &[&str]) {
    let found = problems(&text(&[&with(first), &with(&format!("name = \"b\"\n{second}"))]));
    assert_eq!(found.len(), expect.len(), "{first} / {second}: {found:#?}");
    for (found, expect) in found.iter().zip(expect) {
        assert!(found.contains(expect), "{found:?} does not say {expect:?}");
    }
}

#[test]
fn a_route_needs_a_name_a_prefix_a_backend_and_auth() {
    let found = problems(&text(&[""]));
    for (found, key) in found.iter().zip(["name", "prefix", "auth", "slot"]) {
        assert!(found.contains(&format!("route[0].{key}: missing")), "{found}");
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn defaults_are_closed_and_finite() {
    let config = accepted(&text(&[GOOD]));
    let [route] = config.routes.as_slice() else { panic!("one route") };
    assert_eq!(route.rule.methods, [HttpMethod::Get]);
    assert_eq!((route.rule.path_match, route.rule.upgrades), (PathMatch::Prefix, Upgrades::Refused));
    assert_eq!((route.idle, route.total), (config.timeouts.stream_idle, config.timeouts.total));
    assert_eq!((route.rule.body_bytes_max, route.stripped), (config.limits.body_bytes_max, 0));
    assert!(route.rate.is_none() && route.in_flight_max == 128);
}

#[test]
fn every_key_has_a_good_and_a_bad_value() {
    for (good, bad, why) in [
        ("name = \"stream-2_x\"", "name = \"Stream\"", "label"),
        ("prefix = \"/a/b.c\"", "prefix = \"/a/\"", "must not end with /"),
        ("exact = true", "exact = \"yes\"", "must be true or false"),
        ("methods = [\"GET\", \"POST\"]", "methods = [\"get\"]", "did you mean \"GET\"?"),
        ("websocket = true", "websocket = 1", "must be true or false"),
        ("slot = \"stable\"", "slot = \"red\"", "must be one of"),
        ("auth = \"bearer\"", "auth = \"off\"", "must be one of"),
        ("strip_prefix = \"/a\"", "strip_prefix = \"/b\"", "is not how the prefix begins"),
        ("idle = \"10m\"", "idle = \"0s\"", "must be 1ms to 24h"),
        ("total = \"600s\"", "total = \"600\"", "with a unit"),
        ("body_bytes = 10", "body_bytes = 0", "must be 1 to"),
        ("in_flight = 10", "in_flight = 0", "must be 1 to"),
        ("rate = \"5/m\"", "rate = \"5\"", "a count of 1 to 100000 and s, m or h"),
        ("rate = \"100/h\"", "rate = \"0/h\"", "count of 1 to 100000"),
    ] {
        check(good, &[]);
        check(bad, &[why]);
    }
    let by_address = "rate = \"5/m\"\nrate_key = \"address\"";
    let config = accepted(&text(&[&with(by_address)]));
    assert_eq!(config.routes[0].rate_key, RateKey::Address);
    check(&format!("{by_address}\nauth = \"bearer\""), &["is only for auth = \"none\""]);
    check("rate = \"5/m\"\nrate_key = \"caller\"", &[]);
    check("rate = \"5/m\"\nrate_key = \"port\"", &["must be one of"]);
    check("rate_key = \"caller\"", &["says nothing without a rate"]);
    check("methods = []", &["needs at least one method"]);
    check("methods = []\nwebsocket = true", &[]);
    check("slot = \"green\"", &["[slots.green]"]);
    check("idel = \"1s\"", &["did you mean idle?"]);
}

#[test]
fn an_address_of_its_own_has_the_keys_of_a_slot() {
    let own = GOOD.replace("slot = \"blue\"", "address = \"127.0.0.1:5000\"");
    let more = "host = \"x:80\"\nclient_header = true\nset_headers = { \"X-A\" = \"b\" }";
    assert_eq!(problems(&text(&[&format!("{own}\n{more}")])), [""; 0]);
    check("address = \"127.0.0.1:5000\"", &["not to both"]);
    check("host = \"x:80\"", &["only for a route with an address"]);
    let by_name = own.replace("127.0.0.1:5000", "localhost:5000");
    assert_eq!(problems(&text(&[&by_name])), [""; 0]);
    let bad = own.replace("127.0.0.1:5000", "localhost");
    assert_eq!(problems(&text(&[&bad])).len(), 1);
}

#[test]
fn keys_are_hashes_and_belong_to_the_kind_of_auth() {
    check(&format!("auth = \"api_key\"\napi_keys = {{ ui = \"{HASH}\" }}"), &[]);
    check(
        &format!("auth = \"api_key\"\napi_key_header = \"X-Key\"\napi_keys = {{ ui = [\"{HASH}\"] }}"),
        &[],
    );
    check("auth = \"api_key\"", &["api_keys: missing"]);
    check("auth = \"api_key\"\napi_keys = { ui = \"secret\" }", &["64 hexadecimal digits"]);
    check(
        &format!("auth = \"api_key\"\napi_keys = {{ ui = \"{HASH}\", bot = \"{HASH}\" }}"),
        &["same key as"],
    );
    check(&format!("auth = \"none\"\napi_keys = {{ ui = \"{HASH}\" }}"), &["only for auth"]);
    check(
        &format!("auth = \"api_key\"\napi_key_header = \"Host\"\napi_keys = {{ ui = \"{HASH}\" }}"),
        &["use the key host"],
    );
}

#[test]
fn a_key_that_is_refused_is_not_quoted() {
    let found = problems(&text(&[&with("auth = \"api_key\"\napi_keys = { ui = \"my-secret-key\" }")]));
    assert!(found.iter().all(|problem| !problem.contains("my-secret-key")), "{found:?}");
}

// "overlapping or shadowed routes are config errors"
#[test]
fn routes_are_disjoint() {
    let overlap = &["overlaps the route \"a\""][..];
    check_pair("prefix = \"/a\"", "prefix = \"/a\"", overlap);
    check_pair("prefix = \"/a\"", "prefix = \"/a/b\"", overlap);
    check_pair("prefix = \"/a/b\"", "prefix = \"/a\"", overlap);
    check_pair("prefix = \"/a\"\nexact = true", "prefix = \"/a\"", overlap);
    check_pair("prefix = \"/a\"\nexact = true", "prefix = \"/a\"\nexact = true", overlap);
    check_pair("prefix = \"/a\"\nmethods = [\"POST\", \"GET\"]", "prefix = \"/a\"", overlap);
    check_pair("prefix = \"/a\"\nmethods = [\"POST\"]\nwebsocket = true", "prefix = \"/a/x\"", overlap);
    for (first, second) in [
        ("prefix = \"/a\"", "prefix = \"/ab\""),
        ("prefix = \"/a\"\nexact = true", "prefix = \"/a/b\""),
        ("prefix = \"/a/b\"", "prefix = \"/a\"\nexact = true"),
        ("prefix = \"/a\"", "prefix = \"/a\"\nmethods = [\"POST\"]"),
    ] {
        check_pair(first, second, &[]);
    }
    let twice = problems(&text(&[GOOD, &with("prefix = \"/b\"")]));
    assert!(twice.len() == 1 && twice[0].contains("the name of another route"), "{twice:?}");
}

#[test]
fn a_route_does_not_cover_the_guards_own_paths() {
    for (lines, what) in [
        ("prefix = \"/mcp\"", "covers /mcp, the MCP endpoint"),
        ("prefix = \"/swf-monitor\"", "covers /swf-monitor/mcp, the MCP endpoint"),
        ("prefix = \"/health\"", "covers /health"),
        ("prefix = \"/health\"\nexact = true", "covers /health"),
        ("prefix = \"/ready\"", "covers /ready"),
        ("prefix = \"/mcp/health\"", "covers /mcp/health"),
        ("prefix = \"/register\"", "covers /register"),
        ("prefix = \"/x/.well-known\"", "the guard answers itself"),
        ("prefix = \"/\"", "below the root"),
    ] {
        check(lines, &[what]);
    }
    for lines in [
        "prefix = \"/orchestrator/health\"",
        "prefix = \"/swf-monitor\"\nexact = true",
        "prefix = \"/mcp/stream\"",
    ] {
        check(lines, &[]);
    }
}

#[test]
fn the_documentation_has_a_row_for_every_key() {
    let text = text(&[GOOD]);
    let sink = DiagnosticSink::new(Path::new("g.toml"), &text);
    let file = source::parse(&text, &sink).unwrap();
    let mut root = Table::root(file.get_ref(), &sink);
    let config = accepted("[slots.blue]\naddress = \"127.0.0.1:1\"\n");
    read(&mut root, &config, Path::new(""), &NOTHING);
    let known = sink.known();
    let keys: BTreeSet<&str> = known.iter().filter_map(|key| key.strip_prefix("route[0].")).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `route."));
    let documented: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    assert_eq!(documented, keys);
}
