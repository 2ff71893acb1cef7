//! What concerns tools: which are known to change nothing (`[tools]`), how often each may be called (`[limits.tools]`),
//! and the keys of a quota, which clients have, too.
//!
//! A catalogue is read for two keys of each declaration, `name` and `read_only`; the rest of it is for `mcp-tools` to
//! judge. Must not know who calls.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::source;
use super::table::Table;
use super::value;
use crate::config::diagnostics::{DiagnosticSink, InvalidValue};
use crate::policy::quota::{Quota, ToolRule, ToolRules};
use crate::policy::rate::Rate;
use crate::policy::tools::{Pattern, ReadOnlyTools};
use mcp_host::diagnostics::Diagnostics;

/// Patterns in one list.
pub(super) const PATTERNS_MAX: usize = 256;
const PATTERN_BYTES_MAX: usize = 128;
const CATALOGUES_MAX: usize = 64;
const CATALOGUE_BYTES_MAX: u64 = 16 << 20;
const RULES_MAX: usize = 256;
const COUNT_MAX: u64 = 100_000;
/// Two rates of different times bound both a rush and a day's use; a third would add nothing that a person could follow.
const RATES_MAX: usize = 2;

/// `[tools]`
pub(super) fn read_only(mut table: Table<'_>, folder: &Path, more: &mut Diagnostics) -> ReadOnlyTools {
    let patterns = table.list("read_only", PATTERNS_MAX, pattern).unwrap_or_default();
    let files =
        table.list("catalogues", CATALOGUES_MAX, |text| value::path(text, folder)).unwrap_or_default();
    let mut names = HashSet::new();
    for (index, file) in files.iter().enumerate() {
        let (included, own) = from_catalogue(file, &mut table, index, more);
        names.extend(own);
        for file in included.iter().take(CATALOGUES_MAX) {
            names.extend(from_catalogue(file, &mut table, index, more).1);
        }
    }
    table.finish();
    ReadOnlyTools::new(patterns, names)
}

/// The files that a catalogue includes, and its own declarations that say `read_only = true`.
fn from_catalogue(
    file: &Path,
    table: &mut Table<'_>,
    index: usize,
    more: &mut Diagnostics,
) -> (Vec<PathBuf>, Vec<String>) {
    let text = match source::read(file, CATALOGUE_BYTES_MAX) {
        Ok(text) => text,
        Err(unreadable) => {
            table.error(&format!("catalogues[{index}]"), None, InvalidValue::new(unreadable.to_string()));
            return (Vec::new(), Vec::new());
        }
    };
    let sink = DiagnosticSink::new(file, &text);
    let parsed = source::parse(&text, &sink);
    let included = parsed.as_ref().map(|parsed| includes(parsed.get_ref(), file)).unwrap_or_default();
    let declared = parsed.map(|parsed| declarations(parsed.get_ref()));
    if included.is_empty() && declared.as_ref().is_some_and(|(count, _)| *count == 0) {
        sink.error("tool", None, InvalidValue::new("declares no tool: is this a catalogue of mcp-tools?"));
    }
    let diagnostics = sink.finish();
    more.problems.extend(diagnostics.problems);
    (included, declared.map(|(_, names)| names).unwrap_or_default())
}

/// The files that belong to a catalogue, relative to its folder.
fn includes(catalogue: &DeTable<'_>, file: &Path) -> Vec<PathBuf> {
    let names = catalogue.get("include").and_then(|names| names.get_ref().as_array());
    let folder = file.parent().unwrap_or(Path::new(""));
    names.into_iter().flatten().filter_map(|name| Some(folder.join(name.get_ref().as_str()?))).collect()
}

/// How many tools are declared, and which of them change nothing.
fn declarations(catalogue: &DeTable<'_>) -> (usize, Vec<String>) {
    let tools = catalogue.get("tool").and_then(|tools| tools.get_ref().as_array());
    let tables: Vec<_> = tools.into_iter().flatten().filter_map(|tool| tool.get_ref().as_table()).collect();
    let reads = |tool: &&&DeTable<'_>| {
        tool.get("read_only").and_then(|value| value.get_ref().as_bool()).unwrap_or_default()
    };
    let name =
        |tool: &&DeTable<'_>| tool.get("name").and_then(|name| name.get_ref().as_str()).map(str::to_owned);
    (tables.len(), tables.iter().filter(reads).filter_map(name).collect())
}

