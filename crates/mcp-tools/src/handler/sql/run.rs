//! Runs a compiled `[tool.sql]`: values are bound, the batch runs, its rows become a result.

use std::sync::Arc;

use super::columns::misfits;
use super::plan::{Query, SqlTool};
use super::shape::shaped;
use super::values::Values;
use super::{spans, words};
use crate::call_log::Outcome;
use crate::catalogue::{Arguments, RESULT};
use crate::database::{
    Access, Batch, BatchOutcome, Database, DatabaseError, Dialect, LogDetail, Statement, StatementTimes,
};
use crate::handler::call::CallInfo;
use crate::handler::context::Context;
use crate::handler::result::{Notice, ToolResult};

const NO_SETTINGS: &str = "sql.settings: SQLite has no settings of a transaction";

impl SqlTool {
    pub(crate) async fn run(&self, arguments: &Arguments, context: &Context, call: &CallInfo) -> ToolResult {
        let database = match context.databases.get(&self.database) {
            Ok(database) => database,
            Err(error) => return database_failed(&error, call),
        };
        let values = match self.values.of(arguments, &call.caller, &self.limit, database.dialect()) {
            Ok(values) => values,
            Err(reason) => {
                return ToolResult::failed(Outcome::Invalid, format!("Invalid arguments: {reason}"));
            }
        };
        let batch = match self.batch(&values, database.dialect()) {
            Ok(batch) => batch,
            Err(reason) => return ToolResult::failed(Outcome::Refused, reason),
        };
        let result = match self.traced(database, Batch { dry_run: call.dry_run, ..batch }, call).await {
            Ok(BatchOutcome::Rows(rows)) => shaped(self, rows, &values),
            Ok(BatchOutcome::Unmet(place)) => {
                let message = self.queries.get(place).and_then(Query::required);
                ToolResult::in_band(
                    Outcome::NotFound,
                    message.map(|text| text.to_text(arguments)).unwrap_or_default(),
                )
            }
            Err(DatabaseError::Caller(fault)) => {
                call.log_event("database_error", &fault.detail);
                ToolResult::failed(Outcome::Invalid, words::of_fault(&fault, self, &values))
            }
            Err(error) => database_failed(&error, call),
        };
        if call.dry_run && self.access == Access::Write { undone(result) } else { result }
    }

    /// Runs a batch; a call that is traced gets a span for each of its statements.
    async fn traced(
        &self,
        database: &Database,
        batch: Batch,
        call: &CallInfo,
    ) -> Result<BatchOutcome, DatabaseError> {
        let Some(trace) = call.trace.as_ref().filter(|trace| trace.is_recorded()) else {
            return database.run(batch).await;
        };
        let (statements, times) = (batch.statements.clone(), StatementTimes::default());
        let ended = database.run(Batch { times: Some(times.clone()), ..batch }).await;
        spans::add(trace, (&self.database, database.dialect()), &statements, &times, ended.as_ref().err());
        ended
    }

    fn batch(&self, values: &Values<'_>, dialect: Dialect) -> Result<Batch, String> {
        let statements = self.queries.iter().map(|query| {
            let rendered = query.rendered(dialect).map_err(|reason| not_for(dialect, query, reason))?;
            Ok(Statement {
                text: Arc::clone(&rendered.text),
                binds: rendered.names.iter().map(|name| values.get(name)).collect(),
                types: Arc::clone(&rendered.types),
                rows_max: query.rows_max,
                required: query.required().is_some(),
                typed: Arc::clone(&query.typed),
                columns: Arc::clone(&rendered.columns),
            })
        });
        let statements = statements.collect::<Result<_, String>>()?;
        let settings = self.options.settings.iter();
        let settings: Vec<_> =
            settings.map(|(name, template)| (name.clone(), values.filled(template))).collect();
        if dialect == Dialect::Sqlite && !settings.is_empty() {
            return Err(NO_SETTINGS.to_owned());
        }
        let isolation = self.options.isolation;
        let log = if self.options.log_reason { LogDetail::Whole } else { LogDetail::Names };
        Ok(Batch { isolation, settings, log, ..Batch::new(self.access, self.time_max, statements) })
    }

    /// The name of the database that this tool uses.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The statements that `database` would refuse, with its reasons.
    pub(crate) async fn check(&self, database: &Database) -> Vec<String> {
        let mut reasons = Vec::new();
        let dialect = database.dialect();
        if dialect == Dialect::Sqlite && !self.options.settings.is_empty() {
            reasons.push(NO_SETTINGS.to_owned());
        }
        for query in &self.queries {
            let rendered = match query.rendered(dialect) {
                Ok(rendered) => rendered,
                Err(reason) => {
                    reasons.push(not_for(dialect, query, reason));
                    continue;
                }
            };
            match database.check(&rendered.text, &rendered.types, self.access).await {
                Ok(columns) => reasons.extend(misfits(self, query, &columns)),
                Err(error) => {
                    reasons.push(format!(
                        "{}: {}",
                        query.key(),
                        error.detail().unwrap_or(&error.to_string())
                    ));
                }
            }
        }
        reasons
    }
}

/// The result of a dry run, with a word that nothing of it stayed.
fn undone(mut result: ToolResult) -> ToolResult {
    let text = "dry run: everything was undone, nothing has changed".to_owned();
    result.notices.push(Notice { key: "dry_run", place: RESULT.to_owned(), text });
    result
}

/// Why a statement cannot run on a database of this dialect.
fn not_for(dialect: Dialect, query: &Query, reason: &str) -> String {
    let (name, hint) = match dialect {
        Dialect::Sqlite => ("SQLite", "hint: move it to `postgres`, and write `query` for SQLite"),
        Dialect::Postgres => ("PostgreSQL", "hint: a text of its own in `postgres`"),
    };
    format!("{}: is no statement of {name}: it {reason} ({hint})", query.key())
}

fn database_failed(error: &DatabaseError, call: &CallInfo) -> ToolResult {
    if let Some(detail) = error.detail() {
        call.log_event("database_error", detail);
    }
    let outcome = match error {
        DatabaseError::NotConfigured(_) => Outcome::Refused,
        DatabaseError::Unreachable { .. }
        | DatabaseError::Busy
        | DatabaseError::Conflict { .. }
        | DatabaseError::Locked { .. }
        | DatabaseError::Unknown { .. } => Outcome::Unavailable,
        DatabaseError::Caller(_) => Outcome::Invalid,
        DatabaseError::Timeout(_) => Outcome::Timeout,
        DatabaseError::TooLarge
        | DatabaseError::TooDeep
        | DatabaseError::Infinite(_)
        | DatabaseError::ReadOnly { .. }
        | DatabaseError::Failed { .. } => Outcome::Failed,
    };
    ToolResult::failed(outcome, error.to_string())
}
