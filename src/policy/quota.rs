//! How much a client or a tool may use: calls in a time, calls at a time, and how long one may take.
//!
//! What the configuration says, and which of its rules is a tool's own. Must not know what has been used of it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::rate::Rate;
use super::tools::{Pattern, without_dropped};

/// Bounds on the calls of one client or one tool; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Calls in a time.
    pub rate: Option<Rate>,
    /// Calls at a time.
    pub concurrency: Option<NonZeroU32>,
}

impl Quota {
    /// Whether anything is bounded.
    pub fn is_bounded(&self) -> bool {
        self.rate.is_some() || self.concurrency.is_some()
    }
}

/// What holds for the tools that a pattern names, taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRule {
    /// The tools.
    pub pattern: Pattern,
    /// How often they may be called, by all clients together.
    pub quota: Quota,
    /// How long one call may take.
    pub total: Option<Duration>,
    /// How long a response that streams may take.
    pub stream_total: Option<Duration>,
}

/// `[limits.tools]`: one rule at most holds for a tool, the one that names it most exactly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolRules {
    /// The most exact first.
    rules: Vec<ToolRule>,
}

impl ToolRules {
    /// Orders the rules: a name without `*` before patterns, longer patterns before shorter ones.
    pub fn new(mut rules: Vec<ToolRule>) -> ToolRules {
        rules.sort_by_key(|rule| {
            let text = rule.pattern.as_str();
            (text.contains('*'), std::cmp::Reverse(text.len()), text.to_owned())
        });
        ToolRules { rules }
    }

    /// The place of the rule for this tool in [`ToolRules::iter`], and the rule. Another spelling that some backend takes for
    /// the tool has the same rule; of rules that differ in case only, the one that spells the name as it is.
    pub fn find(&self, tool: &str) -> Option<(usize, &ToolRule)> {
        let seen = if self.rules.is_empty() { return None } else { without_dropped(tool) };
        let mut found =
            self.rules.iter().enumerate().filter(|(_, rule)| rule.pattern.matches_in_any_case(&seen));
        let first = found.next()?;
        if first.1.pattern.matches(&seen) {
            return Some(first);
        }
        let text = |rule: &ToolRule| rule.pattern.as_str().to_lowercase();
        let exact = found.find(|(_, rule)| text(rule) == text(first.1) && rule.pattern.matches(&seen));
        Some(exact.unwrap_or(first))
    }

    /// Every rule, the most exact first.
    pub fn iter(&self) -> impl Iterator<Item = &ToolRule> {
        self.rules.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_rule_is_the_tool_s_own() {
        let rule = |pattern: &str| ToolRule {
            pattern: Pattern::new(pattern),
            quota: Quota::default(),
            total: None,
            stream_total: None,
        };
        let rules =
            ToolRules::new(["*", "swf_*", "swf_start_*", "swf_start_run_now", "panda_*"].map(rule).into());
        let found = |tool: &str| rules.find(tool).map(|(_, rule)| rule.pattern.as_str());
        assert_eq!(found("swf_start_run_now"), Some("swf_start_run_now"));
        assert_eq!(found("swf_start_run"), Some("swf_start_*"));
        assert_eq!(found("swf_list"), Some("swf_*"));
        assert_eq!(found("echo"), Some("*"));
        assert_eq!(ToolRules::default().find("echo"), None);
    }

    // A backend may ignore case, trim or clean: no spelling of a tool gets around its rate.
    #[test]
    fn a_tool_s_rule_holds_in_every_spelling_that_a_backend_takes_for_it() {
        let rule = |pattern: &str| ToolRule {
            pattern: Pattern::new(pattern),
            quota: Quota::default(),
            total: None,
            stream_total: None,
        };
        let rules = ToolRules::new(["*", "panda_kill", "SWF_*", "swf_*", "Echo"].map(rule).into());
        let check = |tool: &str, expect: &str| {
            assert_eq!(rules.find(tool).map(|(_, rule)| rule.pattern.as_str()), Some(expect), "{tool:?}");
        };
        for tool in [
            "Panda_Kill",
            "PANDA_KILL",
            "panda_\u{212a}\u{131}ll",
            "panda_k\u{130}ll",
            "panda_kill ",
            "\tpanda_kill",
        ] {
            check(tool, "panda_kill");
        }
        for tool in ["panda\u{200b}_kill", "panda_kill\0x", "panda_kill\u{fffd}", "\u{feff}Panda_Kill"] {
            check(tool, "panda_kill");
        }
        check("swf_a", "swf_*");
        check("SWF_a", "SWF_*");
        check("sWf_a", "SWF_*");
        check("echo", "Echo");
        check("panda kill", "*");
    }
}