/// `[limits.tools]`
pub(super) fn rules(mut table: Table<'_>) -> ToolRules {
    if table.names().len() > RULES_MAX {
        table.error("", None, InvalidValue::new(format!("at most {RULES_MAX} patterns are allowed")));
    }
    let mut rules = Vec::new();
    for (name, mut entry) in table.tables() {
        let quota = quota(&mut entry);
        let range = Duration::from_millis(1)..=Duration::from_secs(3600);
        let total = entry.optional_duration("total", range);
        let range = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
        let stream_total = entry.optional_duration("stream_total", range);
        entry.finish();
        match pattern(&name) {
            Ok(pattern) => rules.push(ToolRule { pattern, quota, total, stream_total }),
            Err(invalid) => table.error(&name, None, invalid),
        }
    }
    table.finish();
    ToolRules::new(rules)
}

/// `rate`, `burst` and `concurrency` of a client or a tool.
pub(super) fn quota(table: &mut Table<'_>) -> Quota {
    let rate = rate(table);
    let concurrency = table.optional_integer("concurrency", 1..=COUNT_MAX);
    Quota { rate, concurrency: concurrency.map(whole) }
}

/// The keys of a rate: `rate`, one or two of them, and how much of a single one may come at once.
pub(super) fn rate(table: &mut Table<'_>) -> Option<Rate> {
    let is_list = table.entry("rate").is_some_and(|value| value.is_array());
    let written = if is_list {
        table.list("rate", RATES_MAX, per_time).unwrap_or_default()
    } else {
        table.text("rate", per_time).into_iter().collect()
    };
    let burst = table.optional_integer("burst", 1..=COUNT_MAX);
    if burst.is_some() && (!table.has("rate") || is_list) {
        let hint = "as in rate = \"10/s\"; of a list, each rate may come at once as a whole";
        table.error("burst", None, InvalidValue::new("says nothing without a single rate").hint(hint));
    }
    match written[..] {
        [] if is_list => {
            let invalid = InvalidValue::new("needs one or two rates, each as in \"10/s\"");
            table.error("rate", None, invalid.hint("without the line there is no limit"));
            None
        }
        [(_, one), (_, other), ..] if one == other => {
            let hint = "two rates are of different times, as in [\"100/h\", \"10/m\"]";
            table.error("rate", None, InvalidValue::new("has two rates of the same time").hint(hint));
            None
        }
        _ => {
            let rates = written.into_iter().map(|(count, period)| {
                Rate::new(count, period, burst.filter(|_| !is_list).map_or(count, whole))
            });
            let rates: Option<Vec<Rate>> = rates.collect();
            if rates.is_none() {
                table.error("rate", None, InvalidValue::new("cannot be counted with this burst"));
            }
            rates?.into_iter().reduce(Rate::and)
        }
    }
}

/// `"10/s"`: a count and the time it is for.
fn per_time(text: &str) -> Result<(NonZeroU32, Duration), InvalidValue> {
    let invalid = || {
        InvalidValue::new("must be a count of 1 to 100000 and s, m or h")
            .hint("as in \"10/s\" or \"600/m\"; without the line there is no limit")
    };
    let (count, unit) = text.split_once('/').ok_or_else(invalid)?;
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let count = count.parse().ok().filter(|count| digits && (1..=COUNT_MAX).contains(count));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(invalid()),
    };
    Ok((whole(count.ok_or_else(invalid)?), Duration::from_secs(seconds)))
}

