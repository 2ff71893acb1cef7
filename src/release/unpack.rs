//! Copies a release from a directory or an archive into an empty directory, within bounds.
//!
//! Archives are tar, compressed with gzip or Zstandard. Only regular files, directories and symbolic links are taken, and
//! links last: no entry is ever written through a link. Must not know what the files mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::files::{FileError, failed, make_folder};
use super::manifest::{FILES_MAX, is_plain};

/// Bytes of all files of a release.
const BYTES_MAX: u64 = 4 << 30;

/// Why a source is no release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is neither a directory nor a tar.gz or tar.zst archive", path.display())]
    Kind { path: PathBuf },
    #[error("{}: {reason}", entry.display())]
    Entry { entry: PathBuf, reason: &'static str },
    #[error("more than {FILES_MAX} files or {} GiB", BYTES_MAX >> 30)]
    TooLarge,
}

/// What may still be written.
struct Budget {
    files: usize,
    bytes: u64,
}

impl Budget {
    fn file(&mut self) -> Result<(), UnpackError> {
        self.files = self.files.checked_sub(1).ok_or(UnpackError::TooLarge)?;
        Ok(())
    }
}

/// Fills `target`, which is empty, from `source`.
pub(crate) fn unpack(source: &Path, target: &Path) -> Result<(), UnpackError> {
    let mut budget = Budget { files: FILES_MAX, bytes: BYTES_MAX };
    if fs::metadata(source).map_err(failed("read", source))?.is_dir() {
        return copy_folder(source, Path::new(""), target, &mut budget);
    }
    let mut file = File::open(source).map_err(failed("read", source))?;
    let mut magic = [0; 4];
    let read = file.read_exact(&mut magic);
    let file = File::open(source).map_err(failed("read", source))?;
    match (read, magic) {
        (Ok(()), [0x1f, 0x8b, ..]) => {
            extract(source, flate2::read::GzDecoder::new(file), target, &mut budget)
        }
        (Ok(()), [0x28, 0xb5, 0x2f, 0xfd]) => {
            let decoder = zstd::Decoder::new(file).map_err(failed("read", source))?;
            extract(source, decoder, target, &mut budget)
        }
        (Ok(()) | Err(_), _) => Err(UnpackError::Kind { path: source.to_owned() }),
    }
}

fn copy_folder(source: &Path, below: &Path, target: &Path, budget: &mut Budget) -> Result<(), UnpackError> {
    let folder = source.join(below);
    for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
        let entry = entry.map_err(failed("read", &folder))?;
        let (path, inside) = (entry.path(), below.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed("read", &path))?;
        budget.file()?;
        let place = target.join(&inside);
        if kind.is_dir() {
            make_folder(&place, 0o755)?;
            copy_folder(source, &inside, target, budget)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&path).map_err(failed("read", &path))?;
            symlink(link, &place).map_err(failed("make the link", &place))?;
        } else if kind.is_file() {
            let file = File::open(&path).map_err(failed("read", &path))?;
            let executable = file.metadata().map_err(failed("read", &path))?.mode() & 0o111 != 0;
            write(&place, file, executable, budget)?;
        } else {
            return Err(UnpackError::Entry {
                entry: inside,
                reason: "is neither a file, a directory nor a link",
            });
        }
    }
    Ok(())
}

fn extract(source: &Path, reader: impl Read, target: &Path, budget: &mut Budget) -> Result<(), UnpackError> {
    let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
    let unreadable = |error: io::Error| UnpackError::from(failed("unpack", source)(error));
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let refused = |reason| UnpackError::Entry { entry: path.clone(), reason };
        let text = path.to_str().ok_or_else(|| refused("is not named in UTF-8"))?;
        let text = text.trim_start_matches("./").trim_end_matches('/');
        budget.file()?;
        let kind = entry.header().entry_type();
        // The root itself, and what `git archive` says of the commit.
        if kind.is_pax_global_extensions() || (kind.is_dir() && matches!(text, "" | ".")) {
            continue;
        }
        if !is_plain(text) {
            return Err(refused("would be written outside of the release"));
        }
        let place = target.join(text);
        if kind.is_dir() {
            make_folder(&place, 0o755)?;
        } else if kind.is_symlink() {
            let link = entry.link_name().map_err(unreadable)?;
            let link = link.ok_or_else(|| refused("is a link to nothing"))?.into_owned();
            links.push((place, link));
        } else if kind.is_file() {
            let executable = entry.header().mode().map_err(unreadable)? & 0o111 != 0;
            make_folder(place.parent().unwrap_or(target), 0o755)?;
            write(&place, entry, executable, budget)?;
        } else {
            return Err(refused("is neither a file, a directory nor a symbolic link"));
        }
    }
    // A link below a link would be made wherever the first one leads.
    let below_a_link =
        |place: &Path| place.ancestors().skip(1).any(|above| links.iter().any(|(other, _)| other == above));
    if let Some((place, _)) = links.iter().find(|(place, _)| below_a_link(place)) {
        let entry = place.strip_prefix(target).unwrap_or(place).to_owned();
        return Err(UnpackError::Entry { entry, reason: "lies below a link" });
    }
    for (place, link) in links {
        make_folder(place.parent().unwrap_or(target), 0o755)?;
        symlink(link, &place).map_err(failed("make the link", &place))?;
    }
    Ok(())
}

fn write(place: &Path, from: impl Read, executable: bool, budget: &mut Budget) -> Result<(), UnpackError> {
    let mode = if executable { 0o755 } else { 0o644 };
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(mode).open(place).map_err(failed("write", place))?;
    let written = io::copy(&mut from.take(budget.bytes + 1), &mut file).map_err(failed("write", place))?;
    budget.bytes = budget.bytes.checked_sub(written).ok_or(UnpackError::TooLarge)?;
    file.sync_all().map_err(failed("write", place))?;
    Ok(())
}
