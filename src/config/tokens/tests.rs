//! Tokens from the environment and from files: what is accepted, what is refused, and that nothing is quoted.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::*;
use crate::config::{Loaded, build};
use crate::policy::rate::Rate;
use crate::policy::tools::Pattern;
use mcp_host::diagnostics::Diagnostic;

const SLOT: &str = "[slots.blue]\naddress = \"127.0.0.1:1\"\n";
const HASH_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const HASH_B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
/// 2027-01-15T08:00:00Z
const NOW: u64 = 1_800_000_000;

fn with_variable(value: OsString) -> Result<Loaded, Diagnostics> {
    let variable = |name: &str| (name == "MCP_BEARER_TOKEN").then(|| value.clone());
    build(Path::new("g.toml"), SLOT, &Environment { variable: &variable, now: NOW, shown_pairs: None })
}

fn with_file(tokens: &str, token: Option<&str>) -> Result<Loaded, Diagnostics> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokens.toml"), tokens).unwrap();
    let text = format!("[auth]\ntokens_file = \"tokens.toml\"\n{SLOT}");
    let variable = |name: &str| token.filter(|_| name == "MCP_BEARER_TOKEN").map(OsString::from);
    build(
        &folder.path().join("guard.toml"),
        &text,
        &Environment { variable: &variable, now: NOW, shown_pairs: None },
    )
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|finding| format!("{finding}\n")).collect()
}

#[track_caller]
fn accepts(tokens: &str) -> Vec<ClientConfig> {
    with_file(tokens, None)
        .map_err(|diagnostics| listed(&diagnostics.problems))
        .unwrap()
        .config
        .clients
        .iter()
        .cloned()
        .collect()
}

/// Exactly one problem, in the token file, that says `why` and quotes no hash or token.
#[track_caller]
fn refuses(tokens: &str, why: &str) {
    let problems = with_file(tokens, Some("swf_0123456789abcdef")).err().unwrap().problems;
    let text = listed(&problems);
    assert_eq!(problems.len(), 1, "{text}");
    assert!(text.contains(why), "{text:?} does not say {why:?}");
    assert!(problems[0].location.as_ref().unwrap().file.ends_with("tokens.toml"), "{text}");
    assert!(!text.contains("aaaa") && !text.contains("swf_"), "{text}");
}

#[test]
fn the_token_in_the_environment_is_the_client_default() {
    let clients = with_variable("swf_0123456789abcdef".into())
        .ok()
        .unwrap()
        .config
        .clients
        .iter()
        .cloned()
        .collect::<Vec<_>>();
    assert_eq!(clients[0].name, "default");
    assert!(clients[0].hashes == [TokenHash::of(b"swf_0123456789abcdef")]);
}

#[test]
fn a_token_that_no_client_can_send_is_a_problem_and_is_not_quoted() {
    for token in [
        "swf_0123456789abcdef\n",
        " swf_0123456789abcdef",
        "swf_0123 456789abcdef",
        "swf_\u{7}89abcdef",
        "swf_é",
    ] {
        let problems = with_variable(token.into()).err().unwrap().problems;
        let text = listed(&problems);
        assert!(text.contains("auth.token_env") && text.contains("no client can send it"), "{text}");
        assert!(!text.contains("swf_"), "{text}");
    }
    let not_text = OsString::from_vec(vec![b'a', 0xff, b'b']);
    assert!(with_variable(not_text).is_err());
}

#[test]
fn a_token_with_quotes_or_with_the_name_of_a_variable_is_warned_of() {
    const TOKEN: &str = "swf_0123456789abcdef";
    let warnings = |value: String| listed(&with_variable(value.into()).ok().unwrap().warnings);
    for (value, why) in [
        (format!("\"{TOKEN}\""), "quotation mark"),
        (format!("'{TOKEN}'"), "quotation mark"),
        (format!("{TOKEN}\""), "quotation mark"),
        (format!("MCP_BEARER_TOKEN={TOKEN}"), "name of a variable"),
        (format!("BOT_TOKEN={TOKEN}"), "name of a variable"),
    ] {
        let text = warnings(value);
        assert!(text.contains("auth.token_env") && text.contains(why) && !text.contains("swf_"), "{text}");
    }
    for value in
        [TOKEN.to_owned(), format!("{TOKEN}=="), "QUJDREVGR0hJSktMTU5PUA==".to_owned(), format!("{TOKEN}=x")]
    {
        assert_eq!(warnings(value), "");
    }
    // What the guard sends to a backend is judged in the same way.
    let text = format!("{SLOT}authorization = \"env:MCP_BEARER_TOKEN\"\n");
    let variable = |name: &str| (name == "MCP_BEARER_TOKEN").then(|| OsString::from(format!("\"{TOKEN}\"")));
    let loaded =
        build(Path::new("g.toml"), &text, &Environment { variable: &variable, now: NOW, shown_pairs: None });
    let text = listed(&loaded.ok().unwrap().warnings);
    assert!(text.contains("slots.blue.authorization: ") && !text.contains("swf_"), "{text}");
}

