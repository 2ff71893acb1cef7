//! TLS towards databases and services: used where the address says so, and only with a certificate that a known authority signed.
//!
//! The authority is made by the test; the server gets it as any program does, by `SSL_CERT_FILE`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pg::Postgres;
use crate::program::{start_in, text};

const CATALOGUE: &str = r#"
[[tool]]
name = "encrypted"
description = "Whether this connection is."
read_only = true
[tool.sql]
shape = "value"
query = "SELECT 1 AS encrypted"
postgres = "SELECT ssl AS encrypted FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

[service.monitor]
base_url_env = "MONITOR_URL"

[[tool]]
name = "workers"
description = "Asks a service."
read_only = true
[tool.http]
service = "monitor"
method = "GET"
path = "/workers.json"
"#;

#[track_caller]
fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let made = command.args(arguments.split(' ')).current_dir(folder).output().expect("openssl runs");
    assert!(made.status.success(), "openssl {arguments}: {}", text(&made.stderr));
}

/// An authority `NAME.pem` of its own.
fn authority(folder: &Path, name: &str) {
    let key = format!("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key");
    openssl(folder, &format!("req -x509 {key} -out {name}.pem -days 2 -subj /CN={name}"));
}

/// A folder with two authorities, and a certificate for `localhost` that the first one signed.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path();
    authority(path, "ours");
    authority(path, "other");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key";
    openssl(path, &format!("req {key} -out server.csr -subj /CN=localhost"));
    std::fs::write(path.join("names"), "subjectAltName=DNS:localhost\n").expect("writes");
    openssl(
        path,
        "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    folder
}

/// Calls a tool of a server that trusts one authority alone.
fn call(tool: &str, folder: &Path, trusted: &str, arguments: &[&str], monitor: &str) -> Value {
    let home = tempfile::tempdir().expect("a directory");
    let catalogue = home.path().join("tls.toml");
    std::fs::write(&catalogue, CATALOGUE).expect("writes");
    let trusted = folder.join(trusted).display().to_string();
    let catalogue = catalogue.display().to_string();
    let all = [&["--demo", "--catalog", &catalogue], arguments].concat();
    let server = start_in(home, &all, &[("SSL_CERT_FILE", &trusted), ("MONITOR_URL", monitor)]);
    server.call(tool, json!({}))
}

#[test]
fn a_database_is_reached_over_tls_as_sslmode_says() {
    let folder = certificates();
    let postgres = Postgres::start_with_tls(folder.path());
    postgres.load("CREATE ROLE certified LOGIN");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ours, other) = (file("ours.pem"), file("other.pem"));
    let call = |trusted: &str, user: &str, host: &str, options: &str| {
        let url = format!("postgresql://{user}@{host}:{}/postgres?{options}", postgres.port());
        let result = call("encrypted", folder.path(), trusted, &["--database", &url], "http://localhost");
        result["content"][0]["text"].as_str().expect("text").to_owned()
    };
    let refused = "the database cannot be reached at the moment; try again later";
    for (trusted, host, options, expected) in [
        // The authorities of the machine are those of SSL_CERT_FILE.
        ("ours.pem", "localhost", "sslmode=verify-full", "true"),
        ("ours.pem", "127.0.0.1", "sslmode=verify-full", refused),
        ("other.pem", "localhost", "sslmode=verify-full", refused),
        ("other.pem", "localhost", &*format!("sslmode=verify-full&sslrootcert={ours}"), "true"),
        ("ours.pem", "localhost", &*format!("sslmode=verify-full&sslrootcert={other}"), refused),
        ("other.pem", "localhost", "sslmode=verify-full&sslrootcert=system", refused),
        ("other.pem", "127.0.0.1", &*format!("sslmode=verify-ca&sslrootcert={ours}"), "true"),
        ("other.pem", "localhost", "sslmode=verify-ca", refused),
        ("other.pem", "127.0.0.1", "sslmode=require", "true"),
        ("other.pem", "127.0.0.1", &*format!("sslmode=require&sslrootcert={other}"), refused),
        ("other.pem", "localhost", "", "true"),
        ("other.pem", "localhost", "sslmode=allow", "false"),
        ("ours.pem", "localhost", "sslmode=disable", "false"),
    ] {
        assert_eq!(call(trusted, "swf", host, options), expected, "{trusted} {host} {options}");
    }
    // A socket in the list must not lead to the network without TLS.
    for (hosts, option) in
        [("%2Fnowhere,127.0.0.1", ""), ("", "host=/nowhere&hostaddr=127.0.0.1"), ("", "hostaddr=127.0.0.1")]
    {
        let port = postgres.port();
        let url = format!("postgresql://swf@{hosts}/postgres?port={port}&sslmode=verify-full&{option}");
        let file = folder.path().join("tls.toml");
        std::fs::write(&file, CATALOGUE.split("[service").next().expect("a tool")).expect("writes");
        let file = file.display().to_string();
        let told = crate::program::run(&["call", "encrypted", "--catalog", &file, "--database", &url]);
        assert_ne!(told.status.code(), Some(0), "{url}: {}", text(&told.stdout));
    }
    // A certificate of its own is the only way in for this user, and TLS the only way to show it.
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout client.key";
    openssl(folder.path(), &format!("req {key} -out client.csr -subj /CN=certified"));
    let sign = "-CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out client.pem";
    openssl(folder.path(), &format!("x509 -req -in client.csr {sign}"));
    let shown = format!("sslcert={}&sslkey={}", file("client.pem"), file("client.key"));
    let requires = format!("sslmode=require&{shown}");
    for (options, expected) in [("sslmode=require", refused), (&requires, "true"), (&shown, "true")] {
        assert_eq!(call("other.pem", "certified", "localhost", options), expected, "{options}");
    }
}

