//! Files that are replaced whole, and files that another user may have written.
//!
//! Must not know what is in a file.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The user and group of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Replaces a file so that a crash leaves the old content or the new: written beside it, synced, renamed, the directory
/// synced. The mode is exact, whatever the mask of this process.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    replace_as(path, content, mode, None)
}

/// The same; the file has its owner before it has its name.
pub fn replace_as(path: &Path, content: &[u8], mode: u32, owner: Option<Owner>) -> io::Result<()> {
    let beside = beside(path);
    remove(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    if let Some(Owner { uid, gid }) = owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Replaces a symbolic link atomically.
pub fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    let beside = beside(path);
    remove(&beside)?;
    std::os::unix::fs::symlink(target, &beside)?;
    fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Removes a file or link that need not be there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in the directory of `path` durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Reads a file that another user may have put there: no link is followed, nothing but a regular file of at most `bytes_max`
/// bytes is read.
pub fn read_foreign(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err(io::Error::other(format!("no file of at most {bytes_max} bytes")));
    }
    let mut content = Vec::new();
    file.take(bytes_max).read_to_end(&mut content)?;
    Ok(content)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_its_content_and_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for content in ["one", "two"] {
            replace(&path, content.as_bytes(), 0o640).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_another_user_only_a_short_regular_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&path, "four").unwrap();
        replace_link(&link, &path).unwrap();
        assert_eq!(read_foreign(&path, 4).unwrap(), b"four");
        for refused in [read_foreign(&path, 3), read_foreign(&link, 9), read_foreign(folder.path(), 1 << 20)]
        {
            refused.unwrap_err();
        }
    }
}
