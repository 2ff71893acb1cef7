//! The TOML mirror of `[database.NAME]`.

use serde::Deserialize;

/// Where a database is; exactly one key of the two is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatabaseFile {
    /// Without a password: other users may read the file.
    pub(crate) url: Option<String>,
    /// The variable that holds the URL.
    pub(crate) url_env: Option<String>,
}
