//! `http.patterns`: what an argument must look like before it names a destination, a file or a user elsewhere.
//!
//! Encoding keeps an argument inside its part of the URL; a pattern refuses values that the service itself would interpret
//! as more than a name. Must not know the service.

use indexmap::IndexMap;
use regex::{Regex, RegexBuilder};

use crate::catalogue::{Arguments, Param};

/// Memory of one compiled pattern.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Compiled patterns by parameter.
pub(crate) struct Patterns(Vec<Pattern>);

struct Pattern {
    name: String,
    /// As declared, for the error message.
    text: String,
    whole: Regex,
}

impl Patterns {
    /// Compiles what is declared; every reason against it goes to `reasons`.
    pub(crate) fn build(
        declared: &IndexMap<String, String>,
        params: &[Param],
        reasons: &mut Vec<String>,
    ) -> Patterns {
        let mut patterns = Vec::new();
        for (name, text) in declared {
            match params.iter().find(|param| param.name == *name) {
                None => reasons.push(format!("http.patterns: there is no parameter {name}")),
                Some(param) if !matches!(param.kind, "string" | "any") => {
                    let kind = param.kind;
                    reasons.push(format!(
                        "http.patterns.{name}: is for a string; the parameter is of type {kind}"
                    ));
                }
                Some(_) => match whole(text) {
                    Ok(whole) => patterns.push(Pattern { name: name.clone(), text: text.clone(), whole }),
                    Err(reason) => reasons.push(format!("http.patterns.{name}: {reason}")),
                },
            }
        }
        Patterns(patterns)
    }

    /// Refuses the first argument that does not match; the error is for the caller. An absent argument matches.
    pub(crate) fn check(&self, arguments: &Arguments) -> Result<(), String> {
        let unfit = self.0.iter().find(|pattern| {
            let value = arguments.argument(&pattern.name);
            !value.is_null() && !pattern.whole.is_match(&value.plain())
        });
        match unfit {
            Some(Pattern { name, text, .. }) => {
                Err(format!("{name}: this value cannot be used here; it must match {text}."))
            }
            None => Ok(()),
        }
    }
}

/// The whole value must match, also where the pattern has no anchors.
fn whole(text: &str) -> Result<Regex, String> {
    // Compile it alone first: a pattern such as `a)|(b` must not escape from its group.
    let limited = |text: &str| RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    let compiled = limited(text).and_then(|_| limited(&format!(r"\A(?:{text})\z")));
    compiled.map_err(|error| {
        let text = error.to_string();
        format!("is not a regular expression: {}", text.lines().last().unwrap_or_default().trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_value_and_an_alternative_cannot_escape() {
        for (text, value, fits) in [
            ("[a-z]+", "bob", true),
            ("[a-z]+", "bob,admin", false),
            ("^[a-z]+$", "bob\n", false),
            ("a|b", "ax", false),
            ("(?i)BOB", "bob", true),
        ] {
            assert_eq!(whole(text).unwrap().is_match(value), fits, "{text} {value}");
        }
        for text in ["a)|(b", "(", "[a", "a{1000}{1000}{1000}", "(?=a)"] {
            assert!(whole(text).unwrap_err().contains("is not a regular expression: "), "{text}");
        }
    }
}
