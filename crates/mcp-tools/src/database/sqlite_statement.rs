//! Which statements may run on a SQLite connection that other calls use after this one.
//!
//! A transaction is begun and ended by the batch alone, and a connection keeps its settings. Must not run anything.

use super::batch::Dialect;
use super::lexer::{Token, tokens_as_sent};

/// Words that begin a statement which works within a transaction.
const KNOWN: &[&str] = &[
    "SELECT", "VALUES", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER",
    "EXPLAIN", "ANALYZE", "REINDEX",
];

/// The reason when a statement has no place in a batch.
pub(super) fn check(text: &str) -> Result<(), String> {
    let tokens = tokens_as_sent(text, Dialect::Sqlite).map_while(Result::ok);
    let mut solid = tokens.filter(|token| !matches!(token, Token::Blank(_) | Token::End)).peekable();
    let explains = solid.next_if(|token| is(token, "EXPLAIN")).is_some();
    if explains && solid.next_if(|token| is(token, "QUERY")).is_some() {
        // PLAN
        solid.next();
    }
    // SQLite reports a statement that is empty.
    let Some(first) = solid.next() else { return Ok(()) };
    if is(&first, "PRAGMA") {
        return Err("PRAGMA cannot run here (hint: SELECT * FROM pragma_NAME(...) reads one)".to_owned());
    }
    if !KNOWN.iter().any(|word| is(&first, word)) {
        return Err(format!("a statement of this kind cannot run here (known: {})", KNOWN.join(", ")));
    }
    if is(&first, "CREATE") && is_temporary(solid) {
        return Err("CREATE TEMP cannot run here: what it makes would stay on the connection, which other calls use (hint: a query in WITH)".to_owned());
    }
    Ok(())
}

/// Whether the words after CREATE make something temporary.
fn is_temporary<'a>(after: impl Iterator<Item = Token<'a>>) -> bool {
    let mut name = None;
    for (place, token) in after.enumerate() {
        if place == 0 && (is(&token, "TEMP") || is(&token, "TEMPORARY")) {
            return true;
        }
        match token {
            Token::Word(text) | Token::Literal(text) => name = Some(text),
            // The schema of what is made.
            Token::Mark(".") => {
                let quotes = ['"', '\'', '`', '[', ']'];
                return name.is_some_and(|name| name.trim_matches(quotes).eq_ignore_ascii_case("temp"));
            }
            Token::Mark("(") => return false,
            Token::Blank(_) | Token::Operator(_) | Token::Mark(_) | Token::Name(_) | Token::End => {}
        }
    }
    false
}

fn is(token: &Token<'_>, name: &str) -> bool {
    matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(name))
}
