//! Texts with `{parameter}` in them.
//!
//! The caller of [`Template::fill`] decides how a value is encoded (for a path, a message). Must not know the text's purpose.

use serde_json::Value;

use crate::catalogue::{Argument, Arguments};

/// A text split at its parameters. `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
}

impl Template {
    /// As it was declared, for a span.
    pub(crate) fn declared(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Name(name) => format!("{{{name}}}"),
        };
        self.pieces.iter().map(piece).collect()
    }

    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '{' | '}' if letters.peek() == Some(&letter) => {
                    letters.next();
                    plain.push(letter);
                }
                '{' => {
                    let name: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                    let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                    if name.is_empty() || !name.chars().all(legal) {
                        return Err(format!(
                            "has {{{name}}}, which names no parameter (a brace is written {{{{)"
                        ));
                    }
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(Piece::Name(name));
                }
                '}' => return Err("has a } that closes nothing (a brace is written }})".into()),
                other => plain.push(other),
            }
        }
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Template { pieces })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The parameter, if the template consists of one only.
    pub(crate) fn only_name(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// The text with each parameter encoded by `write`; stops at its first error.
    pub(crate) fn fill<E>(
        &self,
        arguments: &Arguments,
        mut write: impl FnMut(&str, Argument<'_>) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut made = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => made.push_str(text),
                Piece::Name(name) => made.push_str(&write(name, arguments.argument(name))?),
            }
        }
        Ok(made)
    }

    /// The text for a reader.
    pub(crate) fn to_text(&self, arguments: &Arguments) -> String {
        self.fill(arguments, |_, value| Ok::<_, std::convert::Infallible>(value.plain())).unwrap_or_default()
    }
}

/// A value for a reader: text without quotes, everything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    Argument::Value(value).plain()
}
