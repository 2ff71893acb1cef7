//! The query of a path: which part of the series is asked for.

use super::problem::Problem;
use crate::series::{SECONDS_MAX, Scope, View};

/// Seconds an entry may stand for.
const STEP_MAX: usize = 600;

/// `step=SECONDS`, `last=SECONDS`, and `of=slots` or `tool=NAME`, each at most once; the last half hour of everything without them.
pub(super) fn view(query: Option<&str>) -> Result<View, Problem> {
    let (mut step, mut last, mut scope) = (None, None, None);
    for part in query.unwrap_or_default().split('&').filter(|_| query.is_some()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let is_new = match name {
            "step" => step.replace(seconds(name, value, STEP_MAX)?).is_none(),
            "last" => last.replace(seconds(name, value, SECONDS_MAX)?).is_none(),
            "of" if value == "slots" => scope.replace(Scope::Slots).is_none(),
            "tool" => {
                let tool =
                    decoded(value).ok_or_else(|| Problem::malformed("tool: is not percent-encoded UTF-8"))?;
                scope.replace(Scope::Tool(tool)).is_none()
            }
            _ => false,
        };
        if !is_new {
            let detail =
                "the query may have step=SECONDS, last=SECONDS, and of=slots or tool=NAME, each once";
            return Err(Problem::malformed(detail));
        }
    }
    Ok(View {
        seconds: last.unwrap_or(SECONDS_MAX),
        step: step.unwrap_or(1),
        scope: scope.unwrap_or(Scope::Everything),
    })
}

fn seconds(name: &str, value: &str, max: usize) -> Result<usize, Problem> {
    let number = value.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| Problem::malformed(format!("{name}: 1 to {max} seconds")))
}

/// The text behind percent-encoding, where `+` is a space as in forms.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> (usize, usize, Scope) {
        let View { seconds, step, scope } = view(Some(query)).unwrap();
        (seconds, step, scope)
    }

    #[test]
    fn a_query_says_which_part_of_the_series() {
        let all = View { seconds: SECONDS_MAX, step: 1, scope: Scope::Everything };
        assert_eq!(view(None).unwrap(), all);
        assert_eq!(of("step=10"), (SECONDS_MAX, 10, Scope::Everything));
        assert_eq!(of("of=slots&last=60"), (60, 1, Scope::Slots));
        let tool = |name: &str| Scope::Tool(name.to_owned());
        assert_eq!(of("tool=a%20b%2B%C3%A9+c&step=600&last=1"), (1, 600, tool("a b+é c")));
        assert_eq!(of("tool="), (SECONDS_MAX, 1, tool("")));
    }

    #[test]
    fn a_query_that_is_not_understood_is_refused() {
        for wrong in [
            "",
            "step=0",
            "step=601",
            "step=x",
            "steps=1",
            "step=1&x=2",
            "step=1&step=1",
            "last=1801",
            "last=-1",
            "of=tools",
            "of=slots&tool=a",
            "tool=%",
            "tool=%4",
            "tool=%zz",
            "tool=%ff",
            "&step=1",
        ] {
            assert!(view(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
