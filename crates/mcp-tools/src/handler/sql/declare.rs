//! Validates and compiles `[tool.sql]`, with every error reported at once.
//!
//! Must not run anything: only a database can show whether tables exist.

use std::sync::Arc;
use std::time::Duration;

use super::options::{Options, template};
use super::plan::{Cursor, Query, Role, SqlTool};
use super::texts::Texts;
use super::values::{Definitions, LIMIT, Limit, OFFSET, filled_in};
use crate::catalogue::Input;
use crate::catalogue::file::{IdentityFile, SectionFile, Shape, SqlFile};
use crate::database::{Access, BindType, MAIN, TypedColumns};
use crate::handler::template::Template;

const ROWS_DEFAULT: usize = 200;
const ROWS_MAX: usize = 10_000;
const TIME_DEFAULT: Duration = Duration::from_secs(10);
const TIME_MAX_MS: u64 = 600_000;

/// Compiles a declaration.
pub(crate) fn build(
    mut file: SqlFile,
    read_only: bool,
    identity: IdentityFile,
    input: &Input,
) -> Result<SqlTool, Vec<String>> {
    let mut definitions = Definitions::new(input, std::mem::take(&mut file.values), identity);
    let mut builder =
        Builder { definitions: &definitions, used: Vec::new(), reasons: Vec::new(), queries: Vec::new() };
    builder.check_names(&file);
    builder.check_computed();
    for require in &file.require {
        let message = builder.template("sql.require.message", &require.message);
        let texts = builder.texts(&require.query, require.postgres.as_deref(), "sql.require");
        builder.add(Role::Require(message), texts, 1, TypedColumns::default());
    }
    for step in &file.step {
        if read_only {
            builder.reasons.push("sql.step: a tool that only reads has no steps".into());
        }
        let texts = builder.texts(&step.query, step.postgres.as_deref(), "sql.step");
        builder.add(Role::Step, texts, 1, TypedColumns::default());
    }
    let limit = builder.limit(&file);
    builder.main(&file, &limit);
    for section in &file.section {
        builder.section(section);
    }
    let time_max = builder.time_max(file.timeout_ms);
    let options = Options::take(&mut file, &definitions, &mut builder.used, &mut builder.reasons);
    builder.check_unused(&file);
    let Builder { reasons, queries, .. } = builder;
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let texts = queries.iter().flat_map(Query::texts);
    definitions.note_uses(texts.flat_map(|text| text.names.iter().map(String::as_str)));
    Ok(SqlTool {
        database: file.database.unwrap_or_else(|| MAIN.to_owned()),
        access: if read_only { Access::Read } else { Access::Write },
        time_max,
        shape: file.shape,
        limit,
        cursor: file.cursor.map(|cursor| Cursor { column: cursor.column, name: cursor.name }),
        values: definitions,
        options,
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
    /// A value that a statement has anyway would silently replace one of the same name.
    fn check_names(&mut self, file: &SqlFile) {
        let lets = self.definitions.sources().map(|(name, _)| (format!("sql.let.{name}"), name));
        let params = self.definitions.params().map(|name| (format!("params.{name}"), name));
        for (key, name) in params.chain(lets) {
            if let Some(what) = filled_in(name) {
                self.reasons.push(format!(
                    "{key}: statements have a :{name} of their own, {what}; choose another name"
                ));
            }
        }
        let mut taken = match file.shape {
            Shape::Page if !file.total => vec!["items", "has_more"],
            Shape::Page => vec!["items", "total_count", "has_more"],
            Shape::Row | Shape::Rows | Shape::Sections | Shape::Value | Shape::Map => Vec::new(),
        };
        let cursor = file.cursor.iter().map(|cursor| ("sql.cursor.name".to_owned(), cursor.name.as_str()));
        let sections =
            file.section.iter().map(|part| (format!("sql.section {}", part.name), part.name.as_str()));
        for (key, name) in cursor.chain(sections) {
            if taken.contains(&name) {
                self.reasons.push(format!("{key}: the result already has a key {name}; choose another name"));
            }
            taken.push(name);
        }
        if !file.section.is_empty() && matches!(file.shape, Shape::Rows | Shape::Value) {
            self.reasons.push("sql.section: the shapes rows and value have no place for sections (hint: shape = \"sections\")".into());
        }
    }

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
        template(key, text, |name| self.definitions.has_param(name), &mut self.reasons)
    }

    fn limit(&mut self, file: &SqlFile) -> Limit {
        let rows = self.rows("sql.limit", file.limit);
        for (key, param) in [("sql.limit_from", &file.limit_from), ("sql.offset_from", &file.offset_from)] {
            let Some(param) = param else { continue };
            if self.definitions.kind(param) != Some(BindType::Integer) || !self.definitions.has_param(param) {
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
        if !file.total && file.shape != Shape::Page {
            self.reasons.push("sql.total: only a page counts its rows".into());
        }
        Limit {
            rows,
            looks_ahead: !file.total,
            rows_from: file.limit_from.clone(),
            offset_from: file.offset_from.clone(),
        }
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
        let texts = self.texts(query, file.postgres.as_deref(), "sql.query");
        match file.shape {
            Shape::Page => {
                if not_found.is_some() {
                    self.reasons.push("sql.not_found: an empty page is a result".into());
                }
                let Some(texts) = texts else { return };
                if let Some(reason) = texts.no_page() {
                    self.reasons.push(format!("sql.query: {reason}"));
                }
                if file.total {
                    let count = texts.map(|text| text.within("SELECT COUNT(*) AS n FROM (", "\n) AS _all"));
                    self.add(Role::Count, Some(count), 1, TypedColumns::default());
                }
                let paged = texts
                    .map(|text| text.clone().followed_by("\nLIMIT ", LIMIT).followed_by(" OFFSET ", OFFSET));
                let rows = limit.rows + usize::from(limit.looks_ahead);
                self.add(Role::Main(None), Some(paged), rows, typed);
            }
            Shape::Row => {
                let message = not_found.unwrap_or_else(|| self.template("sql.not_found", "Nothing found."));
                self.add(Role::Main(Some(message)), texts, 1, typed);
            }
            Shape::Rows | Shape::Map | Shape::Value | Shape::Sections => {
                self.add(Role::Main(not_found), texts, limit.rows, typed);
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
        let texts = self.texts(&section.query, section.postgres.as_deref(), &key);
        self.add(role, texts, rows, typed);
    }

    /// The statement in both dialects. A text for both may have what one of them lacks; then it runs on the other only.
    fn texts(&mut self, query: &str, postgres: Option<&str>, key: &str) -> Option<Texts> {
        let mut texts = match Texts::parse(query, postgres) {
            Ok(texts) => texts,
            Err(reasons) => {
                reasons.into_iter().for_each(|reason| self.report(format!("{key}: {reason}")));
                return None;
            }
        };
        if postgres.is_none() {
            texts.keep_known(|name| self.definitions.kind(name).is_some());
        }
        for name in texts.names() {
            if self.definitions.kind(name).is_none() {
                let hint = match filled_in(name) {
                    Some(_) => format!(" (hint: identity = {{ {name} = true }} of the tool)"),
                    None => String::new(),
                };
                self.report(format!("{key}: there is no parameter or let :{name}{hint}"));
            }
            self.used.push(name.to_owned());
        }
        Some(texts)
    }

    fn add(&mut self, role: Role, texts: Option<Texts>, rows_max: usize, typed: TypedColumns) {
        let Some(texts) = texts else { return };
        let type_of = |name: &str| self.definitions.kind(name).unwrap_or(BindType::Text);
        let [sqlite, postgres] = texts.render(type_of);
        self.queries.push(Query { role, sqlite, postgres, rows_max, typed: Arc::new(typed) });
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
