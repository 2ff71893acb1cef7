//! Reads one TOML table key by key: typed, bounded, every mistake reported and none fatal.
//!
//! A reader that fails returns the default, so that the rest of the file is judged too; the report decides whether
//! the result may be used. A key that no reader has read is unknown. (Serde stops at its first error, which is why it does
//! not read this file.) Must not know what any key means.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value;
use crate::config::diagnostics::{DiagnosticSink, InvalidValue, quote};

/// A table of the file, or an absent one, in which every key has its default.
pub(super) struct Table<'a> {
    path: String,
    entries: Option<&'a DeTable<'a>>,
    known: HashSet<String>,
    sink: &'a DiagnosticSink,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn root(entries: &'a DeTable<'a>, sink: &'a DiagnosticSink) -> Table<'a> {
        Table { path: String::new(), entries: Some(entries), known: HashSet::new(), sink }
    }

    /// The table under `key`.
    pub(super) fn table(&mut self, key: &str) -> Table<'a> {
        let entries = self.entry(key).and_then(|value| match value.as_table() {
            Some(entries) => Some(entries),
            None => self.wrong_type(key, value, "a table"),
        });
        Table { path: self.full_key(key), entries, known: HashSet::new(), sink: self.sink }
    }

    /// Every table below this one, by name, for tables whose keys are names.
    pub(super) fn tables(&mut self) -> Vec<(String, Table<'a>)> {
        self.names().into_iter().map(|name| (name.clone(), self.table(&name))).collect()
    }

    /// The tables of a list of tables (`[[key]]`), in the order of the file; at most `max`.
    pub(super) fn list_of_tables(&mut self, key: &str, max: usize) -> Vec<Table<'a>> {
        let Some(value) = self.entry(key) else { return Vec::new() };
        let Some(items) = value.as_array() else {
            let expected = format!("a list of tables, each opened by [[{key}]]");
            return self.wrong_type(key, value, &expected).unwrap_or_default();
        };
        if items.len() > max {
            self.error(
                key,
                None,
                InvalidValue::new(format!("{} entries; at most {max} are allowed", items.len())),
            );
        }
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let item_key = format!("{key}[{index}]");
            self.sink.record_span(&self.full_key(&item_key), item.span().start);
            let entries = match item.get_ref().as_table() {
                Some(entries) => Some(entries),
                None => self.wrong_type(&item_key, item.get_ref(), "a table"),
            };
            tables.push(Table {
                path: self.full_key(&item_key),
                entries,
                known: HashSet::new(),
                sink: self.sink,
            });
        }
        tables
    }

    /// The keys that are present, in the order of their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.entries
            .into_iter()
            .flat_map(|entries| entries.keys())
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    /// Whether the key stands in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// A whole number within `range`.
    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let hint = format!("remove the line to use the default, {default}");
        self.integer_or(key, range, &hint).unwrap_or(default)
    }

    /// A whole number within `range`, for keys without a default.
    pub(super) fn optional_integer(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.integer_or(key, range, "without the line there is no limit")
    }

    fn integer_or(&mut self, key: &str, range: RangeInclusive<u64>, hint: &str) -> Option<u64> {
        let value = self.entry(key)?;
        let Some(integer) = value.as_integer() else {
            return self.wrong_type(key, value, "a whole number");
        };
        let parsed = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if let Some(parsed) = parsed.filter(|parsed| range.contains(parsed)) {
            return Some(parsed);
        }
        let reason = format!("must be {} to {}", range.start(), range.end());
        self.error(key, Some(integer.to_string()), InvalidValue::new(reason).hint(hint));
        None
    }

    /// The same as [`Table::integer`], for counts held in memory.
    pub(super) fn count(&mut self, key: &str, range: RangeInclusive<u64>, default: u64) -> usize {
        usize::try_from(self.integer(key, range, default)).unwrap_or(usize::MAX)
    }

    /// A duration such as `"55s"` within `range`.
    pub(super) fn duration(
        &mut self,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let hint = format!("remove the line to use the default, {}", value::show(default));
        self.duration_or(key, range, &hint).unwrap_or(default)
    }

    /// A duration within `range`, for keys without a default.
    pub(super) fn optional_duration(
        &mut self,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.duration_or(key, range, "without the line the general one holds")
    }

    fn duration_or(&mut self, key: &str, range: RangeInclusive<Duration>, hint: &str) -> Option<Duration> {
        self.text(key, |text| {
            let duration = value::duration(text)?;
            if range.contains(&duration) {
                return Ok(duration);
            }
            let reason = format!("must be {} to {}", value::show(*range.start()), value::show(*range.end()));
            Err(InvalidValue::new(reason).hint(hint))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.entry(key) else { return default };
        match value.as_bool() {
            Some(flag) => flag,
            None => self.wrong_type(key, value, "true or false").unwrap_or(default),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, options: &[(&str, T)], default: T) -> T {
        self.text(key, |text| value::choice(text, options)).unwrap_or(default)
    }

    /// A text, parsed. `None` when absent or refused.
    pub(super) fn text<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        let value = self.entry(key)?;
        let Some(text) = value.as_str() else { return self.wrong_type(key, value, "a text in quotes") };
        parse(text).map_err(|invalid| self.error(key, Some(quote(text)), invalid)).ok()
    }

    /// A list of at most `max` texts, each parsed. `None` when absent; refused items are left out.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Option<Vec<T>> {
        let value = self.entry(key)?;
        let Some(items) = value.as_array() else { return self.wrong_type(key, value, "a list of texts") };
        if items.len() > max {
            let reason = format!("{} entries; at most {max} are allowed", items.len());
            self.error(key, None, InvalidValue::new(reason));
        }
        let mut parsed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let item_key = format!("{key}[{index}]");
            self.sink.record_span(&self.full_key(&item_key), item.span().start);
            let Some(text) = item.get_ref().as_str() else {
                let _: Option<T> = self.wrong_type(&item_key, item.get_ref(), "a text in quotes");
                continue;
            };
            match parse(text) {
                Ok(item) => parsed.push(item),
                Err(invalid) => self.error(&item_key, Some(quote(text)), invalid),
            }
        }
        Some(parsed)
    }

    /// The raw value under `key`, for keys with several legal types.
    pub(super) fn entry(&mut self, key: &str) -> Option<&'a DeValue<'a>> {
        self.known.insert(key.to_owned());
        self.sink.record_known(self.full_key(key));
        let (name, value) = self.entries?.get_key_value(key)?;
        self.sink.record_span(&self.full_key(key), name.span().start);
        Some(Spanned::get_ref(value))
    }

    /// Reports that `key` may not have this value.
    pub(super) fn error(&self, key: &str, value: Option<String>, invalid: InvalidValue) {
        self.sink.error(&self.full_key(key), value, invalid);
    }

    /// Reports that the table as a whole is wrong.
    pub(super) fn error_whole(&self, invalid: InvalidValue) {
        self.sink.error(&self.path, None, invalid);
    }

    /// Reports that `key` is missing.
    pub(super) fn error_missing(&self, key: &str, hint: &str) {
        self.error(key, None, InvalidValue::new("missing").hint(hint));
    }

    /// Reports that `key` is legal but probably not meant.
    pub(super) fn warn(&self, key: &str, invalid: InvalidValue) {
        self.sink.warn(&self.full_key(key), invalid);
    }

    /// Reports a value of the wrong type. The value is not shown: a misplaced one may be a secret.
    pub(super) fn wrong_type<T>(&self, key: &str, value: &DeValue<'_>, expected: &str) -> Option<T> {
        let mut invalid = InvalidValue::new(format!("must be {expected}, not {}", type_name(value)));
        if value.is_integer() && expected.contains("text") {
            invalid = invalid.hint("texts and durations stand in quotes, as in \"55s\"");
        }
        self.error(key, None, invalid);
        None
    }

    /// Reports every key that no reader has read.
    pub(super) fn finish(self) {
        for key in self.entries.into_iter().flat_map(|entries| entries.keys()) {
            if !self.known.contains(key.get_ref().as_ref()) {
                self.sink.record_unknown(self.full_key(key.get_ref()), key.span().start);
            }
        }
    }

    /// The dotted path of a key of this table.
    pub(super) fn full_key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
