//! Every key of a dependency, one value it takes and one it refuses.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Config, build};

const DATABASE: &str = "name = \"db\"\ntcp = { address = \"127.0.0.1:5432\" }\n";

fn load(text: &str) -> Result<Config, Vec<String>> {
    let variable = |name: &str| (name == "REDIS_PASSWORD").then(|| "s3cret-of-redis".into());
    let environment = Environment { variable: &variable, now: 0, shown_pairs: None };
    let built = build(Path::new("/etc/guard/guard.toml"), text, &environment);
    let lines = |found: mcp_host::diagnostics::Diagnostics| {
        found.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    built.map(|loaded| loaded.config).map_err(lines)
}

fn with(tables: &str) -> Result<Vec<Dependency>, Vec<String>> {
    load(&format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n{tables}")).map(|config| config.dependencies)
}

#[track_caller]
fn one(lines: &str) -> Dependency {
    with(&format!("[[dependency]]\n{lines}")).unwrap().pop().unwrap()
}

/// Exactly one problem, that says `why`.
#[track_caller]
fn refuses(lines: &str, why: &str) {
    let problems = with(&format!("[[dependency]]\n{lines}")).err().unwrap();
    assert!(problems.len() == 1 && problems[0].contains(why), "{problems:?} does not say {why:?}");
    assert!(!problems[0].contains("s3cret"), "{problems:?}");
}

#[test]
fn a_dependency_has_defaults_and_bounds() {
    let database = one(DATABASE);
    assert_eq!((database.interval, database.timeout), (Duration::from_secs(10), Duration::from_secs(2)));
    assert_eq!((database.rise, database.fall, database.required), (2, 3, false));
    let other =
        one(&format!("{DATABASE}interval = \"1m\"\ntimeout = \"5s\"\nrise = 1\nfall = 1\nrequired = true"));
    assert_eq!((other.interval, other.timeout), (Duration::from_secs(60), Duration::from_secs(5)));
    assert_eq!((other.rise, other.fall, other.required), (1, 1, true));
    refuses(&format!("{DATABASE}interval = \"10ms\"\n"), "must be 100ms to 1h");
    refuses(&format!("{DATABASE}timeout = \"2m\"\n"), "must be 10ms to 1m");
    refuses(&format!("{DATABASE}timeout = \"11s\"\n"), "must not be longer than its interval, 10s");
    refuses(&format!("{DATABASE}rise = 0\n"), "must be 1 to 100");
    refuses(&format!("{DATABASE}fall = 0\n"), "must be 1 to 100");
    refuses(&format!("{DATABASE}required = 1\n"), "must be true or false");
    refuses(&format!("{DATABASE}retries = 1\n"), "no such key");
}

#[test]
fn a_dependency_has_one_name_and_one_kind() {
    refuses("tcp = { address = \"127.0.0.1:1\" }", "dependency[0].name: missing");
    refuses("name = \"My DB\"\ntcp = { address = \"127.0.0.1:1\" }", "must be 1 to 40 of a-z");
    refuses("name = \"backend\"\ntcp = { address = \"127.0.0.1:1\" }", "is the name of a check of /ready");
    refuses(&format!("{DATABASE}[[dependency]]\n{DATABASE}"), "is the name of another dependency, too");
    refuses("name = \"db\"", "needs exactly one of tool, tcp, http, redis and command");
    refuses(&format!("{DATABASE}http = {{ url = \"http://a/\" }}"), "needs exactly one of");
    let many = format!("[[dependency]]\n{DATABASE}").repeat(33);
    assert!(with(&many).err().unwrap().concat().contains("33 entries; at most 32 are allowed"));
}

#[test]
fn addresses_are_names_with_a_port_or_sockets() {
    let tcp = |text: &str| one(&format!("name = \"db\"\ntcp = {{ address = \"{text}\" }}")).check;
    let named = |host: &str, port| Check::Tcp(Endpoint::Tcp { host: host.to_owned(), port });
    assert_eq!(tcp("127.0.0.1:5432"), named("127.0.0.1", 5432));
    assert_eq!(tcp("db.example.org:5432"), named("db.example.org", 5432));
    assert_eq!(tcp("[::1]:5432"), named("::1", 5432));
    assert_eq!(
        tcp("unix:pg/.s.PGSQL.5432"),
        Check::Tcp(Endpoint::Unix("/etc/guard/pg/.s.PGSQL.5432".into()))
    );
    for text in ["db.example.org", "127.0.0.1:0", "127.0.0.1:99999", ":5432", "http://a:1", "/run/a.sock", ""]
    {
        refuses(
            &format!("name = \"db\"\ntcp = {{ address = \"{text}\" }}"),
            "must be host:port or unix:/path",
        );
    }
    refuses("name = \"db\"\ntcp = {}", "dependency[0].tcp.address: missing");
    refuses("name = \"db\"\ntcp = { address = \"127.0.0.1:1\", port = 1 }", "no such key");
    refuses("name = \"db\"\ntcp = \"127.0.0.1:1\"", "must be a table");
}

#[test]
fn a_url_has_no_credentials_and_a_status_is_one() {
    let Check::Http { url, status } =
        one("name = \"a\"\nhttp = { url = \"https://a.example/h\", status = 204 }").check
    else {
        panic!("another kind")
    };
    assert_eq!((url.as_str(), status), ("https://a.example/h", 204));
    refuses("name = \"a\"\nhttp = { url = \"http://u:s3cret@a/\" }", "must not carry a user");
    refuses("name = \"a\"\nhttp = { url = \"http://a/?key=s3cret\" }", "must not carry a user, a query");
    refuses("name = \"a\"\nhttp = { url = \"a.example\" }", "must begin with http:// or https://");
    refuses("name = \"a\"\nhttp = { url = \"http://a/\", status = 99 }", "must be 200 to 599");
    refuses("name = \"a\"\nhttp = { status = 200 }", "dependency[0].http.url: missing");
}

#[test]
fn the_password_of_redis_comes_from_the_environment_and_is_a_secret_of_the_guard() {
    let lines = "name = \"cache\"\nredis = { address = \"127.0.0.1:6379\", username = \"guard\", password = \"env:REDIS_PASSWORD\" }";
    let text = format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n[[dependency]]\n{lines}");
    let config = load(&text).unwrap();
    assert!(!format!("{:?}", config.dependencies).contains("s3cret"));
    assert_eq!(config.secrets.clean_text("AUTH s3cret-of-redis"), "AUTH [secret]");
    let redis = |more: &str| format!("name = \"cache\"\nredis = {{ address = \"127.0.0.1:6379\", {more} }}");
    refuses(&redis("password = \"s3cret\""), "must be \"env:NAME\"");
    refuses(&redis("password = \"env:UNSET\""), "UNSET is not set");
    refuses(&redis("username = \"guard\""), "dependency[0].redis.password: missing");
}

#[test]
fn a_tool_is_asked_of_every_configured_slot_unless_slots_are_named() {
    let tool = "name = \"db\"\ntool = { name = \"db_ping\" }\n";
    assert_eq!(one(tool).slots(), [Slot::Blue]);
    let both =
        "[slots.blue]\naddress = \"127.0.0.1:1\"\n[slots.green]\naddress = \"127.0.0.1:2\"\n[[dependency]]\n";
    let slots = |more: &str| load(&format!("{both}{tool}{more}")).unwrap().dependencies[0].slots().to_vec();
    assert_eq!(slots(""), [Slot::Blue, Slot::Green]);
    assert_eq!(slots("slots = [\"green\"]"), [Slot::Green]);
    refuses(&format!("{tool}slots = [\"green\"]"), "green is not configured");
    refuses(&format!("{tool}slots = []"), "needs a slot");
    refuses(&format!("{tool}slots = [\"red\"]"), "must be one of \"blue\", \"green\"");
    refuses(&format!("{DATABASE}slots = [\"blue\"]"), "is only for a tool");
    refuses("name = \"db\"\ntool = {}", "dependency[0].tool.name: missing");
    refuses("name = \"db\"\ntool = { name = \"t\", arguments = \"[]\" }", "must be a JSON object");
    refuses("name = \"db\"\ntool = { name = \"t\", json = \"1\" }", "must be a JSON object");
    refuses("name = \"db\"\ntool = { name = \"t\", text = \"\" }", "must have 1 to 4096 bytes");
    let expects = one(
        "name = \"db\"\ntool = { name = \"t\", arguments = '{\"a\":1}', text = \"ok\", json = '{\"n\":1}' }",
    );
    let Check::Tool { arguments, expected, .. } = expects.check else { panic!("another kind") };
    assert_eq!((arguments.len(), expected.text.as_deref()), (1, Some("ok")));
    assert!(expected.json.is_some());
}

#[test]
fn a_command_is_a_program_and_its_arguments() {
    let Check::Command(program) = one("name = \"c\"\ncommand = { argv = [\"bin/check\", \"-q\"] }").check
    else {
        panic!("another kind")
    };
    assert_eq!(program.program, Path::new("/etc/guard/bin/check"));
    refuses("name = \"c\"\ncommand = { argv = [] }", "dependency[0].command.argv: needs a program");
    refuses("name = \"c\"\ncommand = {}", "dependency[0].command.argv: missing");
    refuses("name = \"c\"\ncommand = { argv = \"bin/check\" }", "must be a list of texts");
}

#[test]
fn the_shipped_examples_load_and_the_documentation_has_every_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = std::fs::read_to_string(root.join("conf/guard.toml")).unwrap();
    let examples: Vec<&str> = shipped.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
    assert_eq!(with(&examples.join("\n")).unwrap().len(), 5);

    let text = "[[dependency]]\nname = \"a\"\n".to_owned()
        + &["tool", "tcp", "http", "redis", "command"].map(|kind| format!("{kind} = {{}}\n")).concat();
    let sink = crate::config::diagnostics::DiagnosticSink::new(Path::new("g.toml"), &text);
    let file = crate::config::source::parse(&text, &sink).unwrap();
    let nothing = Environment { variable: &|_| None, now: 0, shown_pairs: None };
    read(&mut Table::root(file.get_ref(), &sink), &[], Path::new(""), &nothing);
    let known: std::collections::BTreeSet<String> = sink
        .known()
        .iter()
        .filter_map(|key| Some(key.split_once("[0]")?.1.replacen('.', "dependency.", 1)))
        .collect();
    let page = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented = rows.filter(|key| key.starts_with("dependency.")).map(str::to_owned).collect();
    assert_eq!(known, documented);
}

#[test]
fn a_plan_names_its_critical_dependencies() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let read = |tables: &str, text: &str| {
        std::fs::write(&plan, text).unwrap();
        let slots = "[slots.blue]\naddress = \"127.0.0.1:1\"\n[slots.green]\naddress = \"127.0.0.1:2\"\n";
        load(&format!("{slots}[rollout]\nplan = \"{}\"\n{tables}", plan.display()))
    };
    let database = format!("[[dependency]]\n{DATABASE}");
    let config = read(&database, "critical = [\"db\"]\n").unwrap();
    assert_eq!(
        (config.rollout.critical.as_slice(), config.rollout.checks.len()),
        (["db".to_owned()].as_slice(), 0)
    );
    let refused = |tables: &str, text: &str| read(tables, text).err().unwrap().concat();
    assert!(refused(&database, "critical = [\"dc\"]\n").contains("must be one of \"db\""));
    assert!(refused("", "critical = [\"db\"]\n").contains("there is no such dependency"));
    let scoped = "[[dependency]]\nname = \"db\"\ntool = { name = \"t\" }\nslots = [\"blue\"]\n";
    assert!(refused(scoped, "critical = [\"db\"]\n").contains("is not asked of every slot"));
    let twice = "[[critical_check]]\nname = \"db\"\ntool = \"t\"\n";
    assert!(refused(&database, twice).contains("is the name of a [[dependency]], too"));
}
