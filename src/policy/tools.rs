//! Which tools and methods a client may call, and which tools it is shown: patterns on names, decided on the body's own
//! words.
//!
//! Must not know clients by name, nor what a tool does.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::wire::{Method, is_dropped};

/// The protocol's own bound on a tool's name. A longer name is unknown before any pattern is matched: matching takes time
/// by its length.
pub const NAME_BYTES_MAX: usize = 128;

/// A name in which `*` stands for any text, also none; every other character for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The pattern of this text.
    pub fn new(text: &str) -> Pattern {
        Pattern(text.into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }

    /// Whether a backend that ignores case could take the name for one that matches.
    pub fn matches_in_any_case(&self, name: &str) -> bool {
        let (pattern, text) = (without_case(&self.0), without_case(name));
        let is_plain = matches!((&pattern, &text), (Cow::Borrowed(_), Cow::Borrowed(_)));
        self.matches(name) || !is_plain && matches(pattern.as_bytes(), text.as_bytes())
    }
}

/// The tools a client may call; by default every one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolPatterns {
    /// `None` allows everything, an empty list nothing.
    patterns: Option<Vec<Pattern>>,
}

impl ToolPatterns {
    /// Only tools whose whole name matches one of the patterns.
    pub fn only<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> ToolPatterns {
        ToolPatterns::of(patterns.into_iter().map(|pattern| Pattern::new(pattern.as_ref())).collect())
    }

    /// The same, of patterns.
    pub fn of(patterns: Vec<Pattern>) -> ToolPatterns {
        ToolPatterns { patterns: Some(patterns) }
    }

    /// Whether a tool of this name is among them.
    pub fn allows(&self, tool: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(tool)))
    }
}

/// What of `tools/list` a client with a tool policy gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListView {
    /// The tools it may call.
    #[default]
    Filtered,
    /// Every tool, byte for byte as the backend lists them.
    Full,
}

/// What one client may do with tools; by default everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolPolicy {
    /// The tools it may call, unless they are denied.
    pub allow: ToolPatterns,
    /// The tools it may not call, whatever else holds.
    pub deny: Vec<Pattern>,
    /// Only tools that are known to change nothing.
    pub read_only: bool,
    /// What it is shown.
    pub list: ListView,
    /// The methods it may call although the guard does not know them, or although they change something.
    pub methods: Vec<Pattern>,
}

impl ToolPolicy {
    /// Whether the client may call everything.
    pub fn is_unbounded(&self) -> bool {
        self.allow == ToolPatterns::default() && self.deny.is_empty() && !self.read_only
    }

    /// Whether the tool of this name may be called. A call that names no tool is fit only for clients without bounds.
    pub fn allows(&self, tool: Option<&str>, known: &ReadOnlyTools) -> bool {
        self.objection_to_tool(tool, known).is_none()
    }

    /// What stands against a call of this tool.
    pub(super) fn objection_to_tool(&self, tool: Option<&str>, known: &ReadOnlyTools) -> Option<Objection> {
        let Some(tool) = tool else { return (!self.is_unbounded()).then_some(Objection::NoName) };
        if tool.len() > NAME_BYTES_MAX {
            return Some(Objection::LongName);
        }
        if !self.is_unbounded() && !reads_one_way(tool) {
            return Some(Objection::AmbiguousName);
        }
        if !self.allow.allows(tool) {
            return Some(Objection::NotAllowed);
        }
        if self.denies(tool) {
            return Some(Objection::Denied);
        }
        (self.read_only && !known.contains(tool)).then_some(Objection::NotReadOnly)
    }

    /// Whether the name is a denied one to a backend that ignores case.
    fn denies(&self, tool: &str) -> bool {
        self.deny.iter().any(|pattern| pattern.matches_in_any_case(tool))
    }

    /// Whether a method other than `tools/call` may be called; `name` is the method as the body has it. A client with
    /// bounds calls only what the guard knows, for a backend may have methods that do what a tool does.
    pub fn allows_method(&self, method: Method, name: &str) -> bool {
        self.objection_to_method(method, name).is_none()
    }

    /// What stands against a call of this method.
    pub(super) fn objection_to_method(&self, method: Method, name: &str) -> Option<Objection> {
        if method == Method::Other && Method::is_imitated_by(name) {
            return Some(Objection::ImitatedMethod);
        }
        let is_known = method != Method::Other;
        if self.is_unbounded() || is_known && !(self.read_only && method.changes_something()) {
            return None;
        }
        let is_given =
            name.len() <= NAME_BYTES_MAX && self.methods.iter().any(|pattern| pattern.matches(name));
        let objection = if is_known { Objection::ChangesSomething } else { Objection::UnknownMethod };
        (!is_given).then_some(objection)
    }
}

