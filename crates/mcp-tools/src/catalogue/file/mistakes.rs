//! Reads one declaration with all its mistakes: a value that cannot be read is recorded, removed, and the rest read again.
//!
//! A deserializer stops at the first mistake. Must not know what a declaration means.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Error, ValueDeserializer};

/// The most mistakes that are reported for one declaration.
const MISTAKES_MAX: usize = 64;

/// The span of a placeholder for a missing value; no text is that long.
const NOWHERE: std::ops::Range<usize> = usize::MAX..usize::MAX;

/// One mistake: where in the text, the key below the declaration (empty for the declaration itself), and what is wrong.
pub(crate) struct Mistake {
    pub(crate) at: usize,
    pub(crate) key: String,
    pub(crate) reason: String,
}

/// The readable part of a declaration, and the mistakes of the rest.
pub(crate) struct Read<T> {
    /// Without the mistaken keys; `None` if too little is left.
    pub(crate) declaration: Option<T>,
    pub(crate) mistakes: Vec<Mistake>,
}

/// One step from a value to a value inside it.
#[derive(Clone, PartialEq)]
enum Step {
    Key(String),
    Place(usize),
}

/// Reads a declaration.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(mut value: Spanned<DeValue<'_>>) -> Read<T> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    while mistakes.len() < MISTAKES_MAX {
        let error = match parse::<T>(&value) {
            Ok(declaration) => return Read { declaration: Some(declaration), mistakes },
            Err(error) => error,
        };
        let at = error.span().map_or(value.span().start, |span| span.start);
        let mut path = place_of(&value, &error);
        let missing = missing_field(error.message());
        if let Some(name) = missing {
            path.push(Step::Key(name.to_owned()));
        }
        let key = spelled(&path);
        // A removed value is missing now: that is no further mistake.
        let known = missing.is_some() && mistakes.iter().any(|mistake| mistake.key == key);
        if !known {
            let reason = match missing {
                Some(_) => "is missing".to_owned(),
                None => plain(error.message()),
            };
            mistakes.push(Mistake { at, key, reason });
        }
        let mended = match missing {
            Some(_) => fill::<T>(&mut value, &path),
            None => take_out(&mut value, &path),
        };
        if !mended {
            break;
        }
    }
    Read { declaration: None, mistakes }
}

fn parse<T: for<'de> Deserialize<'de>>(value: &Spanned<DeValue<'_>>) -> Result<T, Error> {
    T::deserialize(ValueDeserializer::from(value.clone()))
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// The path of the smallest value whose key or text contains the error.
fn place_of(value: &Spanned<DeValue<'_>>, error: &Error) -> Vec<Step> {
    let Some(span) = error.span() else { return Vec::new() };
    let mut found = (usize::MAX, Vec::new());
    visit(value, &mut Vec::new(), &mut |path, part| {
        let size = part.end - part.start;
        if part.start <= span.start && span.end <= part.end && size <= found.0 {
            found = (size, path.to_vec());
        }
    });
    found.1
}

fn visit(
    value: &Spanned<DeValue<'_>>,
    path: &mut Vec<Step>,
    see: &mut impl FnMut(&[Step], std::ops::Range<usize>),
) {
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table {
                path.push(Step::Key(key.get_ref().clone().into_owned()));
                see(path, key.span());
                see(path, value.span());
                visit(value, path, see);
                path.pop();
            }
        }
        DeValue::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                path.push(Step::Place(place));
                see(path, value.span());
                visit(value, path, see);
                path.pop();
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// `sql.let.since`, `sql.require[2].message`; places count from one.
fn spelled(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Place(place) => text.push_str(&format!("[{}]", place + 1)),
        }
    }
    text
}

/// Removes a part, and its container if that is empty then. False if there was nothing to remove.
fn take_out(value: &mut Spanned<DeValue<'_>>, path: &[Step]) -> bool {
    let Some((last, rest)) = path.split_last() else { return false };
    let Some(holder) = part(value, rest) else { return false };
    let (taken, empty) = match (holder.get_mut(), last) {
        (DeValue::Table(table), Step::Key(key)) => (table.remove(key.as_str()).is_some(), table.is_empty()),
        (DeValue::Array(values), Step::Place(place)) if *place < values.len() => {
            let kept = std::mem::replace(values, DeArray::new());
            for (at, value) in kept.into_iter().enumerate() {
                if at != *place {
                    values.push(value);
                }
            }
            (true, values.is_empty())
        }
        (_, _) => (false, false),
    };
    taken && (!empty || rest.is_empty() || take_out(value, rest))
}

fn part<'a, 'i>(value: &'a mut Spanned<DeValue<'i>>, path: &[Step]) -> Option<&'a mut Spanned<DeValue<'i>>> {
    let Some((first, rest)) = path.split_first() else { return Some(value) };
    match (value.get_mut(), first) {
        (DeValue::Table(table), Step::Key(key)) => part(table.get_mut(key.as_str())?, rest),
        (DeValue::Array(values), Step::Place(place)) => part(values.get_mut(*place)?, rest),
        (_, _) => None,
    }
}

/// Inserts a placeholder for a missing value, so that the rest can be read; if no plain value fits, removes the table that
/// lacks it.
fn fill<T: for<'de> Deserialize<'de>>(value: &mut Spanned<DeValue<'_>>, path: &[Step]) -> bool {
    let Some((Step::Key(name), rest)) = path.split_last() else { return false };
    let mut fillers =
        vec![DeValue::Table(DeTable::new()), DeValue::String("".into()), DeValue::Boolean(false)];
    while let Some(filler) = fillers.pop() {
        let Some(DeValue::Table(table)) = part(value, rest).map(Spanned::get_mut) else { return false };
        table.insert(Spanned::new(NOWHERE, name.clone().into()), Spanned::new(NOWHERE, filler));
        match parse::<T>(value) {
            Err(error) if error.span() == Some(NOWHERE) => {
                fillers.extend(first_variant(error.message()).map(|name| DeValue::String(name.into())));
            }
            Ok(_) | Err(_) => return true,
        }
    }
    take_out(value, rest)
}

/// The first variant that the error about an empty text lists.
fn first_variant(message: &str) -> Option<String> {
    let listed = message.strip_prefix("unknown variant ``, expected ")?;
    listed.split('`').nth(1).map(str::to_owned)
}

/// A reason without the names of Rust's types.
fn plain(reason: &str) -> String {
    let whole = "expected a whole number";
    ["usize", "u32", "u64", "i64"]
        .iter()
        .fold(reason.to_owned(), |text, kind| text.replace(&format!("expected {kind}"), whole))
}
