//! Describes a guard as operators run it: the binary, a configuration file, an environment.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::{Backend, Guard, ServingBackend};

/// A guard that is being described.
pub struct Builder {
    binary: PathBuf,
    token: Option<String>,
    slot: String,
    slot_keys: String,
    tables: String,
    listen: Option<String>,
    listen_keys: String,
    environment: Vec<(String, String)>,
    green: Option<String>,
    plan: Option<String>,
    tokens: Option<String>,
    has_admin: bool,
}

/// Describes a guard; see the methods for what differs from the defaults.
pub fn guard(binary: impl Into<PathBuf>) -> Builder {
    Builder {
        binary: binary.into(),
        token: None,
        slot: "unix:/nonexistent/backend.sock".to_owned(),
        slot_keys: String::new(),
        tables: String::new(),
        listen: None,
        listen_keys: String::new(),
        environment: Vec::new(),
        green: None,
        plan: None,
        tokens: None,
        has_admin: false,
    }
}

/// What a slot can point at.
pub trait Upstream {
    fn address(&self) -> &str;
}

impl Upstream for Backend {
    fn address(&self) -> &str {
        Backend::address(self)
    }
}

impl Upstream for ServingBackend {
    fn address(&self) -> &str {
        ServingBackend::address(self)
    }
}

impl Upstream for str {
    fn address(&self) -> &str {
        self
    }
}

impl Builder {
    /// The token of the client `default`.
    pub fn token(mut self, token: &str) -> Builder {
        self.token = Some(token.to_owned());
        self
    }

    /// Where the slot blue points.
    pub fn upstream(mut self, upstream: &(impl Upstream + ?Sized)) -> Builder {
        upstream.address().clone_into(&mut self.slot);
        self
    }

    /// A second slot, an operator's socket, a state, and this plan for rollouts.
    pub fn rollout(mut self, green: &(impl Upstream + ?Sized), plan: &str) -> Builder {
        self.green = Some(green.address().to_owned());
        self.plan = Some(plan.to_owned());
        self
    }

    /// Named clients.
    pub fn tokens(mut self, text: &str) -> Builder {
        self.tokens = Some(text.to_owned());
        self
    }

    /// An operator's socket, and a state.
    pub fn admin(mut self) -> Builder {
        self.has_admin = true;
        self
    }

    /// A line of `[slots.blue]`.
    pub fn slot(mut self, line: &str) -> Builder {
        let _ = writeln!(self.slot_keys, "{line}");
        self
    }

    /// Further tables of the configuration.
    pub fn config(mut self, tables: &str) -> Builder {
        let _ = writeln!(self.tables, "{tables}");
        self
    }

    /// Listens on a TCP port of the system's choice instead of a Unix socket.
    pub fn on_tcp(mut self) -> Builder {
        self.listen = Some("127.0.0.1:0".to_owned());
        self
    }

    /// A line of `[listen]`.
    pub fn listen(mut self, line: &str) -> Builder {
        let _ = writeln!(self.listen_keys, "{line}");
        self
    }

    /// A variable of the environment.
    pub fn environment(mut self, name: &str, value: &str) -> Builder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the guard and returns when it serves.
    pub async fn start(self) -> Guard {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("g.sock");
        let listen = self.listen.unwrap_or_else(|| format!("unix:{}", socket.display()));
        let with_admin = "admin = \"a.sock\"\nstate = \"state\"";
        let (mut admin, mut green) =
            (if self.has_admin { with_admin } else { "admin = \"off\"" }, String::new());
        let mut auth = "";
        if let Some(tokens) = &self.tokens {
            std::fs::write(directory.path().join("tokens.toml"), tokens).expect("a writable directory");
            auth = "[auth]\ntokens_file = \"tokens.toml\"\n";
        }
        if let (Some(address), Some(plan)) = (&self.green, &self.plan) {
            std::fs::write(directory.path().join("plan.toml"), plan).expect("a writable directory");
            admin = with_admin;
            green = format!("[slots.green]\naddress = \"{address}\"\n[rollout]\nplan = \"plan.toml\"\n");
        }
        // A scripted backend expects the calls of its test and no others.
        let health = if self.tables.contains("[health]") { "" } else { "[health]\ninterval = \"1h\"\n" };
        let config = format!(
            "[listen]\naddress = \"{listen}\"\nmetrics = \"127.0.0.1:0\"\n{admin}\n{}\n\
             [slots.blue]\naddress = \"{}\"\n{}\n{green}{health}{auth}{}",
            self.listen_keys, self.slot, self.slot_keys, self.tables
        );
        let file = directory.path().join("guard.toml");
        std::fs::write(&file, config).expect("a writable directory");
        let mut environment = self.environment;
        environment.extend(self.token.iter().map(|token| ("MCP_BEARER_TOKEN".to_owned(), token.clone())));
        Guard::start(self.binary, directory, file, environment, self.token.unwrap_or_default()).await
    }
}