/// A count that is known to be in range.
fn whole(count: u64) -> NonZeroU32 {
    u32::try_from(count).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// A tool's name, with `*` for any text.
pub(super) fn pattern(text: &str) -> Result<Pattern, InvalidValue> {
    let invalid = || InvalidValue::new("must be a tool's name, in which * stands for any text");
    plain_pattern(text).ok_or_else(|| invalid().hint("as in \"panda_list_*\""))
}

/// A method's name, with `*` for any text.
pub(super) fn method_pattern(text: &str) -> Result<Pattern, InvalidValue> {
    let invalid = || InvalidValue::new("must be a method's name, in which * stands for any text");
    plain_pattern(text).ok_or_else(|| invalid().hint("as in \"tasks/*\""))
}

fn plain_pattern(text: &str) -> Option<Pattern> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    (!text.is_empty() && text.len() <= PATTERN_BYTES_MAX && plain).then(|| Pattern::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, build};

    const NOTHING: Environment<'static> = Environment { variable: &|_| None, now: 0, shown_pairs: None };

    fn load(file: &Path, tables: &str) -> Result<Config, Vec<String>> {
        let text = format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n{tables}");
        let diagnostics =
            |diagnostics: Diagnostics| diagnostics.problems.iter().map(ToString::to_string).collect();
        build(file, &text, &NOTHING).map(|loaded| loaded.config).map_err(diagnostics)
    }

    /// Exactly one problem, that says `why`.
    #[track_caller]
    fn refuses(tables: &str, why: &str) {
        let problems = load(Path::new("g.toml"), tables).err().unwrap();
        assert!(problems.len() == 1 && problems[0].contains(why), "{problems:?} does not say {why:?}");
    }

    #[test]
    fn tools_have_limits_by_pattern() {
        let tables = "[limits.tools.\"panda_*\"]\nrate = \"600/m\"\nburst = 5\nconcurrency = 4\ntotal = \"20s\"\n\
                      [limits.tools.slow]\ntotal = \"2m\"";
        let config = load(Path::new("g.toml"), tables).unwrap();
        let (position, rule) = config.tool_rules.find("panda_list").unwrap();
        assert_eq!((position, rule.total), (1, Some(Duration::from_secs(20))));
        let five = NonZeroU32::new(5).unwrap();
        let rate = Rate::new(NonZeroU32::new(600).unwrap(), Duration::from_secs(60), five);
        assert_eq!(rule.quota, Quota { rate, concurrency: NonZeroU32::new(4) });
        assert!(config.tool_rules.find("echo").is_none());
        let rate = |tables: &str| {
            load(Path::new("g.toml"), tables).unwrap().tool_rules.find("a").unwrap().1.quota.rate
        };
        let whole = |count, seconds| {
            let count = NonZeroU32::new(count).unwrap();
            Rate::new(count, Duration::from_secs(seconds), count).unwrap()
        };
        let both = rate("[limits.tools.a]\nrate = [\"100/h\", \"10/m\"]");
        assert_eq!(both, Some(whole(100, 3600).and(whole(10, 60))));
        assert_eq!(rate("[limits.tools.a]\nrate = [\"10/m\"]"), Some(whole(10, 60)));
        refuses("[limits.tools.a]\nrate = []", "needs one or two rates");
        refuses("[limits.tools.a]\nrate = [\"1/s\", \"2/s\"]", "two rates of the same time");
        refuses("[limits.tools.a]\nrate = [\"1/s\", \"20/m\", \"300/h\"]", "at most 2 are allowed");
        refuses("[limits.tools.a]\nrate = [\"1/s\", \"20\"]", "a count of 1 to 100000 and s, m or h");
        refuses(
            "[limits.tools.a]\nrate = [\"1/s\", \"20/m\"]\nburst = 3",
            "says nothing without a single rate",
        );
        refuses("[limits.tools.a]\nrate = \"10\"", "a count of 1 to 100000 and s, m or h");
        refuses("[limits.tools.a]\nrate = \"0/s\"", "\"0/s\" is not allowed");
        refuses("[limits.tools.a]\nrate = \"+1/s\"", "is not allowed");
        refuses("[limits.tools.a]\nrate = \"1/d\"", "is not allowed");
        refuses("[limits.tools.a]\nrate = 10", "must be a text in quotes");
        refuses("[limits.tools.a]\nburst = 10", "says nothing without a single rate");
        refuses("[limits.tools.a]\nconcurrency = 0", "0 is not allowed; must be 1 to 100000");
        refuses("[limits.tools.a]\ntotal = \"2h\"", "must be 1ms to 1h");
        refuses("[limits.tools.a]\ntimeout = \"1s\"", "no such key");
        refuses("[limits.tools.\"a b\"]\nrate = \"1/s\"", "must be a tool's name");
        refuses("[limits]\ntools = 5", "must be a table");
    }

    #[test]
    fn what_changes_nothing_is_named_here_or_in_a_catalogue() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = "[service.x]\nbase_url = \"http://a\"\n[[tool]]\nname = \"reads\"\nread_only = true\n\
                         [[tool]]\nname = \"writes\"\nread_only = false\n[[tool]]\nname = \"silent\"\n";
        std::fs::write(folder.path().join("tools.toml"), catalogue).unwrap();
        let file = folder.path().join("guard.toml");
        let config = load(&file, "[tools]\nread_only = [\"list_*\"]\ncatalogues = [\"tools.toml\"]").unwrap();
        let known = |name: &str| config.read_only.contains(name);
        assert!(known("reads") && known("list_runs"));
        assert!(!known("writes") && !known("silent") && !known("other"));
        std::fs::write(folder.path().join("empty.toml"), "a = 1").unwrap();
        let refused = |tables: &str| load(&file, tables).err().unwrap().concat();
        assert!(refused("[tools]\ncatalogues = [\"empty.toml\"]").contains("declares no tool"));
        assert!(refused("[tools]\ncatalogues = [\"none.toml\"]").contains("cannot read"));
        refuses("[tools]\nread_only = [\"\"]", "must be a tool's name");
    }

    #[test]
    fn the_shipped_catalogues_and_what_they_include_say_what_changes_nothing() {
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let tables = "[tools]\ncatalogues = [\"tools/swf.toml\", \"tools/server.toml\"]";
        let config = load(&conf.join("guard.toml"), tables).unwrap();
        assert!(
            config.read_only.contains("panda_list_tasks")
                && config.read_only.contains("swf_get_system_state")
                && config.read_only.contains("server_time")
        );
    }
}
