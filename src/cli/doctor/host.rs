//! What concerns this machine: the binary, the configuration, tokens, ports and sockets, permissions, the clock.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, SystemTime};

use super::super::unit_reach;
use super::diagnosis::{Diagnosis, State};
use crate::admin::{AdminCommand, AdminResponse, GuardStatus};
use crate::cli::exit::Exit;
use crate::cli::guard::{Guard, Unasked};
use crate::config::{Config, Loaded};
use crate::tls::date;
use crate::upstream::Address;

/// No clock that is right shows an earlier time than this program was written: 2026-01-01.
const CLOCK_MIN: Duration = Duration::from_secs(1_767_225_600);

/// Holds the guard's addresses while it is restarted, where it is in use.
const SOCKET_UNIT: &str = "mcp-guard.socket";

/// The guard of the configuration, as far as this user may query it.
pub(super) enum Running {
    Serves(Box<GuardStatus>),
    None,
    /// It does not reply to this user, or it could not be queried for another reason.
    Unasked(String),
}

impl Running {
    pub(super) fn of(guard: &Guard) -> Running {
        match guard.ask_quietly(&AdminCommand::Status).0 {
            Ok(AdminResponse::Status(status)) => Running::Serves(status),
            Ok(_) => Running::Unasked("the guard answered another question".to_owned()),
            Err(Unasked { exit: Exit::No, .. }) => Running::None,
            Err(Unasked { reason, .. }) => Running::Unasked(reason),
        }
    }

    fn status(&self) -> Option<&GuardStatus> {
        match self {
            Running::Serves(status) => Some(status),
            Running::None | Running::Unasked(_) => None,
        }
    }

    /// Whose a place is that is taken.
    fn holder(&self, ours: bool) -> Holder {
        match self {
            Running::Serves(_) if ours => Holder::Ours,
            Running::Serves(_) | Running::None => Holder::Another,
            Running::Unasked(_) => Holder::NotKnown,
        }
    }
}

#[derive(Clone, Copy)]
enum Holder {
    Ours,
    Another,
    NotKnown,
}

/// This program, and the guard that runs, if one does.
pub(super) fn binary(running: &Running) -> Vec<Diagnosis> {
    let version = env!("CARGO_PKG_VERSION");
    let at =
        std::env::current_exe().map_or_else(|error| error.to_string(), |path| path.display().to_string());
    let mut findings = vec![Diagnosis::new(State::Ok, "binary", format!("mcp-guard {version} at {at}"))];
    findings.push(match running {
        Running::Serves(status) if status.version == version => {
            let doing = if status.draining { "draining" } else { "serving" };
            Diagnosis::new(State::Ok, "running guard", format!("pid {}, {doing}", status.pid))
        }
        Running::Serves(status) => {
            let found = format!("pid {} is version {}, this program {version}", status.pid, status.version);
            Diagnosis::new(State::Warn, "running guard", found)
                .advise("mcp-guard upgrade: the installed version takes over without losing a call")
        }
        Running::None => Diagnosis::new(
            State::Skip,
            "running guard",
            "none answers on the admin socket of this configuration",
        ),
        Running::Unasked(reason) => Diagnosis::new(State::Skip, "running guard", reason.clone())
            .advise("run the doctor as root or as the guard's user to see what the guard sees"),
    });
    findings
}

/// The configuration's warnings, who may change it, and whether any client may call.
pub(super) fn configuration(
    file: &Path,
    loaded: &Loaded,
    running: &Running,
    units: Option<&Path>,
) -> Vec<Diagnosis> {
    let mut findings =
        vec![Diagnosis::new(State::Ok, "configuration", format!("{} is valid", file.display()))];
    for warning in loaded.warnings.iter().chain(&unit_reach::out_of_reach(&loaded.config, units)) {
        findings.push(Diagnosis::new(State::Warn, "configuration", warning.to_string()));
    }
    if let Ok(metadata) = std::fs::metadata(file)
        && metadata.mode() & 0o002 != 0
    {
        let found = format!("{} may be changed by everybody", file.display());
        findings.push(
            Diagnosis::new(State::Bad, "configuration", found)
                .advise(format!("chmod o-w {}", file.display())),
        );
    }
    // That there is no client at all is one of the warnings above.
    let clients = loaded.config.clients.len();
    if clients > 0 {
        findings.push(Diagnosis::new(State::Ok, "tokens", format!("{clients} clients")));
    }
    // What expires soon is one of the warnings above.
    if let Some(tls) = &loaded.config.listen.tls {
        let found = format!("clients are shown certificates that are valid until {}", date(tls.not_after()));
        findings.push(Diagnosis::new(State::Ok, "tls", found));
    }
    if let Some(status) = running.status()
        && status.clients != clients
    {
        let found = format!("{clients} clients in the files, {} in the running guard", status.clients);
        findings.push(Diagnosis::new(State::Warn, "tokens", found).advise(
            "mcp-guard reload puts the files in force; a token that only the unit's environment holds is not seen here",
        ));
    }
    findings
}

