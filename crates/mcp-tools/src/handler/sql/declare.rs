//! Validates and compiles `[tool.sql]`, with every error reported at once.
//!
//! Must not run anything: only a database can show whether tables exist.

use std::sync::Arc;
use std::time::Duration;

use super::plan::{Cursor, Query, Rendered, Role, SqlTool};
use super::text::{Kind, SqlText};
use super::values::{Definitions, LIMIT, Limit, OFFSET};
use crate::catalogue::Input;
use crate::catalogue::file::{SectionFile, Shape, SqlFile};
use crate::database::{Access, Dialect, MAIN, TypedColumns};
use crate::handler::template::Template;

const ROWS_DEFAULT: usize = 200;
const ROWS_MAX: usize = 10_000;
const TIME_DEFAULT: Duration = Duration::from_secs(10);
const TIME_MAX_MS: u64 = 45_000;

/// Compiles a declaration.
pub(crate) fn build(mut file: SqlFile, read_only: bool, input: &Input) -> Result<SqlTool, Vec<String>> {
    let mut definitions = Definitions::new(input, std::mem::take(&mut file.values));
    let mut builder =
        Builder { definitions: &definitions, used: Vec::new(), reasons: Vec::new(), queries: Vec::new() };
    builder.check_computed();
    for require in &file.require {
        let message = builder.template("sql.require.message", &require.message);
        let role = Role::Require(message);
        builder.add(
            role,
            &require.query,
            require.postgres.as_deref(),
            1,
            TypedColumns::default(),
            "sql.require",
        );
    }
    for step in &file.step {
        if read_only {
            builder.reasons.push("sql.step: a tool that only reads has no steps".into());
        }
        let postgres = step.postgres.as_deref();
        builder.add(Role::Step, &step.query, postgres, 1, TypedColumns::default(), "sql.step");
    }
    let limit = builder.limit(&file);
    builder.main(&file, &limit);
    for section in &file.section {
        builder.section(section);
    }
    let time_max = builder.time_max(file.timeout_ms);
    builder.check_unused(&file);
    let Builder { reasons, queries, .. } = builder;
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let texts = queries.iter().flat_map(|query| [&query.sqlite, &query.postgres]);
    definitions.note_uses(texts.flat_map(|text| text.names.iter().map(String::as_str)));
    Ok(SqlTool {
        database: file.database.unwrap_or_else(|| MAIN.to_owned()),
        access: if read_only { Access::Read } else { Access::Write },
        time_max,
        shape: file.shape,
        limit,
        cursor: file.cursor.map(|cursor| Cursor { column: cursor.column, name: cursor.name }),
        values: definitions,
        queries,
    })
}

struct Builder<'a> {
    definitions: &'a Definitions,
    used: Vec<String>,
    reasons: Vec<String>,
    queries: Vec<Query>,
}

