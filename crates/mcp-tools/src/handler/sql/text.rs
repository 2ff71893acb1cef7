//! SQL text with named values (`:name`), turned into the numbered form of a dialect.
//!
//! Quoted text, quoted names and comments stay unchanged, so a value is bound only where the declaration names it. Must
//! not know which names exist or what they hold.

use crate::database::{BindType, Dialect, Token, not_a_value, tokens};

/// A statement of one dialect, split at its named values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlText {
    dialect: Dialect,
    pieces: Vec<Piece>,
    first_word: String,
    limited: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
    /// A value of which only is asked whether it is NULL.
    NullTest(String),
}

/// A statement as its database takes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RenderedText {
    pub(crate) text: String,
    /// The values in the order of their numbers: a name can have two, of different types.
    pub(crate) binds: Vec<(String, BindType)>,
}

impl SqlText {
    /// Splits `sql` at its names. One statement only: a second one could not be bound or limited.
    pub(crate) fn parse(sql: &str, dialect: Dialect) -> Result<SqlText, String> {
        let tokens = tokens(sql, dialect)?;
        let statement = one_statement(&tokens)?;
        check_question_marks(statement)?;
        let mut made = SqlText { dialect, pieces: Vec::new(), first_word: String::new(), limited: false };
        let mut depth = 0_usize;
        for (at, token) in statement.iter().enumerate() {
            match *token {
                Token::Name(name) if is_null_test(&statement[at + 1..]) => {
                    made.pieces.push(Piece::NullTest(name.to_owned()));
                }
                Token::Name(name) => made.pieces.push(Piece::Name(name.to_owned())),
                Token::Blank(text)
                | Token::Word(text)
                | Token::Literal(text)
                | Token::Operator(text)
                | Token::Mark(text) => made.push(text),
                Token::End => {}
            }
            match *token {
                Token::Word(word) if made.first_word.is_empty() => {
                    made.first_word = word.to_ascii_uppercase()
                }
                Token::Word(word) if depth == 0 => made.limited |= word.eq_ignore_ascii_case("LIMIT"),
                Token::Mark("(") => depth += 1,
                Token::Mark(")") => depth = depth.saturating_sub(1),
                Token::Blank(_)
                | Token::Word(_)
                | Token::Literal(_)
                | Token::Operator(_)
                | Token::Mark(_)
                | Token::Name(_)
                | Token::End => {}
            }
        }
        Ok(made)
    }

    /// The key word that the statement begins with, in capitals.
    pub(crate) fn first_word(&self) -> &str {
        &self.first_word
    }

    /// Whether the statement limits its rows itself.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited
    }

    /// The statement between two texts.
    pub(crate) fn within(&self, before: &str, after: &str) -> SqlText {
        let mut made = SqlText { pieces: vec![Piece::Text(before.to_owned())], ..self.clone() };
        made.pieces.extend(self.pieces.iter().cloned());
        made.push(after);
        made
    }

    /// The statement with a text and a value after it.
    pub(crate) fn followed_by(mut self, text: &str, name: &str) -> SqlText {
        self.push(text);
        self.pieces.push(Piece::Name(name.to_owned()));
        self
    }

    fn push(&mut self, more: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push_str(more),
            Some(Piece::Name(_) | Piece::NullTest(_)) | None => {
                self.pieces.push(Piece::Text(more.to_owned()))
            }
        }
    }

    /// The names of the values.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Name(name) | Piece::NullTest(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The statement in the numbered form of its dialect.
    pub(crate) fn render(&self, type_of: impl Fn(&str) -> BindType) -> RenderedText {
        let mut text = String::new();
        let mut binds: Vec<(String, BindType)> = Vec::new();
        for piece in &self.pieces {
            let (name, bind_type) = match (piece, self.dialect) {
                (Piece::Text(verbatim), _) => {
                    text.push_str(verbatim);
                    continue;
                }
                // PostgreSQL infers no type from a test for NULL, and the type of another place would not fit it.
                (Piece::NullTest(name), Dialect::Postgres) => (name, BindType::Cast),
                (Piece::Name(name) | Piece::NullTest(name), _) => (name, type_of(name)),
            };
            let known = binds.iter().position(|bind| bind.0 == *name && bind.1 == bind_type);
            let number = 1 + known.unwrap_or(binds.len());
            if known.is_none() {
                binds.push((name.clone(), bind_type));
            }
            text.push(match self.dialect {
                Dialect::Sqlite => '?',
                Dialect::Postgres => '$',
            });
            text.push_str(&number.to_string());
        }
        RenderedText { text, binds }
    }
}

