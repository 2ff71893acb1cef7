//! Reads records for the operator's commands.
//!
//! The folder may belong to the guard's user while the reader is root: links are not followed, and reads are bounded.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::{Incident, IncidentError, failed, ids};

const BYTES_MAX: u64 = 16 << 20;

/// A record by its id.
pub(crate) fn read(folder: &Path, id: &str) -> Result<Option<Incident>, IncidentError> {
    if id.is_empty() || id.starts_with('.') || id.contains(['/', '\0']) {
        return Ok(None);
    }
    let path = folder.join(format!("{id}.json"));
    // The folder may belong to the guard's user, and the reader may be root.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path)(error)),
    };
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed(&path))?;
    serde_json::from_str(&text).map(Some).map_err(|error| failed(&path)(error.into()))
}

/// Every record of a folder that can be read, the newest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<Incident>, IncidentError> {
    Ok(ids(folder)?.iter().filter_map(|id| read(folder, id).ok().flatten()).collect())
}
