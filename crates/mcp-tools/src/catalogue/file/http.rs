//! The TOML mirror of `[service.NAME]` and `[tool.http]`.

use indexmap::IndexMap;
use serde::Deserialize;

use super::sql::LetFile;

/// A service that `http` tools may call. Nothing else can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceFile {
    pub(crate) base_url: Option<String>,
    /// The environment variable that holds the base URL.
    pub(crate) base_url_env: Option<String>,
    /// The environment variable that holds the value of the `Authorization` header.
    pub(crate) authorization_env: Option<String>,
    /// Further header fields of every call.
    #[serde(default)]
    pub(crate) headers: IndexMap<String, String>,
    /// The same, whose values are in environment variables.
    #[serde(default)]
    pub(crate) headers_env: IndexMap<String, String>,
    /// Keys in the query of every call, whose values are in environment variables.
    #[serde(default)]
    pub(crate) query_env: IndexMap<String, String>,
}

/// A call of a service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpFile {
    pub(crate) service: String,
    pub(crate) method: HttpMethod,
    /// A `POST` that only reads: a search with a body, GraphQL.
    #[serde(default)]
    pub(crate) reads: bool,
    /// Below the base URL; `{parameter}` is encoded as one segment.
    pub(crate) path: String,
    /// `key = "{parameter}"`; left out when the parameter is null, repeated for each element of a list.
    #[serde(default)]
    pub(crate) query: IndexMap<String, String>,
    /// Header fields of this call, beside those of the service; left out when a parameter is null.
    #[serde(default)]
    pub(crate) headers: IndexMap<String, String>,
    /// The body; `"{parameter}"` alone keeps its type, and is left out when it is null.
    pub(crate) json: Option<toml::Value>,
    /// The media type of `json` where it is not `application/json`.
    pub(crate) content_type: Option<String>,
    /// The body as the fields of a form; written as `query` is.
    pub(crate) form: Option<IndexMap<String, String>>,
    /// Parameters whose list is one value in `query` and `form`, and what stands between its elements.
    #[serde(default)]
    pub(crate) lists: IndexMap<String, ListStyle>,
    /// The part of the service's JSON that is the result: a JSON Pointer, or a table of names with one each.
    pub(crate) pick: Option<toml::Value>,
    /// The result of the tool when the service succeeds; the service's response body when absent.
    pub(crate) result: Option<toml::Value>,
    /// Times computed from parameters; the time of the call is `{now}`.
    #[serde(default, rename = "let")]
    pub(crate) moments: IndexMap<String, LetFile>,
    /// Values of parameters that are not given.
    #[serde(default)]
    pub(crate) defaults: IndexMap<String, toml::Value>,
    /// Parameters that must be given although the schema lets them be left out.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// Regular expressions that whole values must match, by parameter. They are not part of the schema.
    #[serde(default)]
    pub(crate) patterns: IndexMap<String, String>,
    /// Sums over the list that the service returns, added to `result`.
    #[serde(default)]
    pub(crate) totals: IndexMap<String, TotalFile>,
    /// The error when the service responds with 404.
    pub(crate) not_found: Option<String>,
    /// Whether the caller learns the service's reason for not accepting a call (4xx).
    #[serde(default)]
    pub(crate) tell_reason: bool,
    /// Whether the log has the body of a response that is no success; it may repeat arguments.
    #[serde(default)]
    pub(crate) log_reason: bool,
    pub(crate) timeout_ms: Option<u64>,
}

/// A sum over a list of records: of one field, in all or for each value of another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TotalFile {
    pub(crate) sum: String,
    pub(crate) by: Option<String>,
}

/// The HTTP methods that a tool may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// How a list becomes text in a query or a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListStyle {
    Comma,
    Space,
    Pipe,
}
