//! TLS and a cluster: an exchange works there as well, and not with a server that cannot prove its name.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::sentinel::{ask, free_port, until};
use crate::names::FleetName;
use crate::redis::{RedisStore, StoreAddress, Topology};
use crate::request::{Reply, Request, ShareRequest, StoreError};
use crate::store::Store;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(folder: &Path, arguments: &[&str]) -> Server {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", ""]).args(arguments).current_dir(folder);
    Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn store(url: String, topology: Topology, ca: Option<Vec<u8>>) -> RedisStore {
    let (connect_timeout, response_timeout) = (Duration::from_secs(2), Duration::from_secs(2));
    let address = StoreAddress { urls: vec![url], topology, ca, connect_timeout, response_timeout };
    RedisStore::new(FleetName::new("f").unwrap(), address).unwrap()
}

fn request(id: u64) -> Request {
    let share = |limit: &str| ShareRequest { limit: limit.to_owned(), rate: 1_000, demand: 1_000, holds: 0 };
    Request::bare("one", id, vec![share("one"), share("two")])
}

/// The first reply, as soon as the server is there.
async fn exchange(store: &RedisStore) -> Reply {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut id = 0;
    loop {
        id += 1;
        match store.exchange(request(id)).await {
            Ok(reply) => return reply,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_store_in_a_cluster_carries_out_an_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let bus = free_port().to_string();
    let arguments = ["--port", &port.to_string(), "--cluster-enabled", "yes", "--cluster-port", &bus];
    let _server = start(folder.path(), &arguments);
    until("all slots", || ask(port, &["cluster", "addslotsrange", "0", "16383"]).contains("OK"));
    until("a cluster", || ask(port, &["cluster", "info"]).contains("cluster_state:ok"));
    let store = store(format!("redis://127.0.0.1:{port}"), Topology::Cluster, None);
    let reply = exchange(&store).await;
    assert_eq!(
        (reply.leader.unwrap().member.as_str(), &reply.shares[..]),
        ("one", &[1_000_000, 1_000_000][..])
    );
}

#[tokio::test]
async fn a_store_behind_tls_must_prove_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, subject: &str| {
        let path = |end: &str| folder.path().join(format!("{name}.{end}")).display().to_string();
        let status = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=store", "-addext", &format!("subjectAltName={subject}")])
            .args([
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                &path("key"),
                "-out",
                &path("crt"),
            ])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        (path("crt"), path("key"))
    };
    let (certificate, key) = make("store", "DNS:localhost");
    let (other, _) = make("other", "DNS:localhost");
    let port = free_port();
    let tls = ["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &certificate];
    let _server = start(folder.path(), &[&tls[..], &files[..]].concat());
    let read = |path: &str| Some(std::fs::read(path).unwrap());
    let url = |host: &str| format!("rediss://{host}:{port}");
    let proved = store(url("localhost"), Topology::Single, read(&certificate));
    assert_eq!(exchange(&proved).await.shares, [1_000_000, 1_000_000]);
    for (host, ca) in [("127.0.0.1", &certificate), ("localhost", &other)] {
        let refused = store(url(host), Topology::Single, read(ca)).exchange(request(100)).await;
        let Err(StoreError::Unreachable(why)) = refused else { panic!("{host}: {refused:?}") };
        assert!(why.contains("certificate"), "{host}: {why}");
    }
}
