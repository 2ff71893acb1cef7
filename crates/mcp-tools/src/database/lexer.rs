//! Tokens of SQL, as far as they decide what is a named value: quotes, comments, words and colons of each dialect.
//!
//! Follows the lexer of each database, so that the text of a declaration means here what it means there. Must not know
//! which names exist.

use super::batch::Dialect;

/// One token of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// White space or a comment.
    Blank(&'a str),
    /// A key word or a name without quotes.
    Word(&'a str),
    /// A number, a quoted text or a quoted name.
    Literal(&'a str),
    /// A run of letters of operators.
    Operator(&'a str),
    /// Anything else.
    Mark(&'a str),
    /// `:name`, without its colon.
    Name(&'a str),
    /// `;`
    End,
}

impl Token<'_> {
    /// Its bytes in the statement.
    pub(crate) fn length(&self) -> usize {
        match self {
            Token::Blank(text)
            | Token::Word(text)
            | Token::Literal(text)
            | Token::Operator(text)
            | Token::Mark(text) => text.len(),
            Token::Name(name) => 1 + name.len(),
            Token::End => 1,
        }
    }
}

const OPERATORS: &str = "~!@#^&|`?+-*/%<>=";

/// Splits `sql` into tokens.
pub(crate) fn tokens(sql: &str, dialect: Dialect) -> Result<Vec<Token<'_>>, String> {
    if sql.contains('\0') {
        return Err("has a NUL character".into());
    }
    Tokens { rest: sql, dialect, values: Values::Named, brackets: 0 }.collect()
}

/// The tokens of a statement as it is sent: its values are `$1` or `?1`, and no colon names one.
pub(crate) fn tokens_as_sent(sql: &str, dialect: Dialect) -> Tokens<'_> {
    Tokens { rest: sql, dialect, values: Values::Numbered, brackets: 0 }
}

/// How a statement writes its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Named,
    Numbered,
}

/// The tokens of a statement, one after the other; an error is the last.
pub(crate) struct Tokens<'a> {
    rest: &'a str,
    dialect: Dialect,
    values: Values,
    brackets: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.chars().next()?;
        let read = match (self.values, self.dialect) {
            (Values::Numbered, _) if numbered(self.rest, self.dialect).is_some() => {
                Ok(taken(self.rest, numbered(self.rest, self.dialect).unwrap_or_default(), Token::Literal))
            }
            // A name was replaced by its number, so this colon is one of a slice.
            (Values::Numbered, _) if first == ':' && !self.rest.starts_with("::") => {
                Ok(taken(self.rest, 1, Token::Mark))
            }
            (_, Dialect::Sqlite) => sqlite(self.rest),
            (_, Dialect::Postgres) => postgres(self.rest, self.brackets > 0),
        };
        match &read {
            Ok((token, length)) => {
                self.rest = &self.rest[*length..];
                if *token == Token::Mark("[") {
                    self.brackets += 1;
                } else if *token == Token::Mark("]") {
                    self.brackets = self.brackets.saturating_sub(1);
                }
            }
            Err(_) => self.rest = "",
        }
        Some(read.map(|(token, _)| token))
    }
}

/// The length of a value's number, with its sign.
fn numbered(rest: &str, dialect: Dialect) -> Option<usize> {
    let sign = match dialect {
        Dialect::Sqlite => '?',
        Dialect::Postgres => '$',
    };
    let number = rest.strip_prefix(sign)?;
    let digits = number.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(number.len());
    (digits > 0).then_some(1 + digits)
}

fn sqlite(rest: &str) -> Result<(Token<'_>, usize), String> {
    let first = rest.chars().next().unwrap_or_default();
    let literal = |length| Ok(taken(rest, length, Token::Literal));
    match first {
        '`' => literal(until(rest, 1, "`", "a quoted name")?),
        '[' => literal(until(rest, 1, "]", "a quoted name")?),
        // SQLite takes each for a value without a name, which nothing would be bound to.
        '$' | '?' | '@' => Err(not_a_value(first)),
        '/' if rest.starts_with("/*") => Ok(taken(rest, until(rest, 2, "*/", "a comment")?, Token::Blank)),
        _ => common(rest, first, false),
    }
}

fn postgres(rest: &str, in_brackets: bool) -> Result<(Token<'_>, usize), String> {
    let first = rest.chars().next().unwrap_or_default();
    match first {
        '$' => match dollar_quoted(rest)? {
            Some(length) => Ok(taken(rest, length, Token::Literal)),
            None => Err(not_a_value('$')),
        },
        'e' | 'E' if rest[1..].starts_with('\'') => Ok(taken(rest, escaped_text(rest)?, Token::Literal)),
        '/' if rest.starts_with("/*") => Ok(taken(rest, nested_comment(rest)?, Token::Blank)),
        _ if OPERATORS.contains(first) && !rest.starts_with("--") => {
            let run = rest.find(|letter| !OPERATORS.contains(letter)).unwrap_or(rest.len());
            let comment = ["--", "/*"].into_iter().filter_map(|begin| rest[..run].find(begin)).min();
            Ok(taken(rest, comment.unwrap_or(run), Token::Operator))
        }
        _ => common(rest, first, in_brackets),
    }
}

