//! Sums over the list of records that a service returns.
//!
//! Must not know the service.

use indexmap::IndexMap;
use serde_json::{Map, Number, Value};

use crate::catalogue::file::TotalFile;
use crate::handler::template::plain;

/// The totals of a list of objects; `None` when the service returned something else.
pub(crate) fn add_up(records: &Value, totals: &IndexMap<String, TotalFile>) -> Option<Map<String, Value>> {
    let records: Vec<&Map<String, Value>> =
        records.as_array()?.iter().map(Value::as_object).collect::<Option<_>>()?;
    let made = totals.iter().map(|(name, total)| {
        let made = match &total.by {
            Some(by) => Value::Object(sums_by(&records, &total.sum, by)),
            None => sum(records.iter().copied(), &total.sum),
        };
        (name.clone(), made)
    });
    Some(made.collect())
}

fn sums_by(records: &[&Map<String, Value>], field: &str, by: &str) -> Map<String, Value> {
    let mut groups: IndexMap<String, Vec<&Map<String, Value>>> = IndexMap::new();
    for record in records {
        let group = record.get(by).filter(|group| !group.is_null()).map_or("unknown".to_owned(), plain);
        groups.entry(group).or_default().push(record);
    }
    groups.sort_unstable_keys();
    groups.into_iter().map(|(group, records)| (group, sum(records.into_iter(), field))).collect()
}

/// Whole numbers are added exactly; one with a fraction makes the sum an approximation.
fn sum<'a>(records: impl Iterator<Item = &'a Map<String, Value>>, field: &str) -> Value {
    let values: Vec<&Value> =
        records.filter_map(|record| record.get(field)).filter(|value| value.is_number()).collect();
    let whole: Option<Vec<i128>> = values
        .iter()
        .map(|value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from)))
        .collect();
    let whole = whole.map(|values| values.into_iter().sum::<i128>()).and_then(Number::from_i128);
    whole.map_or_else(|| number(values.iter().filter_map(|value| value.as_f64()).sum()), Value::Number)
}

/// Without a fraction where there is none.
fn number(sum: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if sum.fract() == 0.0 && sum.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::from(sum as i64);
    }
    Number::from_f64(sum).map_or(Value::Null, Value::Number)
}