#[test]
fn a_short_token_and_an_empty_one_are_warned_of() {
    let short = with_variable("s3cret".into()).ok().unwrap();
    assert_eq!(short.config.clients.len(), 1);
    let text = listed(&short.warnings);
    assert!(text.contains("shorter than 16 bytes") && !text.contains("s3cret"), "{text}");
    let empty = with_variable("".into()).ok().unwrap();
    assert!(empty.config.clients.is_empty());
    assert!(listed(&empty.warnings).contains("no token is configured"));
}

#[test]
fn named_clients_have_one_or_two_hashes_and_an_end() {
    let clients = accepts(&format!(
        "[clients.bot]\nsha256 = \"{HASH_A}\"\nnot_after = 2027-01-31T00:00:00+01:00\n\
         [clients.\"c.2\"]\nsha256 = [\"{}\", \"{HASH_B}\"]\nnot_after = \"2027-01-31\"\n",
        "c".repeat(64)
    ));
    let names: Vec<&str> = clients.iter().map(|client| client.name.as_str()).collect();
    assert_eq!(names, ["bot", "c.2"]);
    assert!(clients[0].hashes == [TokenHash([0xaa; 32])]);
    assert!(clients[1].hashes == [TokenHash([0xcc; 32]), TokenHash([0xbb; 32])]);
    let midnight_utc = 1_801_353_600;
    assert_eq!(clients[0].not_after, Some(midnight_utc - 3600));
    assert_eq!(clients[1].not_after, Some(midnight_utc + 86_399), "a date includes its whole day");
}

#[test]
fn the_documented_example_is_accepted() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let section = page.split("\n## `tokens.toml`").nth(1).unwrap();
    let example = section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let clients = accepts(example);
    assert_eq!(clients.iter().map(|client| client.hashes.len()).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn the_shipped_example_is_accepted_and_shows_every_key() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/tokens.toml");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(accepts(&text).len() >= 3);
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    for key in page.lines().filter_map(|line| line.strip_prefix("| `clients.NAME.")?.split('`').next()) {
        assert!(text.contains(&format!("\n{key} = ")), "conf/tokens.toml does not show {key}");
    }
}

#[test]
fn a_client_may_be_bound_to_some_tools() {
    let with = |tools: &str| format!("[clients.a]\nsha256 = \"{HASH_A}\"\n{tools}");
    let tools = |text: &str| accepts(&with(text)).remove(0).tools.allow;
    assert_eq!(tools("tools = [\"panda_*\", \"pcs_*\"]"), ToolPatterns::only(["panda_*", "pcs_*"]));
    assert_eq!(tools("tools = []"), ToolPatterns::only([""; 0]), "an empty list allows nothing");
    assert_eq!(tools(""), ToolPatterns::default());
    refuses(&with("tools = \"panda_*\""), "must be a list of texts");
    refuses(&with("tools = [\"panda list\"]"), "must be a tool's name");
    let policy = "deny_tools = [\"*_kill_*\"]\nread_only = true\ntools_list = \"full\"";
    let policy = accepts(&with(policy)).remove(0).tools;
    assert_eq!((policy.deny, policy.list), (vec![Pattern::new("*_kill_*")], ListView::Full));
    assert!(policy.read_only && policy.allow == ToolPatterns::default());
    refuses(&with("deny_tools = [\"\"]"), "must be a tool's name");
    refuses(&with("read_only = \"yes\""), "must be true or false");
    refuses(&with("tools_list = \"some\""), "must be one of");
}

#[test]
fn a_bounded_client_may_be_given_further_methods() {
    let with = |keys: &str| format!("[clients.a]\nsha256 = \"{HASH_A}\"\n{keys}");
    let policy =
        accepts(&with("read_only = true\nmethods = [\"tasks/*\", \"workflow/start\"]")).remove(0).tools;
    assert_eq!(policy.methods, [Pattern::new("tasks/*"), Pattern::new("workflow/start")]);
    assert!(accepts(&with("read_only = true")).remove(0).tools.methods.is_empty());
    refuses(&with("read_only = true\nmethods = [\"tasks cancel\"]"), "must be a method's name");
    refuses(&with("read_only = true\nmethods = \"tasks/*\""), "must be a list of texts");
}

