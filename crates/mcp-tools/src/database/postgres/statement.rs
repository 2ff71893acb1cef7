//! The form in which a statement is sent: what yields rows is wrapped, so that the server writes each row as JSON.
//!
//! Reads the text no further than its clauses. Must not connect to anything.

use super::super::batch::{Access, Dialect};
use super::super::lexer::{Token, tokens_as_sent};

/// The wrapper's own name. `.*` after it is always the whole row, even when a column has this name.
const ROW: &str = "_mcp_row";

/// Words that begin a statement which changes data and may have RETURNING.
const CHANGES: &[&str] = &["INSERT", "UPDATE", "DELETE", "MERGE"];

/// Words that begin a statement which yields rows wherever a table can stand.
const QUERIES: &[&str] = &["SELECT", "VALUES", "TABLE"];

/// Further statements that may run within a transaction. What they call, as a function in a query, can still leave
/// something on the connection, such as an advisory lock of the session.
const OTHERS: &[&str] = &[
    "SHOW", "EXPLAIN", "CALL", "DO", "TRUNCATE", "CREATE", "DROP", "ALTER", "COMMENT", "GRANT", "REVOKE",
    "ANALYZE", "REFRESH", "LOCK", "NOTIFY",
];

/// Of those, the ones that change something.
const DEFINITIONS: &[&str] =
    &["TRUNCATE", "CREATE", "DROP", "ALTER", "COMMENT", "GRANT", "REVOKE", "REFRESH", "NOTIFY"];

/// What a statement's text says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape<'a> {
    text: &'a str,
    kind: Kind,
    /// Where the main statement begins, after its WITH.
    main_at: usize,
    /// Whether it changes something by its words alone; a function may still do so.
    pub(super) writes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Yields rows and can stand in a FROM or a WITH.
    Query,
    /// Its rows, or the number of rows that it changed, come as they are.
    Direct,
    /// Makes something temporary, which stays on the connection.
    Temporary,
    Refused,
}

/// A statement as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) text: String,
    pub(super) rows: RowForm,
}

/// How a row arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowForm {
    /// One column: the row as the text of a JSON object.
    Object,
    /// The statement's own columns.
    Columns,
}

impl<'a> Shape<'a> {
    pub(super) fn of(text: &'a str) -> Shape<'a> {
        let (words, bracket_first) = words(text);
        let first = words.iter().find(|word| word.depth == 0);
        let shape = |kind, main_at, writes| Shape { text, kind, main_at, writes };
        // A query in parentheses.
        let Some(first) = first.filter(|_| !bracket_first) else {
            return shape(Kind::Query, 0, false);
        };
        let (main, changed_before) = match first.is("WITH") {
            true => main_of(&words),
            false => (Some(first), false),
        };
        let Some(main) = main else { return shape(Kind::Query, 0, changed_before) };
        let within = |list: &[&str]| list.iter().any(|word| main.is(word));
        let at_top = |name: &str| words.iter().any(|word| word.depth == 0 && word.is(name));
        if within(CHANGES) {
            let kind = if at_top("RETURNING") { Kind::Query } else { Kind::Direct };
            return shape(kind, main.start, true);
        }
        if within(QUERIES) {
            return shape(Kind::Query, main.start, changed_before);
        }
        if (main.is("CREATE") || main.is("EXPLAIN")) && is_temporary(&words) {
            return shape(Kind::Temporary, main.start, true);
        }
        let local =
            main.is("SET") && words.get(1).is_some_and(|word| word.is("LOCAL") || word.is("CONSTRAINTS"));
        let kind = if within(OTHERS) || local { Kind::Direct } else { Kind::Refused };
        shape(kind, main.start, within(DEFINITIONS))
    }

    /// The form that is sent; the reason when the statement has no place in a batch.
    pub(super) fn sent(&self, access: Access, rows_max: usize) -> Result<Sent, String> {
        let text = self.text;
        let object = |text| Ok(Sent { text, rows: RowForm::Object });
        match (self.kind, access) {
            (Kind::Query, Access::Read) if !self.writes => {
                // One row more than fits shows that the result is cut.
                let limit = rows_max.saturating_add(1);
                object(format!("SELECT row_to_json({ROW}.*)::text FROM ({text}\n) AS {ROW} LIMIT {limit}"))
            }
            // What changes something must stand in the outermost WITH, and runs to its end whatever is read of it.
            (Kind::Query, Access::Read | Access::Write) => {
                let (before, main) = text.split_at(self.main_at);
                let with = if before.trim().is_empty() { "WITH" } else { "," };
                object(format!(
                    "{before}{with} {ROW} AS ({main}\n) SELECT row_to_json({ROW}.*)::text FROM {ROW}"
                ))
            }
            (Kind::Direct, Access::Read | Access::Write) => {
                Ok(Sent { text: text.to_owned(), rows: RowForm::Columns })
            }
            (Kind::Temporary, Access::Read | Access::Write) => Err(
                "what is temporary would stay on the connection, which other calls use (hint: ON COMMIT DROP, or a query in WITH)"
                    .to_owned(),
            ),
            (Kind::Refused, Access::Read | Access::Write) => Err(format!(
                "a statement of this kind cannot run here (known: WITH, {}, {}, {}, SET LOCAL)",
                QUERIES.join(", "),
                CHANGES.join(", "),
                OTHERS.join(", ")
            )),
        }
    }
}

/// The word that begins the main statement after WITH, and whether one of the named queries changes data.
fn main_of<'w, 'a>(words: &'w [Word<'a>]) -> (Option<&'w Word<'a>>, bool) {
    let mut changes = false;
    // A named query may have a name that begins a statement elsewhere.
    let mut name_follows = true;
    for (place, word) in words.iter().enumerate().skip(1) {
        let begins = CHANGES.iter().chain(QUERIES).any(|verb| word.is(verb));
        if word.depth == 1 && word.after_bracket && CHANGES.iter().any(|verb| word.is(verb)) {
            changes = true;
        }
        if word.depth != 0 {
            continue;
        }
        name_follows |= word.after_comma;
        if name_follows && !(place == 1 && word.is("RECURSIVE")) {
            name_follows = false;
        } else if begins {
            return (Some(word), changes);
        }
    }
    (None, changes)
}

