//! Orders reach a running guard whatever state its file is in: half edited, moved away, with another admin socket in it.
//!
//! SPEC section 17: commands "talk to a running guard over its admin socket".

use mcp_testkit::{Guard, backend, call, mcp_backend, ok, post, result};

use crate::guard;
use crate::limits::client;
use crate::rollout::{LONG, QUICK};

/// What happens to a file: its name here, and what becomes of the text; nothing, when it is moved away.
type Breakage = (&'static str, fn(&str) -> Option<String>);

/// The file still names the socket somewhere.
const NAMED: &[Breakage] = &[
    ("an assignment without a value", |text| Some(format!("{text}x = \n"))),
    ("a table header that is not closed", |text| Some(format!("{text}[limits\n"))),
    ("a text that is not closed", |text| Some(format!("{text}a = \"b\n"))),
    ("a text over lines that is not closed", |text| Some(format!("{text}a = \"\"\"\nb\n"))),
    ("a second [listen]", |text| Some(format!("{text}[listen]\n"))),
    ("a second [listen] with another socket", |text| {
        Some(format!("{text}[listen]\nadmin = \"/nowhere/admin.sock\"\n"))
    }),
    ("a first [listen] with another socket", |text| {
        Some(format!("[listen]\nadmin = \"/nowhere/admin.sock\"\n{text}"))
    }),
    ("a broken first line", |text| Some(format!("= 3\n{text}"))),
    ("a broken line in [listen]", |text| Some(text.replacen("[listen]", "[listen]\nthreads = = 3", 1))),
    ("a key that is twice", |text| Some(text.replacen("[listen]", "[listen]\nthreads = 1\nthreads = 1", 1))),
    ("an unknown key", |text| Some(format!("{text}[unknown]\nkey = 1\n"))),
];

/// The file names another socket, or none: the process that was started with it is found.
const ELSEWHERE: &[Breakage] = &[
    ("moved away", |_| None),
    ("empty", |_| Some(String::new())),
    ("the head is gone", |text| Some(text.split_once("[listen]").map_or("", |(_, rest)| rest).to_owned())),
    ("another socket", |text| Some(text.replacen("admin = \"", "admin = \"/nowhere/", 1))),
    ("no socket", |text| {
        Some(text.lines().filter(|line| !line.starts_with("admin")).collect::<Vec<_>>().join("\n"))
    }),
    ("not text", |_| Some("\u{0}\u{1}".to_owned())),
];

/// Orders of every kind, the exit code of each, and what it says.
const ORDERS: &[(&str, i32, &str)] = &[
    ("status", 0, "serving"),
    ("status --json", 0, "\"draining\": false"),
    ("slots list", 0, "green"),
    ("slots switch green", 0, "green"),
    ("slots switch blue", 0, "blue"),
    ("rollout status", 0, ""),
    ("rollout history", 0, "blue"),
    ("rollout rollback", 1, "nothing is in rollout"),
    ("rollout pause", 1, "nothing is in rollout"),
    ("shadow diff", 0, ""),
    ("token list", 0, "default"),
    ("fleet status", 1, "in no fleet"),
    ("fleet leave", 1, "in no fleet"),
];

async fn pair(folder: &std::path::Path) -> (mcp_testkit::McpBackend, mcp_testkit::McpBackend, Guard) {
    let (blue, green) = (mcp_backend(&folder.join("blue")), mcp_backend(&folder.join("green")));
    let started = guard().token("t").upstream(blue.address()).rollout(green.address(), LONG).config(QUICK);
    let guard = started.start().await;
    guard.both_healthy().await;
    (blue, green, guard)
}

async fn every_order_arrives(guard: &Guard, breakages: &[Breakage], socket: &str) {
    let whole = std::fs::read_to_string(guard.config()).unwrap();
    for (name, breakage) in breakages {
        match breakage(&whole) {
            Some(text) => std::fs::write(guard.config(), text).unwrap(),
            None => std::fs::remove_file(guard.config()).unwrap(),
        }
        for (words, code, said) in ORDERS {
            let typed = guard.command_when_healthy(&format!("{words} {socket}")).await;
            let told = format!("{}{}", typed.stdout, typed.stderr);
            assert_eq!(typed.code, *code, "{name}: {words}: {typed:?}");
            assert!(told.contains(said), "{name}: {words}: {typed:?}");
        }
        // What the file would change is refused, and the guard carries on.
        if *name != "an unknown key" && socket.is_empty() {
            let typed = guard.command("status").await;
            assert!(typed.stderr.contains("; asked the guard on "), "{name}: {typed:?}");
        }
        std::fs::write(guard.config(), &whole).unwrap();
    }
    assert_eq!(guard.post(&call(1, "ping")).await.status(), 200);
}

#[tokio::test]
async fn a_half_edited_file_takes_no_order_away() {
    let folder = tempfile::tempdir().unwrap();
    let (_blue, _green, guard) = pair(folder.path()).await;
    every_order_arrives(&guard, NAMED, "").await;
}

#[tokio::test]
async fn a_file_that_names_another_socket_takes_no_order_away() {
    // Only root may look into the processes of the guard's user.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_blue, _green, guard) = pair(folder.path()).await;
    every_order_arrives(&guard, ELSEWHERE, "").await;
}

/// A program that looks like a guard with the given file, answers on a socket that it makes, and keeps what it is sent.
const LOOK_ALIKE: &str = r#"use IO::Socket::UNIX; my ($socket, $kept) = splice(@ARGV, 0, 2);
    my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $socket, Listen => 9) or die;
    chmod 0666, $socket; print STDOUT "ready\n"; close STDOUT;
    while (my $asked = $listener->accept) {
        my $line = <$asked>; next unless defined $line;
        open my $file, ">>", $kept; print $file $line; close $file;
        print $asked qq({"version":1,"answer":{"status":{"version":"1","pid":$$,"uptime_seconds":1,"draining":false,"listen":"x",)
            . qq("metrics":null,"connections":0,"clients":0,"stable":"blue","slots":[]}}}\n); close $asked;
    }"#;

