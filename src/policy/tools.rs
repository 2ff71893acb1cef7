//! Which tools a client may call: patterns on names, decided on the body's own words.
//!
//! Must not know clients by name, nor what a tool does.

/// The tools a client may call; by default every one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolPatterns {
    /// `None` allows everything, an empty list nothing.
    patterns: Option<Vec<Box<str>>>,
}

impl ToolPatterns {
    /// Only tools whose whole name matches one of the patterns. `*` stands for any text, also none; every other
    /// character for itself.
    pub fn only<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> ToolPatterns {
        ToolPatterns { patterns: Some(patterns.into_iter().map(|pattern| pattern.as_ref().into()).collect()) }
    }

    /// Whether the tool of this name may be called. A call that names no tool is fit only for clients without bounds.
    pub(super) fn allows(&self, tool: Option<&str>) -> bool {
        match (&self.patterns, tool) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(patterns), Some(tool)) => {
                patterns.iter().any(|pattern| matches(pattern.as_bytes(), tool.as_bytes()))
            }
        }
    }
}

/// Greedy matching that goes back to the latest `*` only: linear in practice, quadratic at worst, never exponential.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            p = after_star;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], tool: &str, expect: bool) {
        assert_eq!(ToolPatterns::only(patterns).allows(Some(tool)), expect, "{patterns:?} {tool}");
    }

    #[test]
    fn a_pattern_matches_the_whole_name() {
        check(&["swf_list_*"], "swf_list_runs", true);
        check(&["swf_list_*"], "swf_list_", true);
        check(&["swf_list_*"], "xswf_list_runs", false);
        check(&["*_get_*"], "panda_get_task", true);
        check(&["*_get_*"], "panda_getter", false);
        check(&["exact"], "exact", true);
        check(&["exact"], "exactly", false);
        check(&["a*b*c"], "a1b2b3c", true);
        check(&["**"], "", true);
        check(&["Tool"], "tool", false);
    }

    #[test]
    fn no_pattern_allows_nothing_and_no_list_allows_everything() {
        check(&[], "any", false);
        assert!(ToolPatterns::default().allows(Some("any")));
        assert!(ToolPatterns::default().allows(None));
        assert!(!ToolPatterns::only(["*"]).allows(None));
    }

    proptest! {
        #[test]
        fn a_star_between_any_two_parts_matches_whatever_stands_there(a in "[a-z_]{0,8}", x in ".{0,12}", b in "[a-z_]{0,8}") {
            let pattern = format!("{a}*{b}");
            let text = format!("{a}{x}{b}");
            prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