/// A word outside quotes and comments.
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    start: usize,
    /// Brackets that are open around it.
    depth: usize,
    after_comma: bool,
    after_bracket: bool,
}

impl<'a> Word<'a> {
    fn new(text: &'a str, start: usize, depth: usize, before: Option<Token<'_>>) -> Word<'a> {
        let after = |mark| before == Some(Token::Mark(mark));
        Word { text, start, depth, after_comma: after(","), after_bracket: after("(") }
    }

    fn is(&self, name: &str) -> bool {
        self.text.eq_ignore_ascii_case(name)
    }
}

/// The words of a statement, and whether a bracket stands before them.
fn words(text: &str) -> (Vec<Word<'_>>, bool) {
    let mut words = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    let mut before = None;
    let mut bracket_first = false;
    // PostgreSQL itself reports what does not end.
    for token in tokens_as_sent(text, Dialect::Postgres).map_while(Result::ok) {
        match token {
            Token::Blank(_) => {}
            Token::Word(word) => words.push(Word::new(word, start, depth, before)),
            Token::Literal(name) if name.starts_with('"') => {
                words.push(Word::new(name, start, depth, before));
            }
            Token::Mark("(" | "[") => {
                bracket_first |= before.is_none();
                depth += 1;
            }
            Token::Mark(")" | "]") => depth = depth.saturating_sub(1),
            Token::Literal(_) | Token::Operator(_) | Token::Mark(_) | Token::Name(_) | Token::End => {}
        }
        start += token.length();
        if !matches!(token, Token::Blank(_)) {
            before = Some(token);
        }
    }
    (words, bracket_first)
}

