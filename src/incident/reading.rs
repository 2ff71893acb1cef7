//! Reads records for the operator's commands.
//!
//! The folder may belong to the guard's user while the reader is root: links are not followed, and reads are bounded.

use std::io;
use std::path::Path;

use mcp_host::files;

use super::{Incident, IncidentError, failed, ids};

const BYTES_MAX: u64 = 16 << 20;

/// A record by its id.
pub(crate) fn read(folder: &Path, id: &str) -> Result<Option<Incident>, IncidentError> {
    if id.is_empty() || id.starts_with('.') || id.contains(['/', '\0']) {
        return Ok(None);
    }
    let path = folder.join(format!("{id}.json"));
    let bytes = match files::read_foreign(&path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path)(error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&path)(error.into()))
}

/// Every record of a folder that can be read, the newest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<Incident>, IncidentError> {
    Ok(ids(folder)?.iter().filter_map(|id| read(folder, id).ok().flatten()).collect())
}
