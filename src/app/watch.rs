//! Reloads when what `[reload]` names has changed: mounted ConfigMaps and Secrets, certificates that a program renews.
//!
//! It looks at metadata, at an interval: a mounted volume is replaced behind a symbolic link, which is followed, and no event
//! can be lost. A change counts once nothing has changed for one more interval, so that a file is not read while it is being
//! written. Must not know what is in the files.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reload::{Reloader, without_command};
use crate::config::reload::Watch;
use crate::proxy::Handle;

/// What tells one state of a file or folder from another; `None` where there is nothing, or nothing that may be seen.
type State = Option<(u64, u64, u64, i64, i64)>;

/// The paths that are watched, as they were at the last reload.
pub(super) struct Changes {
    paths: Vec<PathBuf>,
    counted: Vec<State>,
    latest: Vec<State>,
}

impl Changes {
    /// From now on: what was read just before this call has not changed.
    pub(super) fn since_now(watch: &Watch) -> Changes {
        let counted = states(&watch.paths);
        Changes { paths: watch.paths.clone(), latest: counted.clone(), counted }
    }

    /// The paths that have changed since the last reload and are quiet now. They count as reloaded from here on.
    fn settled(&mut self) -> Vec<PathBuf> {
        let found = states(&self.paths);
        let is_quiet = found == self.latest;
        self.latest = found;
        if !is_quiet || self.latest == self.counted {
            return Vec::new();
        }
        let states = self.latest.iter().zip(&self.counted);
        let differs = self.paths.iter().zip(states).filter(|(_, (now, before))| now != before);
        let changed = differs.map(|(path, _)| path.clone()).collect();
        self.counted.clone_from(&self.latest);
        changed
    }
}

fn states(paths: &[PathBuf]) -> Vec<State> {
    paths.iter().map(|path| state(path)).collect()
}

/// Follows symbolic links.
fn state(path: &Path) -> State {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Watches until another process has taken over.
pub(super) async fn watch(reloader: Arc<Reloader>, handle: Handle, mut changes: Changes) {
    while !handle.is_handed_over() {
        let watch = reloader.watched();
        if watch.paths != changes.paths {
            changes = Changes::since_now(&watch);
        }
        tokio::time::sleep(watch.interval).await;
        if changes.paths.is_empty() {
            continue;
        }
        // A folder on a server that does not respond must not delay signals.
        let looked = tokio::task::spawn_blocking(move || {
            let changed = changes.settled();
            (changed, changes)
        });
        let Ok((changed, returned)) = looked.await else { return };
        changes = returned;
        if let Some(first) = changed.first() {
            let more = changed.len() - 1;
            log::info!(
                "{} has changed, and {more} more of what [reload] watches: reloading",
                first.display()
            );
            without_command(reloader.clone()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::{Changes, Watch};

    fn watch(paths: &[&std::path::Path]) -> Changes {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        Changes::since_now(&Watch { paths, interval: Duration::from_secs(1) })
    }

    #[test]
    fn a_change_of_a_watched_file_counts_once_and_only_when_it_is_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, "1").unwrap();
        let mut changes = watch(&[&file, &other]);
        assert!(changes.settled().is_empty(), "nothing has changed");
        fs::write(&file, "12").unwrap();
        assert!(changes.settled().is_empty(), "it may still be written");
        fs::write(&file, "123").unwrap();
        assert!(changes.settled().is_empty(), "it was");
        assert_eq!(changes.settled(), [file]);
        assert!(changes.settled().is_empty(), "it counts once");
        fs::write(&other, "1").unwrap();
        assert!(changes.settled().is_empty());
        assert_eq!(changes.settled(), std::slice::from_ref(&other), "one that appears");
        fs::remove_file(&other).unwrap();
        assert!(changes.settled().is_empty());
        assert_eq!(changes.settled(), [other], "one that disappears");
    }

    // Kubernetes, AtomicWriter: a new folder with the files, and `..data`, a symbolic link to it, replaced by renaming.
    #[test]
    fn a_mounted_volume_that_is_replaced_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let publish = |version: &str| {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("guard.toml"), "same").unwrap();
            symlink(version, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        publish("..1");
        symlink("..data/guard.toml", at("guard.toml")).unwrap();
        let mut changes = watch(&[&at("guard.toml"), folder.path()]);
        publish("..2");
        assert!(changes.settled().is_empty());
        assert_eq!(changes.settled(), [at("guard.toml"), folder.path().to_owned()]);
    }
}
