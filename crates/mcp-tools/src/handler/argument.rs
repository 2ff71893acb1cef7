//! Arguments read as integers and as times.
//!
//! Must not know what they are used for.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::catalogue::Arguments;
use crate::catalogue::file::{BeforeFile, Unit};

/// A whole number, also when it is written `7.0`, which JSON Schema calls an integer.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT)?;
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        Some(number as i64)
    })
}

/// `now` minus the hours or days that a parameter holds; `None` without that parameter.
pub(crate) fn time_before(
    before: &BeforeFile,
    arguments: &Arguments,
    now: Timestamp,
) -> Result<Option<Timestamp>, String> {
    let argument = arguments.argument(&before.param);
    if argument.is_null() {
        return Ok(None);
    }
    let Some(count) = integer(arguments.get(&before.param)) else {
        return Err(format!("{}: {} is out of range", before.param, argument.plain()));
    };
    let hours = match before.unit {
        Unit::Hours => 1,
        Unit::Days => 24,
    };
    let back = count.checked_mul(hours).and_then(SignedDuration::try_from_hours);
    match back.and_then(|back| now.checked_sub(back).ok()) {
        Some(then) => Ok(Some(then)),
        None => Err(format!("{}: {count} is out of range", before.param)),
    }
}

/// The text form of a time in SQLite. Its order as text is the order in time.
pub(crate) fn canonical(moment: Timestamp) -> String {
    let micros = moment.as_microsecond();
    let moment = Timestamp::from_microsecond(micros).unwrap_or(moment);
    moment.strftime("%Y-%m-%dT%H:%M:%S%.f+00:00").to_string()
}
