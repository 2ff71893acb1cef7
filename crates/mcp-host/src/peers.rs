//! Finds processes of this machine in /proc by their arguments, and the Unix sockets on which they listen.
//!
//! Root sees every process; other users see fewer, so the search finds fewer. Must not know what the arguments mean.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// `Flags` of /proc/net/unix: the socket listens.
const LISTENS: &str = "00010000";
/// Bytes of a command line that are examined.
const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

/// A Unix socket on which a process may listen.
#[derive(Debug, PartialEq, Eq)]
pub struct Near {
    pub process: u32,
    /// It may belong to another process with a socket in the same folder: /proc shows only the name used for binding, and
    /// [`super::socket::bind_unix`] renames the socket afterwards.
    pub socket: PathBuf,
}

/// The Unix sockets of all processes whose arguments and working directory `is_wanted` accepts.
pub fn listening(is_wanted: impl Fn(&[OsString], Option<&Path>) -> bool) -> Vec<Near> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let folder = entry.path();
        if !is_wanted(&arguments(&folder), fs::read_link(folder.join("cwd")).ok().as_deref()) {
            continue;
        }
        let open = open_sockets(&folder);
        let listed = fs::read_to_string(folder.join("net/unix")).unwrap_or_default();
        let bound = listed.lines().filter_map(listener).filter(|(inode, _)| open.contains(*inode));
        for socket in bound.flat_map(|(_, path)| sockets_near(Path::new(path))) {
            if !found.iter().any(|near: &Near| near.process == process && near.socket == socket) {
                found.push(Near { process, socket });
            }
        }
    }
    found
}

/// The socket that was bound under this name, or the sockets of the folder into which it was renamed.
fn sockets_near(bound: &Path) -> Vec<PathBuf> {
    if bound.exists() {
        return vec![bound.to_owned()];
    }
    let folder = bound.parent().and_then(Path::parent);
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten();
    let is_socket = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket());
    entries.filter_map(Result::ok).filter(is_socket).map(|entry| entry.path()).collect()
}

fn arguments(process: &Path) -> Vec<OsString> {
    let mut bytes = fs::read(process.join("cmdline")).unwrap_or_default();
    bytes.truncate(ARGUMENTS_BYTES_MAX);
    bytes.split(|byte| *byte == 0).map(|argument| OsString::from_vec(argument.to_vec())).collect()
}

/// Inodes of the sockets that a process has open.
fn open_sockets(process: &Path) -> HashSet<String> {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().filter_map(Result::ok);
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    let inode = |link: PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    links.filter_map(inode).collect()
}

/// Inode and path of a socket that listens on a path of the file system. The columns are address, references, protocol,
/// flags, type, state, inode, path.
fn listener(line: &str) -> Option<(&str, &str)> {
    let mut columns = line.split_ascii_whitespace();
    let flags = columns.nth(3)?;
    let inode = columns.nth(2)?;
    let path = line.get(line.find(" /")? + 1..)?;
    (flags == LISTENS).then_some((inode, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_net_unix_names_listeners_only() {
        let listens = "0000000000000000: 00000002 00000000 00010000 0001 01 26021 /run/a b/admin.sock";
        assert_eq!(listener(listens), Some(("26021", "/run/a b/admin.sock")));
        for line in [
            "Num       RefCount Protocol Flags    Type St Inode Path",
            "0000000000000000: 00000003 00000000 00000000 0001 03 26021 /run/admin.sock",
            "0000000000000000: 00000002 00000000 00010000 0001 01 26021 @abstract",
            "0000000000000000: 00000002 00000000 00010000 0001 01 26021",
        ] {
            assert_eq!(listener(line), None, "{line}");
        }
    }

    #[test]
    fn a_process_is_found_by_what_it_was_started_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let own = arguments(Path::new("/proc/self"));
        let near = Near { process: std::process::id(), socket: path };
        assert!(listening(|given, _| given == own).contains(&near));
        assert!(!listening(|given, _| given != own).contains(&near));
    }
}
