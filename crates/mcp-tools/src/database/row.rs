//! A row as the JSON texts of its values, written one after the other while the database is read.
//!
//! The text around the values is the same for all rows of a statement. A number keeps the digits of the database. Must not
//! know the database.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memchr;

use crate::json::{
    DEPTH_MAX, Json, TooDeep, indented_size, push_string, write_indented_in_string, write_plain_in_string,
};

/// JSON of a column is nested less deeply than what a result may be: it stands inside rows and sections.
const COLUMN_DEPTH_MAX: usize = DEPTH_MAX - 7;
/// How often larger than its text JSON may be when it is indented; beyond that, it counts as larger.
const GROWTH_FREE: usize = 4;
/// Names that are compared with each other; more of them are hashed.
const NAMES_COMPARED_MAX: usize = 16;

/// The columns of a statement, which its rows share.
#[derive(Debug, PartialEq)]
pub(crate) struct Columns {
    names: Vec<String>,
    /// What stands before each value: `{"name":`, then `,"name":`.
    keys: Vec<String>,
    /// The same in an object that is indented, as a part of a string: `{\n  \"name\": `.
    indented_keys: Vec<String>,
}

impl Columns {
    /// The error is the name that two columns have.
    pub(crate) fn new(names: Vec<String>) -> Result<Columns, String> {
        if let Some(name) = twice(&names) {
            return Err(name.to_owned());
        }
        let bracket = |place| if place == 0 { "{" } else { "," };
        let plain = |(place, name): (usize, &String)| {
            let mut key = String::from(bracket(place));
            push_string(name, &mut key);
            key.push(':');
            key
        };
        let indented = |(place, name): (usize, &String)| {
            let mut key = String::from(bracket(place));
            key.push_str("\\n  ");
            write_indented_in_string(Json::of(name).as_str(), 0, &mut key);
            key.push_str(": ");
            key
        };
        let keys = names.iter().enumerate().map(plain).collect();
        let indented_keys = names.iter().enumerate().map(indented).collect();
        Ok(Columns { keys, indented_keys, names })
    }

    pub(crate) fn name(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }
}

/// The columns that a statement had last. Another run nearly always has the same, and shares them.
#[derive(Debug, Default)]
pub(crate) struct LastColumns(Mutex<Option<Arc<Columns>>>);

impl LastColumns {
    /// The columns with these names; the error is the name that two of them have.
    pub(crate) fn named<'a>(
        &self,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Arc<Columns>, String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(columns) = &*last
            && columns.names.iter().map(String::as_str).eq(names.clone())
        {
            return Ok(Arc::clone(columns));
        }
        let columns = Arc::new(Columns::new(names.map(str::to_owned).collect())?);
        *last = Some(Arc::clone(&columns));
        Ok(columns)
    }
}

/// A name that two columns have: an object could hold only one of them.
pub(crate) fn twice(names: &[String]) -> Option<&str> {
    let mut names_so_far = names.iter().map(String::as_str).enumerate();
    if names.len() <= NAMES_COMPARED_MAX {
        return names_so_far
            .find(|(place, name)| names.iter().take(*place).any(|other| other == name))
            .map(|(_, name)| name);
    }
    let mut seen = HashSet::new();
    names_so_far.find(|(_, name)| !seen.insert(*name)).map(|(_, name)| name)
}

/// A row that is being written.
pub(crate) struct RowWriter(Row);

impl RowWriter {
    /// `size` is a guess of how long the values become.
    pub(crate) fn new(columns: &Arc<Columns>, size: usize) -> RowWriter {
        let ends = Vec::with_capacity(columns.names.len());
        let values = String::with_capacity(size);
        RowWriter(Row { columns: Arc::clone(columns), values, ends })
    }

    /// Adds the value of the next column, which `write` writes as JSON.
    pub(crate) fn value(&mut self, write: impl FnOnce(&mut String)) {
        let RowWriter(Row { values, ends, .. }) = self;
        let begin = values.len();
        write(values);
        let form = Form::of(values.get(begin..).unwrap_or_default());
        ends.push(End { at: values.len(), form });
    }

    /// `None` when there are not as many values as columns.
    pub(crate) fn row(self) -> Option<Row> {
        (self.0.ends.len() == self.0.columns.names.len()).then_some(self.0)
    }
}

/// A row: its columns in the order of the statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    columns: Arc<Columns>,
    values: String,
    ends: Vec<End>,
}

/// Where the text of a value ends, and its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    at: usize,
    form: Form,
}

/// What has to be done to indent a value inside a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A number, `null`, `true` or `false`: nothing.
    Word,
    /// A string without escapes: its quotes are escaped.
    PlainString,
    EscapedString,
    /// An object or a list.
    Nested,
}

impl Form {
    fn of(value: &str) -> Form {
        match value.as_bytes() {
            [b'{' | b'[', ..] => Form::Nested,
            [b'"', ..] if memchr(b'\\', value.as_bytes()).is_none() => Form::PlainString,
            [b'"', ..] => Form::EscapedString,
            _ => Form::Word,
        }
    }
}

impl Row {
    /// Bytes of its values.
    pub(crate) fn size(&self) -> usize {
        self.values.len()
    }

