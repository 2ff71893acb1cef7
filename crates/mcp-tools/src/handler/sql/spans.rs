//! A span for each statement of a call: the operation, the tables, how long it took. Never the text, nor a value.

use mcp_traces::{Span, Status};

use crate::database::{
    DatabaseError, Dialect, Statement, StatementTime, StatementTimes, Token, tokens_as_sent,
};
use crate::traces::CallTrace;

/// Characters of a summary; OpenTelemetry asks for at most 255.
const SUMMARY_MAX: usize = 120;

/// What a statement is about, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// `SELECT`, `INSERT` and so on.
    pub(super) operation: String,
    /// The operation and its tables (`db.query.summary`).
    text: String,
}

impl Summary {
    pub(super) fn of(statement: &str, dialect: Dialect) -> Summary {
        let mut words =
            tokens_as_sent(statement, dialect).map_while(Result::ok).filter_map(|token| match token {
                Token::Word(word) => Some(word),
                Token::Blank(_) => None,
                // A quoted name is not told from a quoted value.
                Token::Literal(_) | Token::Operator(_) | Token::Mark(_) | Token::Name(_) | Token::End => {
                    Some("")
                }
            });
        let operation = words.next().unwrap_or_default().to_ascii_uppercase();
        let mut text = operation.clone();
        let mut before = operation.clone();
        for word in words {
            let names_a_table =
                ["FROM", "JOIN", "INTO", "UPDATE"].iter().any(|key| before.eq_ignore_ascii_case(key));
            let is_name = !word.is_empty()
                && !["SELECT", "SET", "LATERAL", "ONLY"].iter().any(|key| word.eq_ignore_ascii_case(key));
            if names_a_table && is_name && text.len() + word.len() < SUMMARY_MAX {
                text.push(' ');
                text.push_str(word);
            }
            word.clone_into(&mut before);
        }
        Summary { operation, text }
    }
}

/// Adds the spans of a batch. `failed` is its error, which is that of the statement that was running.
pub(super) fn add(
    trace: &CallTrace,
    (database, dialect): (&str, Dialect),
    statements: &[Statement],
    times: &StatementTimes,
    failed: Option<&DatabaseError>,
) {
    let (ended, running) = times.taken();
    let span_of = |statement: &Statement, time: &StatementTime| {
        let summary = Summary::of(&statement.text, dialect);
        let mut span = trace.child(trace.next_span(), summary.text.clone(), time.begun, time.took);
        describe(&mut span, &summary, database, dialect);
        span
    };
    for (statement, time) in statements.iter().zip(&ended) {
        trace.add(span_of(statement, time));
    }
    if let (Some(statement), Some(time), Some(error)) = (statements.get(ended.len()), running, failed) {
        let mut span = span_of(statement, &time);
        span.status = Status::Error;
        if let DatabaseError::Caller(fault) = error {
            span.text("db.response.status_code", fault.code.clone());
        }
        span.word("error.type", error.kind());
        trace.add(span);
    }
}

fn describe(span: &mut Span<'_>, summary: &Summary, database: &str, dialect: Dialect) {
    span.word(
        "db.system.name",
        match dialect {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgresql",
        },
    );
    span.text("db.operation.name", summary.operation.clone());
    span.text("db.query.summary", summary.text.clone());
    span.text("mcp_tools.database", database.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(statement: &str, expected: &str) {
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            let Summary { operation, text } = Summary::of(statement, dialect);
            assert_eq!(text, expected, "{statement}");
            assert!(text.starts_with(&operation));
        }
    }

    #[test]
    fn a_summary_has_the_operation_and_the_tables_and_no_value() {
        check("SELECT name FROM runs WHERE state = 'from secret' AND id = $1", "SELECT runs");
        check("select a from runs r join jobs j on j.run = r.id", "SELECT runs jobs");
        check("-- from nothing\nINSERT INTO runs (a) VALUES ('t0p')", "INSERT runs");
        check("UPDATE runs SET a = 'secret' WHERE b = 1", "UPDATE runs");
        check("DELETE FROM ONLY runs", "DELETE");
        check("WITH x AS (SELECT 1 FROM runs) SELECT * FROM x", "WITH runs x");
        check("SELECT * FROM \"t0p secret\"", "SELECT");
        check("SELECT 1", "SELECT");
        check("", "");
    }
}
