//! Installed releases: add, list, check, remove; and which release a slot runs.
//!
//! A release is complete when its directory has its name, and never changes from then on. Must not know units or guards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::files::{self, FileError, Lock, failed, make_folder, read_text, remove_tree, sha256_of};
use super::layout::Layout;
use super::manifest::{
    FileEntry, MANIFEST, MANIFEST_BYTES_MAX, Manifest, ManifestError, ReleaseName, START, start_program,
};
use super::unpack::{UnpackError, unpack};
use crate::upstream::Slot;

const INCOMING: &str = ".incoming";

/// Why a release is not installed, not read or not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("it has no {MANIFEST} (hint: `mcp-guard release pack --help` makes one)")]
    NoManifest,
    #[error("{MANIFEST} lists no files (hint: `mcp-guard release pack DIR` writes them)")]
    NoFiles,
    #[error("it is damaged: {}", .0.join("; "))]
    Damaged(Vec<String>),
    #[error(
        "another release is installed under the name {name}; a release never changes (hint: give this one another name)"
    )]
    Different { name: ReleaseName },
    #[error("there is no release {name} (hint: `mcp-guard release list`)")]
    Unknown { name: ReleaseName },
    #[error("{} is no link to a release", path.display())]
    NoLink { path: PathBuf },
}

/// A release that `add` has dealt with.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) name: ReleaseName,
    pub(crate) version: String,
    /// It was there, unchanged.
    pub(crate) was_there: bool,
}

/// One installed release.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) name: ReleaseName,
    pub(crate) version: String,
    pub(crate) bytes: u64,
    pub(crate) installed: SystemTime,
}

/// Installed releases and slots below one directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    layout: Layout,
}

impl Store {
    pub(crate) fn new(layout: Layout) -> Store {
        Store { layout }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Installs a release from a directory or an archive, or finds that it is installed.
    pub(crate) fn add(&self, source: &Path, _lock: &Lock) -> Result<Added, StoreError> {
        let releases = self.layout.releases();
        make_folder(&releases, 0o755)?;
        let incoming = releases.join(INCOMING);
        remove_tree(&incoming)?;
        make_folder(&incoming, 0o755)?;
        let added = self.add_by_way_of(&incoming, source);
        // What was refused, or was there, leaves nothing behind.
        remove_tree(&incoming)?;
        added
    }

    fn add_by_way_of(&self, incoming: &Path, source: &Path) -> Result<Added, StoreError> {
        unpack(source, incoming)?;
        // A release that was installed once may be the source: its generated file is made again.
        files::remove(&incoming.join(START))?;
        let manifest = read_manifest(incoming)?;
        if manifest.files.is_empty() {
            return Err(StoreError::NoFiles);
        }
        differences(incoming, &manifest)?;
        let Manifest { name, version, .. } = &manifest;
        let place = self.layout.release(name);
        let is = |was_there| Added { name: name.clone(), version: version.clone(), was_there };
        if fs::symlink_metadata(&place).is_ok() {
            let same = read_manifest(&place).is_ok_and(|installed| installed == manifest);
            if !same {
                return Err(StoreError::Different { name: name.clone() });
            }
            differences(&place, &manifest)?;
            return Ok(is(true));
        }
        let start = incoming.join(START);
        files::replace(&start, start_program(&manifest).as_bytes(), 0o755)?;
        // The mask of the calling process must not keep the slots' users out.
        set_modes(incoming)?;
        files::sync_folder_of(&start)?;
        fs::rename(incoming, &place).map_err(failed("install", &place))?;
        files::sync_folder_of(&place)?;
        Ok(is(false))
    }

    /// Every installed release, by name.
    pub(crate) fn list(&self) -> Result<Vec<Installed>, StoreError> {
        let releases = self.layout.releases();
        let mut found = Vec::new();
        let entries = match fs::read_dir(&releases) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(failed("read", &releases)(error).into()),
        };
        for entry in entries {
            let entry = entry.map_err(failed("read", &releases))?;
            let name = entry.file_name().into_string().ok().and_then(|name| ReleaseName::try_from(name).ok());
            let Some(name) = name else { continue };
            let manifest = read_manifest(&entry.path());
            let installed = entry.metadata().and_then(|metadata| metadata.modified());
            found.push(Installed {
                version: manifest
                    .as_ref()
                    .map_or_else(|_| "?".to_owned(), |manifest| manifest.version.clone()),
                bytes: size_of(&entry.path()),
                installed: installed.unwrap_or(SystemTime::UNIX_EPOCH),
                name,
            });
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The manifest of an installed release.
    pub(crate) fn manifest(&self, name: &ReleaseName) -> Result<Manifest, StoreError> {
        let folder = self.layout.release(name);
        if fs::symlink_metadata(&folder).is_err() {
            return Err(StoreError::Unknown { name: name.clone() });
        }
        read_manifest(&folder)
    }

    /// Compares every file of an installed release with its manifest.
    pub(crate) fn check(&self, name: &ReleaseName) -> Result<Manifest, StoreError> {
        let manifest = self.manifest(name)?;
        let folder = self.layout.release(name);
        differences(&folder, &manifest)?;
        let start = read_text(&folder.join(START), 1 << 20)?;
        if start != start_program(&manifest) {
            return Err(StoreError::Damaged(vec![format!("{START} is not what {MANIFEST} makes of it")]));
        }
        Ok(manifest)
    }

    /// Removes a release. The caller knows that nothing uses it.
    pub(crate) fn remove(&self, name: &ReleaseName, _lock: &Lock) -> Result<(), StoreError> {
        let (place, leaving) = (self.layout.release(name), self.layout.releases().join(".leaving"));
        remove_tree(&leaving)?;
        // Under its own name a release is always whole.
        fs::rename(&place, &leaving).map_err(failed("remove", &place))?;
        remove_tree(&leaving)?;
        Ok(())
    }

    /// The release that a slot runs from its next start on; none where it never took one.
    pub(crate) fn current(&self, slot: Slot) -> Result<Option<ReleaseName>, StoreError> {
        let path = self.layout.current(slot);
        let target = match fs::read_link(&path) {
            Ok(target) => target,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(StoreError::NoLink { path }),
        };
        let name = target.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.and_then(|name| ReleaseName::try_from(name).ok());
        name.map(Some).ok_or(StoreError::NoLink { path })
    }

    /// Lets a slot take a release, or none, at its next start.
    pub(crate) fn assign(
        &self,
        slot: Slot,
        name: Option<&ReleaseName>,
        _lock: &Lock,
    ) -> Result<(), StoreError> {
        let current = self.layout.current(slot);
        make_folder(&self.layout.slot(slot), 0o755)?;
        match name {
            Some(name) => {
                if fs::symlink_metadata(self.layout.release(name)).is_err() {
                    return Err(StoreError::Unknown { name: name.clone() });
                }
                Ok(files::replace_link(&current, &Path::new("../../releases").join(name.as_str()))?)
            }
            None => Ok(files::remove(&current)?),
        }
    }
}

/// Reads and judges the manifest of a release's directory.
pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(MANIFEST);
    // A link would let the manifest of an installed release change.
    if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(StoreError::Damaged(vec![format!("{MANIFEST} is not a file")]));
    }
    let text = read_text(&path, MANIFEST_BYTES_MAX);
    let text =
        text.map_err(|error| if error.is_not_found() { StoreError::NoManifest } else { error.into() })?;
    Ok(Manifest::parse(&text)?)
}