/// Whether the tokens after a value begin with `IS NULL` or `IS NOT NULL`.
fn is_null_test(after: &[Token<'_>]) -> bool {
    let solid = after.iter().filter(|token| !matches!(token, Token::Blank(_)));
    let mut words = solid.map(|token| match token {
        Token::Word(word) => word.to_ascii_uppercase(),
        Token::Blank(_)
        | Token::Literal(_)
        | Token::Operator(_)
        | Token::Mark(_)
        | Token::Name(_)
        | Token::End => String::new(),
    });
    let [first, second, third] = [words.next(), words.next(), words.next()].map(Option::unwrap_or_default);
    first == "IS" && (second == "NULL" || second == "NOT" && third == "NULL")
}

/// The tokens of the only statement. Comments around it stay: some are hints to the planner.
fn one_statement<'a, 'b>(tokens: &'b [Token<'a>]) -> Result<&'b [Token<'a>], String> {
    let is_solid = |token: &Token<'_>| !matches!(token, Token::Blank(_) | Token::End);
    let mut statements = tokens.split(|token| *token == Token::End).filter(|part| part.iter().any(is_solid));
    let statement = statements.next().ok_or("is empty")?;
    if statements.next().is_some() {
        return Err("holds more than one statement".into());
    }
    let is_white = |token: &Token<'_>| matches!(token, Token::Blank(text) if text.trim().is_empty());
    let begin = statement.iter().position(|token| !is_white(token)).unwrap_or_default();
    let end = statement.iter().rposition(|token| !is_white(token)).map_or(begin, |last| last + 1);
    Ok(&statement[begin..end])
}

