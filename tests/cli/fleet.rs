//! `[fleet]` as an operator meets it: `check` and `doctor`, with a store and without one. No output has a secret.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use mcp_testkit::TIMEOUT;

use super::{mcp_guard, stderr, stdout, write};

const KEY: &str = "fleet-key-0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "store-password-0123456789";

/// A real store on a Unix socket, whose users need a password.
struct Store(Child);

impl Store {
    fn start(folder: &Path) -> Store {
        let socket = folder.join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--requirepass", PASSWORD, "--unixsocket"])
            .arg(&socket)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let store = Store(child);
        let deadline = Instant::now() + TIMEOUT;
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::yield_now();
        }
        store
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn config(folder: &Path, password: &str) -> String {
    let store = format!("unix://{}?pass={password}", folder.join("redis.sock").display());
    let fleet =
        format!("[fleet]\nname = \"prod\"\nmember = \"a\"\nkey = \"env:FLEET_KEY\"\nstore = \"{store}\"\n");
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\n[slots.blue]\naddress = \"unix:tools.sock\"\n";
    write(folder, "guard.toml", &format!("{listen}{fleet}"))
}

#[track_caller]
fn run(command: &str, config: &str) -> Output {
    let mut program = mcp_guard();
    program.args([command, "--config", config]).env("FLEET_KEY", KEY).stdin(Stdio::null());
    let output = program.output().unwrap();
    let all = stdout(&output) + &stderr(&output);
    assert!(!all.contains(KEY) && !all.contains(PASSWORD), "{all}");
    output
}

#[test]
fn doctor_asks_the_store_of_a_fleet_and_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let line = |output: &Output| {
        let text = stdout(output);
        let found = text.lines().find(|line| line.contains("fleet store")).map(str::to_owned);
        found.unwrap_or_else(|| panic!("{text}{}", stderr(output)))
    };
    let good = config(folder.path(), PASSWORD);
    assert_eq!(run("check", &good).status.code(), Some(0));
    let absent = line(&run("doctor", &good));
    assert!(absent.starts_with("[BAD]") && absent.contains("cannot reach the store"), "{absent}");

    let _store = Store::start(folder.path());
    let found = run("doctor", &good);
    assert!(line(&found).starts_with("[OK]") && line(&found).contains("responds in"), "{}", line(&found));
    assert!(stdout(&found).contains("store's clock"), "{}", stdout(&found));
    let wrong = line(&run("doctor", &config(folder.path(), "another-password")));
    assert!(wrong.starts_with("[BAD]") && !wrong.contains("another-password"), "{wrong}");
}