/// Why a client may not call a tool or a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// The call names no tool.
    NoName,
    /// The name is longer than the protocol allows.
    LongName,
    /// Programs read the name in different ways.
    AmbiguousName,
    /// No pattern allows the tool.
    NotAllowed,
    /// A pattern denies the tool.
    Denied,
    /// The tool is not known to change nothing.
    NotReadOnly,
    /// A backend could read the method as one that the guard knows.
    ImitatedMethod,
    /// The guard does not know the method.
    UnknownMethod,
    /// The method changes something that other clients notice.
    ChangesSomething,
}

impl Objection {
    /// The reason, with the key of `tokens.toml` that it comes from.
    pub fn as_str(self) -> &'static str {
        match self {
            Objection::NoName => "the call names no tool, and the client has bounds",
            Objection::LongName => "the name has more than 128 bytes",
            Objection::AmbiguousName => "programs read the name in different ways, and the client has bounds",
            Objection::NotAllowed => "no pattern of the client's `tools` allows it",
            Objection::Denied => "a pattern of the client's `deny_tools` denies it",
            Objection::NotReadOnly => {
                "the client is `read_only`, and the tool is not known to change nothing (`[tools] read_only`)"
            }
            Objection::ImitatedMethod => {
                "a backend could read the method as another one, which the guard knows"
            }
            Objection::UnknownMethod => {
                "the guard does not know the method, and the client's `methods` do not name it"
            }
            Objection::ChangesSomething => {
                "the client is `read_only`, the method changes something, and its `methods` do not name it"
            }
        }
    }
}

/// Whether every program reads the same tool in this name: none of its characters is dropped by one that trims or cleans.
pub(super) fn reads_one_way(tool: &str) -> bool {
    let is_trimmed = tool.trim().len() == tool.len();
    let is_seen = |character: char| character == ' ' || !is_dropped(character);
    // Half a surrogate pair in the body is a replacement character here, and something else to other decoders.
    is_trimmed && tool.chars().all(|character| is_seen(character) && character != char::REPLACEMENT_CHARACTER)
}

/// The name as programs see it that trim, clean, or end it at a zero byte. An ordinary name is itself.
pub(super) fn without_dropped(tool: &str) -> Cow<'_, str> {
    if reads_one_way(tool) {
        return Cow::Borrowed(tool);
    }
    let end = tool.find('\0').unwrap_or(tool.len());
    let is_seen = |character: &char| {
        *character == ' ' || !is_dropped(*character) && *character != char::REPLACEMENT_CHARACTER
    };
    let seen: String = tool[..end].chars().filter(is_seen).collect();
    Cow::Owned(seen.trim().to_owned())
}

/// The text as programs see it that take `K`, `k` and the Kelvin sign for one letter, or the four letters i. An ordinary name
/// is itself.
fn without_case(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_plain {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\u{130}', "i").to_uppercase().to_lowercase())
}

/// The tools that change nothing, on the operator's word: a backend's own annotations do not count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOnlyTools {
    patterns: Vec<Pattern>,
    names: HashSet<String>,
}

impl ReadOnlyTools {
    /// Those that a pattern of the configuration or a declaration of a catalogue names.
    pub fn new(patterns: Vec<Pattern>, names: HashSet<String>) -> ReadOnlyTools {
        ReadOnlyTools { patterns, names }
    }

    /// Whether this tool is one of them.
    pub fn contains(&self, tool: &str) -> bool {
        self.names.contains(tool) || self.patterns.iter().any(|pattern| pattern.matches(tool))
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.names.is_empty()
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
        assert_eq!(ToolPatterns::only(patterns).allows(tool), expect, "{patterns:?} {tool}");
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
        assert!(ToolPatterns::default().allows("any"));
        let (unbounded, none) = (ToolPolicy::default(), ReadOnlyTools::default());
        assert!(unbounded.allows(Some("any"), &none) && unbounded.allows(None, &none));
        let bounded = ToolPolicy { allow: ToolPatterns::only(["*"]), ..ToolPolicy::default() };
        assert!(bounded.allows(Some("any"), &none) && !bounded.allows(None, &none));
    }

    #[test]
    fn a_name_that_programs_read_differently_is_unknown_to_a_bounded_client() {
        let (none, unbounded) = (ReadOnlyTools::default(), ToolPolicy::default());
        let denied = ToolPolicy { deny: vec![Pattern::new("hidden")], ..ToolPolicy::default() };
        let allowed = ToolPolicy { allow: ToolPatterns::only(["*"]), ..ToolPolicy::default() };
        let names = [
            "hidden ",
            "\thidden",
            "hidden\u{a0}",
            "hidden\0",
            "hid\u{200b}den",
            "hidden\u{feff}",
            "a\u{fffd}",
        ];
        for name in names {
            assert!(!denied.allows(Some(name), &none) && !allowed.allows(Some(name), &none), "{name:?}");
            assert!(unbounded.allows(Some(name), &none), "{name:?}");
        }
        for name in ["shown", "a tool", "café", ""] {
            assert!(denied.allows(Some(name), &none) && allowed.allows(Some(name), &none), "{name:?}");
        }
    }

