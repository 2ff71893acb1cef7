//! The JSON of a TOML value, which only what both can hold has.
//!
//! Must not know which key holds the value.

use serde_json::{Number, Value};

/// The value as JSON; the error is the reason why JSON cannot hold it, with the place inside.
pub(crate) fn json_of(value: &toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Float(number) => match Number::from_f64(*number) {
            Some(number) => Value::Number(number),
            None => return Err(format!("{number} is no number of JSON")),
        },
        toml::Value::Datetime(time) => {
            return Err(format!("a date or time is no value of JSON (hint: quote it: \"{time}\")"));
        }
        toml::Value::Array(values) => {
            let made = values.iter().enumerate().map(|(index, value)| {
                json_of(value).map_err(|reason| within(&format!("[{index}]"), &reason))
            });
            Value::Array(made.collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => {
            let made = table.iter().map(|(key, value)| {
                Ok((key.clone(), json_of(value).map_err(|reason| within(key, &reason))?))
            });
            Value::Object(made.collect::<Result<_, String>>()?)
        }
    })
}

fn within(step: &str, reason: &str) -> String {
    format!("{step}: {reason}")
}