#[test]
fn a_client_may_be_bound_to_a_rate_and_to_a_number_of_calls_and_split_with_others() {
    let with = |keys: &str| format!("[clients.a]\nsha256 = \"{HASH_A}\"\n{keys}");
    let client = accepts(&with("rate = \"10/s\"\nconcurrency = 2\ncohort = \"early\"")).remove(0);
    let ten = NonZeroU32::new(10).unwrap();
    assert_eq!(client.quota.rate, Rate::new(ten, Duration::from_secs(1), ten), "a burst is the count");
    assert_eq!((client.quota.concurrency, client.cohort), (NonZeroU32::new(2), Some("early".to_owned())));
    refuses(&with("rate = \"10 per second\""), "a count of 1 to 100000 and s, m or h");
    refuses(&with("rate = \"1/h\"\nburst = 0"), "must be 1 to 100000");
    refuses(&with("burst = 5"), "says nothing without a single rate");
    refuses(&with("concurrency = 1.5"), "must be a whole number");
    refuses(&with("cohort = \"a b\""), "1 to 64 letters");
}

#[test]
fn refuses_what_is_not_a_hash() {
    refuses("[clients.a]\nsha256 = \"swf_token\"", "must be 64 hexadecimal digits");
    refuses(&format!("[clients.a]\nsha256 = \"{}g\"", &HASH_A[1..]), "must be 64 hexadecimal digits");
    refuses(&format!("[clients.a]\nsha256 = \"+{}\"", &HASH_A[1..]), "must be 64 hexadecimal digits");
    refuses(&format!("[clients.a]\nsha256 = \"{}é\"", &HASH_A[2..]), "must be 64 hexadecimal digits");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    refuses(&format!("[clients.a]\nsha256 = \"{empty}\""), "hash of an empty token");
    refuses("[clients.a]\nsha256 = 5", "must be a list of texts");
    refuses("[clients.a]", "sha256: missing");
    refuses("[clients.a]\ncertificates = []", "at least one");
    refuses("[clients.a]\ncertificates = [\"sha256:ab\"]", "64 hexadecimal digits");
    refuses("[clients.a]\ncertificates = [\"CN=bot\"]", "a URI among its names");
    refuses("[clients.a]\ncertificates = [\"spiffe://a b\"]", "a URI among its names");
    let shared = "certificates = [\"spiffe://a\"]";
    refuses(&format!("[clients.a]\n{shared}\n[clients.b]\n{shared}"), "has the same certificate as a");
    refuses("[clients.a]\nsha256 = []", "at least one");
    let three = format!("[\"{HASH_A}\", \"{HASH_B}\", \"{}\"]", "c".repeat(64));
    refuses(&format!("[clients.a]\nsha256 = {three}"), "at most 2");
    refuses(&format!("[clients.a]\nsha256 = [\"{HASH_A}\", \"{HASH_A}\"]"), "the same hash twice");
}

#[test]
fn refuses_two_clients_with_one_token() {
    let same =
        format!("[clients.a]\nsha256 = \"{HASH_A}\"\n[clients.b]\nsha256 = \"{}\"", HASH_A.to_uppercase());
    refuses(&same, "clients.b.sha256: has the same token as a");
    let hex: String =
        TokenHash::of(b"swf_0123456789abcdef").0.iter().map(|byte| format!("{byte:02x}")).collect();
    refuses(&format!("[clients.a]\nsha256 = \"{hex}\""), "has the same token as default");
}