/// What both dialects have.
fn common(rest: &str, first: char, in_brackets: bool) -> Result<(Token<'_>, usize), String> {
    if is_blank(first) {
        let length = rest.find(|letter| !is_blank(letter)).unwrap_or(rest.len());
        return Ok(taken(rest, length, Token::Blank));
    }
    if rest.starts_with("--") {
        return Ok(taken(rest, rest.find(['\n', '\r']).unwrap_or(rest.len()), Token::Blank));
    }
    if starts_word(first) {
        return Ok(taken(rest, word_length(rest), Token::Word));
    }
    match first {
        '\'' => Ok(taken(rest, until(rest, 1, "'", "a quoted text")?, Token::Literal)),
        '"' => Ok(taken(rest, until(rest, 1, "\"", "a quoted name")?, Token::Literal)),
        ';' => Ok((Token::End, 1)),
        ':' if rest.starts_with("::") || rest.starts_with(":=") => Ok(taken(rest, 2, Token::Mark)),
        ':' => {
            let name = &rest[1..=name_length(&rest[1..])];
            match name {
                // The bounds of a slice: `tags[1:2]`.
                "" if in_brackets => Ok(taken(rest, 1, Token::Mark)),
                "" => Err("has a ':' that no name follows".into()),
                name => Ok((Token::Name(name), 1 + name.len())),
            }
        }
        _ if first.is_ascii_digit() => {
            let within = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
            Ok(taken(rest, rest.find(|letter| !within(letter)).unwrap_or(rest.len()), Token::Literal))
        }
        _ => Ok(taken(rest, first.len_utf8(), Token::Mark)),
    }
}

fn taken<'a>(rest: &'a str, length: usize, kind: fn(&'a str) -> Token<'a>) -> (Token<'a>, usize) {
    (kind(&rest[..length]), length)
}

pub(crate) fn not_a_value(sign: char) -> String {
    format!("has a '{sign}' outside quotes; write :name for a value")
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// Both databases take every letter beyond ASCII for a part of a name.
fn starts_word(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}

fn word_length(rest: &str) -> usize {
    let within = |letter: char| starts_word(letter) || letter.is_ascii_digit() || letter == '$';
    rest.find(|letter| !within(letter)).unwrap_or(rest.len())
}

/// The name of a value; unlike a word it holds no `$`, nor what is no letter.
fn name_length(rest: &str) -> usize {
    let within = |letter: char| letter.is_alphanumeric() || letter == '_';
    let length = rest.find(|letter| !within(letter)).unwrap_or(rest.len());
    if rest.starts_with(|first: char| first.is_ascii_digit()) { 0 } else { length }
}

/// The length up to and with `end`, which is searched from `from`. A doubled quote reads as the end and a new beginning.
fn until(rest: &str, from: usize, end: &str, what: &str) -> Result<usize, String> {
    let found = rest.get(from..).and_then(|inner| inner.find(end));
    found.map(|at| from + at + end.len()).ok_or_else(|| format!("has {what} that does not end"))
}

/// `$$...$$` and `$tag$...$tag$`.
fn dollar_quoted(rest: &str) -> Result<Option<usize>, String> {
    let within = |letter: char| starts_word(letter) || letter.is_ascii_digit();
    let Some(length) = rest[1..].find(|letter| !within(letter)) else { return Ok(None) };
    let tag = &rest[..length + 1];
    if !rest[tag.len()..].starts_with('$') || tag[1..].starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(None);
    }
    let mark = &rest[..tag.len() + 1];
    until(rest, mark.len(), mark, "a quoted text").map(Some)
}

/// `E'...'`, where a backslash quotes the next letter. Its parts on further lines are read the same way.
fn escaped_text(rest: &str) -> Result<usize, String> {
    let bytes = rest.as_bytes();
    let mut at = 2;
    loop {
        match bytes.get(at) {
            None => return Err("has a quoted text that does not end".into()),
            Some(b'\\') => at += 2,
            Some(b'\'') if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            Some(b'\'') => match next_part(&rest[at + 1..]) {
                Some(length) => at += 1 + length,
                None => return Ok(at + 1),
            },
            Some(_) => at += 1,
        }
    }
}

/// The length up to and with the quote that continues a text on a further line.
fn next_part(rest: &str) -> Option<usize> {
    let mut at = 0;
    let mut lines = false;
    loop {
        let left = &rest[at..];
        let first = left.chars().next()?;
        if is_blank(first) {
            lines |= matches!(first, '\n' | '\r');
            at += 1;
        } else if left.starts_with("--") {
            at += left.find(['\n', '\r'])?;
        } else {
            return (first == '\'' && lines).then_some(at + 1);
        }
    }
}

/// Comments of PostgreSQL nest.
fn nested_comment(rest: &str) -> Result<usize, String> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let left = rest.get(at..).unwrap_or_default();
        if left.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if left.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Ok(at);
            }
        } else {
            let step = left.chars().next().map(char::len_utf8);
            at += step.ok_or("has a comment that does not end")?;
        }
    }
}