/// Each address is free, or held by the guard of this configuration.
pub(super) fn addresses(running: &Running, config: &Config) -> Vec<Diagnosis> {
    let status = running.status();
    let listen = match &config.listen.address {
        Address::Tcp(address) => {
            let ours = status.is_some_and(|status| status.listen == address.to_string());
            port("listen", *address, running.holder(ours))
        }
        Address::Unix(path) => socket("listen", path, running.holder(true)),
        // A listener has no name: the configuration refuses one.
        Address::Name { .. } => Diagnosis::new(State::Skip, "listen", config.listen.address.to_string()),
    };
    let metrics = config.listen.metrics.map(|address| {
        let ours = status.is_some_and(|status| status.metrics == Some(address.to_string()));
        port("metrics", address, running.holder(ours))
    });
    let admin = config.listen.admin.as_ref().map(|path| socket("admin", path, running.holder(true)));
    [Some(listen), metrics, admin].into_iter().flatten().collect()
}

fn port(what: &str, address: SocketAddr, holder: Holder) -> Diagnosis {
    if let Holder::Ours = holder {
        return Diagnosis::new(State::Ok, what, format!("{address} is held by our own guard"));
    }
    match TcpListener::bind(address) {
        Ok(_) => Diagnosis::new(State::Ok, what, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && held_for_us(&address.to_string()) => {
            Diagnosis::new(State::Ok, what, format!("{address} is held by {SOCKET_UNIT} for our own guard"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder {
            Holder::NotKnown => not_known(what, &address.to_string()),
            Holder::Ours | Holder::Another => {
                Diagnosis::new(State::Bad, what, format!("{address} is held by another program")).advise(
                    format!(
                        "ss -ltnp 'sport = :{}' shows which; stop it, or change the address",
                        address.port()
                    ),
                )
            }
        },
        // A port below 1024 is the unit's to open, not this user's.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Diagnosis::new(State::Skip, what, format!("{address} cannot be bound by this user"))
                .advise("run the doctor as root to see whether it is free")
        }
        Err(error) => Diagnosis::new(State::Bad, what, format!("{address} cannot be bound: {error}"))
            .advise("choose an address of this machine, and a port that this user may open"),
    }
}

fn not_known(what: &str, place: &str) -> Diagnosis {
    let found = format!("{place} is in use; whether by our own guard, this user may not ask");
    Diagnosis::new(State::Skip, what, found).advise("run the doctor as root or as the guard's user")
}

/// Whether systemd listens on this address, to hand it to the guard when that starts.
fn held_for_us(address: &str) -> bool {
    let asked =
        Process::new("systemctl").args(["show", SOCKET_UNIT, "--property=ActiveState,Listen"]).output();
    let Ok(output) = asked else { return false };
    let said = String::from_utf8_lossy(&output.stdout);
    let listens = |line: &str| line.strip_prefix("Listen=").is_some_and(|rest| rest.starts_with(address));
    said.lines().any(|line| line == "ActiveState=active") && said.lines().any(listens)
}

fn socket(what: &str, path: &Path, holder: Holder) -> Diagnosis {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Of a name alone, that is here.
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            match folder.is_dir() {
                true => Diagnosis::new(State::Ok, what, format!("{shown} is free")),
                false => Diagnosis::new(State::Warn, what, format!("{} does not exist yet", folder.display()))
                    .advise("the shipped unit makes it (RuntimeDirectory=); elsewhere make it before the guard starts"),
            }
        }
        Err(error) => Diagnosis::new(State::Warn, what, format!("{shown} cannot be looked at: {error}"))
            .advise("run as the guard's user or as root"),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Diagnosis::new(State::Bad, what, format!("{shown} is in the way and no socket"))
                .advise("move it, or choose another path")
        }
        Ok(_) => match (UnixStream::connect(path), holder) {
            (Ok(_), Holder::Ours) => {
                Diagnosis::new(State::Ok, what, format!("{shown} is held by our own guard"))
            }
            (Ok(_), Holder::NotKnown) => not_known(what, &shown.to_string()),
            (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => {
                not_known(what, &shown.to_string())
            }
            (Ok(_), Holder::Another) if held_for_us(&shown.to_string()) => {
                Diagnosis::new(State::Ok, what, format!("{shown} is held by {SOCKET_UNIT} for our own guard"))
            }
            (Ok(_), Holder::Another) => {
                Diagnosis::new(State::Bad, what, format!("{shown} is held by another program"))
                    .advise("stop it, or choose another path")
            }
            (Err(_), _) => {
                Diagnosis::new(State::Ok, what, format!("{shown} is left over; the guard replaces it"))
            }
        },
    }
}

/// The state directory and the sockets' folders: usable by this user, and by no other that should not.
pub(super) fn permissions(config: &Config) -> Vec<Diagnosis> {
    let mut findings = Vec::new();
    match &config.listen.state {
        None => findings.push(Diagnosis::new(State::Skip, "state", "listen.state is not set")),
        Some(path) => findings.push(state_directory(path)),
    }
    let sockets = [config.listen.admin.as_deref(), unix_path(&config.listen.address)];
    for folder in sockets.into_iter().flatten().filter_map(Path::parent) {
        if let Ok(metadata) = std::fs::metadata(folder)
            && metadata.permissions().mode() & 0o1002 == 0o002
        {
            let found = format!("{}: everybody may replace what is in it", folder.display());
            findings.push(
                Diagnosis::new(State::Bad, "permissions", found)
                    .advise(format!("chmod o-w {}", folder.display())),
            );
        }
    }
    findings
}

fn unix_path(address: &Address) -> Option<&Path> {
    match address {
        Address::Unix(path) => Some(path),
        Address::Tcp(_) | Address::Name { .. } => None,
    }
}

fn state_directory(path: &Path) -> Diagnosis {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return Diagnosis::new(State::Bad, "state", format!("{shown} is no directory")),
        Err(error) => {
            return Diagnosis::new(State::Bad, "state", format!("{shown}: {error}")).advise(
                "the shipped unit makes it (StateDirectory=); elsewhere: install -d -m 0700 -o mcp-guard DIR",
            );
        }
    };
    if metadata.mode() & 0o022 != 0 {
        return Diagnosis::new(
            State::Bad,
            "state",
            format!("{shown}: others may change the rollout's state"),
        )
        .advise(format!("chmod go-w {shown}"));
    }
    match rustix::fs::access(path, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Diagnosis::new(State::Ok, "state", format!("{shown} can be written")),
        Err(_) => Diagnosis::new(State::Warn, "state", format!("{shown} cannot be written by this user"))
            .advise("run the doctor as the guard's user; if it is that one: chown it"),
    }
}

/// Tokens expire by this clock, and logs are read by it.
pub(super) fn clock() -> Vec<Diagnosis> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if now < CLOCK_MIN {
        let found = Diagnosis::new(State::Bad, "clock", "it shows a time before this program was written");
        return vec![found.advise("timedatectl set-ntp true")];
    }
    let asked = Process::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    let said = asked.ok().filter(|output| output.status.success());
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    vec![match said.as_deref() {
        Some("yes") => Diagnosis::new(State::Ok, "clock", "synchronized"),
        Some("no") => {
            Diagnosis::new(State::Warn, "clock", "not synchronized: tokens may expire early or late")
                .advise("timedatectl set-ntp true")
        }
        _ => {
            Diagnosis::new(State::Skip, "clock", "plausible; whether it is synchronized cannot be asked here")
        }
    }]
}