// The contract: "100,000 clients cost the same per request as one"; they must also load in a moment.
#[test]
fn a_hundred_thousand_clients_load_in_seconds() {
    let entry = |client: u32| format!("[clients.c{client}]\nsha256 = \"{client:064x}\"\n");
    let tokens: String = (1..=100_000).map(entry).collect();
    let started = std::time::Instant::now();
    assert_eq!(accepts(&tokens).len(), 100_000);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

// More would end a guard under the shipped unit's `MemoryMax` when it reloads.
#[test]
fn refuses_more_clients_than_the_memory_is_made_for() {
    let mut tokens = "# sha256\n".repeat(CLIENTS_MAX - 1);
    tokens.push_str(&format!("[clients.a]\nsha256 = \"{HASH_A}\"\n"));
    assert_eq!(accepts(&tokens).len(), 1, "as many as are allowed");
    tokens.push_str(&format!("[clients.b]\nsha256 = \"{HASH_B}\"\n"));
    refuses(&tokens, "clients: at most 200000 clients are allowed (hint: remove those");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    std::fs::File::create(&path).unwrap().set_len(TOKENS_FILE_BYTES_MAX + 1).unwrap();
    let text = format!("[auth]\ntokens_file = {path:?}\n{SLOT}");
    let problems =
        build(Path::new("g.toml"), &text, &Environment { variable: &|_| None, now: NOW, shown_pairs: None })
            .err()
            .unwrap()
            .problems;
    assert!(listed(&problems).contains("is larger than 67108864 bytes"), "{problems:?}");
}

#[test]
fn refuses_names_that_cannot_be_labels() {
    for name in ["default", "other", "\"a b\"", "\"\"", "\"-a\"", "\"é\"", &"x".repeat(65)] {
        let why = if matches!(name, "default" | "other") { "reserved" } else { "1 to 64 letters" };
        refuses(&format!("[clients.{name}]\nsha256 = \"{HASH_A}\""), why);
    }
}

#[test]
fn refuses_unknown_keys_and_bad_dates() {
    refuses(&format!("[clients.a]\nsha265 = \"x\"\nsha256 = \"{HASH_A}\""), "did you mean sha256?");
    refuses(&format!("[client.a]\nsha256 = \"{HASH_A}\""), "did you mean clients?");
    for date in ["\"soon\"", "12:00:00", "2027-01-31T12:00:00", "5", "1950-01-01"] {
        refuses(&format!("[clients.a]\nsha256 = \"{HASH_A}\"\nnot_after = {date}"), "must be a date");
    }
    refuses("[clients.a\n", "not valid TOML");
}

#[test]
fn warns_of_a_client_whose_time_has_passed() {
    let tokens = format!("[clients.a]\nsha256 = \"{HASH_A}\"\nnot_after = 2027-01-14");
    let loaded = with_file(&tokens, None).ok().unwrap();
    assert!(listed(&loaded.warnings).contains("clients.a.not_after: has passed"), "{:?}", loaded.warnings);
}

#[test]
fn reads_systemds_credential_unless_a_file_is_named() {
    let credentials = tempfile::tempdir().unwrap();
    let tokens = format!("[clients.from-systemd]\nsha256 = \"{HASH_A}\"");
    std::fs::write(credentials.path().join("tokens.toml"), tokens).unwrap();
    let named = credentials.path().join("named.toml");
    std::fs::write(&named, format!("[clients.from-file]\nsha256 = \"{HASH_A}\"")).unwrap();
    let variable =
        |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.path().as_os_str().to_owned());
    let environment = Environment { variable: &variable, now: NOW, shown_pairs: None };
    let names = |text: &str| {
        let loaded = build(Path::new("g.toml"), text, &environment).ok().unwrap();
        let names: Vec<String> = loaded.config.clients.iter().map(|client| client.name.clone()).collect();
        (names, listed(&loaded.warnings))
    };
    let (read, warned) = names(SLOT);
    assert_eq!(read, ["from-systemd"]);
    assert!(warned.contains("a change takes systemctl restart"), "{warned}");
    let (read, warned) = names(&format!("[auth]\ntokens_file = {named:?}\n{SLOT}"));
    assert_eq!(read, ["from-file"]);
    assert!(warned.contains("is ignored"), "{warned}");
}

#[test]
fn warns_of_a_token_file_that_others_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    std::fs::write(&path, format!("[clients.a]\nsha256 = \"{HASH_A}\"")).unwrap();
    let text = format!("[auth]\ntokens_file = \"tokens.toml\"\n{SLOT}");
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true), (0o660, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let environment = Environment { variable: &|_| None, now: NOW, shown_pairs: None };
        let loaded = build(&folder.path().join("g.toml"), &text, &environment).ok().unwrap();
        assert_eq!(listed(&loaded.warnings).contains("chmod 0640"), warned, "{mode:o}");
    }
}

#[test]
fn a_client_may_have_certificates_in_place_of_a_token() {
    let colons =
        HASH_A.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect::<Vec<_>>();
    let client = accepts(&format!(
        "[clients.a]\ncertificates = [\"sha256:{HASH_A}\", \"sha256:{}\", \"spiffe://a/b\"]",
        colons.join(":").to_uppercase()
    ))
    .remove(0);
    assert!(client.hashes.is_empty());
    let names: Vec<String> = client.certificates.iter().map(ToString::to_string).collect();
    assert_eq!(names, [format!("sha256:{HASH_A}"), format!("sha256:{HASH_A}"), "spiffe://a/b".to_owned()]);
}
