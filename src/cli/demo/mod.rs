//! `mcp-guard demo`: the real programs, started in a folder of their own, shown working, left running to be tried.
//!
//! Nothing outside that folder is touched, and it is removed at the end. Must not know how anything it shows is done.

mod programs;
#[cfg(feature = "release")]
mod release;
mod rollout;
mod shown;
mod walkthrough;
mod workdir;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::programs::{Programs, StartError};
use super::exit::Exit;
use super::output::{Style, complain, complain_of, say};
use super::token;
use crate::cli::demo::walkthrough::{Seen, Tour};
use crate::cli::demo::workdir::Folder;

/// How often the programs are looked at while the visitor tries things.
const LOOK_AFTER: Duration = Duration::from_millis(200);

/// Start a tool server and a guard with a generated token, show them working, and leave them running to try.
///
/// Everything is in a temporary folder that is removed at the end. Without a terminal the tour runs once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard demo
  mcp-guard demo --once              the tour only, then stop; exit 1 if anything was not as it should be
  mcp-guard demo --port 8001")]
pub(super) struct DemoArgs {
    /// Loopback port of the guard; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Stop after the tour.
    #[arg(long)]
    once: bool,
}

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot prepare the demo")]
    Io(#[from] io::Error),
    #[error("cannot make a token")]
    Token(#[from] getrandom::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the guard tells of an address that is none")]
    Address(#[from] crate::client::TargetError),
}

impl DemoArgs {
    pub(super) fn run(&self) -> Exit {
        let done = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::Io)
            .and_then(|runtime| runtime.block_on(self.show()));
        match done {
            Ok(Seen::AsExpected) => Exit::Done,
            Ok(Seen::Otherwise(count)) => {
                complain(format_args!("{count} of the steps did not go as they should"));
                Exit::No
            }
            Err(error) => {
                complain_of(&error);
                Exit::CouldNotRun
            }
        }
    }

    async fn show(&self) -> Result<Seen, Error> {
        let style = Style::of_stdout();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;

        let folder = Folder::create()?;
        let token = token::generate()?;
        folder.write_private("token", &token)?;
        folder.write_private("authorization", &format!("Authorization: Bearer {token}\n"))?;

        say(style.bold("mcp-guard demo: a tool server, the guard in front of it, and a tour of both"));
        let mut programs = Programs::start(&folder, self.port, &token).await?;
        introduce(&programs, &folder, style);

        let mut tour = Tour::new(style, &token, &programs)?;
        let interrupted = tokio::select! {
            () = tour.walk(&folder, &mut programs) => false,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
        };
        let seen = tour.seen();
        drop(tour);
        if !interrupted && !self.once && io::stdin().is_terminal() {
            suggest(&programs, &folder, style);
            tokio::select! {
                _ = interrupt.recv() => say(""),
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                name = first_to_end(&mut programs) => complain(format_args!("{name} ended")),
            }
        }
        say(style.dim("stopping: the guard finishes what is in flight, then both end"));
        programs.stop().await;
        Ok(seen)
    }
}

/// Returns when one of the programs has ended, with its name.
async fn first_to_end(programs: &mut Programs) -> &'static str {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        if let Some(name) = programs.ended() {
            return name;
        }
    }
}

fn introduce(programs: &Programs, folder: &Folder, style: Style) {
    let at = |name: &str| folder.path(name).display().to_string();
    say("");
    say(format_args!("  tool server   mcp-tools serve --socket {}", at("tools.sock")));
    say(format_args!("  guard         mcp-guard run --config {}", at("guard.toml")));
    say(format_args!("  endpoint      {}", style.bold(programs.endpoint())));
    say(format_args!("  token         in {} (made just now; the guard keeps only its hash)", at("token")));
}

fn suggest(programs: &Programs, folder: &Folder, style: Style) {
    let at = |name: &str| folder.path(name).display().to_string();
    let (endpoint, metrics) = (programs.endpoint(), programs.metrics());
    let title = |text: &str| say(format_args!("\n  {}", style.bold(text)));
    let command = |text: String| say(format_args!("    {text}"));

    say(format_args!("\n{}", style.bold("Both keep running until Ctrl-C. To try in another terminal:")));
    title("Ask as a client does (the token stays out of the process list)");
    command(format!("curl -s {endpoint} -H @{} -H 'Content-Type: application/json' \\", at("authorization")));
    command(r#"  -d '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'"#.to_owned());
    title("Call a tool");
    command(format!("curl -s {endpoint} -H @{} -H 'Content-Type: application/json' \\", at("authorization")));
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"panda_get_activity","arguments":{}}}"#;
    command(format!("  -d '{call}'"));
    title("Connect Claude Code");
    command(format!("claude mcp add --transport http guard-demo {endpoint} \\"));
    command(format!("  --header \"Authorization: Bearer $(cat {})\"", at("token")));
    title("Connect any MCP SDK: .mcp.json, with MCP_BEARER_TOKEN in the environment");
    let headers = r#""headers": { "Authorization": "Bearer ${MCP_BEARER_TOKEN}" }"#;
    command(format!(
        r#"{{ "mcpServers": {{ "guard-demo": {{ "type": "http", "url": "{endpoint}", {headers} }} }} }}"#
    ));
    title("Look inside");
    let own = std::env::args().next().unwrap_or_else(|| "mcp-guard".to_owned());
    command(format!("{own} status --config {}", at("guard.toml")));
    command(format!("curl -s http://{metrics}/metrics | grep ^mcp_"));
    command(format!("tail -f {}", at("guard.log")));
    say("");
}
