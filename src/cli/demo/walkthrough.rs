//! What the demo shows, step by step, and what each step should look like.
//!
//! Every step is a real request whose response is checked: a demo that cannot fail shows nothing. Must not know how the programs
//! are run.

use std::time::{Duration, Instant};

use hyper::body::Bytes;
use serde_json::json;

use super::programs::Programs;
use super::rollout;
use super::shown::{Shown, TOOL, result_of, shortened};
use crate::cli::demo::workdir::Folder;
use crate::cli::output::{Style, say};
use crate::client::{Client, Limits, Method, Request, Response, Session, Target, TargetError};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"demo","version":"1"}}}"#;
/// How long the guard may take to notice what the tour waits for.
const NOTICE: Duration = Duration::from_secs(5);

/// How the tour went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    AsExpected,
    /// So many steps went otherwise.
    Otherwise(usize),
}

/// One request, and the response it should get.
struct Knock {
    title: &'static str,
    method: Method,
    path: &'static str,
    body: &'static str,
    token: Token,
    status: u16,
    says: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    None,
    Wrong,
    Right,
}

/// The order of checks, one request each.
const KNOCKS: [Knock; 6] = [
    Knock {
        title: "Health needs no token and never touches a backend",
        method: Method::GET,
        path: "/health",
        body: "",
        token: Token::None,
        status: 200,
        says: r#"{"status": "ok"}"#,
    },
    Knock {
        title: "The endpoint takes POST only, and says so before it asks who you are",
        method: Method::GET,
        path: "/mcp",
        body: "",
        token: Token::None,
        status: 405,
        says: "MCP endpoint accepts POST JSON-RPC only",
    },
    Knock {
        title: "Without a token",
        method: Method::POST,
        path: "/mcp",
        body: INITIALIZE,
        token: Token::None,
        status: 401,
        says: "Authorization required",
    },
    Knock {
        title: "With a wrong token",
        method: Method::POST,
        path: "/mcp",
        body: INITIALIZE,
        token: Token::Wrong,
        status: 403,
        says: "Invalid token",
    },
    Knock {
        title: "With the token, but on a path that is not the endpoint",
        method: Method::POST,
        path: "/mcp/../admin",
        body: INITIALIZE,
        token: Token::Right,
        status: 404,
        says: "Not found",
    },
    Knock {
        title: "With the token, but a body that is no JSON-RPC",
        method: Method::POST,
        path: "/mcp",
        body: "{\"jsonrpc\": \"2.0\", \"id\": ",
        token: Token::Right,
        status: 400,
        says: "-32700",
    },
];

/// The tour, and what it has seen so far.
pub(super) struct Tour {
    style: Style,
    client: Client,
    stranger: Client,
    metrics: Client,
    steps: usize,
    otherwise: usize,
}

impl Tour {
    pub(super) fn new(style: Style, token: &str, programs: &Programs) -> Result<Tour, TargetError> {
        let client = |url: &str, token: Option<&str>| {
            let target = Target::parse(url)?.with_bearer(token.map(str::to_owned));
            Ok(Client::new(target, Limits::default()))
        };
        Ok(Tour {
            style,
            client: client(&programs.endpoint(), Some(token))?,
            stranger: client(&programs.endpoint(), Some("swf_not-the-token"))?,
            metrics: client(&format!("http://{}/metrics", programs.metrics()), None)?,
            steps: 0,
            otherwise: 0,
        })
    }

    pub(super) fn seen(&self) -> Seen {
        match self.otherwise {
            0 => Seen::AsExpected,
            count => Seen::Otherwise(count),
        }
    }

    /// Walks through everything there is to see.
    pub(super) async fn walk(&mut self, folder: &Folder, programs: &mut Programs) {
        self.chapter("One order of checks for every request");
        for knock in &KNOCKS {
            let sight = self.knock(knock).await;
            self.show(knock.title, sight);
        }

        self.chapter("Both generations of MCP, to the same tools (on demonstration data)");
        let sight = converse(Session::legacy(&self.client).await).await;
        self.show("A client of 2025-11-25: initialize, tools/list, tools/call", sight);
        let sight = converse(Session::modern(&self.client).await).await;
        self.show("A client of 2026-07-28: server/discover, tools/list, tools/call, no session", sight);

        self.chapter("The backend is replaced while a call is on its way");
        let sight = self.replace_backend(folder, programs).await;
        self.show("The tool server stops, a call arrives, a new one starts: the caller only waits", sight);

        self.chapter("A new version goes wrong, and is taken back");
        let shown = rollout::start(folder, programs).await;
        let started = shown.is_ok();
        self.show("A second tool server starts in the slot green, and gets the calls of one client", shown);
        if started {
            let shown = rollout::fail(&self.client, folder, programs).await;
            self.show(
                "The new version is killed: the old one gets the calls, and the rollout is rolled back",
                shown,
            );
        }

        #[cfg(feature = "release")]
        {
            self.chapter("The next version, ready to be deployed");
            let shown = super::release::install(folder, programs, self.style).await;
            self.show("A release is packed, checked and installed beside the others", shown);
        }

        self.chapter("What the operator sees");
        let sight = self.metrics().await;
        self.show("Metrics for Prometheus, on an address of their own", sight);
        let sight = log_line(folder).await;
        self.show("One line of log a request: never a body, an argument or a token", sight);
    }

