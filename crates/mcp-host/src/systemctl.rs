//! Units of the service manager, by way of `systemctl` and `journalctl`, within time bounds.
//!
//! Must not know which unit is whose.

use std::fmt;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use crate::process::wait_for;

/// For a question, which systemd answers at once.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A thousand lines of a journal, whatever is in them.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// A unit's name, safe to hand to systemctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit(String);

impl FromStr for Unit {
    type Err = String;

    fn from_str(text: &str) -> Result<Unit, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"@:_.\\-".contains(&byte);
        if text.is_empty() || text.starts_with('-') || text.len() > 255 || !text.bytes().all(known) {
            return Err("a unit's name has letters, digits and @ : _ . \\ - only".to_owned());
        }
        Ok(Unit(text.to_owned()))
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Unit {
    /// The service that a process belongs to, if it belongs to one.
    pub fn of_process(pid: u32) -> Option<Unit> {
        service_of(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
    }

    /// The values of properties, as systemd shows them: `NAME=value` a line.
    pub fn show(&self, properties: &str) -> Result<String, String> {
        let property = format!("--property={properties}");
        run("systemctl", &["show", &property, "--", &self.0], QUESTION_TIMEOUT)
    }

    /// One property.
    pub fn property(&self, name: &str) -> Result<String, String> {
        let shown = self.show(name)?;
        Ok(shown.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).unwrap_or_default().to_owned())
    }

    /// Starts the unit and waits until systemd says that it is up.
    pub fn start(&self, timeout: Duration) -> Result<(), String> {
        self.forget_failure();
        run("systemctl", &["start", "--", &self.0], timeout).map(drop)
    }

    /// Stops the unit and waits until it is down.
    pub fn stop(&self, timeout: Duration) -> Result<(), String> {
        run("systemctl", &["stop", "--", &self.0], timeout).map(drop)
    }

    /// Restarts the unit and waits until systemd says that it has.
    pub fn restart(&self, timeout: Duration) -> Result<(), String> {
        self.forget_failure();
        run("systemctl", &["restart", "--", &self.0], timeout).map(drop)
    }

    /// Lets the unit start at boot.
    pub fn enable(&self) -> Result<(), String> {
        run("systemctl", &["--quiet", "enable", "--", &self.0], QUESTION_TIMEOUT).map(drop)
    }

    /// Keeps the unit from starting at boot.
    pub fn disable(&self) -> Result<(), String> {
        run("systemctl", &["--quiet", "disable", "--", &self.0], QUESTION_TIMEOUT).map(drop)
    }

    /// Sends a signal, such as `SIGSTOP`, to its main process.
    pub fn signal(&self, signal: &str) -> Result<(), String> {
        let signal = format!("--signal={signal}");
        run("systemctl", &["kill", &signal, "--kill-who=main", "--", &self.0], QUESTION_TIMEOUT).map(drop)
    }

    /// The last lines of its journal.
    pub fn journal(&self, lines: usize) -> Result<String, String> {
        let lines = lines.to_string();
        let arguments = ["--no-pager", "--output=short-iso", "--lines", &lines, "--unit", &self.0];
        run("journalctl", &arguments, QUESTION_TIMEOUT)
    }

    fn forget_failure(&self) {
        // Forgets a start limit that was hit; an error here says nothing that the start will not say.
        let _forgotten = run("systemctl", &["reset-failed", "--", &self.0], QUESTION_TIMEOUT);
    }
}

/// The service in the text of `/proc/PID/cgroup`: the last part of a path, of systemd's own hierarchy where there are several.
fn service_of(groups: &str) -> Option<Unit> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut services =
        paths.filter_map(|path| path.rsplit('/').next().filter(|name| name.ends_with(".service")));
    services.next()?.parse().ok()
}

/// What a program printed, or why it failed. It is ended after `timeout`.
fn run(program: &str, arguments: &[&str], timeout: Duration) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    // Read while it runs: a full pipe would block it.
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let ended =
        wait_for(&mut child, timeout).map_err(|error| format!("cannot wait for {program}: {error}"))?;
    let Some(status) = ended else {
        let _ended = child.kill().and_then(|()| child.wait());
        let command = arguments.join(" ");
        return Err(format!("{program} {command} did not end within {} s", timeout.as_secs()));
    };
    let said = stdout.join().unwrap_or_default();
    if status.success() {
        return Ok(said);
    }
    let complaint = stderr.join().unwrap_or_default();
    Err(format!("{program} {} failed ({status}): {complaint}", arguments.join(" ")))
}

fn reader(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _partial = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut text);
            let _rest = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_unit_name_is_no_option_and_no_shell() {
        for name in ["", "--force", "a b", "a;b", "a/b", "$(x)"] {
            assert!(name.parse::<Unit>().is_err(), "{name}");
        }
        assert!("mcp-tools@blue.service".parse::<Unit>().is_ok());
    }

    #[test]
    fn the_service_of_a_process_is_the_end_of_its_control_group() {
        let service = |groups: &str| service_of(groups).map(|unit| unit.to_string());
        assert_eq!(service("0::/system.slice/mcp-guard.service\n").as_deref(), Some("mcp-guard.service"));
        let mixed = "2:memory:/\n1:name=systemd:/system.slice/system-mcp\\x2dtools.slice/mcp-tools@blue.service\n0::/\n";
        assert_eq!(service(mixed).as_deref(), Some("mcp-tools@blue.service"));
        assert_eq!(service("0::/user.slice/user-0.slice/user@0.service/app.slice/run-1.scope\n"), None);
        assert_eq!(service(""), None);
    }

    #[test]
    fn a_program_is_bounded_in_time_and_says_why_it_failed() {
        let started = Instant::now();
        let slow = run("sleep", &["60"], Duration::from_millis(200)).unwrap_err();
        assert!(slow.contains("did not end") && started.elapsed() < Duration::from_secs(10), "{slow}");
        let failed = run("sh", &["-c", "echo no >&2; exit 3"], Duration::from_secs(10)).unwrap_err();
        assert!(failed.ends_with("failed (exit status: 3): no"), "{failed}");
        assert_eq!(run("echo", &["yes"], Duration::from_secs(10)).as_deref(), Ok("yes"));
    }
}
