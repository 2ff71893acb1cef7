//! The `sql` handler: a declaration becomes statements with bound values, their rows become an answer.
//!
//! Must not know which database answers, nor the protocol.

mod declare;
mod shape;
mod text;
mod values;

use std::sync::Arc;
use std::time::Duration;

pub(super) use declare::build;

use super::Host;
use super::answer::{Done, Outcome};
use super::template::Template;
use crate::call_log;
use crate::catalogue::{Arguments, Shape};
use crate::database::{Access, Batch, Database, DatabaseError, Dialect, Ran, Statement, TypedColumns};
use values::Values;

/// A compiled `[tool.sql]`.
pub(crate) struct SqlTool {
    database: String,
    access: Access,
    time_max: Duration,
    shape: Shape,
    limit: Limit,
    cursor: Option<Cursor>,
    values: values::Definitions,
    queries: Vec<Query>,
}

struct Cursor {
    column: String,
    name: String,
}

/// How many rows the main query may answer.
struct Limit {
    rows: usize,
    rows_from: Option<String>,
    offset_from: Option<String>,
}

struct Query {
    role: Role,
    sqlite: Rendered,
    postgres: Rendered,
    rows_max: usize,
    typed: Arc<TypedColumns>,
}

/// What the rows of a query are for.
enum Role {
    /// Must yield a row, or the message is the answer.
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
struct Rendered {
    text: Arc<str>,
    names: Vec<String>,
}

impl Query {
    fn rendered(&self, dialect: Dialect) -> &Rendered {
        match dialect {
            Dialect::Sqlite => &self.sqlite,
            Dialect::Postgres => &self.postgres,
        }
    }

    fn required(&self) -> Option<&Template> {
        match &self.role {
            Role::Require(message) => Some(message),
            Role::Main(message) => message.as_ref(),
            Role::Step | Role::Count | Role::Section { .. } => None,
        }
    }
}

impl SqlTool {
    pub(super) async fn run(&self, arguments: &Arguments, host: &Host) -> Done {
        let database = match host.databases.get(&self.database) {
            Ok(database) => database,
            Err(error) => return told(&error),
        };
        let values = match self.values.of(arguments, &self.limit) {
            Ok(values) => values,
            Err(reason) => return Done::failed(Outcome::Invalid, format!("Invalid arguments: {reason}")),
        };
        match database.run(self.batch(&values, database.dialect())).await {
            Ok(Ran::Rows(rows)) => self.shaped(rows, &values),
            Ok(Ran::Unmet(place)) => {
                let message = self.queries.get(place).and_then(Query::required);
                Done::in_band(Outcome::NotFound, message.map(|text| text.told(arguments)).unwrap_or_default())
            }
            Err(error) => told(&error),
        }
    }

    fn batch(&self, values: &Values<'_>, dialect: Dialect) -> Batch {
        let statements = self.queries.iter().map(|query| {
            let rendered = query.rendered(dialect);
            Statement {
                text: Arc::clone(&rendered.text),
                binds: rendered.names.iter().map(|name| values.get(name)).collect(),
                rows_max: query.rows_max,
                required: query.required().is_some(),
                typed: Arc::clone(&query.typed),
            }
        });
        Batch { access: self.access, time_max: self.time_max, statements: statements.collect() }
    }

    /// The database this tool asks.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Whether every statement could run on `database`; says which could not, and why.
    pub(crate) async fn check(&self, database: &Database) -> Vec<String> {
        let mut reasons = Vec::new();
        for query in &self.queries {
            let rendered = query.rendered(database.dialect());
            if let Err(error) = database.check(&rendered.text, rendered.names.len(), self.access).await {
                let place = match &query.role {
                    Role::Require(_) => "sql.require".to_owned(),
                    Role::Step => "sql.step".to_owned(),
                    Role::Count | Role::Main(_) => "sql.query".to_owned(),
                    Role::Section { name, .. } => format!("sql.section {name}"),
                };
                reasons.push(format!("{place}: {}", error.detail().unwrap_or(&error.to_string())));
            }
        }
        reasons
    }
}

fn told(error: &DatabaseError) -> Done {
    if let Some(detail) = error.detail() {
        call_log::event("database_error", detail);
    }
    let outcome = match error {
        DatabaseError::NotConfigured(_) => Outcome::Refused,
        DatabaseError::Unreachable { .. } | DatabaseError::Busy => Outcome::Unavailable,
        DatabaseError::Timeout(_) => Outcome::Timeout,
        DatabaseError::TooLarge
        | DatabaseError::ReadOnly { .. }
        | DatabaseError::OutOfRange
        | DatabaseError::Failed { .. } => Outcome::Failed,
    };
    Done::failed(outcome, error.to_string())
}
