//! The demo's own folder: private, and removed with everything in it at the end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A temporary folder that only this user can enter.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn create() -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("mcp-guard-demo-{:08x}", getrandom::u32()?));
        // Fails if the name is taken: another user's folder is never used.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only this user can read.
    pub(super) fn write_private(&self, name: &str, text: &str) -> io::Result<()> {
        self.open_private(name)?.write_all(text.as_bytes())
    }

    /// Opens a file that only this user can read, for writing at its end.
    pub(super) fn open_private(&self, name: &str) -> io::Result<fs::File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(self.path(name))
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
