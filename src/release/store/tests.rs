//! Releases in a temporary directory: added, compared, assigned.

use std::io::Write as _;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

struct Room {
    folder: TempDir,
    store: Store,
    lock: Lock,
}

fn room() -> Room {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().join("lib"));
    let lock = Lock::take(&layout).unwrap();
    Room { store: Store::new(layout), lock, folder }
}

impl Room {
    /// A directory that holds a release of one program.
    fn source(&self, name: &str, program: &str) -> PathBuf {
        let folder = self.folder.path().join(format!("source-{name}"));
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("bin/app"), program).unwrap();
        fs::set_permissions(folder.join("bin/app"), fs::Permissions::from_mode(0o755)).unwrap();
        seal(&folder, name);
        folder
    }

    fn add(&self, source: &Path) -> Result<Added, StoreError> {
        self.store.add(source, &self.lock)
    }

    fn names(&self) -> Vec<String> {
        self.store.list().unwrap().iter().map(|found| found.name.to_string()).collect()
    }
}

/// Writes the manifest of a directory.
fn seal(folder: &Path, name: &str) {
    let text = format!("name = \"{name}\"\nversion = \"1\"\nstart = [\"bin/app\"]\n");
    let mut manifest = Manifest::parse(&text).unwrap();
    manifest.files = entries_of(folder).unwrap();
    fs::write(folder.join(MANIFEST), manifest.render().unwrap()).unwrap();
}

/// An archive with these entries: path, content or link.
fn archive(entries: &[(&str, Result<&str, &str>)]) -> Vec<u8> {
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        // `set_path` refuses what an attacker would write.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        match content {
            Ok(text) => {
                header.set_size(text.len() as u64);
                header.set_cksum();
                builder.append(&header, text.as_bytes()).unwrap();
            }
            Err(link) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_link_name(link).unwrap();
                header.set_cksum();
                builder.append(&header, std::io::empty()).unwrap();
            }
        }
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_release_is_added_once_and_the_same_again_changes_nothing() {
    let room = room();
    let source = room.source("app-1", "one");
    assert!(!room.add(&source).unwrap().was_there);
    assert!(room.add(&source).unwrap().was_there);
    assert_eq!(room.names(), ["app-1"]);
    let other = room.source("app-1", "two");
    assert!(matches!(room.add(&other), Err(StoreError::Different { .. })));
    room.store.check(&"app-1".parse().unwrap()).unwrap();
}

#[test]
fn archives_of_both_compressions_give_the_same_release() {
    let room = room();
    let source = room.source("app-1", "one");
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &source).unwrap();
    let plain = builder.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let packed =
        [("app.tar.gz", gzip.finish().unwrap()), ("app.tar.zst", zstd::encode_all(&plain[..], 1).unwrap())];
    assert!(!room.add(&source).unwrap().was_there);
    for (name, bytes) in packed {
        let file = room.folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        assert!(room.add(&file).unwrap().was_there, "{name}");
    }
    let file = room.folder.path().join("app.tar");
    fs::write(&file, plain).unwrap();
    assert!(room.add(&file).unwrap_err().to_string().contains("neither a directory nor a tar.gz"));
}

#[test]
fn a_file_that_differs_from_the_manifest_is_named() {
    let room = room();
    let source = room.source("app-1", "one");
    fs::write(source.join("bin/app"), "changed").unwrap();
    fs::write(source.join("more"), "").unwrap();
    let error = room.add(&source).unwrap_err().to_string();
    assert!(error.contains("bin/app is not the file") && error.contains("more is not in"), "{error}");
    assert_eq!(room.names(), [] as [&str; 0]);

    let source = room.source("app-2", "one");
    room.add(&source).unwrap();
    let installed = room.store.layout().release(&"app-2".parse().unwrap());
    fs::remove_file(installed.join("bin/app")).unwrap();
    let error = room.store.check(&"app-2".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("bin/app is missing"), "{error}");
}

#[test]
fn an_archive_writes_nothing_outside_of_its_release() {
    let room = room();
    let outside = room.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let link = outside.to_str().unwrap();
    for entries in [
        vec![("../../outside/x", Ok("x"))],
        vec![("/tmp/x", Ok("x"))],
        vec![("a", Err(link)), ("a/x", Ok("x"))],
        vec![("a/./../../x", Ok("x"))],
        vec![("a", Err(link)), ("a/x", Err("/bin/sh"))],
        vec![("a", Err(link)), ("a/d/x", Err("/bin/sh"))],
    ] {
        let file = room.folder.path().join("bad.tar.gz");
        fs::write(&file, archive(&entries)).unwrap();
        room.add(&file).unwrap_err();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{entries:?}");
    }
}

#[test]
fn a_link_of_a_release_is_compared_by_what_it_names() {
    let room = room();
    let source = room.source("app-1", "one");
    symlink("bin/app", source.join("run")).unwrap();
    seal(&source, "app-1");
    room.add(&source).unwrap();
    let installed = room.store.layout().release(&"app-1".parse().unwrap());
    fs::remove_file(installed.join("run")).unwrap();
    symlink("/bin/sh", installed.join("run")).unwrap();
    let error = room.store.check(&"app-1".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("run is not the file"), "{error}");
}

#[test]
fn a_slot_takes_a_release_and_gives_it_back() {
    let room = room();
    room.add(&room.source("app-1", "one")).unwrap();
    assert_eq!(room.store.current(Slot::Blue).unwrap(), None);
    let name: ReleaseName = "app-1".parse().unwrap();
    room.store.assign(Slot::Blue, Some(&name), &room.lock).unwrap();
    assert_eq!(room.store.current(Slot::Blue).unwrap(), Some(name));
    let start = room.store.layout().current(Slot::Blue).join(START);
    assert_eq!(fs::metadata(start).unwrap().mode() & 0o777, 0o755);
    let unknown = room.store.assign(Slot::Blue, Some(&"app-9".parse().unwrap()), &room.lock);
    assert!(matches!(unknown, Err(StoreError::Unknown { .. })));
    room.store.assign(Slot::Blue, None, &room.lock).unwrap();
    assert_eq!(room.store.current(Slot::Blue).unwrap(), None);
}

#[test]
fn two_commands_never_change_releases_at_the_same_time() {
    let room = room();
    let second = Lock::take(room.store.layout()).unwrap_err();
    assert!(second.to_string().contains("another release command runs"), "{second}");
}