    /// The bytes that its values count beyond their text, because a reader gets them indented.
    pub(crate) fn growth(&self) -> Result<usize, TooDeep> {
        let nested = self.texts().filter(|(_, form)| *form == Form::Nested);
        nested
            .map(|(value, _)| {
                let size = indented_size(value, COLUMN_DEPTH_MAX)?;
                Ok((size / GROWTH_FREE).saturating_sub(value.len()))
            })
            .sum()
    }

    pub(crate) fn get(&self, column: &str) -> Option<Json> {
        let place = self.columns.names.iter().position(|name| name == column)?;
        self.texts().nth(place).map(|(text, _)| Json::written(text.to_owned()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Json)> {
        let names = self.columns.names.iter().map(String::as_str);
        names.zip(self.texts().map(|(text, _)| Json::written(text.to_owned())))
    }

    /// The row as a JSON object.
    pub(crate) fn to_json(&self) -> Json {
        let Columns { keys, .. } = &*self.columns;
        let size = self.values.len() + keys.iter().map(String::len).sum::<usize>() + 2;
        let mut object = String::with_capacity(size);
        for (key, (value, _)) in keys.iter().zip(self.texts()) {
            object.push_str(key);
            object.push_str(value);
        }
        object.push_str(if keys.is_empty() { "{}" } else { "}" });
        Json::written(object)
    }

    /// Writes the object, indented, as a part of a string of JSON, without the quotes around it.
    pub(crate) fn write_indented_in_string(&self, into: &mut String) {
        let Columns { indented_keys, .. } = &*self.columns;
        for (key, (value, form)) in indented_keys.iter().zip(self.texts()) {
            into.push_str(key);
            match form {
                Form::Word => into.push_str(value),
                Form::PlainString => write_plain_in_string(value, into),
                Form::EscapedString | Form::Nested => write_indented_in_string(value, 1, into),
            }
        }
        into.push_str(if indented_keys.is_empty() { "{}" } else { "\\n}" });
    }

    /// About what [`Row::write_indented_in_string`] writes; escapes and nested values take more.
    pub(crate) fn indented_size(&self) -> usize {
        let keys = self.columns.indented_keys.iter().map(String::len).sum::<usize>();
        // A text has two quotes, which are escaped.
        self.values.len() + keys + 2 * self.ends.len() + 3
    }

    /// The text of each value, with its form.
    fn texts(&self) -> impl Iterator<Item = (&str, Form)> {
        let mut begin = 0;
        self.ends.iter().map(move |end| {
            let text = self.values.get(begin..end.at).unwrap_or_default();
            begin = end.at;
            (text, end.form)
        })
    }

    #[cfg(test)]
    pub(crate) fn written(names: &[&str], values: &[&str]) -> Option<Row> {
        let columns = Columns::new(names.iter().map(|name| (*name).to_owned()).collect()).ok()?;
        let mut writer = RowWriter::new(&Arc::new(columns), 0);
        for value in values {
            writer.value(|object| object.push_str(value));
        }
        writer.row()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object_whose_values_can_be_read() {
        let row = Row::written(&["a\"", "b"], &["1.50", r#"{"c": [1]}"#]).unwrap();
        assert_eq!(row.to_json().as_str(), r#"{"a\"":1.50,"b":{"c": [1]}}"#);
        let values: Vec<_> = row.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(Json::object(values.iter().map(|(name, value)| (name.as_str(), value))), row.to_json());
        assert_eq!(row.get("b").unwrap().as_str(), r#"{"c": [1]}"#);
        assert_eq!(row.get("c"), None);
        assert_eq!(Row::written(&[], &[]).unwrap().to_json().as_str(), "{}");
    }

    #[test]
    fn a_row_is_indented_as_its_object_is() {
        let names = ["a\"\\\n", "b", "ä", "d", "e"];
        let values = ["1.50", r#"{"c": [1, {}], "d": "\"\\"}"#, "\"text\"", r#""a \"b\" \n""#, "[]"];
        for count in 0..=names.len() {
            let row = Row::written(&names[..count], &values[..count]).unwrap();
            let (mut written, mut of_object) = (String::new(), String::new());
            row.write_indented_in_string(&mut written);
            row.to_json().write_indented_in_string(&mut of_object);
            assert_eq!(written, of_object);
        }
    }

    #[test]
    fn a_row_has_a_value_for_each_column() {
        for values in [&["1"][..], &["1", "2", "3"]] {
            assert_eq!(Row::written(&["a", "b"], values), None);
        }
    }

    #[test]
    fn columns_are_shared_until_the_names_change() {
        let last = LastColumns::default();
        let first = last.named(["a", "b"].into_iter()).unwrap();
        assert!(Arc::ptr_eq(&first, &last.named(["a", "b"].into_iter()).unwrap()));
        for names in [&["a"][..], &["a", "c"], &["a", "b", "c"], &[]] {
            let columns = last.named(names.iter().copied()).unwrap();
            assert_eq!(columns.names, names);
        }
        assert_eq!(last.named(["a", "a"].into_iter()), Err("a".to_owned()));
    }

    #[test]
    fn a_name_that_two_columns_have_is_found_among_few_and_many() {
        for count in [2, NAMES_COMPARED_MAX, NAMES_COMPARED_MAX + 1, 100] {
            let mut names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
            assert_eq!(twice(&names), None);
            names[count - 1] = "c0".to_owned();
            assert_eq!(twice(&names), Some("c0"));
            assert_eq!(Columns::new(names), Err("c0".to_owned()));
        }
    }
}
