//! Reloads when what `[reload]` names has changed: mounted ConfigMaps and Secrets, certificates that a program renews.
//!
//! It looks at metadata, at an interval: a mounted volume is replaced behind a symbolic link, which is followed, and no event
//! can be lost. A change counts once nothing has changed for one more interval, so that a file is not read while it is being
//! written. Must not know what is in the files.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::reload::{Reloader, without_command};
use crate::config::reload::Watch;
use crate::proxy::Handle;

/// What tells one state of a file or folder from another; `None` where there is nothing, or nothing that may be seen.
type State = Option<(u64, u64, u64, i64, i64)>;

/// The times of files are those of the kernel's last tick, up to 10 ms ago.
const TICK: Duration = Duration::from_millis(20);
/// A reload has read all its files within this time.
const RELOAD_MAX: Duration = Duration::from_secs(10);

/// The paths that are watched, as they were at the last reload.
pub(super) struct Changes {
    paths: Vec<PathBuf>,
    counted: Vec<State>,
    latest: Vec<State>,
}

impl Changes {
    /// The files were read at some time after `read_since`. What has changed since then may have been read as it was before, so it counts as
    /// a change.
    pub(super) fn since(read_since: SystemTime, watch: &Watch) -> Changes {
        let latest = states(&watch.paths);
        let oldest = read_since.checked_sub(TICK).unwrap_or(UNIX_EPOCH);
        // A link on the way to a file that is replaced leaves the file's own times as they are, and changes its folder.
        let is_old = |path: &Path| metadata(path).is_none_or(|found| changed_at(&found) < oldest);
        let was_read = |path: &PathBuf| is_old(path) && path.parent().is_none_or(is_old);
        let counted = watch.paths.iter().zip(&latest);
        let counted = counted.map(|(path, state)| state.filter(|_| was_read(path))).collect();
        Changes { paths: watch.paths.clone(), latest, counted }
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
    paths.iter().map(|path| metadata(path).as_ref().map(state)).collect()
}

/// Follows symbolic links.
fn metadata(path: &Path) -> Option<Metadata> {
    std::fs::metadata(path).ok()
}

fn state(found: &Metadata) -> (u64, u64, u64, i64, i64) {
    (found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec())
}

/// When it was written, or put in its place: a file that is renamed keeps the time of its content.
fn changed_at(found: &Metadata) -> SystemTime {
    let at = |seconds: i64, nanos: i64| {
        let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        UNIX_EPOCH + whole + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    };
    at(found.mtime(), found.mtime_nsec()).max(at(found.ctime(), found.ctime_nsec()))
}

/// Watches until another process has taken over.
pub(super) async fn watch(reloader: Arc<Reloader>, handle: Handle, mut changes: Changes) {
    let mut asked_at = SystemTime::now();
    while !handle.is_handed_over() {
        let now = SystemTime::now();
        let watch = reloader.watched();
        if watch.paths != changes.paths {
            // A reload has named other paths since the last time, and may have begun to read before that.
            changes = Changes::since(asked_at.checked_sub(RELOAD_MAX).unwrap_or(UNIX_EPOCH), &watch);
        }
        asked_at = now;
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
    use std::time::{Duration, SystemTime};

    use super::{Changes, Watch};

    fn watch(paths: &[&std::path::Path]) -> Changes {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        let long_after = SystemTime::now() + Duration::from_secs(3600);
        Changes::since(long_after, &Watch { paths, interval: Duration::from_secs(1) })
    }

    // A Secret may be replaced while the guard starts.
    #[test]
    fn what_changes_while_the_configuration_is_read_for_the_first_time_is_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let (file, new) = (folder.path().join("a"), folder.path().join("b"));
        let before = SystemTime::now();
        let watched = || Watch { paths: vec![file.clone()], interval: Duration::from_secs(1) };
        fs::write(&file, "1").unwrap();
        let mut changes = Changes::since(before, &watched());
        assert_eq!(changes.settled(), std::slice::from_ref(&file));
        assert!(changes.settled().is_empty(), "it counts once");
        assert!(Changes::since(before + Duration::from_secs(3600), &watched()).settled().is_empty());

        // A file that was written long ago, and is put in the place of the first one now.
        fs::write(&new, "2").unwrap();
        fs::File::open(&new).unwrap().set_modified(before - Duration::from_secs(3600)).unwrap();
        fs::rename(&new, &file).unwrap();
        assert_eq!(Changes::since(before, &watched()).settled(), std::slice::from_ref(&file));
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
        // Written before the configuration is read for the first time, and put in its place afterwards.
        fs::create_dir(at("..3")).unwrap();
        fs::write(at("..3").join("guard.toml"), "new").unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let read_since = SystemTime::now();
        symlink("..3", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        let by_file = Watch { paths: vec![at("guard.toml")], interval: Duration::from_secs(1) };
        assert_eq!(Changes::since(read_since, &by_file).settled(), [at("guard.toml")]);
        publish("..2");
        assert!(changes.settled().is_empty());
        assert_eq!(changes.settled(), [at("guard.toml"), folder.path().to_owned()]);
    }
}
