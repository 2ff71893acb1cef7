//! A compiled `[tool.sql]`: its statements in both dialects, and what the rows of each are for.

use std::sync::Arc;
use std::time::Duration;

use super::options::Options;
use super::values::{Definitions, Limit};
use crate::catalogue::file::Shape;
use crate::database::{Access, BindType, Dialect, LastColumns, TypedColumns};
use crate::handler::template::Template;

/// A compiled `[tool.sql]`.
pub(crate) struct SqlTool {
    pub(crate) database: String,
    pub(crate) access: Access,
    pub(crate) time_max: Duration,
    pub(crate) shape: Shape,
    pub(crate) limit: Limit,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) values: Definitions,
    pub(crate) options: Options,
    pub(crate) queries: Vec<Query>,
}

pub(crate) struct Cursor {
    pub(crate) column: String,
    pub(crate) name: String,
}

pub(crate) struct Query {
    pub(crate) role: Role,
    pub(crate) sqlite: Result<Rendered, String>,
    pub(crate) postgres: Result<Rendered, String>,
    pub(crate) rows_max: usize,
    pub(crate) typed: Arc<TypedColumns>,
}

/// What the rows of a query are for.
pub(crate) enum Role {
    /// Must return a row, or the message is the result.
    Require(Template),
    Step,
    Count,
    /// The main query; with a message, it must yield a row as well.
    Main(Option<Template>),
    Section {
        name: String,
        shape: Shape,
    },
}

/// A statement in one dialect, with the names of its values in order.
pub(crate) struct Rendered {
    pub(crate) text: Arc<str>,
    pub(crate) names: Vec<String>,
    pub(crate) types: Arc<[BindType]>,
    pub(crate) columns: Arc<LastColumns>,
}

impl Query {
    /// The statement in a dialect, or why that dialect does not have it.
    pub(crate) fn rendered(&self, dialect: Dialect) -> Result<&Rendered, &str> {
        let rendered = match dialect {
            Dialect::Sqlite => &self.sqlite,
            Dialect::Postgres => &self.postgres,
        };
        rendered.as_ref().map_err(String::as_str)
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &Rendered> {
        [&self.sqlite, &self.postgres].into_iter().flatten()
    }

    /// The key of the declaration that the statement stands in.
    pub(crate) fn key(&self) -> String {
        match &self.role {
            Role::Require(_) => "sql.require".to_owned(),
            Role::Step => "sql.step".to_owned(),
            Role::Count | Role::Main(_) => "sql.query".to_owned(),
            Role::Section { name, .. } => format!("sql.section {name}"),
        }
    }

    pub(crate) fn required(&self) -> Option<&Template> {
        match &self.role {
            Role::Require(message) => Some(message),
            Role::Main(message) => message.as_ref(),
            Role::Step | Role::Count | Role::Section { .. } => None,
        }
    }
}
