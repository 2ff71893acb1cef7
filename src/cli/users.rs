//! Which users' processes an order may be given to, where a guard is searched for among all processes of the machine.
//!
//! Any user can start a program with the guard's arguments. Must not know where guards are found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Root, the caller, and the users who own what the configuration names: they could give the guard any configuration or
/// listen in its place anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Users(BTreeSet<u32>);

impl Users {
    /// Those of a configuration file with these admin sockets. `owner` returns the owner of a path, if it is there.
    pub(super) fn of(
        file: &Path,
        sockets: &[PathBuf],
        caller: u32,
        owner: impl Fn(&Path) -> Option<u32>,
    ) -> Users {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let folders = sockets.iter().filter_map(|socket| socket.parent());
        let owned = [Some(file.as_path()), file.parent()].into_iter().flatten().chain(folders);
        Users(owned.filter_map(owner).chain([0, caller]).collect())
    }

    pub(super) fn trust(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: u32 = 500;
    const GUARD: u32 = 700;
    const OTHER: u32 = 1000;

    /// Who owns what on this machine.
    fn owner(path: &Path) -> Option<u32> {
        match path.to_str()? {
            "/run/mcp-guard" | "/home/guard" => Some(GUARD),
            "/home/other" | "/home/other/guard.toml" | "/tmp/other.toml" => Some(OTHER),
            "/etc/mcp-guard" | "/etc/mcp-guard/guard.toml" | "/tmp" | "/run" => Some(0),
            _ => None,
        }
    }

    #[test]
    fn an_order_goes_to_root_the_caller_and_owners_of_what_the_configuration_names() {
        let packaged = "/etc/mcp-guard/guard.toml";
        for (file, sockets, uid, expect) in [
            (packaged, &["/run/mcp-guard/admin.sock"] as &[&str], 0, true),
            (packaged, &["/run/mcp-guard/admin.sock"], CALLER, true),
            (packaged, &["/run/mcp-guard/admin.sock"], GUARD, true),
            (packaged, &["/run/mcp-guard/admin.sock"], OTHER, false),
            // The socket's folder is not there, or writable by all, or no socket is known.
            (packaged, &["/nowhere/admin.sock"], GUARD, false),
            (packaged, &["/tmp/admin.sock"], OTHER, false),
            (packaged, &[], GUARD, false),
            (packaged, &[], OTHER, false),
            (packaged, &[], 0, true),
            // Of two sockets in a broken file either counts.
            (packaged, &["/nowhere/a.sock", "/run/mcp-guard/admin.sock"], GUARD, true),
            // The owner of the file, or of its folder, decides where the guard listens.
            ("/home/guard/gone.toml", &[], GUARD, true),
            ("/home/guard/gone.toml", &[], OTHER, false),
            ("/tmp/other.toml", &[], OTHER, true),
            ("/tmp/gone.toml", &[], OTHER, false),
        ] {
            let sockets: Vec<PathBuf> = sockets.iter().map(PathBuf::from).collect();
            let users = Users::of(Path::new(file), &sockets, CALLER, owner);
            assert_eq!(users.trust(uid), expect, "{file} {sockets:?} {uid}");
        }
    }
}