    // A pattern that allows is exact: what it does not name is not allowed.
    #[test]
    fn a_denied_tool_is_denied_in_any_case() {
        let none = ReadOnlyTools::default();
        let denied = ToolPolicy {
            deny: vec![Pattern::new("act_*"), Pattern::new("*_KILL_*"), Pattern::new("tasks")],
            ..ToolPolicy::default()
        };
        for name in [
            "act_a",
            "ACT_a",
            "Act_A",
            "x_kill_y",
            "X_Kill_Y",
            "ta\u{17f}\u{212a}s",
            "TASKS",
            "x_k\u{130}ll_y",
            "x_k\u{131}ll_y",
        ] {
            assert!(!denied.allows(Some(name), &none), "{name:?}");
        }
        for name in ["act", "fact_a", "xkilly", "Task", "caf\u{e9}"] {
            assert!(denied.allows(Some(name), &none), "{name:?}");
        }
    }

    // MCP 2025-11-25, Tool Names: "SHOULD be between 1 and 128 characters in length".
    #[test]
    fn a_name_beyond_the_protocol_s_bound_is_unknown_to_every_client() {
        let (fits, long) = ("a".repeat(NAME_BYTES_MAX), "a".repeat(NAME_BYTES_MAX + 1));
        let everything = ToolPolicy {
            allow: ToolPatterns::only(["*"]),
            methods: vec![Pattern::new("*")],
            ..ToolPolicy::default()
        };
        for policy in [&everything, &ToolPolicy::default()] {
            assert!(policy.allows(Some(&fits), &ReadOnlyTools::default()));
            assert!(!policy.allows(Some(&long), &ReadOnlyTools::default()));
        }
        assert!(everything.allows_method(Method::Other, &fits));
        assert!(!everything.allows_method(Method::Other, &long));
    }

    #[test]
    fn a_bounded_client_calls_the_methods_that_are_known_and_those_it_is_given() {
        let bounded = ToolPolicy { allow: ToolPatterns::only(["ok_*"]), ..ToolPolicy::default() };
        let given = ToolPolicy { methods: vec![Pattern::new("workflow/*")], ..bounded.clone() };
        for own in ["workflow/start", "x", "", "rpc.discover"] {
            assert!(ToolPolicy::default().allows_method(Method::Other, own), "{own:?}");
            assert!(!bounded.allows_method(Method::Other, own), "{own:?}");
        }
        assert!(
            given.allows_method(Method::Other, "workflow/start") && !given.allows_method(Method::Other, "x")
        );
        for method in Method::ALL.into_iter().filter(|method| *method != Method::Other) {
            assert!(bounded.allows_method(method, method.as_str()), "{method:?}");
        }
        // A backend that trims or ignores case would run the known one, so no client is given that.
        let all = ToolPolicy { methods: vec![Pattern::new("*")], ..bounded };
        for imitation in ["tools/call ", "Tools/Call", "tools\u{200b}/call", "tools/call\0x", "p\u{131}ng"] {
            assert!(!all.allows_method(Method::Other, imitation), "{imitation:?}");
            assert!(!ToolPolicy::default().allows_method(Method::Other, imitation), "{imitation:?}");
        }
    }

    #[test]
    fn a_reader_calls_no_method_that_changes_something_unless_it_is_given() {
        let reader = ToolPolicy { read_only: true, ..ToolPolicy::default() };
        let refused = [Method::TasksUpdate, Method::TasksCancel, Method::LoggingSetLevel, Method::Other];
        for method in Method::ALL {
            assert_eq!(
                !reader.allows_method(method, method.as_str()),
                refused.contains(&method),
                "{method:?}"
            );
        }
        let given = ToolPolicy { methods: vec![Pattern::new("tasks/*")], ..reader };
        assert!(given.allows_method(Method::TasksCancel, "tasks/cancel"));
        assert!(!given.allows_method(Method::LoggingSetLevel, "logging/setLevel"));
    }

    #[test]
    fn a_denied_tool_stays_denied_and_a_reader_calls_only_what_is_known_to_read() {
        let names = HashSet::from(["panda_study_job".to_owned()]);
        let known = ReadOnlyTools::new(vec![Pattern::new("*_list_*")], names);
        let policy = ToolPolicy {
            allow: ToolPatterns::only(["panda_*", "swf_*"]),
            deny: vec![Pattern::new("panda_list_secret*")],
            read_only: true,
            ..ToolPolicy::default()
        };
        let allowed = |tool: &str| policy.allows(Some(tool), &known);
        assert!(allowed("panda_list_jobs") && allowed("panda_study_job") && allowed("swf_list_runs"));
        assert!(!allowed("panda_list_secrets"), "denied");
        assert!(!allowed("panda_kill_job") && !allowed("swf_start_run"), "not known to change nothing");
        assert!(!allowed("pcs_list_tags"), "not allowed");
        assert!(!policy.allows(None, &known));
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
