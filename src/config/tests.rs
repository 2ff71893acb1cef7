//! Every key of the file, one value it takes and one it refuses; the shipped files; and text of any kind.

use std::collections::BTreeSet;
use std::ffi::OsString;

use proptest::prelude::*;

use super::*;
use crate::upstream::Address;

pub(super) const NOTHING: Environment<'static> =
    Environment { variable: &|_| None, now: 1_800_000_000, shown_pairs: None };
const TOKEN: &str = "swf_0123456789abcdefghij";

fn with_token(name: &str) -> Option<OsString> {
    (name == "MCP_BEARER_TOKEN").then(|| TOKEN.into())
}

/// A configuration of one slot, with one more line in one more table.
pub(super) fn text(table: &str, line: &str) -> String {
    match table {
        "slots.blue" => format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n{line}\n"),
        _ => format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n[{table}]\n{line}\n"),
    }
}

pub(super) fn problems(text: &str) -> Vec<String> {
    match build(Path::new("guard.toml"), text, &NOTHING) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => diagnostics.problems.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn warnings(text: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<String> {
    let environment = Environment { variable, now: NOTHING.now, shown_pairs: None };
    let loaded = build(Path::new("guard.toml"), text, &environment).map_err(|f| f.problems).unwrap();
    loaded.warnings.iter().map(ToString::to_string).collect()
}

pub(super) fn accepted(text: &str) -> Config {
    build(Path::new("/etc/guard/guard.toml"), text, &NOTHING).map_err(|f| f.problems).unwrap().config
}

/// `accept` loads; `error` gives exactly one problem, on that key and line, saying `why`.
#[track_caller]
fn check(table: &str, key: &str, accept: &str, error: &str, why: &str) {
    let good = text(table, &format!("{key} = {accept}"));
    assert_eq!(problems(&good), [""; 0], "{good}");
    let bad = text(table, &format!("{key} = {error}"));
    let found = problems(&bad);
    assert_eq!(found.len(), 1, "{found:#?}");
    let line = if table == "slots.blue" { 3 } else { 4 };
    let start = format!("guard.toml:{line}: {table}.{key}");
    assert!(found[0].starts_with(&start), "{:?} does not start with {start:?}", found[0]);
    assert!(found[0].contains(why), "{:?} does not say {why:?}", found[0]);
}

#[test]
fn listen_keys() {
    check("listen", "address", "\"[::1]:9\"", "\"localhost:9\"", "did you mean \"127.0.0.1:9\"?");
    check("listen", "address", "\"unix:/run/g.sock\"", "\"/run/g.sock\"", "unix:/run/g.sock");
    check("listen", "metrics", "\"127.0.0.1:9\"", "9464", "must be a text in quotes");
    check("listen", "mode", "\"0666\"", "\"666\"", "must be one of \"0600\", \"0660\", \"0666\"");
    check("listen", "metrics", "\"off\"", "\"on\"", "must be ip:port");
    check("listen", "admin", "\"/run/a.sock\"", "\"unix:/run/a.sock\"", "leave out");
    check("listen", "state", "\"state\"", "\"\"", "must be a path");
    check(
        "listen",
        "trusted_proxies",
        "[\"10.0.0.1\", \"::1\"]",
        "[\"10.0.0.0/8\"]",
        "must be an IP address",
    );
    check("listen", "threads", "4", "0", "must be 1 to 256");
    check("listen", "threads", "\"auto\"", "\"many\"", "\"auto\"");
}

#[test]
fn auth_keys() {
    check("auth", "token_env", "\"OTHER_TOKEN\"", "\"swf_not-a-name\"", "name of an environment variable");
    check("auth", "wrong_token_status", "401", "404", "404 is not allowed; must be 403 or 401");
    check("auth", "tokens_file", "\"/dev/null\"", "\"/nonexistent/tokens.toml\"", "cannot read");
}

#[test]
fn paths_and_origin_keys() {
    check("paths", "prefixes", "[\"/a\", \"/\"]", "[\"/a/\"]", "must not end with /");
    check("paths", "prefixes", "[\"/a\"]", "[]", "at least one");
    check("paths", "prefixes", "[\"/a\"]", "[\"/a\", \"/a\"]", "listed twice");
    check("origin", "allowed", "[\"https://example.org\"]", "[\"*\"]", "list each origin");
    check("origin", "allowed", "[\"vscode-webview://0abc\", \"app://-\"]", "[\"null\"]", "it names nobody");
    check("origin", "hosts", "[\"example.org\"]", "[\"example.org:443\"]", "any port is accepted");
}

#[test]
fn limits_keys() {
    check("limits", "body_bytes", "1_000_000", "0", "0 is not allowed; must be 1 to");
    check("limits", "bodies_bytes", "16_777_216", "4096", "must not be less than limits.body_bytes, 4194304");
    check("limits", "header_bytes", "0x4000", "100", "must be 512 to");
    check("limits", "headers", "50", "-1", "-1 is not allowed");
    check("limits", "connections", "5000", "10.5", "must be a whole number");
    check("limits", "in_flight", "1", "0", "hint: remove the line to use the default, 32");
    check("limits", "waiting", "1", "99999999999999999999", "must be 1 to 100000");
    check("limits", "held", "1", "\"many\"", "must be a whole number, not a text");
    check("limits", "streams", "1000", "0", "must be 1 to 1000000");
    check("limits", "streams_per_client", "4", "0", "must be 1 to 1000000");
}

#[test]
fn timeouts_keys() {
    check("timeouts", "stream_total", "\"2h\"", "\"25h\"", "must be 1ms to 24h");
    check("timeouts", "stream_ping", "\"15s\"", "\"200ms\"", "must be 1s to 1h");
    check("limits.tools.a", "stream_total", "\"2h\"", "\"25h\"", "must be 1ms to 24h");
    for key in
        ["header", "body", "keepalive_idle", "connect", "total", "stream_idle", "waiting", "hold", "drain"]
    {
        check("timeouts", key, "\"200ms\"", "\"0s\"", "\"0s\" is not allowed; must be 1ms to 1h");
        check("timeouts", key, "\"1m\"", "55", "as in \"55s\"");
        check("timeouts", key, "\"1h\"", "\"55\"", "with a unit");
    }
}

#[test]
fn slot_keys() {
    check("slots.blue", "path", "\"/swf-monitor/mcp/\"", "\"mcp\"", "starts with /");
    check("slots.blue", "host", "\"127.0.0.1:8001\"", "\"a b\"", "must be host:port");
    check("slots.blue", "accept", "\"json\"", "\"jsno\"", "did you mean \"json\"?");
    check(
        "slots.blue",
        "authorization",
        "\"strip\"",
        "\"Bearer swf_secret\"",
        "a token never stands in this file",
    );
    check("slots.blue", "pool", "1", "0", "must be 1 to");
    check("slots.blue", "pool_idle", "\"4s\"", "\"2h\"", "must be 1ms to 1h");
    check("slots.blue", "strip_session", "true", "\"yes\"", "must be true or false");
    check("slots.blue", "sessions", "true", "1", "must be true or false");
    check("slots.blue", "query", "true", "1", "must be true or false");
    check("slots.blue", "client_header", "true", "1", "must be true or false");
    check("slots.blue", "set_headers", "{ \"X-Guard-Auth\" = \"ok\" }", "[]", "must be a table");
    check("slots.blue", "include", "\"/nonexistent/slot.toml\"", "\"/\"", "cannot read");
    let both = problems(&text("slots.blue", "strip_session = true\nsessions = true"));
    assert!(
        both.len() == 1 && both[0].contains("slots.blue.sessions: true is not allowed; contradicts"),
        "{both:?}"
    );
    let found = problems("[slots.blue]\naddress = \"there\"\n");
    assert!(found[0].starts_with("guard.toml:2: slots.blue.address: \"there\" is not allowed"), "{found:?}");
    assert_eq!(problems("[slots.blue]\naddress = \"tools.example:3001\"\n"), [""; 0]);
    assert!(problems("[slots.blue]\n")[0].contains("slots.blue.address: missing"));
    assert!(problems("[slots.red]\naddress = \"127.0.0.1:1\"")[0].contains("the slots are blue and green"));
    assert!(problems("")[0].starts_with("slots: no backend is configured"));
}

#[test]
fn set_headers_cannot_touch_framing_or_identity() {
    let set =
        |line: &str| problems(&format!("{}\n[slots.blue.set_headers]\n{line}\n", text("slots.blue", "")));
    assert_eq!(set("X-Guard-Auth = \"ok\"\nx_other = \"a b\""), [""; 0]);
    for name in [
        "Connection",
        "Transfer_Encoding",
        "TE",
        "Upgrade",
        "Proxy",
        "Keep-Alive",
        "Content-Length",
        "Host",
        "Authorization",
        "accept",
        "X-Request-Id",
        "x_forwarded_for",
        "X-Real-IP",
        "Mcp-Session-Id",
        "MCP_METHOD",
        "Via",
        "\"bad name\"",
        "\"\"",
        "\"n\\u0000\"",
        "é",
    ] {
        let name = if name == "é" { "\"é\"" } else { name };
        assert_eq!(set(&format!("{name} = \"v\"")).len(), 1, "{name}");
    }
    for value in ["\"\"", "\" a\"", "\"a\\r\\nb: c\"", "\"é\"", "1"] {
        let found = set(&format!("X-A = {value}"));
        assert_eq!(found.len(), 1, "{value}");
        assert!(!found[0].contains("is not allowed"), "the value may be a secret: {found:?}");
    }
    assert!(set("X-A = \"1\"\nx_a = \"2\"")[0].contains("is set twice"));
}

#[test]
fn keys_of_the_small_tables() {
    check("routing", "stable", "\"blue\"", "\"blu\"", "did you mean \"blue\"?");
    check("routing", "stable", "\"blue\"", "\"green\"", "that slot is not configured");
    check("routing", "key", "\"request\"", "\"ip\"", "must be one of \"client\", \"request\"");
    check("routing", "standby", "true", "\"yes\"", "must be true or false");
    check("protocol", "max_version", "\"auto\"", "\"newest\"", "a protocol version");
    check("protocol", "max_version", "\"2025-11-25\"", "\"2025-13\"", "a protocol version");
    check("protocol", "max_version", "\"any\"", "2025", "a text in quotes");
    check("errors", "mode", "\"http\"", "\"https\"", "did you mean \"http\"?");
    check("log", "format", "\"text\"", "\"xml\"", "must be one of");
    check("log", "level", "\"debug\"", "\"off\"", "must be one of");
    check("health", "interval", "\"30s\"", "\"1ms\"", "must be 10ms to 1h");
    check("health", "timeout", "\"1s\"", "\"10s\"", "not be longer than health.interval");
    check("health", "rise", "1", "0", "must be 1 to 100");
    check("health", "fall", "1", "0", "must be 1 to 100");
    check("shadow", "sample", "\"2.5%\"", "\"0%\"", "more than 0% and at most 100%");
    check("shadow", "in_flight", "8", "0", "must be 1 to 64");
    check("shadow", "queue", "1024", "0", "must be 1 to 1024");
    check("shadow", "timeout", "\"2s\"", "\"2h\"", "must be 10ms to 1m");
    check("shadow", "body_bytes", "1024", "0", "must be 1 to 4194304");
    check("shadow", "tools", "[\"swf_list_agents\"]", "[\"swf_*\"]", "must be a tool's whole name");
    check("shadow", "ignore", "[\"**.age\"]", "[\"a[\"]", "names no path");
    check("reload", "watch", "[\".\", \"/etc/tls\"]", "[\"\"]", "must be a path");
    check("reload", "interval", "\"1s\"", "\"1ms\"", "must be 100ms to 1h");
    let plan = format!("{:?}", Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/plan.toml"));
    check("rollout", "plan", &plan, "\"/nonexistent\"", "there is no file");
}

#[test]
fn release_keys() {
    check("release", "directory", "\"/srv/releases\"", "\"\"", "must be a path");
    check("release", "unit", "\"orders@{slot}.service\"", "\"orders.service\"", "with {slot} in it");
    check("release", "ready_timeout", "\"3m\"", "\"2h\"", "must be 1s to 1h");
    check("release", "backups", "30", "0", "must be 1 to 1000");
    check("release", "alertmanager", "\"http://127.0.0.1:9093\"", "\"127.0.0.1:9093\"", "http or https URL");
    check("release", "silence", "\"2h\"", "\"1s\"", "must be 1m to 24h");
    check("release", "load_tool", "\"swf_list_agents\"", "1", "must be a text");
    check("release", "load_requests", "500", "1", "must be 10 to 10000");
    check("release", "load_slowdown", "5", "0", "must be 1 to 100");
}

#[test]
fn an_included_file_counts_and_its_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slot.toml");
    let load = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let include = format!("path = \"/own\"\naccept = \"json\"\ninclude = {file:?}");
        build(&PathBuf::from("guard.toml"), &self::text("slots.blue", &include), &NOTHING)
    };
    let config = load("path = \"/swf-monitor/mcp/\"\n").map(|loaded| loaded.config).ok().unwrap();
    let backend = config.backend(Slot::Blue).unwrap();
    assert_eq!((backend.path.as_str(), backend.accept), ("/swf-monitor/mcp/", crate::upstream::Accept::Json));
    let problems = load("pathh = \"/x\"\n").err().unwrap().problems;
    assert!(problems[0].to_string().contains("slot.toml:1: pathh: no such key"), "{}", problems[0]);
}

#[test]
fn reports_every_problem_at_once_in_the_order_of_the_file() {
    let found = problems(
        "[limits]\nin_flight = 0\nin_fligth = 5\n\n[timeouts]\ntotal = 55\n[slots.blue]\naddress = 1\n[lisen]\n",
    );
    let expected = [
        "guard.toml:2: limits.in_flight: 0 is not allowed; must be 1 to 100000 \
         (hint: remove the line to use the default, 32)",
        "guard.toml:3: limits.in_fligth: no such key (hint: did you mean in_flight?)",
        "guard.toml:6: timeouts.total: must be a text in quotes, not a whole number \
         (hint: texts and durations stand in quotes, as in \"55s\")",
        "guard.toml:8: slots.blue.address: must be a text in quotes, not a whole number \
         (hint: texts and durations stand in quotes, as in \"55s\")",
        "guard.toml:9: lisen: no such key (hint: did you mean listen?)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn reports_syntax_errors_with_their_line_and_without_the_text() {
    let found = problems("[listen]\naddress = swf_secret\n[slots\nx = 1\n");
    assert!(found[0].starts_with("guard.toml:2: not valid TOML"), "{found:?}");
    assert!(found[1].starts_with("guard.toml:3: not valid TOML"), "{found:?}");
    assert!(!found.concat().contains("swf_secret"), "{found:?}");
    let found = problems("[slots.blue]\naddress = \"127.0.0.1:1\"\npool = 1\npool = 2\n");
    assert!(
        found.iter().any(|problem| problem.contains("guard.toml:4: not valid TOML: duplicate key pool")),
        "{found:?}"
    );
    let found = problems("[listen]\naddress = \"127.0.0.1:1\"\n[slots.blue]\nx = 1\n[listen]\ny = 1\n");
    assert!(
        found.iter().any(|problem| problem.contains("guard.toml:5: not valid TOML: duplicate key listen")),
        "{found:?}"
    );
    let secret = "swf_0123456789abcdefghijklmnopqrstuvwxyz0123";
    let found = problems(&format!("{secret} = 1\n{secret} = 2\n"));
    assert!(!found.concat().contains(secret), "{found:?}");
}

#[test]
fn refuses_addresses_that_lead_in_a_circle() {
    let own = problems("[listen]\naddress = \"127.0.0.1:1\"\n[slots.blue]\naddress = \"127.0.0.1:1\"");
    assert!(own[0].contains("in a circle"), "{own:?}");
    let twice = "[slots.blue]\naddress = \"127.0.0.1:1\"\n[slots.green]\naddress = \"127.0.0.1:1\"";
    assert!(problems(twice)[0].contains("the same backend"), "{:?}", problems(twice));
    let metrics = text("listen", "address = \"127.0.0.1:9\"\nmetrics = \"127.0.0.1:9\"");
    assert!(problems(&metrics)[0].contains("the same address"), "{:?}", problems(&metrics));
}

#[test]
fn refuses_listeners_that_cannot_be_bound_at_once() {
    let with = |address: &str, metrics: &str| {
        let text = text("listen", &format!("address = \"{address}\"\nmetrics = \"{metrics}\""));
        problems(&text).concat().contains("cannot be bound beside listen.address")
    };
    for (one, other, collide) in [
        ("127.0.0.1:9", "0.0.0.0:9", true),
        ("0.0.0.0:9", "127.0.0.1:9", true),
        ("[::]:9", "127.0.0.1:9", true),
        ("[::1]:9", "[::]:9", true),
        ("[::1]:9", "0.0.0.0:9", false),
        ("127.0.0.1:9", "127.0.0.2:9", false),
        ("127.0.0.1:9", "0.0.0.0:10", false),
        ("127.0.0.1:0", "0.0.0.0:0", false),
    ] {
        assert_eq!(with(one, other), collide, "{one} {other}");
    }
    let circle = "[listen]\naddress = \"0.0.0.0:7\"\n[slots.blue]\naddress = \"127.0.0.1:7\"";
    assert!(problems(circle).concat().contains("in a circle"), "{:?}", problems(circle));
}

#[test]
fn warns_of_what_is_legal_but_unlikely_to_be_meant() {
    let loopback = text("listen", "address = \"127.0.0.1:9\"");
    assert_eq!(warnings(&loopback, &with_token), [""; 0]);
    assert!(warnings(&loopback, &|_| None)[0].starts_with("auth: no token is configured"));
    let exposed = text("listen", "address = \"0.0.0.0:9\"\nmetrics = \"10.0.0.1:9464\"");
    let found = warnings(&exposed, &with_token);
    assert!(found[0].starts_with("guard.toml:4: listen.address: other machines can connect"), "{found:?}");
    assert!(found[1].starts_with("guard.toml:5: listen.metrics"), "{found:?}");
    assert!(warnings(&text("timeouts", "total = \"60s\""), &with_token)[0].contains("they give up before"));
    assert!(warnings(&text("slots.blue", "host = \"localhost\""), &with_token)[0].contains("FastMCP"));
    let by = |key: &str| {
        let routing = text("routing", &format!("key = \"{key}\""));
        format!("{routing}\n[slots.green]\naddress = \"127.0.0.1:2\"\nsessions = true")
    };
    assert_eq!(warnings(&by("client"), &with_token), [""; 0]);
    assert!(
        warnings(&by("request"), &with_token)[0].contains("routing.key: splits the calls of one session")
    );
}

#[test]
fn the_only_configured_slot_is_stable_and_relative_paths_start_at_the_file() {
    let config =
        accepted("[slots.green]\naddress = \"unix:green.sock\"\n[listen]\nadmin = \"run/admin.sock\"");
    assert_eq!(config.stable, Slot::Green);
    let green = config.backend(Slot::Green).map(|backend| backend.address.clone());
    assert_eq!(green, Some(Address::Unix("/etc/guard/green.sock".into())));
    assert_eq!(config.listen.admin, Some("/etc/guard/run/admin.sock".into()));
}

#[test]
fn an_upstream_token_comes_from_the_environment_and_is_never_quoted() {
    let set = |name: &str| (name == "OLD").then(|| OsString::from("s3cret"));
    let environment = Environment { variable: &set, now: 0, shown_pairs: None };
    let load = |value: &str| {
        build(Path::new("g.toml"), &text("slots.blue", &format!("authorization = \"{value}\"")), &environment)
    };
    let backend = load("env:OLD").ok().and_then(|loaded| loaded.config.backend(Slot::Blue).cloned()).unwrap();
    assert!(backend.authorization == crate::upstream::UpstreamAuthorization::Bearer("s3cret".to_owned()));
    let refused = load("env:UNSET").err().unwrap().problems;
    assert!(refused[0].to_string().contains("UNSET is not set"), "{refused:?}");
}

fn shipped(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The domain types as text, to compare whole configurations.
fn describe(config: &Config) -> String {
    let backend = |slot| {
        config.backend(slot).map(|b| {
            let strips = b.authorization == crate::upstream::UpstreamAuthorization::Strip;
            let sent = (&b.address, &b.path, &b.host, b.accept, strips, &b.set_headers);
            format!(
                "{sent:?} {:?}",
                (b.pool, b.pool_idle, b.strip_session, b.sessions, b.query, b.client_header)
            )
        })
    };
    let Listen { address, mode, metrics, admin, state, trusted_proxies, threads, tls } = &config.listen;
    format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}",
        (address, mode, metrics, admin, state, trusted_proxies, threads, tls, &config.auth),
        (&config.paths, &config.origin, &config.limits, &config.timeouts, config.error_mode),
        (&config.tool_rules, &config.read_only),
        (Slot::ALL.map(backend), config.stable, config.split_key, config.max_version),
        (config.log, config.health, &config.shadow, &config.rollout.plan, &config.reload),
    )
}

#[test]
fn the_shipped_files_load_and_show_the_built_in_defaults() {
    let load = |name: &str| {
        let (path, text) = shipped(name);
        build(&path, &text, &NOTHING).map_err(|diagnostics| diagnostics.problems).unwrap().config
    };
    assert_eq!(describe(&load("guard.toml")), describe(&load("guard.minimal.toml")));
}

#[test]
fn the_shipped_file_names_every_key_with_a_comment() {
    let (path, text) = shipped("guard.toml");
    let sink = DiagnosticSink::new(&path, &text);
    let file = source::parse(&text, &sink).unwrap();
    let root = Table::root(file.get_ref(), &sink);
    read(&path, root, &NOTHING, &sink, &mut Diagnostics::default());
    let known: BTreeSet<String> = sink
        .known()
        .into_iter()
        .filter(|key| !["slots", "route", "dependency"].contains(&key.as_str()))
        .collect();

    let mut named = BTreeSet::new();
    let mut table = String::new();
    // What begins with "#: " is an example of a list of tables, which has a test of its own.
    for line in text.lines().filter(|line| !line.starts_with("#: ")) {
        let header = line.trim_start_matches("# ").strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((header, "")) =
            header.map(|(header, rest)| (header, rest.split('#').next().unwrap().trim()))
        {
            // The second slot has the keys of the first one.
            table = header.replace("green", "blue");
            named.insert(table.clone());
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ")
            && !line.contains("address = \"127.0.0.1:8002\"")
        {
            assert!(line.rsplit_once(" # ").is_some(), "no comment: {line}");
            named.insert(format!("{table}.{key}"));
        }
    }
    assert_eq!(named, known);
}

#[test]
fn the_documentation_has_a_row_for_every_key_with_its_default() {
    let (path, text) = shipped("guard.toml");
    let sink = DiagnosticSink::new(&path, &text);
    let file = source::parse(&text, &sink).unwrap();
    read(&path, Table::root(file.get_ref(), &sink), &NOTHING, &sink, &mut Diagnostics::default());
    let keys: BTreeSet<String> =
        sink.known().into_iter().filter(|key| key.contains('.') && key != "slots.blue").collect();

    let (_, documentation) = shipped("../docs/configuration.md");
    let rows: Vec<&str> = documentation.lines().filter(|line| line.starts_with("| `")).collect();
    let is_named = |row: &str| {
        row.starts_with("| `MCP_GUARD_")
            || row.starts_with("| `clients.")
            || row.starts_with("| `limits.tools.NAME.")
            || row.starts_with("| `route.")
            || row.starts_with("| `dependency.")
    };
    let of_guard_toml = rows.iter().filter(|row| !is_named(row));
    let documented: BTreeSet<String> = of_guard_toml
        .filter_map(|row| row.split('`').nth(1))
        .map(|key| key.replace("slots.NAME.", "slots.blue."))
        .collect();
    assert_eq!(documented, keys);

    // `key = value  # comment` in the shipped file; the second cell of the row holds the same value.
    let values: toml::Table = text.parse().unwrap();
    for row in rows.iter().filter(|row| !is_named(row) && !row.contains("(none)")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let key = cells[1].trim_matches('`').replace("slots.NAME.", "slots.blue.");
        let value =
            key.split('.').try_fold(&toml::Value::Table(values.clone()), |at, part| at.get(part)).cloned();
        let default: toml::Table = format!("v = {}", cells[2].trim_matches('`')).parse().unwrap();
        assert_eq!(value.as_ref(), default.get("v"), "{row}");
    }
}

proptest! {
    #[test]
    fn never_panics_whatever_the_text(text in "\\PC*") {
        let _ = build(Path::new("g.toml"), &text, &NOTHING);
    }

    #[test]
    fn never_panics_whatever_the_values(
        table in prop::sample::select(vec!["listen", "auth", "paths", "limits", "timeouts", "slots.blue", "health"]),
        key in "[a-z_]{1,12}",
        value in prop_oneof!["-?[0-9]{1,30}", "\"[ -!#-\\[\\]-~é]{0,20}\"", "\\[\"[a-z:/.]{0,9}\"\\]", "true", "nan"],
    ) {
        let _ = build(Path::new("g.toml"), &text(table, &format!("{key} = {value}")), &NOTHING);
    }
}

#[test]
fn what_a_file_says_neither_commands_the_terminal_nor_shows_a_pasted_secret() {
    let found = problems("\"a\\u001b[2J\\n\" = 1\n[slots.blue]\naddress = \"127.0.0.1:1\"\n");
    assert!(found[0].contains("a\\u{1b}[2J\\n: no such key"), "{found:?}");
    let found = problems(&text("auth", "swf_0123456789abcdefghijklmnopqrstuvwxyz0123456789 = 1"));
    assert!(found[0].contains("auth.swf_0123…: no such key"), "{found:?}");
}
