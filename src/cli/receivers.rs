//! Receivers of notifications that the installed unit keeps the guard from reaching: it may talk to this machine only.
//!
//! Must not know how a notification is sent.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::notify::Channel;
use mcp_host::diagnostics::Diagnostic;

const UNIT: &str = "mcp-guard.service";
/// Where systemd looks for units, the first one counts.
const FOLDERS: &[&str] =
    &["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// A warning for each receiver elsewhere, if there is a unit that forbids connections to it.
pub(super) fn out_of_reach(config: &Config) -> Vec<Diagnostic> {
    let folders: Vec<&Path> = FOLDERS.iter().map(Path::new).collect();
    if !is_kept_at_home(&folders) {
        return Vec::new();
    }
    let urls = config.rollout.receivers.iter().filter_map(|receiver| match &receiver.channel {
        Channel::Generic { url } | Channel::Slack { url } | Channel::PagerDuty { url, .. } => {
            Some(url.0.as_str())
        }
        Channel::Exec(_) => None,
    });
    let elsewhere = urls.filter_map(host).filter(|host| !is_loopback(host));
    let problem = |host| Diagnostic {
        key: "notify".to_owned(),
        reason: format!("{host} is on another machine, and {UNIT} allows connections to this one only"),
        hint: Some("systemctl edit mcp-guard: [Service], IPAddressAllow=any; then restart it".to_owned()),
        ..Diagnostic::default()
    };
    elsewhere.map(problem).collect()
}

/// The host of an address. The rest may be a secret.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the unit and its drop-ins forbid all connections but those to this machine.
fn is_kept_at_home(folders: &[&Path]) -> bool {
    let Some(unit) = folders.iter().find_map(|folder| std::fs::read_to_string(folder.join(UNIT)).ok()) else {
        return false;
    };
    let mut drop_ins: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder.join(format!("{UNIT}.d"))).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    drop_ins.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    let drop_ins = drop_ins.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let (mut denied, mut allowed) = (false, false);
    for line in std::iter::once(unit)
        .chain(drop_ins)
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
    {
        match line.trim().split_once('=') {
            Some(("IPAddressDeny", value)) => denied = !value.trim().is_empty(),
            Some(("IPAddressAllow", "")) => allowed = false,
            Some(("IPAddressAllow", value)) => {
                allowed |= value.split_whitespace().any(|word| word != "localhost" && !is_loopback(word));
            }
            Some(_) | None => {}
        }
    }
    denied && !allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_without_what_may_be_secret() {
        for (url, expect, loopback) in [
            ("https://hooks.slack.com/services/T0/B0/secret", "hooks.slack.com", false),
            ("http://user:secret@example.org:8080/x", "example.org", false),
            ("http://127.0.0.2:9/x", "127.0.0.2", true),
            ("http://[::1]:9/x", "::1", true),
            ("http://LOCALHOST?x", "LOCALHOST", true),
            ("http://[2001:db8::1]/", "2001:db8::1", false),
        ] {
            assert_eq!(host(url), Some(expect));
            assert_eq!(is_loopback(expect), loopback, "{url}");
        }
    }

    #[test]
    fn a_drop_in_opens_what_the_unit_forbids() {
        let (lib, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = || is_kept_at_home(&[etc.path(), lib.path()]);
        assert!(!home(), "without a unit nothing is forbidden");
        std::fs::write(lib.path().join(UNIT), "[Service]\nIPAddressDeny=any\nIPAddressAllow=localhost\n")
            .unwrap();
        assert!(home());
        let folder = etc.path().join(format!("{UNIT}.d"));
        std::fs::create_dir(&folder).unwrap();
        for (text, expect) in [
            ("[Service]\nIPAddressAllow=any\n", false),
            ("[Service]\nIPAddressAllow=10.0.0.0/8\n", false),
            ("[Service]\nIPAddressDeny=\n", false),
            ("[Service]\n# IPAddressAllow=any\n", true),
            ("[Service]\nRestartSec=3\n", true),
        ] {
            std::fs::write(folder.join("override.conf"), text).unwrap();
            assert_eq!(home(), expect, "{text}");
        }
    }
}
