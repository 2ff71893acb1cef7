//! Values for PostgreSQL: sent as text, with the type that the server infers from the statement or that the value declares.
//!
//! Must not know which statement they go into.

use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::super::batch::{Bind, BindType};

/// One value in PostgreSQL's text form.
pub(super) struct Parameter(Option<String>);

impl Parameter {
    pub(super) fn of(bind: &Bind) -> Parameter {
        Parameter(text_of(bind))
    }

    pub(super) fn of_text(text: &str) -> Parameter {
        Parameter(Some(text.to_owned()))
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Never the value: it may be confidential.
impl fmt::Debug for Parameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Parameter")
    }
}

impl ToSql for Parameter {
    fn to_sql(&self, _type: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_type: &Type) -> bool {
        true
    }

    fn encode_format(&self, _type: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn text_of(bind: &Bind) -> Option<String> {
    match bind {
        Bind::Null => None,
        Bind::Integer(number) => Some(number.to_string()),
        Bind::Number(number) => Some(number.to_string()),
        Bind::Boolean(truth) => Some(truth.to_string()),
        Bind::Text(text) | Bind::Json(text) | Bind::Decimal(text) => Some(text.clone()),
        Bind::Array(items) => Some(array(items)),
    }
}

/// `{"a","b\"c",NULL}`: the text form of an array of any type.
fn array(items: &[Bind]) -> String {
    let mut text = String::from("{");
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        match (item, text_of(item)) {
            (_, None) => text.push_str("NULL"),
            (Bind::Array(_), Some(list)) => text.push_str(&list),
            (_, Some(item)) => {
                text.push('"');
                text.push_str(&item.replace('\\', "\\\\").replace('"', "\\\""));
                text.push('"');
            }
        }
    }
    text.push('}');
    text
}

/// Looks for types of a statement's values that the server accepts.
pub(super) struct TypeSearch<'a> {
    declared: &'a [BindType],
    typing: Typing,
    /// Values, counted from 1, that have their own type whatever the others have.
    own: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Typing {
    /// Text and lists are inferred; numbers, truths, times and JSON have their own type.
    Declared,
    /// The same with integers and numbers of the types that most functions and operators take.
    Narrow,
    /// The server infers all.
    Inferred,
    /// All have their own type.
    Own,
}

impl<'a> TypeSearch<'a> {
    pub(super) fn new(declared: &'a [BindType]) -> TypeSearch<'a> {
        TypeSearch { declared, typing: Typing::Declared, own: Vec::new() }
    }

    pub(super) fn types(&self) -> Vec<Type> {
        let numbered = self.declared.iter().zip(1..);
        let type_of = |(declared, number): (&BindType, usize)| {
            let inferred = self.typing.infers(*declared) && !self.own.contains(&number);
            if inferred { Type::UNKNOWN } else { self.typing.type_of(*declared) }
        };
        numbered.map(type_of).collect()
    }

    /// Goes on after the server refused these types. `unclear` is the number of the value that it could not type.
    pub(super) fn advance(&mut self, unclear: Option<usize>) -> bool {
        if let Some(number) = unclear.filter(|number| !self.own.contains(number)) {
            self.own.push(number);
            return true;
        }
        self.own.clear();
        self.typing = match self.typing {
            Typing::Declared => Typing::Narrow,
            Typing::Narrow => Typing::Inferred,
            Typing::Inferred => Typing::Own,
            Typing::Own => return false,
        };
        true
    }
}

impl Typing {
    fn type_of(self, declared: BindType) -> Type {
        match (self, declared) {
            (Typing::Narrow, BindType::Integer) => Type::INT4,
            (Typing::Narrow, BindType::Number) => Type::FLOAT8,
            (Typing::Declared | Typing::Narrow | Typing::Inferred | Typing::Own, declared) => {
                own_type(declared)
            }
        }
    }

    fn infers(self, declared: BindType) -> bool {
        match (self, declared) {
            (Typing::Own, _) | (_, BindType::Cast) => false,
            (Typing::Inferred, _) => true,
            (Typing::Declared | Typing::Narrow, declared) => match declared {
                BindType::Text
                | BindType::Texts
                | BindType::Integers
                | BindType::Numbers
                | BindType::Booleans => true,
                BindType::Cast
                | BindType::Integer
                | BindType::Number
                | BindType::Boolean
                | BindType::Json
                | BindType::Moment => false,
            },
        }
    }
}

fn own_type(declared: BindType) -> Type {
    match declared {
        BindType::Cast | BindType::Text => Type::TEXT,
        BindType::Integer => Type::INT8,
        // FLOAT8 would be rounded to 15 digits on its way into a numeric; this one becomes any other exactly.
        BindType::Number => Type::NUMERIC,
        BindType::Boolean => Type::BOOL,
        BindType::Json => Type::JSONB,
        BindType::Moment => Type::TIMESTAMPTZ,
        BindType::Texts => Type::TEXT_ARRAY,
        BindType::Integers => Type::INT8_ARRAY,
        BindType::Numbers => Type::NUMERIC_ARRAY,
        BindType::Booleans => Type::BOOL_ARRAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_written_as_postgresql_reads_it() {
        let text = |text: &str| Bind::Text(text.to_owned());
        let items = [text("a"), text("b\"\\,{}"), Bind::Null, text("NULL"), text(""), Bind::Integer(-7)];
        assert_eq!(array(&items), r#"{"a","b\"\\,{}",NULL,"NULL","","-7"}"#);
        assert_eq!(
            array(&[Bind::Array(vec![Bind::Boolean(true)]), Bind::Array(Vec::new())]),
            r#"{{"true"},{}}"#
        );
    }

    #[test]
    fn types_are_searched_from_inferred_to_own() {
        let declared = [BindType::Text, BindType::Integer, BindType::Cast];
        let mut search = TypeSearch::new(&declared);
        let mut tried = vec![search.types()];
        for unclear in [Some(1), Some(1), None, None] {
            assert!(search.advance(unclear));
            tried.push(search.types());
        }
        assert!(!search.advance(None));
        let (unknown, text) = (Type::UNKNOWN, Type::TEXT);
        let expected = [
            [&unknown, &Type::INT8, &text],
            [&text, &Type::INT8, &text],
            [&unknown, &Type::INT4, &text],
            [&unknown, &unknown, &text],
            [&text, &Type::INT8, &text],
        ];
        assert_eq!(tried, expected.map(|types| types.map(Type::clone).to_vec()));
    }

    #[test]
    fn a_value_never_shows_in_debug_output() {
        assert_eq!(format!("{:?}", Parameter::of(&Bind::Text("secret".to_owned()))), "Parameter");
    }
}
