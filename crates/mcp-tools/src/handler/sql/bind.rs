//! An argument as the value that a statement binds. A number keeps its digits, or is refused.
//!
//! Must not know the statement.

use serde_json::{Number, Value};

use crate::catalogue::Argument;
use crate::database::{Bind, BindType, Dialect};
use crate::exact::{Exact, Number as Digits};
use crate::handler::argument::integer;

/// The last whole number up to which each has a float of its own.
const FLOAT_EXACT_MAX: u64 = 1 << 53;

/// What a parameter of this type binds.
pub(super) fn bound(argument: Argument<'_>, declared: BindType) -> Bind {
    if argument.is_null() {
        return Bind::Null;
    }
    if declared == BindType::Json {
        return json(argument);
    }
    if let (true, Some(items)) = (is_list(declared), argument.elements()) {
        return Bind::Array(items.into_iter().map(|item| bound(item, declared)).collect());
    }
    match argument {
        Argument::Exact(Exact::Number(digits)) => Bind::Decimal(digits.as_str().to_owned()),
        Argument::Value(Value::Bool(truth)) => Bind::Boolean(*truth),
        Argument::Value(Value::Number(number)) if is_number(declared) => bound_number(number),
        Argument::Value(value @ Value::Number(_)) => integer(value).map_or(Bind::Null, Bind::Integer),
        Argument::Value(Value::String(text)) | Argument::Exact(Exact::Text(text)) => Bind::Text(text.clone()),
        Argument::Exact(Exact::Word(word)) => Bind::Boolean(word == "true"),
        Argument::Exact(Exact::List(_) | Exact::Object(_))
        | Argument::Value(Value::Null | Value::Array(_) | Value::Object(_)) => json(argument),
    }
}

fn json(argument: Argument<'_>) -> Bind {
    Bind::Json(argument.to_json().as_str().to_owned())
}

fn bound_number(number: &Number) -> Bind {
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) if whole.unsigned_abs() > FLOAT_EXACT_MAX => Bind::Integer(whole),
        (None, Some(whole)) => Bind::Decimal(whole.to_string()),
        (_, _) => number.as_f64().map_or(Bind::Null, Bind::Number),
    }
}

/// Refuses what would be bound as another value, or as if it were absent; the error is for the caller.
pub(super) fn check(
    name: &str,
    declared: BindType,
    argument: Argument<'_>,
    dialect: Dialect,
) -> Result<(), String> {
    if let (true, Some(items)) = (is_list(declared), argument.elements()) {
        return items.into_iter().try_for_each(|item| check(name, declared, item, dialect));
    }
    match argument {
        Argument::Value(Value::String(text)) if text.contains('\0') => {
            Err(format!("{name}: must not contain a NUL character"))
        }
        Argument::Value(value @ Value::Number(number))
            if is_integer(declared) && integer(value).is_none() =>
        {
            Err(format!("{name}: {number} does not fit in 64 bits"))
        }
        Argument::Exact(Exact::Number(digits)) if is_integer(declared) => {
            Err(format!("{name}: {} is no whole number of 64 bits without a fraction", digits.as_str()))
        }
        Argument::Exact(Exact::Number(digits)) if is_number(declared) => check_float(name, digits, dialect),
        Argument::Value(Value::Number(number)) if is_number(declared) && number.as_i64().is_none() => {
            check_float(name, &Digits::of(number), dialect)
        }
        Argument::Value(_) | Argument::Exact(_) => Ok(()),
    }
}

fn check_float(name: &str, digits: &Digits, dialect: Dialect) -> Result<(), String> {
    if dialect == Dialect::Sqlite && !digits.fits_float() {
        return Err(format!(
            "{name}: {} does not fit in a number of SQLite, which has 17 digits",
            digits.as_str()
        ));
    }
    Ok(())
}

fn is_integer(declared: BindType) -> bool {
    matches!(declared, BindType::Integer | BindType::Integers)
}

fn is_number(declared: BindType) -> bool {
    matches!(declared, BindType::Number | BindType::Numbers)
}

fn is_list(declared: BindType) -> bool {
    matches!(declared, BindType::Texts | BindType::Integers | BindType::Numbers | BindType::Booleans)
}
