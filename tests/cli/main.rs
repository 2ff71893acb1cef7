//! The command line as an operator and his scripts meet it: exit codes, what is printed where, signals, readiness.
//!
//! Runs the real binary. What a guard does with traffic is tested elsewhere.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fleet;
mod guard;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use guard::{Guard, TOKEN};

fn mcp_guard() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-guard"));
    for name in ["MCP_BEARER_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    mcp_guard().args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn usage_is_64_and_help_is_0() {
    for arguments in [&[] as &[&str], &["fly"], &["check", "--colour"], &["token"], &["token", "new"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(stdout(&output).is_empty() && stderr(&output).contains("Usage"), "{arguments:?}");
    }
    for arguments in [&["--help"] as &[&str], &["--version"], &["run", "--help"], &["token", "new", "--help"]]
    {
        assert_eq!(run(arguments).status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn check_prints_every_problem_and_exits_1() {
    let folder = tempfile::tempdir().unwrap();
    let bad = write(folder.path(), "bad.toml", "[limits]\nin_flight = 0\n[timeouts]\ntoatl = \"1s\"\n");
    let output = run(&["check", "--config", &bad]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("bad.toml:2: limits.in_flight: 0 is not allowed"), "{text}");
    assert!(text.contains("bad.toml:4: timeouts.toatl: no such key (hint: did you mean total?)"), "{text}");
    assert!(text.contains("no backend is configured"), "{text}");
    assert!(text.contains("3 problems"), "{text}");

    let output = run(&["check", "--json", "--config", &bad]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), 3);
    let flight =
        json["problems"].as_array().unwrap().iter().find(|p| p["key"] == "limits.in_flight").unwrap();
    assert_eq!(flight["place"]["line"], 2);
    assert_eq!(flight["value"], "0");
}

#[test]
fn check_accepts_the_shipped_files_and_warns_of_a_missing_token() {
    for name in ["guard.toml", "guard.minimal.toml"] {
        let file = format!("{}/conf/{name}", env!("CARGO_MANIFEST_DIR"));
        let output = run(&["check", "--config", &file]);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        assert!(stdout(&output).contains("auth: no token is configured"), "{}", stdout(&output));
    }
}

#[test]
fn check_names_the_folders_that_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[listen]\naddress = \"unix:front/guard.sock\"\nadmin = \"run/admin.sock\"\n\
                [slots.blue]\naddress = \"unix:tools/blue.sock\"\n\
                [[route]]\nname = \"rest\"\nprefix = \"/rest\"\naddress = \"unix:rest/a.sock\"\nauth = \"none\"\n";
    let file = write(folder.path(), "guard.toml", text);
    let output = run(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "the units make them when they start: {}", stdout(&output));
    for (key, name) in [
        ("listen.address", "front"),
        ("listen.admin", "run"),
        ("slots.blue.address", "tools"),
        ("route.rest.address", "rest"),
    ] {
        let missing = format!("{key}: the folder {}/{name} does not exist", folder.path().display());
        assert!(stdout(&output).contains(&missing), "{}", stdout(&output));
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let output = run(&["check", "--config", &file]);
    assert!(!stdout(&output).contains("does not exist"), "{}", stdout(&output));
}

#[test]
fn a_second_guard_on_the_state_of_another_says_so_in_its_log() {
    let first = Guard::start_with("state = \"state\"\n");
    assert!(!first.log().contains("another guard keeps its state"), "{}", first.log());
    let state = Path::new(first.config()).parent().unwrap().join("state");
    let second = Guard::start_with(&format!("state = \"{}\"\n", state.display()));
    let said = format!("another guard keeps its state in {}", state.display());
    assert_eq!(second.log().matches(&said).count(), 1, "{}", second.log());
}

#[test]
fn a_file_that_cannot_be_read_is_2() {
    for command in ["check", "run", "status"] {
        let output = run(&[command, "--config", "/nonexistent/guard.toml"]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(stderr(&output).contains("cannot read /nonexistent/guard.toml"), "{}", stderr(&output));
    }
    let folder = tempfile::tempdir().unwrap();
    let bad = write(folder.path(), "bad.toml", "[limits]\nin_flight = 0\n");
    let output = run(&["run", "--config", &bad]);
    assert_eq!(output.status.code(), Some(2), "what cannot start is not a no");
    assert!(stderr(&output).contains("limits.in_flight") && stderr(&output).contains("nothing was started"));
}

#[test]
fn a_new_token_is_printed_once_with_the_hash_that_lets_it_in() {
    let output = run(&["token", "new", "panda-bot"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let token = text.split_whitespace().find(|word| word.starts_with("swf_")).unwrap().to_owned();
    assert_eq!(text.matches(&token).count(), 1, "{text}");
    assert_eq!(token.len(), "swf_".len() + 43);

    let mut child =
        mcp_guard().args(["token", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{token}\n").as_bytes()).unwrap();
    let hash = stdout(&child.wait_with_output().unwrap());
    assert!(text.contains(hash.trim()), "{text} does not hold {hash}");

    let folder = tempfile::tempdir().unwrap();
    let lines: String =
        text.lines().skip_while(|line| !line.contains("[clients")).collect::<Vec<_>>().join("\n");
    write(folder.path(), "tokens.toml", &lines);
    let text = "[auth]\ntokens_file = \"tokens.toml\"\n[slots.blue]\naddress = \"127.0.0.1:1\"\n";
    let listed = stdout(&run(&["token", "list", "--config", &write(folder.path(), "guard.toml", text)]));
    assert!(listed.contains("panda-bot") && listed.contains(&hash[..8]), "{listed}");
    assert!(!listed.contains(&token) && !listed.contains(hash.trim()), "{listed}");
}

#[test]
fn a_token_is_read_from_standard_input_only() {
    assert_eq!(run(&["token", "hash", "swf_secret"]).status.code(), Some(64));
    let output = run(&["token", "hash"]);
    assert_eq!(output.status.code(), Some(1), "an empty token is none");
    assert_eq!(run(&["token", "new", "not a name"]).status.code(), Some(64));
}

#[test]
fn a_guard_says_when_it_is_ready_and_ends_cleanly_on_sigterm() {
    let guard = Guard::start();
    assert_eq!(guard.notified(), "READY=1");
    let status = run(&["status", "--config", guard.config()]);
    assert_eq!(status.status.code(), Some(0), "{}", stderr(&status));
    assert!(
        stdout(&status).contains("serving") && stdout(&status).contains("blue  stable"),
        "{}",
        stdout(&status)
    );

    let json = run(&["status", "--json", "--config", guard.config()]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["pid"], guard.pid());
    assert_eq!(json["clients"], 1);

    let ended = guard.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.notified.contains(&"STOPPING=1".to_owned()), "{:?}", ended.notified);
    assert!(!ended.admin_socket_is_left);
    assert!(ended.log.contains("admin: command=status"), "every command is audited: {}", ended.log);
    assert!(!ended.log.contains(TOKEN), "{}", ended.log);
}

#[test]
fn status_of_a_guard_that_does_not_run_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[listen]\nadmin = \"admin.sock\"\n[slots.blue]\naddress = \"127.0.0.1:1\"\nhalf edited";
    let file = write(folder.path(), "guard.toml", text);
    assert_eq!(run(&["status", "--config", &file]).status.code(), Some(2), "the file is no TOML");
    let file = write(folder.path(), "guard.toml", &text.replace("half edited", "half = \"edited\""));
    let output = run(&["status", "--config", &file]);
    assert_eq!(output.status.code(), Some(1), "a wrong key elsewhere does not matter");
    assert!(stderr(&output).contains("no guard is running"), "{}", stderr(&output));
    // There, 1 is what a guard says no to.
    for words in [["rollout", "status"], ["rollout", "rollback"], ["slots", "list"]] {
        let output = run(&[words[0], words[1], "--config", &file]);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains("no guard is running"), "{}", stderr(&output));
    }
}

/// `mcp-guard explain` with these words, for a configuration whose guard does not run.
fn explain(config: &str, words: &str) -> Output {
    let mut command = mcp_guard();
    command.env("MCP_BEARER_TOKEN", TOKEN).args(["explain", "--config", config]);
    command.args(words.split_whitespace()).stdin(Stdio::null()).output().unwrap()
}

// "without a running guard it explains from the configuration alone and says so"
#[test]
fn explain_without_a_guard_goes_by_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[listen]\nadmin = \"admin.sock\"\n[slots.blue]\naddress = \"unix:blue.sock\"\n";
    let config = write(folder.path(), "guard.toml", text);
    let output = explain(&config, "--client default --tool echo");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    for part in [
        "client default (by its name), tools/call, tool echo, legacy era",
        "explained by the configuration and the saved state: no guard was asked",
        "15   limits               passed",
        "in_flight  slot blue  32 at a time",
        "because   blue is stable, and no other slot has a share of the calls",
        "verdict   forwarded: it goes to blue",
    ] {
        assert!(stdout(&output).contains(part), "{part}: {}", stdout(&output));
    }
    let saved = format!(
        "POST / HTTP/1.1\nHost: localhost\nAuthorization: Bearer {TOKEN}\nContent-Type: application/json\n\
         Content-Length: 46\n\n{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}}\n"
    );
    let saved = write(folder.path(), "saved.http", &saved);
    let output = explain(&config, &format!("--request {saved}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("client default (by token "), "{output:?}");
    assert!(stdout(&output).contains("lines with LF alone"), "{output:?}");
    let output =
        explain(&config, &format!("--request {}", write(folder.path(), "cut.http", "POST / HTTP/1.1")));
    assert!(output.status.code() == Some(1) && stdout(&output).contains("header_timeout"), "{output:?}");
}

#[test]
fn explain_needs_a_request_or_a_client_and_a_method() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "guard.toml", "[slots.blue]\naddress = \"unix:blue.sock\"\n");
    for words in
        ["", "--client default", "--method ping", "--client default --tool a --method ping", "--protocol 1"]
    {
        assert_eq!(explain(&config, words).status.code(), Some(64), "{words}");
    }
    for (config, words, said) in [
        (config.as_str(), "--client nobody --method ping", "no client is named nobody"),
        (config.as_str(), "--request /nonexistent/saved.http", "cannot read /nonexistent/saved.http"),
        ("/nonexistent/guard.toml", "--client default --method ping", "/nonexistent/guard.toml"),
    ] {
        let output = explain(config, words);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(said), "{words}: {output:?}");
    }
}

#[test]
fn a_reload_with_problems_lists_them_and_changes_nothing() {
    let guard = Guard::start();
    guard.rewrite("[limits]\nin_flight = 0\nheld = 0\n");
    guard.hang_up();
    guard.wait_for_log("not reloaded");
    let log = guard.log();
    assert!(log.contains("limits.in_flight: 0 is not allowed") && log.contains("limits.held"), "{log}");
    guard.rewrite("[limits]\nin_flight = 5\n[log]\nformat = \"text\"\n");
    guard.hang_up();
    // In the words of the new format, which holds from here on.
    guard.wait_for_log(" info reloaded: ");
    let text = std::fs::read_to_string(guard.config()).unwrap();
    std::fs::write(guard.config(), text.replacen("[listen]", "[listen]\nstate = \"state\"", 1)).unwrap();
    guard.hang_up();
    guard.wait_for_log("listen.state: what changed here takes effect at the next start or upgrade");
    assert_eq!(run(&["status", "--config", guard.config()]).status.code(), Some(0));
    assert_eq!(guard.terminate().code, Some(0));
}

#[test]
fn a_second_guard_does_not_take_the_first_ones_admin_socket() {
    let guard = Guard::start();
    let output = mcp_guard().args(["run", "--config", guard.config()]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("another process is serving"), "{}", stderr(&output));
    assert_eq!(run(&["status", "--config", guard.config()]).status.code(), Some(0));
    guard.terminate();
}

#[test]
fn the_demo_goes_as_it_should_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let output = mcp_guard()
        .args(["demo", "--once"])
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", stderr(&output));
    assert!(!text.contains("[FAIL]") && text.matches("[OK]").count() >= 10, "{text}");
    for seen in [
        "401 {\"error\": \"Authorization required\"}",
        "403 {\"error\": \"Invalid token\"}",
        "2026-07-28",
        "orders-1.4 ",
    ] {
        assert!(text.contains(seen), "{text}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