/// A certificate that signs itself, and may sign others, as `openssl req -x509` makes it.
fn self_signed(folder: &Path, name: &str) {
    let key = format!("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key");
    let subject = "-subj /CN=localhost -addext subjectAltName=DNS:localhost";
    openssl(folder, &format!("req -x509 {key} -out {name}.pem -days 2 {subject}"));
}

// Requirement: as psql, a self-signed certificate is accepted where sslrootcert holds that very certificate.
#[test]
fn a_database_with_a_self_signed_certificate_is_known_by_the_certificate_itself() {
    let folder = certificates();
    self_signed(folder.path(), "server");
    self_signed(folder.path(), "twin");
    let postgres = Postgres::start_with_tls(folder.path());
    let refused = "the database cannot be reached at the moment; try again later";
    for (mode, host, root, expected) in [
        ("require", "127.0.0.1", "server.pem", "true"),
        ("verify-ca", "127.0.0.1", "server.pem", "true"),
        ("verify-full", "localhost", "server.pem", "true"),
        ("verify-full", "127.0.0.1", "server.pem", refused),
        ("verify-ca", "localhost", "twin.pem", refused),
        ("verify-full", "localhost", "twin.pem", refused),
    ] {
        let root = folder.path().join(root).display().to_string();
        let options = format!("sslmode={mode}&sslrootcert={root}");
        let url = format!("postgresql://swf@{host}:{}/postgres?{options}", postgres.port());
        let result = call("encrypted", folder.path(), "other.pem", &["--database", &url], "http://localhost");
        assert_eq!(result["content"][0]["text"], expected, "{mode} {host} {root}");
    }
}

#[test]
fn a_database_with_an_expired_certificate_is_refused_even_where_it_is_the_root() {
    let folder = certificates();
    let rules = "[ca]\ndefault_ca = own\n[own]\ndatabase = index\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\npolicy = names\n\
                 x509_extensions = more\n[names]\ncommonName = supplied\n[more]\nbasicConstraints = critical, CA:TRUE\n";
    std::fs::write(folder.path().join("ca.cnf"), rules).expect("writes");
    std::fs::write(folder.path().join("index"), "").expect("writes");
    let files = "-in server.csr -keyfile server.key -out server.pem -notext";
    let dates = "-startdate 20200101000000Z -enddate 20200102000000Z";
    openssl(folder.path(), &format!("ca -selfsign -batch -rand_serial -config ca.cnf {files} {dates}"));
    let postgres = Postgres::start_with_tls(folder.path());
    let root = folder.path().join("server.pem").display().to_string();
    let options = format!("sslmode=verify-ca&sslrootcert={root}");
    let url = format!("postgresql://swf@localhost:{}/postgres?{options}", postgres.port());
    let result = call("encrypted", folder.path(), "other.pem", &["--database", &url], "http://localhost");
    assert_eq!(result["isError"], json!(true), "{result}");
}

#[test]
fn a_database_whose_authority_is_no_file_ends_the_start() {
    let url = "postgresql://swf@localhost/postgres?sslmode=verify-full&sslrootcert=no-such.pem";
    let told = crate::program::run(&["call", "swf_list_runs", "--database", url]);
    assert!(text(&told.stderr).contains("no-such.pem"), "{}", text(&told.stderr));
}

/// `openssl s_server`, which responds with files that hold whole HTTP responses.
struct Service(Child, u16);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn service(folder: &Path) -> Service {
    let response =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"running\": 3}";
    std::fs::write(folder.join("workers.json"), response).expect("writes");
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.key", "-HTTP"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut ports = lines.filter_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:")?.trim().parse().ok());
    let port = ports.next().expect("openssl tells its port");
    Service(child, port)
}

#[test]
fn a_service_over_tls_must_prove_its_name() {
    let folder = certificates();
    let service = service(folder.path());
    let ask = |trusted, host: &str| {
        let monitor = format!("https://{host}:{}", service.1);
        call("workers", folder.path(), trusted, &[], &monitor)
    };
    let asked = ask("ours.pem", "localhost");
    assert_eq!(asked["isError"], json!(false), "{asked}");
    assert!(
        asked["content"][0]["text"].as_str().is_some_and(|told| told.contains("\"running\": 3")),
        "{asked}"
    );
    for (trusted, host) in [("other.pem", "localhost"), ("ours.pem", "127.0.0.1")] {
        assert_eq!(ask(trusted, host)["isError"], json!(true), "{trusted} {host}");
    }
}
