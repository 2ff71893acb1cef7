//! A file's text: read within bounds, parsed as TOML with every syntax error reported.
//!
//! Must not know what stands in the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use crate::config::diagnostics;
use crate::config::diagnostics::DiagnosticSink;

pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {bytes_max} bytes")]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("{path} is not UTF-8 text")]
    NotText { path: PathBuf },
}

impl ReadError {
    /// Whether this process may not read the file.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, ReadError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Reads a text file of at most `bytes_max` bytes.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<String, ReadError> {
    let path = || path.to_owned();
    let failed = |source| ReadError::Io { path: path(), source };
    let file = File::open(path()).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::TooLarge { path: path(), bytes_max });
    }
    String::from_utf8(bytes).map_err(|_| ReadError::NotText { path: path() })
}

/// The folder of a file: relative paths in the file start there.
pub(super) fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Parses TOML, or reports every syntax error. What could be recovered from a broken text is not judged: it is a guess.
pub(super) fn parse<'t>(text: &'t str, sink: &DiagnosticSink) -> Option<Spanned<DeTable<'t>>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let sound = errors.is_empty();
    for error in errors {
        // Only the message: the error's own display quotes the line, which may hold a secret.
        let key = error.span().and_then(|span| text.get(span)).filter(|_| error.message() == "duplicate key");
        let reason = match key {
            Some(key) => format!("{} {}", error.message(), diagnostics::name(key)),
            None => error.message().to_owned(),
        };
        sink.syntax(error.span().map(|span| span.start), &reason);
    }
    sound.then_some(table)
}
