//! Examples of calls, written beside a tool: arguments, and what the result must contain.
//!
//! Must not run anything: `examples` does.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::file::ExampleFile;
use super::json::json_of;
use super::schema::Input;
use crate::json::Json;

/// One example of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Example {
    pub(crate) arguments: Map<String, Value>,
    /// The caller, for a tool that needs its identity.
    pub(crate) client: Option<String>,
    pub(crate) subject: Option<String>,
    /// A part of the result.
    pub(crate) value: Option<Json>,
    /// A text that the result contains.
    pub(crate) text: Option<String>,
    pub(crate) is_error: bool,
}

/// The examples of a tool; a reason for each that could never pass.
pub(crate) fn examples(files: &[ExampleFile], input: &Input) -> Result<Vec<Example>, Vec<String>> {
    let mut reasons = Vec::new();
    let mut examples = Vec::new();
    for (place, file) in files.iter().enumerate() {
        match example(file, input) {
            Ok(example) => examples.push(example),
            Err(reason) => reasons.push(format!("example[{}].{reason}", place + 1)),
        }
    }
    if reasons.is_empty() { Ok(examples) } else { Err(reasons) }
}

fn example(file: &ExampleFile, input: &Input) -> Result<Example, String> {
    let arguments = file.arguments.iter().map(|(name, value)| {
        Ok((name.clone(), json_of(value).map_err(|reason| format!("arguments.{name}: {reason}"))?))
    });
    let arguments: Map<String, Value> = arguments.collect::<Result<_, String>>()?;
    let known = |name: &String| input.params().iter().any(|param| param.name == *name);
    // A call ignores an unknown name, so an example with a misspelled one would test something else.
    if let Some(unknown) = arguments.keys().find(|name| !known(name)) {
        return Err(format!("arguments: there is no parameter {unknown}"));
    }
    // An example of an error may be one of arguments that the schema refuses.
    if !file.is_error {
        input.accept(arguments.clone()).map_err(|reason| format!("arguments: {reason}"))?;
    }
    let value = match (&file.expect, &file.expect_json) {
        (Some(_), Some(_)) => return Err("expect: must not be given beside expect_json".into()),
        (Some(value), None) => Some(Json::of(&json_of(value).map_err(|reason| format!("expect: {reason}"))?)),
        (None, Some(text)) => {
            let read = serde_json::from_str::<&RawValue>(text);
            Some(Json::from_raw(read.map_err(|error| format!("expect_json: is not JSON: {error}"))?))
        }
        (None, None) => None,
    };
    let text = file.expect_text.clone();
    if text.as_deref().is_some_and(str::is_empty) {
        return Err("expect_text: is empty, which every result contains".into());
    }
    let (client, subject) = (file.client.clone(), file.subject.clone());
    Ok(Example { arguments, client, subject, value, text, is_error: file.is_error })
}
