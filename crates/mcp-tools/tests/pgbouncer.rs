//! PgBouncer in transaction mode between mcp-tools and PostgreSQL: each transaction may have another connection.

use std::path::Path;
use std::process::{Child, Command};

use serde_json::{Value, json};

use mcp_testkit::eventually_blocking;

use crate::pg::Postgres;
use crate::program::{run, start_in, text};

/// A part of the name of its socket, in the folder of the server's.
const PORT: u16 = 6432;

/// A pooler in front of a server; ended when dropped.
struct Bouncer(Child);

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

fn bouncer(postgres: &Postgres) -> Bouncer {
    let folder = postgres.folder().display();
    let settings = format!(
        "[databases]\npostgres = host={folder} port=5432 user=swf\n[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = {PORT}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nlogfile = {folder}/pgbouncer.log\n"
    );
    let file = postgres.folder().join("pgbouncer.ini");
    std::fs::write(&file, settings).expect("writes");
    let mut command = postgres.unprivileged_program(Path::new("/usr/sbin/pgbouncer"));
    let started =
        command.arg("-q").arg(file).spawn().expect("PgBouncer is installed; `make setup` does that");
    let bouncer = Bouncer(started);
    let socket = postgres.folder().join(format!(".s.PGSQL.{PORT}"));
    eventually_blocking("PgBouncer listens", || socket.exists().then_some(()));
    bouncer
}

const TOOLS: &str = r#"
[[tool]]
name = "find"
description = "Finds."
read_only = true
params.id = { type = "string", required = true }
params.ids = { type = "array", items = "integer" }
[tool.sql]
shape = "row"
query = "SELECT id, m, current_setting('TimeZone') AS zone, 2 = ANY(:ids) AS listed FROM t WHERE id = :id AND m = 'sad'"

[[tool]]
name = "count"
description = "Counts."
read_only = false
[tool.sql]
shape = "value"
query = "UPDATE counter SET n = n + 1"

[[tool]]
name = "fails"
description = "Fails."
read_only = true
params.id = { type = "string", required = true }
[tool.sql]
shape = "row"
query = "SELECT :id::integer AS n"
"#;

#[test]
fn a_pooler_that_gives_each_transaction_another_connection_works() {
    let postgres = Postgres::start();
    let id = "6f0b0c1e-1111-4222-8333-444455556666";
    postgres.load(&format!(
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id uuid, m mood); INSERT INTO t VALUES ('{id}', 'sad');
         CREATE TABLE counter (n integer); INSERT INTO counter VALUES (0)"
    ));
    let _bouncer = bouncer(&postgres);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    let url = format!("postgresql://swf@/postgres?host={}&port={PORT}", postgres.folder().display());
    let database = format!("[database.main]\nurl = \"{url}\"\nprepared = false\npool = 12\n");
    std::fs::write(&file, format!("{database}{TOOLS}")).expect("writes");
    let file = file.display().to_string();
    for _ in 0..2 {
        assert_eq!(text(&run(&["check", &file]).stdout), "OK: 3 tools\n");
    }
    let server = start_in(home, &["--catalog", &file], &[]);
    let results: Vec<Value> = std::thread::scope(|scope| {
        let call = |number: usize| {
            let server = &server;
            scope.spawn(move || match number % 3 {
                0 => server.call("find", json!({ "id": id, "ids": [1, 2] })),
                1 => server.call("count", json!({})),
                _ => server.call("fails", json!({ "id": "x" })),
            })
        };
        let calls: Vec<_> = (0..36).map(call).collect();
        calls.into_iter().map(|call| call.join().expect("a result")).collect()
    });
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result["isError"], json!(number % 3 == 2), "{number}: {result}");
    }
    let found = results[0]["content"][0]["text"].as_str().expect("text");
    let found: Value = serde_json::from_str(found).expect("JSON");
    assert_eq!(found, json!({ "id": id, "m": "sad", "zone": "UTC", "listed": true }));
    assert_eq!(postgres.ask("SELECT n FROM counter"), "12");
}
