//! Every key of `[fleet]`, what contradicts what, and that no secret is quoted.

use std::ffi::OsString;

use mcp_testkit::Certificates;

use super::super::{Config, Loaded, build};
use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const GIVEN: &str = "name = \"prod\"\nmember = \"a\"\nkey = \"env:FLEET_KEY\"\n";

fn load(table: &str) -> Result<Loaded, Vec<String>> {
    let variable = |name: &str| {
        let held = match name {
            "FLEET_KEY" => KEY,
            "SHORT" => "s3cret",
            "SPACED" => "s3cret s3cret s3cret s3cret s3cret s3cret",
            "STORE_URL" => "rediss://guard:s3cret-word@redis.example:6380/2",
            "BROKEN_URL" => "redis://:s3cret@:1",
            "POD_NAME" => "guard-7f9c",
            _ => return None,
        };
        Some(OsString::from(held))
    };
    let environment = Environment { variable: &variable, now: 0, shown_pairs: None };
    let text = format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n[fleet]\n{table}");
    build(Path::new("/etc/guard/guard.toml"), &text, &environment)
        .map_err(|found| found.problems.iter().map(ToString::to_string).collect())
}

fn config(table: &str) -> Config {
    load(table).unwrap().config
}

fn fleet(table: &str) -> Fleet {
    Fleet::clone(config(&format!("{GIVEN}{table}")).fleet.as_ref().unwrap())
}

/// Exactly one problem, which says this and no secret.
#[track_caller]
fn check_refused(table: &str, says: &str) {
    let problems = load(table).err().unwrap_or_default();
    assert!(problems.len() == 1 && problems[0].contains(says), "{table}: {problems:?}");
    assert!(!problems[0].contains("s3cret"), "{problems:?}");
}

#[track_caller]
fn check_store_refused(store: &str, says: &str) {
    check_refused(&format!("{GIVEN}store = {store}\n"), says);
}

#[test]
fn a_guard_is_in_no_fleet_without_the_table_and_needs_store_name_and_key_in_it() {
    let text = "[slots.blue]\naddress = \"127.0.0.1:1\"\n";
    let loaded = build(Path::new("guard.toml"), text, &Environment::NOTHING).map_err(|f| f.problems).unwrap();
    assert!(loaded.config.fleet.is_none());
    let problems = load("member = \"a\"\n").err().unwrap();
    for key in ["store", "name", "key"] {
        let missing = format!("fleet.{key}: missing");
        assert!(problems.iter().any(|problem| problem.contains(&missing)), "{problems:?}");
    }
    check_refused(&format!("{GIVEN}store = \"redis://127.0.0.1\"\nleader = true\n"), "leader: no such key");
}

#[test]
fn the_store_of_a_fleet_is_one_server_sentinels_or_a_cluster() {
    let one = fleet("store = \"redis://127.0.0.1\"\n").store;
    assert_eq!((one.urls.len(), &one.topology, &one.ca), (1, &Topology::Single, &None));
    assert_eq!(one.urls[0].shown, "redis://127.0.0.1:6379");
    let named = fleet("store = \"env:STORE_URL\"\n").store;
    let [url] = &named.urls[..] else { panic!() };
    assert_eq!((url.shown.as_str(), url.is_encrypted), ("rediss://redis.example:6380", true));
    assert_eq!((url.host.as_deref(), url.login.database), (Some("redis.example"), 2));
    let socket = fleet("store = \"unix:///run/redis/redis.sock?db=1&user=guard&pass=s3cret\"\n").store;
    assert_eq!(socket.urls[0].shown, "unix:///run/redis/redis.sock");
    assert_eq!(socket.urls[0].login.user.as_deref(), Some("guard"));
    let list = "store = [\"redis://10.0.0.1:26379\", \"redis://[::1]:26379\"]\n";
    let sentinel = fleet(&format!("{list}sentinel = \"guards\"\n")).store;
    assert_eq!(sentinel.topology, Topology::Sentinel { primary: "guards".to_owned() });
    assert_eq!(sentinel.urls[1].host.as_deref(), Some("::1"));
    assert_eq!(fleet(&format!("{list}cluster = true\n")).store.topology, Topology::Cluster);
}

