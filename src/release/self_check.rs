//! Runs a release's own check before a slot takes it, as the user of the slot's unit.
//!
//! Must not know what the check looks at.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mcp_host::process::wait_for;
use mcp_host::systemctl::Unit;

use super::manifest::Manifest;
use crate::upstream::Slot;

const TIMEOUT: Duration = Duration::from_secs(60);
const OUTPUT_BYTES_MAX: usize = 4 << 10;

/// Runs the check, where the manifest has one.
pub(crate) fn run(
    folder: &Path,
    manifest: &Manifest,
    slot: Slot,
    unit: &Unit,
) -> Result<Vec<String>, String> {
    let Some((program, arguments)) = manifest.check.split_first() else { return Ok(Vec::new()) };
    let program = if program.starts_with('/') { program.into() } else { folder.join(program) };
    // A session of its own: what runs as another user must not reach the operator's terminal.
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(&program);
    let environment = unit.property("Environment")?;
    let socket = environment.split(' ').find_map(|word| word.strip_prefix("MCP_SOCKET=")).unwrap_or_default();
    // As the start program has them.
    let filled = |text: &String| {
        let release = folder.to_string_lossy();
        text.replace("{release}", &release).replace("{slot}", slot.as_str()).replace("{socket}", socket)
    };
    command.args(arguments.iter().map(filled)).current_dir(folder).env_clear();
    command.envs(manifest.environment.iter().map(|(name, value)| (name, filled(value))));
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = user_of(unit)?;
        command.uid(uid).gid(gid);
    }
    let failed = |why: String| format!("the check of release {} failed: {why}", manifest.name);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot run {}: {error}", program.display())))?;
    let stderr = child.stderr.take();
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(stderr.map(end_of).unwrap_or_default()));
    let started = Instant::now();
    match wait_for(&mut child, TIMEOUT).map_err(|error| failed(error.to_string()))? {
        Some(status) if status.success() => {
            let seconds = started.elapsed().as_secs_f64();
            Ok(vec![format!("release {}: its own check passed in {seconds:.1} s", manifest.name)])
        }
        Some(status) => {
            // A child in the background may keep the pipe open.
            let said = said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            Err(failed(format!("{status}: {said}")))
        }
        None => {
            // Its children too: the check is a process group.
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ended = child.wait();
            Err(failed(format!("it did not end within {} s", TIMEOUT.as_secs())))
        }
    }
}

/// The last bytes of what a check wrote: where it says what is wrong.
fn end_of(mut stderr: impl Read) -> String {
    let (mut end, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        end.extend_from_slice(&buffer[..count]);
        let surplus = end.len().saturating_sub(OUTPUT_BYTES_MAX);
        end.drain(..surplus);
    }
    String::from_utf8_lossy(&end).trim().to_owned()
}

/// The user and group of a unit's processes.
fn user_of(unit: &Unit) -> Result<(u32, u32), String> {
    let name = unit.property("User")?;
    if name.is_empty() || name == "root" {
        return Ok((0, 0));
    }
    let users = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(&name)).then_some(())?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((uid, gid))
    });
    found.ok_or_else(|| format!("{unit} runs as {name}, which is no user of this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_told_by_the_end_of_its_output() {
        let mut text = "a line of a traceback\n".repeat(1000);
        text.push_str("ModuleNotFoundError: no module named 'app'\n");
        let end = end_of(text.as_bytes());
        assert!(end.ends_with("no module named 'app'") && end.len() <= OUTPUT_BYTES_MAX, "{end}");
    }
}
