//! The values that a call binds: its parameters, and values computed from them.
//!
//! Must not know the statements they go into.

use indexmap::IndexMap;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::bind;
use crate::catalogue::file::{IdentityFile, LetFile, TimeFile};
use crate::catalogue::{Argument, Arguments, Input};
use crate::database::{Bind, BindType, Dialect};
use crate::handler::argument::{canonical, integer, time_before};
use crate::handler::call::Caller;
use crate::handler::template::Template;
use crate::json::Json;

/// Names that every statement may use.
const NOW: &str = "now";
const UUID: &str = "uuid";
/// Names that the statements of a tool with an `identity` may use.
const CLIENT: &str = "client";
const SUBJECT: &str = "subject";
/// Names that the main query of a page receives.
pub(crate) const LIMIT: &str = "_limit";
pub(crate) const OFFSET: &str = "_offset";

/// What a name stands for in every statement, if no parameter may have it.
pub(crate) fn filled_in(name: &str) -> Option<&'static str> {
    match name {
        NOW => Some("the time of the call"),
        UUID => Some("a random identifier"),
        LIMIT | OFFSET => Some("the bounds of a page"),
        CLIENT | SUBJECT => Some("the identity of the caller"),
        _ => None,
    }
}

/// What can be bound, by name.
pub(crate) struct Definitions {
    params: IndexMap<String, BindType>,
    computed: IndexMap<String, LetFile>,
    identity: IdentityFile,
    /// Whether a statement uses `:uuid`: random bytes cost time.
    uses_uuid: bool,
}

/// How many rows the main query may return.
pub(crate) struct Limit {
    pub(crate) rows: usize,
    /// Whether a page reads one row more than it returns, to know whether there are more.
    pub(crate) looks_ahead: bool,
    pub(crate) rows_from: Option<String>,
    pub(crate) offset_from: Option<String>,
}

/// The values of one call.
pub(crate) struct Values<'a> {
    arguments: &'a Arguments,
    definitions: &'a Definitions,
    caller: &'a Caller,
    computed: IndexMap<&'a str, Bind>,
    now: Timestamp,
    uuid: String,
    looks_ahead: bool,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

impl Definitions {
    pub(crate) fn new(
        input: &Input,
        computed: IndexMap<String, LetFile>,
        identity: IdentityFile,
    ) -> Definitions {
        let params = input.params().iter().map(|param| {
            let declared = match (param.kind, param.items) {
                ("string", _) => BindType::Text,
                ("integer", _) => BindType::Integer,
                ("number", _) => BindType::Number,
                ("boolean", _) => BindType::Boolean,
                ("array", Some("string")) => BindType::Texts,
                ("array", Some("integer")) => BindType::Integers,
                ("array", Some("number")) => BindType::Numbers,
                ("array", Some("boolean")) => BindType::Booleans,
                _ => BindType::Json,
            };
            (param.name.clone(), declared)
        });
        Definitions { params: params.collect(), computed, identity, uses_uuid: false }
    }

    /// Records the names that the statements use.
    pub(crate) fn note_uses<'a>(&mut self, mut names: impl Iterator<Item = &'a str>) {
        self.uses_uuid = names.any(|name| name == UUID);
    }

    /// The type a name is bound as, if it exists.
    pub(crate) fn kind(&self, name: &str) -> Option<BindType> {
        match (name, self.computed.get(name)) {
            (_, Some(LetFile::Contains(_))) => Some(BindType::Text),
            (_, Some(LetFile::Time(_) | LetFile::Before(_) | LetFile::MinutesAgo(_))) => {
                Some(BindType::Moment)
            }
            (_, Some(LetFile::Object(_))) => Some(BindType::Json),
            (NOW, None) => Some(BindType::Moment),
            (UUID, None) => Some(BindType::Text),
            (CLIENT, None) if self.identity.client => Some(BindType::Text),
            (SUBJECT, None) if self.identity.subject => Some(BindType::Text),
            (LIMIT | OFFSET, None) => Some(BindType::Integer),
            (_, None) => self.params.get(name).copied(),
        }
    }

    /// Computed values, each with the parameters it uses.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.computed.iter().map(|(name, computed)| {
            let sources = match computed {
                LetFile::Contains(param) => vec![param.as_str()],
                LetFile::Time(time) => vec![time.param.as_str()],
                LetFile::Before(before) => vec![before.param.as_str()],
                LetFile::MinutesAgo(_) => Vec::new(),
                LetFile::Object(params) => params.iter().map(String::as_str).collect(),
            };
            (name.as_str(), sources)
        })
    }

    pub(crate) fn has_param(&self, name: &str) -> bool {
        self.params.contains_key(name)
    }

    /// Whether the name is a part of the caller's identity that the tool uses.
    pub(crate) fn is_identity(&self, name: &str) -> bool {
        name == CLIENT && self.identity.client || name == SUBJECT && self.identity.subject
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = &str> {
        self.params.keys().map(String::as_str)
    }

    /// The values of a call; the error is for the caller.
    pub(crate) fn of<'a>(
        &'a self,
        arguments: &'a Arguments,
        caller: &'a Caller,
        limit: &Limit,
        dialect: Dialect,
    ) -> Result<Values<'a>, String> {
        let now = Timestamp::now();
        let mut computed = IndexMap::new();
        for (name, definition) in &self.computed {
            let bind = match definition {
                LetFile::Contains(param) => pattern(arguments.get(param)),
                LetFile::Time(time) => moment(time, arguments, now)?,
                LetFile::Before(before) => time_before(before, arguments, now)?
                    .map_or(Bind::Null, |then| Bind::Text(canonical(then))),
                LetFile::MinutesAgo(minutes) => {
                    let back = SignedDuration::from_mins(i64::from(*minutes));
                    now.checked_sub(back).map_or(Bind::Null, |then| Bind::Text(canonical(then)))
                }
                LetFile::Object(params) => object(params, arguments),
            };
            computed.insert(name.as_str(), bind);
        }
        for (name, kind) in &self.params {
            bind::check(name, *kind, arguments.argument(name), dialect)?;
        }
        Ok(Values {
            arguments,
            definitions: self,
            caller,
            computed,
            now,
            uuid: if self.uses_uuid { uuid()? } else { String::new() },
            looks_ahead: limit.looks_ahead,
            limit: requested_rows(arguments, limit.rows_from.as_deref())
                .unwrap_or(limit.rows)
                .clamp(1, limit.rows.max(1)),
            offset: requested_rows(arguments, limit.offset_from.as_deref()).unwrap_or(0),
        })
    }
}

