//! Makes root's private files readable for one service: a file that an operator writes with `umask 077` is readable by
//! root only.
//!
//! Changes only files that root owns and that no other user or group can read. Must not know their content.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};

/// The result for one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lent {
    /// Unchanged: it does not exist, is readable already, or has other permissions that an operator chose.
    AsItWas,
    /// The service can read it now.
    ToTheService,
}

/// How a service gets access to a file.
#[derive(Debug, Clone, Copy)]
pub enum To {
    /// Root stays the owner, and this group may read it.
    Group(u32),
    /// This user becomes the owner, so that no group gets access.
    User(u32),
}

/// Gives a service access to a file that is private to root. The caller must be root.
pub fn lend(path: &Path, to: To) -> io::Result<Lent> {
    // Check and change the same open file. A symbolic link is refused: it could point out of root's folder.
    let opened = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    );
    let file: File = match opened {
        Ok(file) => file.into(),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(Lent::AsItWas),
        Err(other) => return Err(other.into()),
    };
    let there = file.metadata()?;
    let is_private =
        there.uid() == 0 && (there.mode() & 0o077 == 0 || there.gid() == 0 && there.mode() & 0o007 == 0);
    if !there.is_file() || !is_private {
        return Ok(Lent::AsItWas);
    }
    let (user, group, more) = match to {
        To::Group(gid) => (None, Some(Gid::from_raw(gid)), 0o040),
        To::User(uid) => (Some(Uid::from_raw(uid)), None, 0o400),
    };
    // Remove rights first, so that no other group can read the file in between.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(there.mode() & 0o700))?;
    rustix::fs::fchown(&file, user, group)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(there.mode() & 0o700 | more))?;
    Ok(Lent::ToTheService)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Lends a file of root with this group and mode; returns the result and its new user, group and mode. Needs root.
    fn after(gid: u32, mode: u32, to: To) -> Option<(Lent, u32, u32, u32)> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "secret").unwrap();
        std::os::unix::fs::chown(&path, Some(0), Some(gid)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let lent = lend(&path, to).unwrap();
        let there = std::fs::metadata(&path).unwrap();
        Some((lent, there.uid(), there.gid(), there.mode() & 0o777))
    }

    #[track_caller]
    fn check(gid: u32, mode: u32, to: To, expect: (Lent, u32, u32, u32)) {
        assert!(after(gid, mode, to).is_none_or(|found| found == expect), "{gid} {mode:o} {to:?}");
    }

    #[test]
    fn a_file_that_is_private_to_root_becomes_readable_for_the_service() {
        check(0, 0o600, To::Group(7), (Lent::ToTheService, 0, 7, 0o640));
        check(0, 0o640, To::Group(7), (Lent::ToTheService, 0, 7, 0o640));
        check(99, 0o400, To::Group(7), (Lent::ToTheService, 0, 7, 0o440));
        check(0, 0o600, To::User(8), (Lent::ToTheService, 8, 0, 0o600));
        check(0, 0o640, To::User(8), (Lent::ToTheService, 8, 0, 0o600));
    }

    #[test]
    fn what_an_operator_shares_stays_as_it_is() {
        for (gid, mode) in [(99, 0o640), (0, 0o644), (7, 0o640), (99, 0o660)] {
            check(gid, mode, To::Group(7), (Lent::AsItWas, 0, gid, mode));
        }
    }

    #[test]
    fn a_link_and_an_absent_file_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/etc/shadow", &link).unwrap();
        assert_eq!(lend(&link, To::Group(7)).unwrap(), Lent::AsItWas);
        assert_eq!(lend(&folder.path().join("absent"), To::Group(7)).unwrap(), Lent::AsItWas);
    }
}