impl Builder<'_> {
    fn check_computed(&mut self) {
        for (name, sources) in self.definitions.sources() {
            if self.definitions.has_param(name) {
                self.reasons.push(format!("sql.let.{name}: has the name of a parameter"));
            }
            for source in sources {
                if !self.definitions.has_param(source) {
                    self.reasons.push(format!("sql.let.{name}: there is no parameter {source}"));
                }
                self.used.push(source.to_owned());
            }
        }
    }

    fn template(&mut self, key: &str, text: &str) -> Template {
        let template = Template::parse(text).unwrap_or_else(|reason| {
            self.reasons.push(format!("{key}: {reason}"));
            Template::default()
        });
        for name in template.names() {
            if !self.definitions.has_param(name) {
                self.reasons.push(format!("{key}: there is no parameter {name}"));
            }
        }
        template
    }

    fn limit(&mut self, file: &SqlFile) -> Limit {
        let rows = self.rows("sql.limit", file.limit);
        for (key, param) in [("sql.limit_from", &file.limit_from), ("sql.offset_from", &file.offset_from)] {
            let Some(param) = param else { continue };
            if self.definitions.kind(param) != Some(Kind::Integer) || !self.definitions.has_param(param) {
                self.reasons.push(format!("{key}: {param} is not an integer parameter"));
            }
            if file.shape != Shape::Page {
                self.reasons.push(format!("{key}: only a page has a limit and an offset"));
            }
            self.used.push(param.clone());
        }
        if file.cursor.is_some() && file.shape != Shape::Page {
            self.reasons.push("sql.cursor: only a page has a cursor".into());
        }
        Limit { rows, rows_from: file.limit_from.clone(), offset_from: file.offset_from.clone() }
    }

    fn rows(&mut self, key: &str, given: Option<usize>) -> usize {
        let rows = given.unwrap_or(ROWS_DEFAULT);
        if !(1..=ROWS_MAX).contains(&rows) {
            self.reasons.push(format!("{key}: {rows} is not allowed; must be 1 to {ROWS_MAX}"));
        }
        rows
    }

    fn time_max(&mut self, given: Option<u64>) -> Duration {
        match given {
            Some(ms) if !(1..=TIME_MAX_MS).contains(&ms) => {
                self.reasons.push(format!("sql.timeout_ms: {ms} is not allowed; must be 1 to {TIME_MAX_MS}"));
                TIME_DEFAULT
            }
            Some(ms) => Duration::from_millis(ms),
            None => TIME_DEFAULT,
        }
    }

    fn main(&mut self, file: &SqlFile, limit: &Limit) {
        let typed = TypedColumns { json: file.json.clone(), boolean: file.boolean.clone() };
        let postgres = file.postgres.as_deref();
        let query = match (&file.query, file.shape) {
            (Some(_), Shape::Sections) => {
                return self.reasons.push("sql.query: has no place in the shape sections".into());
            }
            (None, Shape::Sections) if file.section.is_empty() => {
                return self.reasons.push("sql.section: the shape sections needs at least one".into());
            }
            (None, Shape::Sections) => return,
            (None, _) => return self.reasons.push("sql.query: is missing".into()),
            (Some(query), _) => query,
        };
        let not_found = file.not_found.as_ref().map(|text| self.template("sql.not_found", text));
        match file.shape {
            Shape::Page => {
                let bare = |sql: &str| sql.trim().trim_end_matches(';').trim_end().to_owned();
                let count = |sql: &str| format!("SELECT COUNT(*) AS n FROM ({}\n) AS _all", bare(sql));
                let paged = |sql: &str| format!("{}\nLIMIT :{LIMIT} OFFSET :{OFFSET}", bare(sql));
                if not_found.is_some() {
                    self.reasons.push("sql.not_found: an empty page is an answer".into());
                }
                // Parse the statement alone first: inside the subquery, half a statement could go unnoticed.
                if let Err(reason) = SqlText::parse(query) {
                    return self.reasons.push(format!("sql.query: {reason}"));
                }
                let counted = postgres.map(count);
                self.add(
                    Role::Count,
                    &count(query),
                    counted.as_deref(),
                    1,
                    TypedColumns::default(),
                    "sql.query",
                );
                let paged_postgres = postgres.map(paged);
                let role = Role::Main(None);
                self.add(role, &paged(query), paged_postgres.as_deref(), limit.rows, typed, "sql.query");
            }
            Shape::Row => {
                let message = not_found.unwrap_or_else(|| self.template("sql.not_found", "Nothing found."));
                self.add(Role::Main(Some(message)), query, postgres, 1, typed, "sql.query");
            }
            Shape::Rows | Shape::Map | Shape::Value | Shape::Sections => {
                self.add(Role::Main(not_found), query, postgres, limit.rows, typed, "sql.query");
            }
        }
    }

    fn section(&mut self, section: &SectionFile) {
        let key = format!("sql.section {}", section.name);
        if matches!(section.shape, Shape::Page | Shape::Sections) {
            self.reasons.push(format!("{key}: shape must be one of rows, row, value, map"));
        }
        let rows = self.rows(&format!("{key}: limit"), section.limit);
        let typed = TypedColumns { json: section.json.clone(), boolean: section.boolean.clone() };
        let role = Role::Section { name: section.name.clone(), shape: section.shape };
        self.add(role, &section.query, section.postgres.as_deref(), rows, typed, &key);
    }

    fn add(
        &mut self,
        role: Role,
        query: &str,
        postgres: Option<&str>,
        rows_max: usize,
        typed: TypedColumns,
        key: &str,
    ) {
        let sqlite = self.render(query, Dialect::Sqlite, key);
        let postgres = self.render(postgres.unwrap_or(query), Dialect::Postgres, key);
        if let (Some(sqlite), Some(postgres)) = (sqlite, postgres) {
            self.queries.push(Query { role, sqlite, postgres, rows_max, typed: Arc::new(typed) });
        }
    }

    fn render(&mut self, sql: &str, dialect: Dialect, key: &str) -> Option<Rendered> {
        let text = match SqlText::parse(sql) {
            Ok(text) => text,
            Err(reason) => {
                self.report(format!("{key}: {reason}"));
                return None;
            }
        };
        for name in text.names() {
            if self.definitions.kind(name).is_none() {
                self.report(format!("{key}: there is no parameter or let :{name}"));
            }
            self.used.push(name.to_owned());
        }
        let rendered = text.render(dialect, |name| self.definitions.kind(name).unwrap_or(Kind::Text));
        let names = text.names().into_iter().map(str::to_owned).collect();
        Some(Rendered { text: rendered.into(), names })
    }

    /// Both dialects of a query can have the same mistake; it is reported once.
    fn report(&mut self, reason: String) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn check_unused(&mut self, file: &SqlFile) {
        for param in self.definitions.params() {
            let declared = file.unused.iter().any(|unused| unused == param);
            if !declared && !self.used.iter().any(|used| used == param) {
                self.reasons.push(format!(
                    "sql: the parameter {param} has no effect (hint: unused = [\"{param}\"] if that is meant)"
                ));
            }
        }
    }
}