    async fn knock(&self, knock: &Knock) -> Shown {
        let (whose, client) = match knock.token {
            Token::None => ("", &self.client),
            Token::Wrong => ("   Authorization: Bearer swf_not-the-token", &self.stranger),
            Token::Right => ("   Authorization: Bearer <token>", &self.client),
        };
        let mut request = Request::post(Bytes::from_static(knock.body.as_bytes()));
        request.method = knock.method.clone();
        request.path = Some(knock.path.to_owned());
        request.authorized = knock.token != Token::None;
        let reply = client.raw(request).await.map_err(|error| error.to_string())?;
        let asked = format!("{} {}{whose}", knock.method, knock.path);
        let body = String::from_utf8_lossy(&reply.body);
        if reply.status != knock.status || !body.contains(knock.says) {
            return Err(format!("{asked}: expected {} {}, got {}", knock.status, knock.says, told(&reply)));
        }
        Ok(vec![self.style.dim(asked), told(&reply)])
    }

    async fn replace_backend(&self, folder: &Folder, programs: &mut Programs) -> Shown {
        let session = Session::legacy(&self.client).await.map_err(|error| error.to_string())?;
        programs.stop_tools().await;
        let asked = Instant::now();
        let nothing = json!({});
        let call = session.call_tool(TOOL, &nothing);
        let replace = async {
            held(programs).await?;
            let waited = asked.elapsed();
            programs.start_tools(folder).await.map_err(|error| error.to_string())?;
            Ok::<Duration, String>(waited)
        };
        let (answered, replaced) = tokio::join!(call, replace);
        replaced?;
        let answered = answered.map_err(|error| error.to_string())?;
        let text = result_of(&answered)?;
        let note = format!("no error: held for {} ms, then answered", asked.elapsed().as_millis());
        Ok(vec![format!("{} {}", answered.status, shortened(&text)), self.style.dim(note)])
    }

    async fn metrics(&self) -> Shown {
        let request = Request::bare(Method::GET, None);
        let reply = self.metrics.raw(request).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&reply.body);
        let mut counted = text.lines().filter(|line| line.starts_with("mcp_guard_requests_total{"));
        let calls: Vec<String> =
            counted.by_ref().filter(|line| line.contains(TOOL)).map(str::to_owned).collect();
        if calls.is_empty() {
            return Err(format!("no line of mcp_guard_requests_total tells of {TOOL}: {}", told(&reply)));
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        Ok(calls.into_iter().chain([self.style.dim(format!("{families} families in all"))]).collect())
    }

    fn chapter(&self, title: &str) {
        say(format_args!("\n{}", self.style.bold(title)));
    }

    fn show(&mut self, title: &str, sight: Shown) {
        self.steps += 1;
        let (mark, lines) = match sight {
            Ok(lines) => (self.style.good("[OK]"), lines),
            Err(wrong) => {
                self.otherwise += 1;
                (self.style.bad("[FAIL]"), vec![wrong])
            }
        };
        say(format_args!("\n  {:>2}  {title}  {mark}", self.steps));
        for line in &lines {
            say(format_args!("      {line}"));
        }
    }
}

/// Handshake, list and call over a session that was just opened.
async fn converse(opened: Result<Session<'_>, crate::client::Error>) -> Shown {
    let said = |error: crate::client::Error| error.to_string();
    let session = opened.map_err(said)?;
    let handshake = &session.handshake;
    let server = handshake.server_name.as_deref().unwrap_or("(no name)");
    let (tools, _) = session.list_tools().await.map_err(said)?;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    if !names.contains(&TOOL) {
        return Err(format!("tools/list lacks {TOOL}: {}", names.join(", ")));
    }
    let answered = session.call_tool(TOOL, &json!({})).await.map_err(said)?;
    let text = result_of(&answered)?;
    Ok(vec![
        format!("{server} speaks {}", handshake.protocol_version),
        format!("{} tools: {}", names.len(), shortened(&names.join(", "))),
        format!("{TOOL} answers {} {}", answered.status, shortened(&text)),
    ])
}

/// Returns when the guard holds a call because it cannot reach its backend.
async fn held(programs: &Programs) -> Result<(), String> {
    let deadline = Instant::now() + NOTICE;
    loop {
        let status = programs.status().await.map_err(|error| error.to_string())?;
        if status.slots.iter().any(|slot| slot.held > 0) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("the guard did not hold the call".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The log is written beside the calls: the line of the last call may need a moment.
async fn log_line(folder: &Folder) -> Shown {
    let deadline = Instant::now() + NOTICE;
    loop {
        let log = std::fs::read_to_string(folder.path("guard.log")).map_err(|error| error.to_string())?;
        if let Some(line) = log.lines().rfind(|line| line.contains(TOOL)) {
            return Ok(vec![line.to_owned()]);
        }
        if Instant::now() > deadline {
            return Err(format!("no line of the log tells of {TOOL}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A response on one line.
fn told(reply: &Response) -> String {
    format!("{} {}", reply.status, shortened(&String::from_utf8_lossy(&reply.body)))
}
