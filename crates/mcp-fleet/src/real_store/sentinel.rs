//! A primary, its replica and a Sentinel on loopback: the fleet goes on after a failover.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fleet::Fleet;
use crate::names::FleetName;
use crate::redis::{RedisStore, StoreAddress, Topology};

struct Servers {
    _folder: TempDir,
    primary: Child,
    others: Vec<Child>,
    sentinel_port: u16,
}

/// A port that no server listens on.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks a server, as an operator would.
pub(super) fn ask(port: u16, command: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(command)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until this holds.
pub(super) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        std::thread::yield_now();
    }
}

impl Servers {
    fn start() -> Servers {
        let folder = tempfile::tempdir().unwrap();
        let (primary_port, replica_port, sentinel_port) = (free_port(), free_port(), free_port());
        let spawn = |name: &str, port: u16, more: &[&str]| {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).unwrap();
            let configuration = own.join("redis.conf");
            let text = format!("bind 127.0.0.1\nport {port}\ndir {}\n{}\n", own.display(), more.join("\n"));
            std::fs::write(&configuration, text).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(&configuration).args((name == "sentinel").then_some("--sentinel"));
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let primary = spawn("primary", primary_port, &["save \"\"", "repl-diskless-sync-delay 0"]);
        let of_primary = format!("replicaof 127.0.0.1 {primary_port}");
        let replica = spawn("replica", replica_port, &["save \"\"", &of_primary]);
        until("a replica", || ask(replica_port, &["info", "replication"]).contains("master_link_status:up"));
        let watched = format!("sentinel monitor sim 127.0.0.1 {primary_port} 1");
        let times = ["sentinel down-after-milliseconds sim 500", "sentinel failover-timeout sim 3000"];
        let sentinel = spawn("sentinel", sentinel_port, &[&watched, times[0], times[1]]);
        until("a Sentinel", || ask(sentinel_port, &["sentinel", "replicas", "sim"]).contains("127.0.0.1"));
        Servers { _folder: folder, primary, others: vec![replica, sentinel], sentinel_port }
    }

    fn store(&self) -> RedisStore {
        let address = StoreAddress {
            urls: vec![format!("redis://127.0.0.1:{}", self.sentinel_port)],
            topology: Topology::Sentinel { primary: "sim".to_owned() },
            ca: None,
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_millis(400),
        };
        RedisStore::new(FleetName::new("sim").unwrap(), address).unwrap()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain([&mut self.primary]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_goes_on_after_sentinel_has_replaced_the_store() {
    let mut servers = Servers::start();
    let mut fleet = Fleet::start(|| servers.store());
    for _ in 0..3 {
        fleet.publish().await;
    }
    let before = fleet.highest();
    servers.primary.kill().unwrap();
    servers.primary.wait().unwrap();
    let start = Instant::now();
    fleet.until("no leader without a primary", |fleet| fleet.leader.is_none()).await;
    fleet.publish().await;
    println!("a state {:?} after the death of the primary", start.elapsed());
    assert!(fleet.highest() > before);
}
