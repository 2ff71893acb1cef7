//! Apache's configuration, as far as it decides whether a client reaches the guard: read as text, never run.
//!
//! Judges the mistakes that were really made: only one slash form mapped, the error state that `retry` leaves, a timeout
//! that ends before the guard's own, a Host that the guard refuses, error pages in place of JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Finding, State};
use crate::config::Config;
use crate::upstream::Address;

const USUAL_FOLDERS: &[&str] =
    &["/etc/apache2/conf-enabled", "/etc/apache2/sites-enabled", "/etc/httpd/conf.d"];
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Apache's `ProxyTimeout` default, which is `Timeout`'s.
const TIMEOUT_DEFAULT: u64 = 60;

/// Looks at the named files, or at those of the usual places that name the guard's address.
pub(super) fn look(named: &[PathBuf], config: &Config) -> Vec<Finding> {
    let Address::Tcp(guard) = &config.listen.address else {
        return vec![Finding::new(
            State::Skip,
            "apache",
            "the guard listens on a Unix socket; only ports are looked for",
        )];
    };
    let url = format!("http://{guard}");
    let mut findings = Vec::new();
    let mut texts = Vec::new();
    for path in if named.is_empty() { usual_files() } else { named.to_vec() } {
        match read(&path) {
            Ok(text) if text.contains(&url) => texts.push(text),
            Ok(_) if named.is_empty() => {}
            Ok(_) => {
                let found = format!("{} does not name {url}", path.display());
                let todo = "map the MCP path to the guard, as conf/apache/mcp-guard.conf does";
                findings.push(Finding::new(State::Bad, "apache", found).advise(todo));
            }
            Err(error) if named.is_empty() => {
                findings.push(Finding::new(State::Warn, "apache", format!("{}: {error}", path.display())));
            }
            Err(error) => {
                findings.push(Finding::new(State::Bad, "apache", format!("{}: {error}", path.display())))
            }
        }
    }
    if texts.is_empty() && findings.is_empty() {
        return vec![Finding::new(
            State::Skip,
            "apache",
            format!("no configuration that names {url} was found"),
        )];
    }
    findings.extend(texts.iter().flat_map(|text| judge(text, &url, config.timeouts.total)));
    findings
}