#[tokio::test]
async fn an_order_is_not_given_to_another_user_s_program_that_looks_like_a_guard() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use tokio::io::AsyncReadExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    const STRANGER: u32 = 65533;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(STRANGER), Some(STRANGER)).unwrap();
    let (file, socket, kept) = (folder.path().join("guard.toml"), theirs.join("s"), theirs.join("kept"));
    std::fs::write(&file, "[listen]\nadmin = \"/nowhere/admin.sock\"\n").unwrap();
    let mut look_alike = tokio::process::Command::new("perl");
    look_alike.args(["-e", LOOK_ALIKE]).args([&socket, &kept]).args(["run", "--config"]).arg(&file);
    look_alike.uid(STRANGER).gid(STRANGER).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut look_alike = look_alike.spawn().expect("perl runs");
    let mut ready = String::new();
    look_alike.stdout.take().unwrap().read_to_string(&mut ready).await.unwrap();
    assert_eq!(ready, "ready\n");
    let typed = async |words: &'static [&'static str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-guard"));
        let output = command.args(words).arg("--config").arg(&file).output().await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for words in
        [&["status"] as &[&str], &["rollout", "rollback"], &["slots", "switch", "green"], &["reload"]]
    {
        let (code, told) = typed(words).await;
        assert_ne!(code, Some(0), "{words:?}: {told}");
        assert!(told.contains("is a socket of user 65533"), "{words:?}: {told}");
        assert!(!kept.exists(), "{words:?}: {:?}", std::fs::read_to_string(&kept));
    }
    // The file's owner decides where the guard listens: then it gets the command.
    chown(&file, Some(STRANGER), None).unwrap();
    let (code, told) = typed(&["status"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(kept.exists() && told.contains("; asked the guard on "), "{told}");
}

#[tokio::test]
async fn the_socket_option_needs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (_blue, _green, guard) = pair(folder.path()).await;
    let text = std::fs::read_to_string(guard.config()).unwrap();
    let named = text.lines().find_map(|line| line.strip_prefix("admin = \"")?.strip_suffix('"')).unwrap();
    let socket = guard.config().with_file_name(named);
    assert!(socket.exists());
    let option = format!("--socket {}", socket.display());
    every_order_arrives(&guard, ELSEWHERE, &option).await;
    let typed = guard.command("status --socket /nowhere/admin.sock").await;
    assert_eq!(typed.code, 1, "the operator's word alone counts: {typed:?}");
    assert!(typed.stderr.contains("nobody answers on /nowhere/admin.sock"), "{typed:?}");
}

#[tokio::test]
async fn a_reload_and_an_upgrade_of_a_broken_file_are_refused_with_its_mistake() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard = guard().tokens(&client("bot", "")).admin().upstream(&backend).start().await;
    let whole = std::fs::read_to_string(guard.config()).unwrap();
    std::fs::write(guard.config(), format!("{whole}x = \n")).unwrap();
    for (words, said) in
        [("reload", "not reloaded: 1 problem"), ("upgrade", "not upgraded, the running guard carries on")]
    {
        let typed = guard.command(words).await;
        assert_eq!(typed.code, 1, "{words}: {typed:?}");
        assert!(typed.stderr.contains(said), "{words}: {typed:?}");
        assert!(format!("{typed:?}").contains("not valid TOML"), "{words}: {typed:?}");
    }
    assert_eq!(guard.connect().await.exchange(post("bot", "", &call(1, "ping"))).await.status(), 200);
}

#[tokio::test]
async fn without_a_guard_the_command_says_what_it_looked_for() {
    let elsewhere = tempfile::tempdir().unwrap();
    for (text, code, said) in [
        ("[listen]\nadmin = \"admin.sock\"\n", 1, "no guard is running: nobody answers on "),
        ("[listen]\nadmin = \"admin.sock\"\nx = \n", 2, "not valid TOML"),
        ("x = \n", 2, "no guard that was started with this file is running"),
        ("[slots.blue]\n", 2, "listen.admin: not set"),
    ] {
        let file = elsewhere.path().join("guard.toml");
        std::fs::write(&file, text).unwrap();
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
            .args(["status", "--config"])
            .arg(&file)
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}: {told}");
        assert!(told.contains(said) && told.contains("--socket PATH"), "{text}: {told}");
    }
}

#[tokio::test]
async fn the_list_of_tokens_is_what_the_running_guard_accepts() {
    let backend = backend().await.serve(|_| ok(&result(1)));
    let guard =
        guard().tokens(&client("bot", "not_after = 2099-01-31")).admin().upstream(&backend).start().await;
    let as_read = guard.command("token list").await;
    assert!(as_read.stdout.contains("bot") && as_read.stderr.is_empty(), "{as_read:?}");
    for text in [client("new", ""), "junk".to_owned(), String::new()] {
        guard.set_tokens(&text);
        let typed = guard.command("token list").await;
        assert_eq!((typed.code, &typed.stdout), (0, &as_read.stdout), "{typed:?}");
        let told = typed.stderr.contains("the files name other tokens than the running guard accepts");
        assert_eq!(told, text != "junk", "{typed:?}");
        // What the guard would read at its next start is no secret either: `check` says it.
        let check = guard.command("check").await;
        assert_eq!(check.code, i32::from(text == "junk"), "{check:?}");
    }
}