#[test]
fn addresses_of_a_store_that_are_none_are_refused_and_never_quoted() {
    for (store, says) in [
        ("\"http://s3cret@h\"", "must begin with redis://"),
        ("\"redis:s3cret\"", "must begin with redis://"),
        ("\"redis://:s3cret@h x\"", "without spaces"),
        ("\"redis://:s3cret@\"", "must name a host"),
        ("\"redis://:s3cret@h:0\"", "a port of 1 to 65535"),
        ("\"redis://:s3cret@h/one\"", "number of a database"),
        ("\"redis://:s3cret@h?protocol=3\"", "must have no `?`"),
        ("\"redis://:s3cret%ff@h\"", "UTF-8 text"),
        ("\"rediss://:s3cret@h#insecure\"", "always verified"),
        ("\"unix://run/redis.sock\"", "an absolute path"),
        ("\"unix:///run/redis.sock?pwd=s3cret\"", "may set db, user and pass"),
        ("\"env:ABSENT\"", "ABSENT is not set"),
        ("\"env:BROKEN_URL\"", "the address in BROKEN_URL must name a host"),
        ("[]", "needs an address"),
        ("7", "must be a text in quotes"),
    ] {
        check_store_refused(store, says);
    }
}

#[test]
fn contradictions_between_the_keys_of_a_store_are_refused() {
    let two = "[\"redis://127.0.0.1:1\", \"redis://127.0.0.1:2\"]";
    check_store_refused(two, "several addresses, but one server has one");
    check_store_refused(&format!("{two}\nsentinel = \"m\"\ncluster = true"), "contradicts fleet.sentinel");
    let mixed = "[\"redis://127.0.0.1:1\", \"rediss://127.0.0.1:2\"]\ncluster = true";
    check_store_refused(mixed, "mixes addresses with and without TLS");
    let logins = "[\"redis://:s3cret@127.0.0.1:1\", \"redis://127.0.0.1:2\"]\nsentinel = \"m\"";
    check_store_refused(logins, "different users, passwords or databases");
    check_store_refused("\"redis://127.0.0.1/1\"\ncluster = true", "a cluster has database 0 only");
    check_store_refused("\"unix:///run/r.sock\"\nsentinel = \"m\"", "is a Unix socket");
    check_store_refused("\"redis://127.0.0.1\"\nsentinel = \"a b\"", "without spaces");
    check_store_refused("\"redis://127.0.0.1\"\ncluster = \"yes\"", "must be true or false");
}

#[test]
fn the_authorities_of_a_store_are_read_and_need_tls() {
    let certificates = Certificates::new();
    certificates.issue("a", "DNS:a.example", "ca");
    let ca = format!("ca = {:?}\n", certificates.file("ca.pem"));
    let store = fleet(&format!("store = \"rediss://a.example\"\n{ca}")).store;
    assert_eq!(store.ca, Some(certificates.text("ca.pem")));
    check_store_refused(&format!("\"redis://127.0.0.1\"\n{ca}"), "fleet.ca: says nothing without TLS");
    check_store_refused("\"rediss://a.example\"\nca = \"/nonexistent\"", "fleet.ca: ");
    let key = format!("\"rediss://a.example\"\nca = {:?}", certificates.file("a.key"));
    check_store_refused(&key, "fleet.ca: ");
}

#[test]
fn a_store_that_is_reached_over_the_network_in_clear_is_warned_of() {
    let warned = |store: &str| {
        let loaded = load(&format!("{GIVEN}store = \"{store}\"\n")).unwrap();
        loaded.warnings.iter().any(|warning| warning.to_string().contains("cross the network in clear"))
    };
    assert!(warned("redis://redis.example") && warned("redis://10.0.0.1"));
    for store in ["redis://127.0.0.1", "redis://localhost", "redis://[::1]", "rediss://h", "unix:///r.sock"] {
        assert!(!warned(store), "{store}");
    }
}

