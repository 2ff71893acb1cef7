//! One statement of a declaration in both dialects.
//!
//! Must not know what its rows are for.

use std::sync::Arc;

use super::plan::Rendered;
use super::text::{RenderedText, SqlText};
use crate::database::{BindType, Dialect};

/// A statement as SQLite and as PostgreSQL read it; one of them may be unable to.
pub(super) struct Texts {
    sqlite: Result<SqlText, String>,
    postgres: Result<SqlText, String>,
}

impl Texts {
    /// Reads `query`, and `postgres` where one text does not fit both. A text of its own must fit its dialect.
    pub(super) fn parse(query: &str, postgres: Option<&str>) -> Result<Texts, Vec<String>> {
        let sqlite = SqlText::parse(query, Dialect::Sqlite);
        let shared = postgres.is_none();
        let postgres = SqlText::parse(postgres.unwrap_or(query), Dialect::Postgres);
        let fits =
            if shared { sqlite.is_ok() || postgres.is_ok() } else { sqlite.is_ok() && postgres.is_ok() };
        if fits {
            return Ok(Texts { sqlite, postgres });
        }
        let mut reasons: Vec<String> = [sqlite.err(), postgres.err()].into_iter().flatten().collect();
        reasons.dedup();
        Err(reasons)
    }

    /// Gives up the reading of a dialect that has an unknown name where the other has none: in it, a text of the other ends early.
    pub(super) fn keep_known(&mut self, is_known: impl Fn(&str) -> bool) {
        let knows =
            |text: &Result<SqlText, String>| text.as_ref().is_ok_and(|text| text.names().all(&is_known));
        let (sqlite, postgres) = (knows(&self.sqlite), knows(&self.postgres));
        for (text, only_other) in
            [(&mut self.sqlite, postgres && !sqlite), (&mut self.postgres, sqlite && !postgres)]
        {
            if let Ok(read) = text
                && only_other
            {
                let unknown = read.names().find(|name| !is_known(name)).unwrap_or_default();
                *text = Err(format!(
                    "there is no parameter or let :{unknown} (hint: a text for each database, query and postgres)"
                ));
            }
        }
    }

    pub(super) fn map(&self, change: impl Fn(&SqlText) -> SqlText) -> Texts {
        let changed = |text: &Result<SqlText, String>| text.as_ref().map(&change).map_err(String::clone);
        Texts { sqlite: changed(&self.sqlite), postgres: changed(&self.postgres) }
    }

    fn each(&self) -> impl Iterator<Item = &SqlText> {
        [&self.sqlite, &self.postgres].into_iter().flatten()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.each().flat_map(SqlText::names)
    }

    /// Why the statement cannot be a page.
    pub(super) fn no_page(&self) -> Option<&'static str> {
        const WRITES: [&str; 4] = ["INSERT", "UPDATE", "DELETE", "MERGE"];
        if self.each().any(SqlText::is_limited) {
            return Some(
                "a page limits its rows itself; leave LIMIT out (hint: limit, limit_from, offset_from)",
            );
        }
        let writes = self.each().any(|text| WRITES.contains(&text.first_word()));
        writes.then_some("a page counts its rows, and a statement that writes can be run once only")
    }

    pub(super) fn render(&self, type_of: impl Fn(&str) -> BindType) -> [Result<Rendered, String>; 2] {
        [&self.sqlite, &self.postgres].map(|text| {
            let RenderedText { text, binds } = text.as_ref().map_err(String::clone)?.render(&type_of);
            let (names, types): (Vec<String>, Vec<BindType>) = binds.into_iter().unzip();
            Ok(Rendered { text: Arc::from(text), names, types: types.into(), columns: Arc::default() })
        })
    }
}
