//! Why a service did not accept a call, in its own words: one line of limited length.
//!
//! Looks where services put a reason: RFC 9457, then the usual names of JSON bodies, then a short text. Must not decide
//! who may read it.

use serde_json::Value;

/// Letters of a reason, which may be as long as the service likes.
pub(super) const LETTERS_MAX: usize = 300;
/// Problems of one list; a model needs the first few.
const PROBLEMS_MAX: usize = 8;
/// How deep a reason may lie inside objects of the body.
const DEPTH_MAX: usize = 4;

/// The reason in the body of an error, without `secrets`.
pub(super) fn of_json(body: &str, secrets: &[&str]) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let reason = said(&value, 0).or_else(|| by_field(&value))?;
    line(&reason, LETTERS_MAX, secrets)
}

/// A text as one line of at most that many letters; nothing if it says nothing.
pub(super) fn line(text: &str, letters_max: usize, secrets: &[&str]) -> Option<String> {
    let plain: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect::<String>();
    let mut line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in secrets {
        line = line.replace(secret, "...");
    }
    line.truncate(line.trim_end_matches('.').len());
    if let Some((end, _)) = line.char_indices().nth(letters_max) {
        line.truncate(end);
        line.push_str(" ...");
    }
    if line.is_empty() { None } else { Some(line) }
}

/// What a value says, with the problems that it lists.
fn said(value: &Value, depth: usize) -> Option<String> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Array(values) => {
            let problems: Vec<String> =
                values.iter().filter_map(|value| said(value, depth + 1)).take(PROBLEMS_MAX).collect();
            if problems.is_empty() { None } else { Some(problems.join("; ")) }
        }
        Value::Object(object) => {
            let names = [
                "detail",
                "message",
                "error_description",
                "error",
                "msg",
                "title",
                "reason",
                "description",
                "code",
            ];
            let main = names.iter().find_map(|name| said(object.get(*name)?, depth + 1));
            let listed =
                object.get("errors").and_then(|errors| said(errors, depth + 1).or_else(|| by_field(errors)));
            let text = match (main, listed) {
                (Some(main), Some(listed)) => format!("{}: {listed}", main.trim_end_matches('.')),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => return None,
            };
            Some(match place(object) {
                Some(place) => format!("{place}: {text}"),
                None => text,
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Where in the request a problem lies: `field`, `pointer` (RFC 9457, JSON:API), `loc` (FastAPI).
fn place(object: &serde_json::Map<String, Value>) -> Option<String> {
    let pointer = object.get("pointer").or_else(|| object.get("source")?.get("pointer"));
    let named = ["field", "param", "parameter"].iter().find_map(|name| object.get(*name));
    if let Some(place) = named.or(pointer).and_then(Value::as_str) {
        return Some(place.trim_start_matches(['#', '/']).to_owned()).filter(|place| !place.is_empty());
    }
    let steps = object.get("loc")?.as_array()?.iter().map(crate::handler::template::plain);
    Some(steps.collect::<Vec<_>>().join("."))
}

/// Problems by field: `{"qty": ["must be positive"]}`, if the object holds nothing else.
fn by_field(value: &Value) -> Option<String> {
    let texts = |value: &Value| match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(values) => {
            values.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|texts| texts.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    let object = value.as_object().filter(|object| !object.is_empty())?;
    let problems: Option<Vec<String>> = object
        .iter()
        .take(PROBLEMS_MAX)
        .map(|(field, value)| Some(format!("{field}: {}", texts(value)?)))
        .collect();
    problems.map(|problems| problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_where_services_put_it() {
        for (body, expected) in [
            // RFC 9457, section 3: detail explains this occurrence, title the type of problem.
            (
                r#"{"type": "https://example.com/probs/out-of-credit", "title": "You do not have enough credit.",
                    "detail": "Your current balance is 30, but that costs 50.", "status": 403}"#,
                Some("Your current balance is 30, but that costs 50"),
            ),
            (
                r##"{"title": "Your request is not valid.", "errors": [{"detail": "must be positive", "pointer": "#/age"}, {"detail": "must be 'green'", "pointer": "#/color"}]}"##,
                Some("Your request is not valid: age: must be positive; color: must be 'green'"),
            ),
            // FastAPI
            (
                r#"{"detail": [{"type": "int_parsing", "loc": ["body", "qty"], "msg": "Input should be a valid integer", "input": "x"}]}"#,
                Some("body.qty: Input should be a valid integer"),
            ),
            // GitHub
            (
                r#"{"message": "Validation Failed", "errors": [{"resource": "Issue", "field": "title", "code": "missing_field"}], "status": "422"}"#,
                Some("Validation Failed: title: missing_field"),
            ),
            // ASP.NET
            (
                r#"{"title": "One or more validation errors occurred", "errors": {"Qty": ["must be positive", "must be even"]}}"#,
                Some("One or more validation errors occurred: Qty: must be positive, must be even"),
            ),
            // Google, OpenAI, Stripe
            (
                r#"{"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT"}}"#,
                Some("Invalid value"),
            ),
            (
                r#"{"error": {"message": "No such customer", "param": "customer"}}"#,
                Some("customer: No such customer"),
            ),
            // OAuth
            (
                r#"{"error": "invalid_request", "error_description": "scope is missing"}"#,
                Some("scope is missing"),
            ),
            // JSON:API
            (
                r#"{"errors": [{"title": "Invalid", "detail": "too short", "source": {"pointer": "/data/attributes/name"}}]}"#,
                Some("data/attributes/name: too short"),
            ),
            // Django REST framework
            (
                r#"{"qty": ["must be positive."], "name": ["is taken"]}"#,
                Some("qty: must be positive.; name: is taken"),
            ),
            (r#"["a", "b"]"#, Some("a; b")),
            (r#""just a text""#, Some("just a text")),
            (r#"{"id": 1, "name": "x"}"#, None),
            (r#"{"detail": ""}"#, None),
            ("{}", None),
            ("[]", None),
            ("no JSON", None),
        ] {
            assert_eq!(of_json(body, &[]).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_reason_is_one_short_line_without_secrets() {
        let long = format!("{{\"detail\": \"a\\n\\u001b[31mb  {}\"}}", "\u{fc}".repeat(1000));
        let told = of_json(&long, &[]).unwrap();
        assert!(told.starts_with("a [31mb \u{fc}") && told.ends_with("\u{fc} ..."), "{told}");
        assert_eq!(told.chars().count(), LETTERS_MAX + 4);
        let told = of_json(r#"{"detail": "the key k-123 is not valid"}"#, &["k-123"]);
        assert_eq!(told.as_deref(), Some("the key ... is not valid"));
        let nested = format!("{}\"x\"{}", "{\"error\": ".repeat(100), "}".repeat(100));
        assert_eq!(of_json(&nested, &[]), None);
    }
}
