//! Each kind of check against a dependency that is well, away, silent or not what it seems.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use mcp_testkit::closed_address;

use super::*;
use crate::config::dependencies::Endpoint;
use crate::config::notify::{Program, Secret};

/// Far longer than any of these checks takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn subject(check: Check, timeout: Duration) -> Subject {
    let (name, interval) = ("it".to_owned(), Duration::from_secs(60));
    let dependency = Dependency { name, check, interval, timeout, rise: 1, fall: 1, required: false };
    Subject { dependency, at: None }
}

async fn result(check: Check) -> Result<(), String> {
    subject(check, PATIENCE).check(&Secrets::new(["s3cret-of-redis"])).await.result
}

async fn reason(check: Check) -> String {
    result(check).await.expect_err("a failure")
}

fn tcp(port: u16) -> Endpoint {
    Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }
}

fn shell(script: &str) -> Check {
    Check::Command(Program { program: "sh".into(), arguments: vec!["-c".to_owned(), script.to_owned()] })
}

/// A server that sends these bytes once it has read something, on each connection. Ends with the test's runtime.
async fn scripted(reply: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut sent = [0; 1024];
            let _ = stream.read(&mut sent).await;
            let _ = stream.write_all(reply).await;
        }
    });
    port
}

#[tokio::test]
async fn tcp_is_good_where_a_connection_is_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(result(Check::Tcp(tcp(listener.local_addr().unwrap().port()))).await, Ok(()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    assert_eq!(result(Check::Tcp(Endpoint::Unix(path))).await, Ok(()));
    let (_kept, closed) = closed_address();
    let port = closed.port();
    let why = reason(Check::Tcp(tcp(port))).await;
    assert!(why.starts_with(&format!("cannot connect to 127.0.0.1:{port}: Connection refused")), "{why}");
    let away = Endpoint::Unix(PathBuf::from("/nonexistent/d.sock"));
    assert!(
        reason(Check::Tcp(away)).await.contains("cannot connect to unix:/nonexistent/d.sock: No such file")
    );
}

#[tokio::test]
async fn http_is_good_with_the_expected_status_only() {
    let check = |port, status| Check::Http { url: format!("http://127.0.0.1:{port}/health"), status };
    let well = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    assert_eq!(result(check(well, 200)).await, Ok(()));
    let why = reason(check(well, 204)).await;
    assert!(why.contains("HTTP 200 instead of 204"), "{why}");
    let moved =
        scripted(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(reason(check(moved.await, 200)).await.contains("HTTP 302 instead of 200"));
    let garbage = reason(check(scripted(b"SSH-2.0-x\r\n").await, 200)).await;
    assert!(garbage.contains("the connection broke"), "{garbage}");
    let (_kept, closed) = closed_address();
    let port = closed.port();
    assert!(reason(check(port, 200)).await.contains("cannot connect: Connection refused"));
}

#[tokio::test]
async fn redis_is_good_with_pong() {
    let check = |port, password: Option<&str>| Check::Redis {
        endpoint: tcp(port),
        username: None,
        password: password.map(|password| Secret(password.to_owned())),
    };
    assert_eq!(result(check(scripted(b"+PONG\r\n").await, None)).await, Ok(()));
    let refused = |reply: &'static [u8]| async move { reason(check(scripted(reply).await, None)).await };
    assert!(
        refused(b"-NOAUTH Authentication required.\r\n").await.contains("it wants a password (hint: add")
    );
    assert!(
        refused(b"-LOADING Redis is loading\r\n").await.contains("it replies `LOADING Redis is loading`")
    );
    assert!(refused(b"HTTP/1.1 400 Bad Request\r\n").await.contains("is not that of Redis"));
    assert!(refused(b"").await.contains("the connection broke"));
    let wrong = scripted(b"-WRONGPASS invalid username-password pair\r\n").await;
    assert!(reason(check(wrong, Some("x"))).await.contains("it refuses the password"));
    // A line without an end is cut, and a secret in it removed.
    let endless = scripted(b"-ERR s3cret-of-redis \x1b[2J is not it").await;
    let why = reason(check(endless, Some("s3cret-of-redis"))).await;
    assert!(why.contains("[secret]") && !why.contains('\x1b'), "{why}");
}

#[tokio::test]
async fn a_silent_dependency_ends_with_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let timeout = Duration::from_millis(50);
    let redis = Check::Redis { endpoint: tcp(port), username: None, password: None };
    let checked = subject(redis, timeout).check(&Secrets::default()).await;
    assert_eq!(checked.result, Err(format!("Redis at 127.0.0.1:{port}: no outcome within 50ms")));
    let http = Check::Http { url: format!("http://127.0.0.1:{port}/"), status: 200 };
    assert!(subject(http, timeout).check(&Secrets::default()).await.result.is_err());
}

#[tokio::test]
async fn a_command_says_yes_with_exit_0_and_otherwise_why_not() {
    assert_eq!(result(shell("exit 0")).await, Ok(()));
    assert_eq!(result(shell("echo much; echo more >&2")).await, Ok(()));
    let why = reason(shell("echo on standard output; echo connection refused >&2; exit 3")).await;
    assert_eq!(why, "sh ended with exit status: 3: connection refused");
    assert_eq!(reason(shell("echo a\tb; exit 1")).await, "sh ended with exit status: 1: a b");
    let missing = Program { program: "/nonexistent/program".into(), arguments: Vec::new() };
    assert!(reason(Check::Command(missing)).await.starts_with("cannot run /nonexistent/program"));
}

#[tokio::test]
async fn a_command_sees_no_environment_of_ours() {
    // CARGO_MANIFEST_DIR stands for what is set in this process; tokens would be, too.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(result(shell("test -z \"$CARGO_MANIFEST_DIR\" && test -n \"$PATH\"")).await, Ok(()));
}

/// Whether a process exists and has not ended.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// The process whose number a script has written; it ends, however the check has ended.
async fn ends(file: &std::path::Path) {
    let pid = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let started = Instant::now();
    while lives(&pid) {
        assert!(started.elapsed() < PATIENCE, "process {pid} outlives its check");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_command_that_floods_is_ended() {
    let why = reason(shell("while :; do echo 0123456789012345678901234567890123456789; done")).await;
    assert!(why.contains("wrote more than 1048576 bytes and was ended"), "{why}");
    let why = reason(shell("while :; do echo 0123456789012345678901234567890123456789 >&2; done")).await;
    assert!(why.contains("wrote more than 1048576 bytes and was ended"), "{why}");
    // Less than that is no reason, though the pipe holds less than this.
    assert_eq!(result(shell("head -c 900000 /dev/zero")).await, Ok(()));
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("child");
    let script = format!("sleep 600 & echo $! >{}; wait", child.display());
    // Long enough for a busy machine to reach the wait.
    let hangs = subject(shell(&script), Duration::from_secs(2)).check(&Secrets::default()).await;
    assert_eq!(hangs.result, Err("sh: no outcome within 2s".to_owned()));
    ends(&child).await;
}

#[tokio::test]
async fn a_command_that_leaves_a_process_behind_ends_at_once_and_so_does_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("child");
    // It holds both pipes open.
    let script = format!("sleep 600 & echo $! >{}; exit 0", child.display());
    assert_eq!(result(shell(&script)).await, Ok(()));
    ends(&child).await;
    let escapes = format!("setsid sleep 30 & echo $! >{}; echo lost >&2; exit 1", child.display());
    assert_eq!(reason(shell(&escapes)).await, "sh ended with exit status: 1: lost");
    // It has left the group, so this test has to end it.
    let pid = std::fs::read_to_string(&child).unwrap();
    let _ = std::process::Command::new("kill").arg(pid.trim()).status();
}

#[tokio::test]
async fn all_dependencies_are_checked_once_and_in_their_order() {
    let ((_kept, closed), folder) = (closed_address(), tempfile::tempdir().unwrap());
    let port = closed.port();
    let slow = subject(shell("sleep 0.1"), PATIENCE).dependency;
    let away = Dependency { required: true, ..subject(Check::Tcp(tcp(port)), PATIENCE).dependency };
    let tool = Check::Tool {
        name: "db_ping".to_owned(),
        arguments: serde_json::Map::new(),
        expected: crate::config::dependencies::Expected::default(),
        slots: vec![Slot::Blue, Slot::Green],
    };
    let tool = subject(tool, PATIENCE).dependency;
    let mut backends = PerSlot::default();
    let config = format!("[slots.green]\naddress = \"unix:{}\"\n", folder.path().join("none").display());
    let environment = crate::config::Environment { variable: &|_| None, now: 0, shown_pairs: None };
    let loaded = crate::config::build(std::path::Path::new("g.toml"), &config, &environment);
    let loaded = loaded.map_err(|found| found.problems).unwrap();
    backends[Slot::Green] = loaded.config.backends[Slot::Green].clone();
    let checked = check_all(&[slow, away, tool], &backends, &Secrets::default()).await;
    let shape: Vec<_> =
        checked.iter().map(|checked| (checked.slot, checked.required, checked.result.is_ok())).collect();
    // A slot without a backend is not asked.
    assert_eq!(shape, [(None, false, true), (None, true, false), (Some(Slot::Green), false, false)]);
    assert!(checked[0].took >= Duration::from_millis(100), "{:?}", checked[0].took);
}