fn usual_files() -> Vec<PathBuf> {
    let entries = USUAL_FOLDERS.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A configuration, with its `Define`s put in.
struct Directives(Vec<Vec<String>>);

impl Directives {
    fn parse(text: &str) -> Directives {
        let mut defined: BTreeMap<String, String> = BTreeMap::new();
        let (mut lines, mut location) = (Vec::new(), None::<String>);
        for line in text.replace("\\\n", " ").lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut line = line.to_owned();
            for (name, value) in &defined {
                line = line.replace(&format!("${{{name}}}"), value);
            }
            let words = line.trim_matches(['<', '>']).split_whitespace();
            let mut words: Vec<String> = words.map(|word| word.trim_matches('"').to_owned()).collect();
            match words.as_slice() {
                [directive, path] if directive.eq_ignore_ascii_case("Location") => {
                    location = Some(path.clone())
                }
                [directive, ..] if directive.eq_ignore_ascii_case("/Location") => location = None,
                _ => {}
            }
            // Inside a Location the path is the Location's own.
            if let (Some(path), Some("ProxyPass"), Some(true)) =
                (&location, words.first().map(String::as_str), words.get(1).map(|word| word.contains("://")))
            {
                words.insert(1, path.clone());
            }
            if let [directive, name, value] = words.as_slice()
                && directive.eq_ignore_ascii_case("Define")
            {
                defined.insert(name.clone(), value.clone());
            }
            lines.push(words);
        }
        Directives(lines)
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [String]> {
        let named = |words: &&Vec<String>| words.first().is_some_and(|word| word.eq_ignore_ascii_case(name));
        self.0.iter().filter(named).map(Vec::as_slice)
    }

    /// Whether an on-off directive is on anywhere.
    fn on(&self, name: &str) -> bool {
        self.named(name).any(|words| words.get(1).is_some_and(|value| value.eq_ignore_ascii_case("on")))
    }
}

fn judge(text: &str, url: &str, total: Duration) -> Vec<Finding> {
    let directives = Directives::parse(text);
    let mut findings = slash_forms(&directives, url);
    findings.extend(parameters(&directives, url, total));
    if directives.on("ProxyPreserveHost") {
        findings.push(
            Finding::new(
                State::Bad,
                "apache",
                "ProxyPreserveHost is On: the guard refuses the public name (421)",
            )
            .advise("ProxyPreserveHost Off for the MCP path, or add the name to [origin] hosts"),
        );
    }
    if directives.on("ProxyErrorOverride") {
        findings.push(
            Finding::new(
                State::Bad,
                "apache",
                "ProxyErrorOverride is On: clients get HTML instead of the guard's JSON",
            )
            .advise("ProxyErrorOverride Off for the MCP path"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::new(
            State::Ok,
            "apache",
            format!("both slash forms reach {url}, retry and timeout fit"),
        ));
    }
    findings
}

/// Every path that is mapped to the guard is mapped with and without its final slash; well-known files have no such form.
fn slash_forms(directives: &Directives, url: &str) -> Vec<Finding> {
    let mapped =
        directives.named("ProxyPass").filter(|words| words.get(2).is_some_and(|to| to.starts_with(url)));
    let paths: Vec<&str> = mapped.filter_map(|words| words.get(1).map(String::as_str)).collect();
    let mut findings = Vec::new();
    for path in &paths {
        let file = path.contains("/.well-known/")
            || *path == "/register"
            || *path == "/"
            || path.ends_with("/health");
        let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
        if file || paths.contains(&other.as_str()) {
            continue;
        }
        let lost = if path.ends_with('/') {
            "the slash-less form goes elsewhere"
        } else {
            "the form with a slash is not exact"
        };
        let found = format!("ProxyPass {path} is there, but not {other}: {lost}");
        // Apache maps by prefix: the path without a slash covers the other, and only the other way round a form is lost.
        let state = if path.ends_with('/') { State::Bad } else { State::Warn };
        findings.push(
            Finding::new(state, "apache", found)
                .advise(format!("add: ProxyPass \"{other}\" \"{url}{other}\" nocanon")),
        );
    }
    if paths.is_empty() {
        let found = format!("no ProxyPass leads to {url}");
        findings.push(Finding::new(State::Bad, "apache", found).advise("include conf/apache/mcp-guard.conf"));
    }
    findings
}

/// `key=value` of the guard's worker, wherever it is set.
fn parameters(directives: &Directives, url: &str, total: Duration) -> Vec<Finding> {
    let workers = directives.named("ProxyPass").chain(directives.named("ProxySet"));
    let all: Vec<&str> = workers.flatten().map(String::as_str).collect();
    let value = |key: &str| all.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let mut findings = Vec::new();
    if value("retry") != Some("0") {
        let found = format!(
            "retry=0 is not set for {url}: after one failed connection Apache answers 503 by itself for 60 s"
        );
        findings.push(Finding::new(State::Warn, "apache", found).advise("ProxySet retry=0"));
    }
    let of_directive = directives.named("ProxyTimeout").find_map(|words| words.get(1)?.parse().ok());
    let timeout =
        value("timeout").and_then(|text| text.parse().ok()).or(of_directive).unwrap_or(TIMEOUT_DEFAULT);
    if Duration::from_secs(timeout) <= total {
        let found = format!(
            "timeout={timeout} ends before the guard's own {} s: clients get Apache's HTML page",
            total.as_secs()
        );
        let todo = format!("timeout={} for the guard, or a smaller timeouts.total", total.as_secs() + 5);
        findings.push(Finding::new(State::Bad, "apache", found).advise(todo));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../conf/apache/mcp-guard.conf");
    const URL: &str = "http://127.0.0.1:8001";

    /// Judges a text; expects these words, each in a finding of its own, and no other bad or warned finding.
    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let findings = judge(text, URL, Duration::from_secs(55));
        let wrong: Vec<&Finding> = findings.iter().filter(|finding| finding.state != State::Ok).collect();
        assert_eq!(wrong.len(), expect.len(), "{wrong:?}");
        for words in expect {
            assert!(wrong.iter().any(|finding| finding.found.contains(words)), "`{words}` in {wrong:?}");
        }
    }

    #[test]
    fn the_shipped_configuration_is_sound() {
        check(SHIPPED, &[]);
    }

    #[test]
    fn the_old_sites_configuration_has_its_known_faults() {
        let old = "<Location /swf-monitor/mcp/>\nProxyPass http://127.0.0.1:8001/swf-monitor/mcp/ timeout=60\n</Location>";
        check(old, &["the slash-less form goes elsewhere", "retry=0 is not set"]);
        check("ProxyPass /x http://127.0.0.1:9/ retry=0\n", &["no ProxyPass leads"]);
        let old = "ProxyPass /swf-monitor/mcp/ http://127.0.0.1:8001/swf-monitor/mcp/ timeout=60 retry=0\n";
        check(old, &["the slash-less form goes elsewhere"]);
    }

    #[test]
    fn each_mistake_is_named() {
        check(&SHIPPED.replace("retry=0", "retry=30"), &["retry=0 is not set"]);
        check(&SHIPPED.replace("timeout=60", "timeout=30"), &["timeout=30 ends before"]);
        check(
            &SHIPPED.replace("ProxyPreserveHost Off", "ProxyPreserveHost On"),
            &["ProxyPreserveHost is On"],
        );
        check(
            &SHIPPED.replace("ProxyErrorOverride Off", "ProxyErrorOverride On"),
            &["ProxyErrorOverride is On"],
        );
    }
}
