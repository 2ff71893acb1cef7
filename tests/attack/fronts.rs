//! What stands before the guard (Apache, a TLS terminator) or in its place (nginx).

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::ledger::CLIENTS;
use crate::programs::{SystemProgram, free_port, listening, system};

/// The body of a page.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a listener");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a reader");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Programs that give up root want to know as whom they go on.
fn user(line: &str) -> &str {
    if rustix::process::geteuid().is_root() { line } else { "" }
}

/// Others than the owner may pass: Apache's and nginx's workers run as another user.
pub(crate) fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, mode).expect("a directory of our own");
}

/// Apache with the shipped configuration, in which nothing but the guard's address is replaced.
pub(crate) fn apache(folder: &Path, guard: SocketAddr) -> (SystemProgram, SocketAddr) {
    const MODULES: &[&str] = &[
        "mpm_event",
        "authn_core",
        "authz_core",
        "headers",
        "env",
        "proxy",
        "proxy_http",
        "filter",
        "reqtimeout",
    ];
    let shipped = include_str!("../../conf/apache/mcp-guard.conf");
    let from = "Define MCP_GUARD_URL http://127.0.0.1:8001";
    assert!(
        shipped.contains(from),
        "conf/apache/mcp-guard.conf does not define the URL as this suite expects"
    );
    let shipped = shipped.replace(from, &format!("Define MCP_GUARD_URL http://{guard}"));
    std::fs::write(folder.join("mcp-guard.conf"), shipped).expect("a writable directory");
    let port = free_port();
    let place = folder.display();
    let mut text = format!(
        "ServerRoot \"{place}\"\nPidFile \"{place}/apache.pid\"\nDefaultRuntimeDir \"{place}\"\nMutex file:{place}\n\
         ServerName mcp.test\nListen 127.0.0.1:{port}\nErrorLog \"{place}/apache.log\"\nLogLevel crit\n{}\n\
         ThreadsPerChild 32\nStartServers 1\n",
        user("User www-data\nGroup www-data")
    );
    for name in MODULES {
        let _ = writeln!(text, "LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so");
    }
    let _ =
        write!(text, "<VirtualHost 127.0.0.1:{port}>\nInclude \"{place}/mcp-guard.conf\"\n</VirtualHost>\n");
    let file = folder.join("apache.conf");
    std::fs::write(&file, text).expect("a writable directory");
    let program =
        SystemProgram::start(Command::new(system("apache2")).arg("-f").arg(&file).arg("-DFOREGROUND"));
    listening(loopback(port));
    (program, loopback(port))
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let made = command.args(arguments.split(' ')).current_dir(folder).output().expect("openssl runs");
    assert!(made.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&made.stderr));
}

/// HAProxy, which takes TLS off and passes the bytes on as they are, and what a client must trust.
pub(crate) fn tls(folder: &Path, guard: SocketAddr) -> (SystemProgram, SocketAddr, Arc<ClientConfig>) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=attack"));
    openssl(folder, &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").expect("a writable directory");
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let pair = ["server.pem", "server.key"].map(|name| std::fs::read(folder.join(name)).expect("just made"));
    std::fs::write(folder.join("both.pem"), pair.concat()).expect("a writable directory");
    let port = free_port();
    let text = format!(
        "global\n  maxconn 2000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen tls\n  bind 127.0.0.1:{port} ssl crt {}/both.pem alpn http/1.1\n  server guard {guard}\n",
        folder.display()
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text).expect("a writable directory");
    let mut command = Command::new(system("haproxy"));
    let program = SystemProgram::start(command.arg("-db").arg("-f").arg(&file));
    listening(loopback(port));
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(folder.join("ca.pem")).expect("just made"))
        .expect("an authority");
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.expect("versions of ring").with_root_certificates(roots).with_no_client_auth();
    (program, loopback(port), Arc::new(config))
}

/// nginx as a proxy with the same static tokens, and nothing else of the guard.
pub(crate) fn nginx(folder: &Path, backend: &Path) -> (SystemProgram, SocketAddr) {
    let port = free_port();
    let place = folder.display();
    let clients: String =
        CLIENTS.iter().map(|client| format!("    \"Bearer {}\" {};\n", client.token, client.name)).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {place}/{name};\n"))
        .collect();
    let text = format!(
        "daemon off; master_process off; {} pid {place}/nginx.pid; error_log {place}/nginx.log crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n{temporary}  map_hash_bucket_size 256;\n\
         \x20 map $http_authorization $client {{\n    default \"\";\n{clients}  }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port};\n    location / {{\n\
         \x20     if ($client = \"\") {{ return 403; }}\n\
         \x20     proxy_pass http://unix:{}:/mcp; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         \x20     proxy_set_header Host localhost:80; proxy_set_header X-MCP-Client $client;\n\
         \x20     proxy_set_header Authorization \"\";\n    }}\n  }}\n}}\n",
        user("user root;"),
        backend.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).expect("a writable directory");
    let mut command = Command::new(system("nginx"));
    let program = SystemProgram::start(command.arg("-c").arg(&file).arg("-p").arg(folder));
    listening(loopback(port));
    (program, loopback(port))
}