/// The files of a directory as a manifest lists them.
pub(crate) fn entries_of(folder: &Path) -> Result<BTreeMap<String, FileEntry>, StoreError> {
    let mut entries = BTreeMap::new();
    collect(folder, Path::new(""), &mut entries)?;
    entries.remove(MANIFEST);
    entries.remove(START);
    Ok(entries)
}

fn collect(folder: &Path, below: &Path, entries: &mut BTreeMap<String, FileEntry>) -> Result<(), StoreError> {
    let at = folder.join(below);
    for entry in fs::read_dir(&at).map_err(failed("read", &at))? {
        let entry = entry.map_err(failed("read", &at))?;
        let (path, inside) = (entry.path(), below.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&path).map_err(failed("read", &path))?;
        if metadata.is_dir() {
            collect(folder, &inside, entries)?;
            continue;
        }
        let made = if metadata.is_symlink() {
            let link = fs::read_link(&path).map_err(failed("read", &path))?;
            FileEntry::Link { link: link.to_string_lossy().into_owned() }
        } else {
            FileEntry::Regular { sha256: sha256_of(&path)?, executable: metadata.mode() & 0o111 != 0 }
        };
        entries.insert(inside.to_string_lossy().into_owned(), made);
    }
    Ok(())
}

/// Says how a directory differs from its manifest.
fn differences(folder: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    const LISTED_MAX: usize = 5;
    let found = entries_of(folder)?;
    let missing = manifest.files.keys().filter(|path| !found.contains_key(*path));
    let missing = missing.map(|path| format!("{path} is missing"));
    let changed = found.iter().filter_map(|(path, entry)| match manifest.files.get(path) {
        None => Some(format!("{path} is not in {MANIFEST}")),
        Some(listed) if listed != entry => Some(format!("{path} is not the file that {MANIFEST} lists")),
        Some(_) => None,
    });
    let mut all: Vec<String> = missing.chain(changed).collect();
    if all.is_empty() {
        return Ok(());
    }
    let more = all.len().saturating_sub(LISTED_MAX);
    all.truncate(LISTED_MAX);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    Err(StoreError::Damaged(all))
}

fn set_modes(folder: &Path) -> Result<(), StoreError> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .map_err(failed("set the mode of", folder))?;
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        let path = entry.path();
        let metadata = fs::symlink_metadata(&path).map_err(failed("read", &path))?;
        if metadata.is_dir() {
            set_modes(&path)?;
        } else if metadata.is_file() {
            let mode = if metadata.mode() & 0o111 != 0 { 0o755 } else { 0o644 };
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(&path, permissions).map_err(failed("set the mode of", &path))?;
        }
    }
    Ok(())
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

#[cfg(test)]
mod tests;
