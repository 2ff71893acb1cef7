//! A PostgreSQL server of our own for a test: Debian's program, a directory that goes with the test, no TCP port.
//!
//! PostgreSQL refuses to run as root, so a test that is root starts it as the package's own user.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::text;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; ended when dropped.
pub(crate) struct Postgres {
    programs: PathBuf,
    home: TempDir,
    server: Option<Child>,
    /// Where it listens, when it serves TLS; else on a Unix socket alone.
    port: Option<u16>,
}

impl Postgres {
    pub(crate) fn start() -> Postgres {
        Postgres::prepare().started()
    }

    /// A server for `server.pem` and `server.key` of a folder, on a port of its own.
    pub(crate) fn start_with_tls(certificates: &Path) -> Postgres {
        let mut postgres = Postgres::prepare();
        let data = postgres.home.path().join("data");
        // A user of this name proves it by a certificate.
        let rules = "hostssl all certified 127.0.0.1/32 cert\nhostssl all certified ::1/128 cert\nlocal all all trust\nhost all all all trust\n";
        std::fs::write(certificates.join("pg_hba.conf"), rules).expect("writes");
        for name in ["server.pem", "server.key", "ours.pem", "pg_hba.conf"] {
            // It accepts a key of its own user alone.
            let sent = std::fs::read(certificates.join(name)).expect("a certificate");
            let mut copy = postgres.unprivileged_program(Path::new("/bin/sh"));
            copy.args(["-c", "umask 077 && cat >\"$1\"", "sh"]).arg(data.join(name)).stdin(Stdio::piped());
            let mut copy = copy.spawn().expect("sh runs");
            copy.stdin.take().expect("piped").write_all(&sent).expect("writes");
            assert!(copy.wait().expect("sh ends").success());
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        postgres.port = Some(free.expect("a free port").port());
        postgres.started()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.expect("started with TLS")
    }

    fn prepare() -> Postgres {
        let programs = programs();
        let home = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).expect("a mode");
        let postgres = Postgres { programs, home, server: None, port: None };
        let data = postgres.home.path().join("data");
        let mut initdb = postgres.unprivileged("initdb");
        initdb.args(["-U", "swf", "--auth=trust", "--locale=C", "-E", "UTF8", "--no-sync", "-D"]).arg(data);
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", text(&made.stderr));
        postgres
    }

    fn started(mut self) -> Postgres {
        self.start_again();
        self
    }

    pub(crate) fn start_again(&mut self) {
        let folder = self.home.path().display().to_string();
        let mut command = self.unprivileged("postgres");
        match self.port {
            None => command.args(["-c", "listen_addresses="]),
            Some(port) => command
                .args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}"), "-c", "ssl=on"])
                .args(["-c", "ssl_cert_file=server.pem", "-c", "ssl_key_file=server.key"])
                .args(["-c", "ssl_ca_file=ours.pem"]),
        };
        command.args(["-c", "fsync=off", "-k", &folder, "-D"]).arg(self.home.path().join("data"));
        let log = std::fs::File::create(self.home.path().join("log")).expect("a log");
        command.stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().expect("postgres starts"));
        let deadline = Instant::now() + PATIENCE;
        while !self.psql("SELECT 1").status.success() {
            let log = || std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "postgres does not answer: {}", log());
        }
    }

    /// Ends the server as its operator would, without waiting for clients.
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let told = Command::new("kill").args(["-INT", &server.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
        server.wait().expect("ends");
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://swf@/postgres?host={}", self.home.path().display())
    }

    /// Runs a script; the first error ends it.
    #[track_caller]
    pub(crate) fn load(&self, script: &str) {
        let loaded = self.psql(script);
        assert!(loaded.status.success(), "psql: {}", text(&loaded.stderr));
    }

    /// What a query yields: rows on lines, columns with `|` between.
    #[track_caller]
    pub(crate) fn ask(&self, query: &str) -> String {
        let told = self.psql(&format!("\\a\n\\t\n{query};"));
        assert!(told.status.success(), "psql: {}", text(&told.stderr));
        text(&told.stdout).trim().to_owned()
    }

    /// What psql prints of a query, as CSV with a header and `null` for NULL.
    #[track_caller]
    pub(crate) fn print(&self, query: &str, null: &str) -> String {
        let told = self.psql(&format!("\\pset format csv\n\\pset null '{null}'\n{query};"));
        assert!(told.status.success(), "psql: {}", text(&told.stderr));
        text(&told.stdout)
    }

    /// Runs one command as it is: psql itself reads no colon and no backslash in it.
    pub(crate) fn command(&self, sql: &str) -> std::process::Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-U", "swf", "-d", "postgres", "-h"]).arg(self.home.path());
        psql.args(["-c", sql]).output().expect("psql runs")
    }

    fn psql(&self, script: &str) -> std::process::Output {
        let mut psql = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "swf", "-d", "postgres", "-h"])
            .arg(self.home.path())
            .args(["-p", &self.port.unwrap_or(5432).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql starts");
        // A server that is not up yet ends psql before it has read anything.
        let _ = psql.stdin.take().expect("piped").write_all(script.as_bytes());
        psql.wait_with_output().expect("psql ends")
    }

    fn unprivileged(&self, program: &str) -> Command {
        self.unprivileged_program(&self.programs.join(program))
    }

    /// The folder of its socket.
    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn unprivileged_program(&self, path: &Path) -> Command {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(self.home.path()).stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
            let _ = server.wait();
        }
    }
}

/// Where Debian keeps the newest server: `/usr/lib/postgresql/VERSION/bin`, which is not on the path.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let folders = versions.map(|version| version.path().join("bin"));
    let found =
        folders.filter(|folder| folder.join("initdb").exists()).max_by_key(|folder| version_of(folder));
    found.expect(
        "PostgreSQL is not installed; `apt-get install postgresql` brings it, and `make setup` does that",
    )
}

fn version_of(folder: &Path) -> u32 {
    let name = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or_default()
}
