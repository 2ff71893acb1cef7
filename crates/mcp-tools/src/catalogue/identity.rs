//! How the server presents itself to clients: the table `[server]` of a catalogue, with defaults.

use std::sync::Arc;

use super::file::ServerFile;

/// Name, title, version and instructions of the server.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) version: String,
    pub(crate) instructions: Arc<str>,
}

impl Identity {
    /// The declared identity. `instructions` of the command line replace those of the catalogue.
    pub(crate) fn new(file: ServerFile, instructions: Option<Arc<str>>, default: &str) -> Identity {
        let instructions = instructions.or(file.instructions.map(Arc::from));
        Identity {
            name: file.name,
            title: file.title,
            version: file.version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            instructions: instructions.unwrap_or_else(|| default.into()),
        }
    }
}