impl Values<'_> {
    /// A text of the declaration with this call's arguments and identity.
    pub(crate) fn filled(&self, template: &Template) -> String {
        let text = |name: &str, value: Argument<'_>| {
            let known = match name {
                CLIENT => self.caller.client.as_ref(),
                SUBJECT => self.caller.subject.as_ref(),
                _ => None,
            };
            let text =
                known.cloned().unwrap_or_else(|| if value.is_null() { String::new() } else { value.plain() });
            Ok::<_, std::convert::Infallible>(text)
        };
        template.fill(self.arguments, text).unwrap_or_default()
    }

    pub(crate) fn get(&self, name: &str) -> Bind {
        if let Some(bind) = self.computed.get(name) {
            return bind.clone();
        }
        match name {
            NOW => Bind::Text(canonical(self.now)),
            UUID => Bind::Text(self.uuid.clone()),
            CLIENT => identity(self.caller.client.as_ref()),
            SUBJECT => identity(self.caller.subject.as_ref()),
            LIMIT => {
                let rows = self.limit.saturating_add(usize::from(self.looks_ahead));
                Bind::Integer(i64::try_from(rows).unwrap_or(i64::MAX))
            }
            OFFSET => Bind::Integer(i64::try_from(self.offset).unwrap_or(i64::MAX)),
            name => match self.definitions.params.get(name) {
                Some(declared) => bind::bound(self.arguments.argument(name), *declared),
                None => Bind::Null,
            },
        }
    }
}

fn identity(known: Option<&String>) -> Bind {
    known.map_or(Bind::Null, |name| Bind::Text(name.clone()))
}

fn requested_rows(arguments: &Arguments, param: Option<&str>) -> Option<usize> {
    let value = integer(arguments.get(param?))?;
    Some(usize::try_from(value.max(0)).unwrap_or(usize::MAX))
}

/// A pattern for `LIKE ... ESCAPE '\'` without wildcards from the text.
fn pattern(value: &Value) -> Bind {
    let Value::String(text) = value else { return Bind::Null };
    let mut pattern = String::from("%");
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    Bind::Text(pattern)
}

fn object(params: &[String], arguments: &Arguments) -> Bind {
    let given = params.iter().map(|param| (param.as_str(), arguments.argument(param)));
    let given: Vec<_> = given.filter(|(_, value)| !value.is_null()).collect();
    let given: Vec<_> = given.into_iter().map(|(param, value)| (param, value.to_json())).collect();
    Bind::Json(Json::object(given.iter().map(|(param, value)| (*param, value))).as_str().to_owned())
}

fn moment(time: &TimeFile, arguments: &Arguments, now: Timestamp) -> Result<Bind, String> {
    let Value::String(text) = arguments.get(&time.param) else {
        let back = time.default_hours.map(|hours| SignedDuration::from_hours(i64::from(hours)));
        let then = back.and_then(|back| now.checked_sub(back).ok());
        return Ok(then.map_or(Bind::Null, |then| Bind::Text(canonical(then))));
    };
    let text = text.trim();
    let in_utc = |civil: DateTime| civil.to_zoned_datetime(TimeZone::UTC).map(|zoned| zoned.timestamp());
    let read = text
        .parse::<Timestamp>()
        .or_else(|_| text.parse::<DateTime>().and_then(in_utc))
        .or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)).and_then(in_utc));
    match read {
        Ok(then) => Ok(Bind::Text(canonical(then))),
        Err(_) => {
            Err(format!("{}: is not a time; write ISO 8601 in UTC, such as {}", time.param, canonical(now)))
        }
    }
}

/// A random identifier (RFC 9562, version 4).
fn uuid() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| "no randomness for an identifier".to_owned())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
