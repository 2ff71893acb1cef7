//! SQL text with named values (`:name`), turned into the numbered form of a dialect.
//!
//! Quoted text, quoted names and comments stay unchanged, so a value is bound only where the declaration names it. Must
//! not know which names exist or what they hold.

use crate::database::Dialect;

/// A statement split at its named values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlText {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
}

/// The type a value is bound as; for PostgreSQL it becomes a cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Json,
    Moment,
}

impl Kind {
    fn postgres_type(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Integer => "bigint",
            Kind::Number => "double precision",
            Kind::Boolean => "boolean",
            Kind::Json => "jsonb",
            Kind::Moment => "timestamptz",
        }
    }
}

impl SqlText {
    /// Splits `sql` at its names. One statement only: a second one could not be bound or limited.
    pub(crate) fn parse(sql: &str) -> Result<SqlText, String> {
        let sql = sql.trim().trim_end_matches(';').trim_end();
        if sql.is_empty() {
            return Err("is empty".into());
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let taken = match skip(rest)? {
                Some(length) => length,
                None if first == ';' => return Err("holds more than one statement".into()),
                None if rest.starts_with("::") => 2,
                None if first == ':' => {
                    let name = name_at(&rest[1..]);
                    if name.is_empty() {
                        return Err("has a ':' that no name follows".into());
                    }
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Name(name.to_owned()));
                    rest = &rest[1 + name.len()..];
                    continue;
                }
                None if first == '$' || first == '?' => {
                    return Err(format!("has a '{first}' outside quotes; write :name for a value"));
                }
                None => first.len_utf8(),
            };
            text.push_str(&rest[..taken]);
            rest = &rest[taken..];
        }
        pieces.push(Piece::Text(text));
        Ok(SqlText { pieces })
    }

    /// The names, each once, in the order of appearance: the order in which values are bound.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for piece in &self.pieces {
            if let Piece::Name(name) = piece
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    /// The statement in a dialect.
    pub(crate) fn render(&self, dialect: Dialect, kind_of: impl Fn(&str) -> Kind) -> String {
        let names = self.names();
        let mut made = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => made.push_str(text),
                Piece::Name(name) => {
                    let number = 1 + names.iter().position(|known| known == name).unwrap_or_default();
                    match dialect {
                        Dialect::Sqlite => made.push_str(&format!("?{number}")),
                        Dialect::Postgres => {
                            made.push_str(&format!("(${number}::text)::{}", kind_of(name).postgres_type()));
                        }
                    }
                }
            }
        }
        made
    }
}

/// The length of a quoted text, quoted name or comment that starts here.
fn skip(rest: &str) -> Result<Option<usize>, String> {
    let until = |from: usize, end: &str, what: &str| {
        let found = rest.get(from..).and_then(|inner| inner.find(end));
        found.map(|at| Some(from + at + end.len())).ok_or_else(|| format!("has {what} that does not end"))
    };
    if rest.starts_with('\'') {
        return until(1, "'", "a quoted text");
    }
    if rest.starts_with('"') {
        return until(1, "\"", "a quoted name");
    }
    if rest.starts_with("--") {
        return Ok(Some(rest.find('\n').unwrap_or(rest.len())));
    }
    if rest.starts_with("/*") {
        return until(2, "*/", "a comment");
    }
    Ok(None)
}

fn name_at(rest: &str) -> &str {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = rest.bytes().take_while(legal).count();
    if rest.starts_with(|first: char| first.is_ascii_digit()) { "" } else { &rest[..length] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, sqlite: &str, postgres: &str) {
        let text = SqlText::parse(sql).unwrap();
        let kind = |name: &str| if name == "n" { Kind::Integer } else { Kind::Text };
        assert_eq!(text.render(Dialect::Sqlite, kind), sqlite);
        assert_eq!(text.render(Dialect::Postgres, kind), postgres);
    }

    #[test]
    fn numbers_names_by_first_appearance_and_reuses_the_number() {
        check(
            "SELECT :a, :n WHERE :a = x;",
            "SELECT ?1, ?2 WHERE ?1 = x",
            "SELECT ($1::text)::text, ($2::text)::bigint WHERE ($1::text)::text = x",
        );
    }

    #[test]
    fn leaves_quotes_comments_and_casts_alone() {
        let kept = "SELECT ':a', 'it''s :b', \":c\" /* :d ; */, x::text -- :e ;\nFROM t";
        check(kept, kept, kept);
    }

    #[test]
    fn refuses_what_could_not_be_bound_safely() {
        for sql in [
            "",
            " ; ",
            "SELECT 1; DROP TABLE t",
            "SELECT $1",
            "SELECT ?",
            "SELECT : a",
            "SELECT 'x",
            "/* x",
            "SELECT :1",
        ] {
            assert!(SqlText::parse(sql).is_err(), "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_renders_a_name(sql in "\\PC{0,80}") {
            if let Ok(text) = SqlText::parse(&sql) {
                text.render(Dialect::Sqlite, |_| Kind::Text);
                text.render(Dialect::Postgres, |_| Kind::Text);
            }
        }
    }
}
