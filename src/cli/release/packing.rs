//! `release pack`, `add` and `prune`: what is installed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use super::room::{Done, Failure, Room};
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::release::files::{Lock, failed, read_text, replace};
use crate::release::manifest::{FileEntry, MANIFEST, MANIFEST_BYTES_MAX, Manifest, ReleaseName};
use crate::release::store::{StoreError, entries_of};
use crate::release::{backup, journal};
use crate::upstream::Slot;

pub(super) fn pack(folder: &Path, output: Option<&Path>) -> Done {
    let path = folder.join(MANIFEST);
    let text = read_text(&path, MANIFEST_BYTES_MAX).map_err(|error| {
        let example =
            "name = \"app-1.4\", version = \"1.4\", start = [\"bin/app\", \"--socket\", \"{socket}\"]";
        Failure::refused(format!("{} (hint: write it: {example})", mcp_host::diagnostics::chain(&error)))
    })?;
    let mut manifest = Manifest::parse(&text).map_err(|error| Failure::refused(error.to_string()))?;
    manifest.files = entries_of(folder)?;
    let rendered = manifest.render()?;
    // What `add` would refuse is refused here.
    Manifest::parse(&rendered).map_err(|error| Failure::refused(error.to_string()))?;
    if Manifest::parse(&text).ok().as_ref() != Some(&manifest) {
        replace(&path, rendered.as_bytes(), 0o644)?;
    }
    say(format_args!("{}: release {}, {} files", path.display(), manifest.name, manifest.files.len()));
    let Some(output) = output else { return Ok(Exit::Done) };
    let file = File::create(output).map_err(failed("write", output))?;
    let name = output.to_string_lossy();
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        let encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        let encoder = archive(folder, &manifest, encoder).map_err(failed("write", output))?;
        encoder.finish().and_then(|file| file.sync_all()).map_err(failed("write", output))?;
    } else if name.ends_with(".tar.zst") {
        let encoder = zstd::Encoder::new(file, 0).map_err(failed("write", output))?;
        let encoder = archive(folder, &manifest, encoder).map_err(failed("write", output))?;
        encoder.finish().and_then(|file| file.sync_all()).map_err(failed("write", output))?;
    } else {
        return Err(Failure::refused("--output: the name must end in .tar.gz or .tar.zst"));
    }
    say(format_args!("packed {}", output.display()));
    Ok(Exit::Done)
}

/// The files in the order of their names, without owner and time: the same files give the same archive.
fn archive<W: std::io::Write>(folder: &Path, manifest: &Manifest, writer: W) -> std::io::Result<W> {
    let mut builder = tar::Builder::new(writer);
    let header = |executable: bool, size: u64, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_size(size);
        header.set_mtime(0);
        header.set_entry_type(kind);
        header
    };
    let listed = manifest.files.iter().map(|(path, entry)| (path.as_str(), Some(entry)));
    for (path, entry) in std::iter::once((MANIFEST, None)).chain(listed) {
        match entry {
            Some(FileEntry::Link { link }) => {
                builder.append_link(&mut header(false, 0, tar::EntryType::Symlink), path, link)?;
            }
            Some(FileEntry::Regular { .. }) | None => {
                let executable = matches!(entry, Some(FileEntry::Regular { executable: true, .. }));
                let file = File::open(folder.join(path))?;
                let size = file.metadata()?.len();
                builder.append_data(&mut header(executable, size, tar::EntryType::Regular), path, file)?;
            }
        }
    }
    builder.into_inner()
}

pub(super) fn add(room: &Room, source: &Path, fill: bool) -> Done {
    let lock = room.lock()?;
    let added = room.store.add(source, &lock).map_err(|error| match error {
        StoreError::File(_) => Failure::from(error),
        StoreError::Unpack(_)
        | StoreError::Manifest(_)
        | StoreError::NoManifest
        | StoreError::NoFiles
        | StoreError::Damaged(_)
        | StoreError::Different { .. }
        | StoreError::Unknown { .. }
        | StoreError::NoLink { .. } => {
            Failure::refused(format!("{}: {}", source.display(), mcp_host::diagnostics::chain(&error)))
        }
    })?;
    let how = if added.was_there { "is installed already" } else { "is installed" };
    say(format_args!("release {} (version {}) {how}", added.name, added.version));
    let mut has_it = false;
    for slot in Slot::ALL {
        let current = room.store.current(slot)?;
        has_it |= current.as_ref() == Some(&added.name);
        if fill && current.is_none() {
            room.store.assign(slot, Some(&added.name), &lock)?;
            say(format_args!("slot {} takes it at its next start", slot.as_str()));
            has_it = true;
        }
    }
    if !has_it {
        say(format_args!("no slot has it; `mcp-guard release deploy {}` brings it into service", added.name));
    }
    Ok(Exit::Done)
}

pub(super) fn prune(room: &Room, keep: usize) -> Done {
    let lock = room.lock()?;
    if journal::read(room.store.layout())?.is_some() {
        return Err(Failure::refused(
            "an operation was interrupted (hint: `mcp-guard release resume` or `undo`)",
        ));
    }
    let mut installed = room.store.list()?;
    installed.sort_by_key(|found| std::cmp::Reverse(found.installed));
    let used = in_use(room)?;
    let mut removed = 0;
    for found in installed.iter().filter(|found| !used.contains(&found.name)).skip(keep) {
        room.store.remove(&found.name, &lock)?;
        say(format_args!("removed release {}", found.name));
        removed += 1;
    }
    say(format_args!("{removed} removed, {} kept", installed.len() - removed));
    clean(&lock, room)
}

/// Releases that a slot has or a kept backup names.
pub(super) fn in_use(room: &Room) -> Result<BTreeSet<ReleaseName>, Failure> {
    let mut used = BTreeSet::new();
    for slot in Slot::ALL {
        used.extend(room.store.current(slot)?);
    }
    for kept in backup::list(room.store.layout())? {
        let kept = kept.map_err(|damaged| {
            Failure::refused(format!(
                "{damaged}: which releases it needs is not known (hint: remove its directory below {} if it is not wanted)",
                room.store.layout().backups().display()
            ))
        })?;
        used.extend(kept.releases.into_values());
    }
    Ok(used)
}

/// Removes what an interrupted `add` left.
fn clean(_lock: &Lock, room: &Room) -> Done {
    for leftover in [".incoming", ".leaving"] {
        let path = room.store.layout().releases().join(leftover);
        if fs::symlink_metadata(&path).is_ok() {
            crate::release::files::remove_tree(&path)?;
        }
    }
    Ok(Exit::Done)
}
