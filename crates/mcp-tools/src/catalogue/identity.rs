//! How the server presents itself to clients: the table `[server]` of a catalogue, with defaults.

use std::sync::Arc;

use super::file::ServerFile;

/// The name of a server whose catalogue gives none.
const NAME: &str = "mcp-tools";

/// Name, title, version and instructions of the server.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) version: String,
    pub(crate) instructions: Option<Arc<str>>,
}

impl Identity {
    /// The declared identity. `instructions` are those in effect, wherever they were read from.
    pub(crate) fn new(file: Option<ServerFile>, instructions: Option<Arc<str>>) -> Identity {
        let file = file.unwrap_or_else(|| ServerFile { name: NAME.to_owned(), ..ServerFile::default() });
        Identity {
            name: file.name,
            title: file.title,
            version: file.version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            instructions,
        }
    }
}