#[test]
fn fleet_and_member_have_names_and_a_variable_may_hold_that_of_the_member() {
    let rest = "store = \"redis://127.0.0.1\"\nkey = \"env:FLEET_KEY\"\n";
    for name in ["\"\"", "\"a b\"", "\"a/b\"", "\"é\"", &format!("{:?}", "a".repeat(65))] {
        check_refused(&format!("{rest}member = \"a\"\nname = {name}\n"), "fleet.name: ");
        check_refused(&format!("{rest}name = \"prod\"\nmember = {name}\n"), "fleet.member: ");
    }
    let named = config(&format!("{rest}name = \"prod\"\nmember = \"env:POD_NAME\"\n"));
    assert_eq!(named.fleet.unwrap().member, "guard-7f9c");
    check_refused(&format!("{rest}name = \"prod\"\nmember = \"env:SPACED\"\n"), "the name in SPACED must be");
}

// machine-id(5): "It should be considered "confidential", and must not be exposed in untrusted environments, in particular on the network.
// [..] Instead the machine ID should be hashed with a cryptographic, keyed hash function, using a fixed, application-specific key."
#[test]
fn the_default_name_of_a_member_is_derived_from_the_machine_id_and_does_not_show_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("machine-id");
    let refused = |path: &Path| machine_name(path).unwrap_err().reason.contains("holds no machine id");
    assert!(refused(&file));
    // What sd_id128_get_machine_app_specific(3) makes of it.
    for text in ["0123456789abcdef0123456789abcdef\n", "0123456789ABCDEF0123456789ABCDEF"] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(machine_name(&file).unwrap(), "d98ae3f8c9ec45d68ebc4faf792dffe5", "{text}");
    }
    let short = "0123456789abcdef0123456789abcde";
    let bad = ["uninitialized\n", &"0".repeat(32), "", short, &format!("+{short}"), &format!("{short}g")];
    for text in bad {
        std::fs::write(&file, text).unwrap();
        assert!(refused(&file), "{text}");
    }
}

#[test]
fn the_key_of_a_fleet_comes_from_the_environment_and_is_never_quoted() {
    let rest = "name = \"prod\"\nmember = \"a\"\nstore = \"redis://127.0.0.1\"\n";
    check_refused(&format!("{rest}key = \"s3cret\"\n"), "never stands in this file");
    check_refused(&format!("{rest}key = \"env:SHORT\"\n"), "32 visible characters or more");
    check_refused(&format!("{rest}key = \"env:SPACED\"\n"), "32 visible characters or more");
    check_refused(&format!("{rest}key = \"env:ABSENT\"\n"), "ABSENT is not set");

    let config = config(&format!("{GIVEN}store = \"env:STORE_URL\"\n"));
    let fleet = config.fleet.as_ref().unwrap();
    assert_eq!(fleet.key.0, KEY);
    let shown = format!("{fleet:?}");
    assert!(!shown.contains(KEY) && !shown.contains("s3cret"), "{shown}");
    let quoted = format!("{KEY} s3cret-word rediss://guard:s3cret-word@redis.example:6380/2");
    assert_eq!(config.secrets.clean_text(&quoted), "[secret] [secret] [secret]");
}

#[test]
fn a_reload_keeps_the_fleet_that_was_joined_and_its_secrets() {
    let running = config(&format!("{GIVEN}store = \"env:STORE_URL\"\n")).fleet;
    let mut same = config(&format!("{GIVEN}store = \"env:STORE_URL\"\n"));
    assert_eq!(same.keep_fleet(running.as_ref()), None);
    let mut other = config(&format!("{GIVEN}store = \"redis://127.0.0.1\"\n"));
    assert_eq!(other.keep_fleet(running.as_ref()), Some("fleet"));
    assert_eq!(other.fleet, running);
    assert_eq!(other.secrets.clean_text("s3cret-word"), "[secret]");
    assert_eq!(other.keep_fleet(None), Some("fleet"));
    assert_eq!(other.fleet, None);
}
