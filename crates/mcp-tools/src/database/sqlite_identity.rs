//! Which files a database consists of now: a file that is replaced has another identity.
//!
//! Must not open one.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The files of a database, to see that one was replaced: an open connection would stay with the old one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files(Arc<[PathBuf]>);

/// Which files these were at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64);

impl Files {
    pub(crate) fn new(files: Vec<PathBuf>) -> Files {
        Files(files.into())
    }

    pub(crate) fn identity(&self) -> Identity {
        let mut hasher = DefaultHasher::new();
        for file in self.0.iter() {
            let found = std::fs::metadata(file).ok().map(|metadata| (metadata.dev(), metadata.ino()));
            found.hash(&mut hasher);
        }
        Identity(hasher.finish())
    }
}