/// Whether a statement makes something temporary that does not end with the transaction.
fn is_temporary(words: &[Word<'_>]) -> bool {
    let top: Vec<&Word<'_>> = words.iter().filter(|word| word.depth == 0).collect();
    let Some(create) = top.iter().position(|word| word.is("CREATE")) else { return false };
    let leading = |word: &&&Word<'_>| ["OR", "REPLACE", "GLOBAL", "LOCAL"].iter().any(|name| word.is(name));
    let kind = top[create + 1..].iter().find(|word| !leading(word));
    let temporary = kind.is_some_and(|word| word.is("TEMP") || word.is("TEMPORARY"))
        || words.iter().any(|word| word.is("pg_temp") || word.is("\"pg_temp\""));
    let dropped =
        top.windows(3).any(|three| three[0].is("ON") && three[1].is("COMMIT") && three[2].is("DROP"));
    temporary && !dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "SELECT row_to_json(_mcp_row.*)::text FROM (";
    const END: &str = "\n) SELECT row_to_json(_mcp_row.*)::text FROM _mcp_row";

    #[track_caller]
    fn check(access: Access, text: &str, expect: &str) {
        let sent = Shape::of(text).sent(access, 5).map(|sent| sent.text);
        assert_eq!(sent.as_deref().unwrap_or("refused"), expect, "{text}");
    }

    #[test]
    fn a_read_is_limited_to_one_row_more_than_fits() {
        for text in [
            "SELECT 1",
            "VALUES (1)",
            "TABLE t",
            "(SELECT 1) UNION (SELECT 2)",
            "/* ( */ (SELECT 1)",
            "WITH n AS (SELECT 1) SELECT * FROM n",
        ] {
            check(Access::Read, text, &format!("{READ}{text}\n) AS _mcp_row LIMIT 6"));
        }
    }

    #[test]
    fn a_write_with_rows_stands_in_the_outermost_with() {
        let insert = "INSERT INTO t VALUES ('RETURNING') RETURNING id";
        check(Access::Write, insert, &format!("WITH _mcp_row AS ({insert}{END}"));
        check(Access::Write, "SELECT f()", &format!("WITH _mcp_row AS (SELECT f(){END}"));
        let before =
            "WITH RECURSIVE a AS (SELECT 1), \"select\" (x) AS NOT MATERIALIZED (DELETE FROM t RETURNING x) ";
        let main = "SELECT * FROM a";
        check(Access::Write, &format!("{before}{main}"), &format!("{before}, _mcp_row AS ({main}{END}"));
        let before = "WITH update AS (SELECT 1), values AS (SELECT 2) ";
        check(Access::Write, &format!("{before}{insert}"), &format!("{before}, _mcp_row AS ({insert}{END}"));
    }

    #[test]
    fn what_has_no_rows_or_cannot_stand_in_a_query_is_sent_as_it_is() {
        for text in [
            "INSERT INTO t VALUES ('RETURNING') -- RETURNING",
            "WITH n AS (SELECT 1) DELETE FROM t WHERE (SELECT returning FROM x)",
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING",
            "SHOW TimeZone",
            "EXPLAIN SELECT 1",
            "SET LOCAL work_mem = '8MB'",
        ] {
            check(Access::Write, text, text);
        }
    }

    #[test]
    fn what_would_end_the_transaction_or_outlive_it_is_refused() {
        for text in [
            "COMMIT",
            "ROLLBACK",
            "SET work_mem = '8MB'",
            "PREPARE p AS SELECT 1",
            "COPY t TO STDOUT",
            "LISTEN x",
        ] {
            check(Access::Write, text, "refused");
        }
    }

    #[test]
    fn comments_and_continued_texts_end_where_postgresql_ends_them() {
        for value in ["1 -- '\r", "E'a'\n'\\''", "U&'x' /* ( /* */ */"] {
            let insert = format!("INSERT INTO t VALUES ({value}) RETURNING id");
            check(Access::Write, &insert, &format!("WITH _mcp_row AS ({insert}{END}"));
        }
    }

    #[test]
    fn tells_a_write_by_its_words() {
        for (text, writes) in [
            ("SELECT 'INSERT'", false),
            ("SELECT $a$ ' INSERT $a$, E'\\' INSERT'", false),
            ("WITH insert AS (SELECT 1) SELECT * FROM insert", false),
            ("WITH n AS (/* x */ INSERT INTO t VALUES (1) RETURNING 1) SELECT 1", true),
            ("-- SELECT\nupdate t SET a = 1", true),
            ("TRUNCATE t", true),
            ("SHOW x", false),
        ] {
            assert_eq!(Shape::of(text).writes, writes, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "([A-Za-z]{1,8}|[ ,()'\"$/*\\-\\\\]|\\PC){0,40}") {
            let _ = Shape::of(&text).sent(Access::Write, 1);
        }
    }
}