/// A `?` is an operator of PostgreSQL between two operands only; elsewhere it was meant for a value.
fn check_question_marks(tokens: &[Token<'_>]) -> Result<(), String> {
    const BEFORE_VALUES: &[&str] = &[
        "AND",
        "BETWEEN",
        "ELSE",
        "ILIKE",
        "IN",
        "LIKE",
        "LIMIT",
        "NOT",
        "OFFSET",
        "OR",
        "RETURNING",
        "SELECT",
        "SET",
        "THEN",
        "VALUES",
        "WHEN",
        "WHERE",
    ];
    let solid: Vec<&Token<'_>> =
        tokens.iter().filter(|token| !matches!(token, Token::Blank(_) | Token::End)).collect();
    for (at, token) in solid.iter().enumerate() {
        if **token != Token::Operator("?") {
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| solid.get(before));
        let has_left = match before {
            Some(Token::Word(word)) => !BEFORE_VALUES.iter().any(|known| word.eq_ignore_ascii_case(known)),
            Some(Token::Literal(_) | Token::Name(_) | Token::Mark(")" | "]")) => true,
            Some(_) | None => false,
        };
        let has_right = match solid.get(at + 1) {
            Some(Token::Word(_) | Token::Literal(_) | Token::Name(_) | Token::Mark("(")) => true,
            Some(_) | None => false,
        };
        if !has_left || !has_right {
            return Err(not_a_value('?'));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(sql: &str, dialect: Dialect) -> Result<String, String> {
        SqlText::parse(sql, dialect).map(|text| text.render(|_| BindType::Text).text)
    }

    #[track_caller]
    fn check(sql: &str, sqlite: &str, postgres: &str) {
        assert_eq!(rendered(sql, Dialect::Sqlite).unwrap(), sqlite);
        assert_eq!(rendered(sql, Dialect::Postgres).unwrap(), postgres);
    }

    /// What PostgreSQL takes as it is, around one value `:a`.
    #[track_caller]
    fn check_postgres(sql: &str) {
        let whole = format!("{sql}, :a, {sql}");
        let expected = format!("{sql}, $1, {sql}");
        assert_eq!(rendered(&whole, Dialect::Postgres).as_deref(), Ok(&*expected));
    }

    #[test]
    fn sql_numbers_names_by_first_appearance_and_reuses_the_number() {
        check("SELECT :a, :n WHERE :a = x;", "SELECT ?1, ?2 WHERE ?1 = x", "SELECT $1, $2 WHERE $1 = x");
    }

    // PostgreSQL: `$1 IS NULL OR uid = $1` has no type for its first $1.
    #[test]
    fn sql_tests_for_null_have_a_value_of_their_own() {
        let text =
            SqlText::parse(":a is /**/ null OR :a = x OR :a IS NOT NULL OR :a IS x", Dialect::Postgres);
        let rendered = text.unwrap().render(|_| BindType::Text);
        assert_eq!(rendered.text, "$1 is /**/ null OR $2 = x OR $1 IS NOT NULL OR $2 IS x");
        assert_eq!(rendered.binds, [("a".to_owned(), BindType::Cast), ("a".to_owned(), BindType::Text)]);
        check(":a IS NULL OR :a = x", "?1 IS NULL OR ?1 = x", "$1 IS NULL OR $2 = x");
    }

    #[test]
    fn sql_quotes_comments_and_casts_are_left_alone() {
        let kept = "SELECT ':a', 'it''s :b', \":c\" /* :d ; */, x::text -- :e ;\nFROM t";
        check(kept, kept, kept);
        check("SELECT 1; -- done;\n/* ; */ ;", "SELECT 1", "SELECT 1");
        check("SELECT 1 -- kept", "SELECT 1 -- kept", "SELECT 1 -- kept");
    }

    #[test]
    fn sql_of_postgresql_is_read_as_postgresql_reads_it() {
        for sql in [
            "doc ? 'a'",
            "doc ?| array['a', ':b']",
            "doc ?& x",
            "doc @? '$.a[*] ? (@ > 2)'",
            "(doc) ? (x)",
            "tags[1:2]",
            "tags[:2]",
            "tags[1:]",
            "tags[:]",
            "tags[i : j]",
            "f(a := 1)",
            "f(a => 1)",
            "$$ :b ; $1 ' $$",
            "$tag$ $$ :b $other$ $tag$",
            "$größe$ :b $größe$",
            "a$b$c",
            r"E'it\'s :b'",
            r"e'\\'",
            "E'a' -- :b\n '\\' :b'",
            r"E'a''\':b'",
            r"typE'\'",
            r"U&'\0041 :b'",
            "U&\"d!0061t:a\" UESCAPE '!'",
            "B'101'",
            "x'1F'",
            "N':b'",
            "/* /* :b */ ' */ a",
            "a+--:b\n1",
            "a*/* :b */1",
            "\"col:a\"",
            "\"a\"\":b\"",
            "'a'\n':b'",
            "x::pg_catalog.\"char\"",
            "1.5e-3",
            "größe",
        ] {
            check_postgres(sql);
        }
    }

    #[test]
    fn sql_values_stand_where_they_are_named() {
        let postgres = |sql: &str| rendered(sql, Dialect::Postgres);
        let a = "$1";
        assert_eq!(postgres("tags[1 : :a]"), Ok(format!("tags[1 : {a}]")));
        assert_eq!(postgres("doc ? :a"), Ok(format!("doc ? {a}")));
        assert_eq!(postgres("f(x := :a)"), Ok(format!("f(x := {a})")));
        assert_eq!(postgres(":größe::date"), Ok(format!("{a}::date")));
        assert_eq!(postgres("-:a"), Ok(format!("-{a}")));
        // SQLite nests no comments, and quotes names by brackets and by backquotes as well.
        let sqlite = |sql: &str| rendered(sql, Dialect::Sqlite);
        assert_eq!(sqlite("[x:y], `:z`, /* /* */ :a"), Ok("[x:y], `:z`, /* /* */ ?1".into()));
    }

    #[test]
    fn sql_that_could_not_be_bound_safely_is_refused() {
        for sql in [
            "",
            " ; ",
            "-- nothing",
            "/* nothing */ ;",
            "SELECT 1; DROP TABLE t",
            "SELECT $1",
            "SELECT ?",
            "SELECT a WHERE b = ?",
            "VALUES (?, ?)",
            "SELECT a LIMIT ?",
            "SELECT a WHERE b IN (?) AND c LIKE ?",
            "SELECT : a",
            "SELECT 'x",
            "/* x",
            "SELECT :1",
            "SELECT 'a\0'",
        ] {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                assert!(SqlText::parse(sql, dialect).is_err(), "{sql}");
            }
        }
        for sql in [r"E'a\'", "$a$ $b$", "/* /* */", "$1a$ $1a$"] {
            assert!(SqlText::parse(sql, Dialect::Postgres).is_err(), "{sql}");
        }
        for sql in ["SELECT @a", "doc ? 'a'", "$$x$$", "tags[1:2"] {
            assert!(SqlText::parse(sql, Dialect::Sqlite).is_err(), "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn sql_without_names_is_never_changed(sql in r"([ -~\n\x{e9}]|--|/\*|\*/|\$\$|::|[eE]'){0,60}") {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                let Ok(text) = SqlText::parse(&sql, dialect) else { continue };
                let rendered = text.render(|_| BindType::Text);
                if rendered.binds.is_empty() {
                    proptest::prop_assert!(sql.contains(&rendered.text), "{rendered:?}");
                }
            }
        }
    }
}
