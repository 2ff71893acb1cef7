//! Apache's configuration, as far as it decides whether a client reaches the guard: read as text, never run.
//!
//! Judges the mistakes that were really made: only one slash form mapped, the error state that `retry` leaves, a timeout
//! that ends before the guard's own, a Host that the guard refuses, error pages in place of JSON.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::apache_ask::{Read, ask};
use super::apache_map::{Directives, Door};
use super::diagnosis::{Diagnosis, State};
use crate::client::Target;
use crate::config::Config;
use crate::upstream::Address;

const USUAL_FOLDERS: &[&str] =
    &["/etc/apache2/conf-enabled", "/etc/apache2/sites-enabled", "/etc/httpd/conf.d"];
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files that are read for one, itself and what it includes.
const FILES_MAX: usize = 200;
/// How deep includes are followed.
const DEPTH_MAX: usize = 8;
/// Apache's `ProxyTimeout` default, which is `Timeout`'s.
const TIMEOUT_DEFAULT: u64 = 60;

/// Looks at the named files, or at those of the usual places that name the guard's address; `through` is the public URL of
/// the endpoint, which settles what reading cannot.
pub(super) fn look(named: &[PathBuf], through: Option<&Target>, config: &Config) -> Vec<Diagnosis> {
    let Address::Tcp(guard) = &config.listen.address else {
        let found = "the guard listens on a Unix socket; only ports are looked for";
        let skipped = Diagnosis::new(State::Skip, "apache", found);
        let asked = through.map(|through| ask(through, &Read::Unknown).findings);
        return asked.unwrap_or_else(|| vec![skipped]);
    };
    let door = Door(*guard);
    let prefixes: Vec<&str> = config.paths.prefixes.iter().map(|prefix| prefix.as_str()).collect();
    let Files { found, strangers, mut findings } = Files::read(named, &door);
    let asked = through.map(|through| ask(through, &expected(through.path(), &found, &door, &prefixes)));
    let arrives = asked.as_ref().and_then(|asked| asked.arrives.as_deref());
    let url = format!("http://{guard}");
    for path in strangers {
        // Apache's own responses are known: what its files say is a guess at the most.
        let state = if arrives.is_some() { State::Warn } else { State::Bad };
        let found = format!("{} does not name {url}", path.display());
        let todo = "map the MCP path to the guard, as conf/apache/mcp-guard.conf does";
        findings.push(Diagnosis::new(state, "apache", found).advise(todo));
    }
    if found.is_empty() && findings.is_empty() {
        let nothing = format!("no configuration that names {url} was found");
        findings.push(Diagnosis::new(State::Skip, "apache", nothing));
    }
    let site = Site { door: &door, prefixes: &prefixes, total: config.timeouts.total, arrives };
    let judged: Vec<Diagnosis> = found.iter().flat_map(|found| site.judge(found)).collect();
    findings.extend(judged);
    asked.map(|asked| asked.findings).into_iter().flatten().chain(findings).collect()
}

/// What was read.
struct Files {
    /// Those that name the guard.
    found: Vec<Directives>,
    /// Those that the operator named and that do not name the guard.
    strangers: Vec<PathBuf>,
    /// Of those that could not be read.
    findings: Vec<Diagnosis>,
}

impl Files {
    fn read(named: &[PathBuf], door: &Door) -> Files {
        let mut files = Files { found: Vec::new(), strangers: Vec::new(), findings: Vec::new() };
        let unreadable = if named.is_empty() { State::Warn } else { State::Bad };
        for path in if named.is_empty() { usual_files() } else { named.to_vec() } {
            match read(&path).map(|text| Directives::parse(&text)) {
                Ok(directives) if directives.names(door) => files.found.push(directives),
                Ok(_) if named.is_empty() => {}
                Ok(_) => files.strangers.push(path),
                Err(error) => {
                    let found = format!("{}: {error}", path.display());
                    files.findings.push(Diagnosis::new(unreadable, "apache", found));
                }
            }
        }
        files
    }
}

/// What the files, else the path itself, let expect of a request for the public path.
fn expected(path: &str, found: &[Directives], door: &Door, prefixes: &[&str]) -> Read {
    let mut ends = found.iter().map(|directives| End::of(directives.target(path), door, prefixes));
    match ends.find(|end| !matches!(end, End::Elsewhere(_))) {
        Some(End::Endpoint) => Read::Endpoint,
        Some(End::NoEndpoint(to)) => Read::NoEndpoint(to),
        Some(End::Elsewhere(_)) | None if End::is_endpoint(path, prefixes) => Read::Endpoint,
        Some(End::Elsewhere(_)) | None => Read::Unknown,
    }
}

fn usual_files() -> Vec<PathBuf> {
    let entries = USUAL_FOLDERS.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files
}

/// A file's text, with the files that it includes in their places.
fn read(path: &Path) -> std::io::Result<String> {
    let mut left = FILES_MAX;
    read_whole(path, DEPTH_MAX, &mut left)
}

fn read_whole(path: &Path, depth: usize, left: &mut usize) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let named = match words.next().map(str::to_ascii_lowercase).as_deref() {
            Some("include" | "includeoptional") => words.next(),
            _ => None,
        };
        let Some(named) = named.filter(|_| depth > 0) else {
            whole.push_str(line);
            whole.push('\n');
            continue;
        };
        for file in included(path, named.trim_matches('"')) {
            if let Some(fewer) = left.checked_sub(1) {
                *left = fewer;
                // What cannot be read here, Apache refuses or passes over: the other lines are judged all the same.
                whole.push_str(&read_whole(&file, depth - 1, left).unwrap_or_default());
            }
        }
    }
    Ok(whole)
}

/// The files that an `Include` of `from` names: relative to Apache's root, which is above the usual folders; `*` in the last
/// part stands for anything.
fn included(from: &Path, named: &str) -> Vec<PathBuf> {
    let folder = from.parent().unwrap_or(Path::new("."));
    let roots = [Path::new(""), folder, folder.parent().unwrap_or(folder)];
    for root in
        roots.into_iter().filter(|root| Path::new(named).is_absolute() || !root.as_os_str().is_empty())
    {
        let path = root.join(named);
        let (Some(parent), Some(pattern)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            continue;
        };
        let mut found: Vec<PathBuf> = match pattern.split_once('*') {
            None if path.is_dir() => listed(&path, "", ""),
            None if path.is_file() => vec![path.clone()],
            None => Vec::new(),
            Some((before, after)) => listed(parent, before, after),
        };
        if !found.is_empty() {
            found.sort();
            return found;
        }
    }
    Vec::new()
}

fn listed(folder: &Path, before: &str, after: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let fits = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(before) && name.ends_with(after))
    };
    entries.filter(fits).map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

/// What files are judged by.
struct Site<'a> {
    door: &'a Door,
    prefixes: &'a [&'a str],
    /// The guard's own deadline.
    total: Duration,
    /// The path that Apache was seen to bring to the endpoint, in both slash forms.
    arrives: Option<&'a str>,
}

impl Site<'_> {
    /// How bad a fault is that was read: a guess, if a request has shown the contrary.
    fn unless(&self, disproved: bool) -> State {
        if disproved { State::Warn } else { State::Bad }
    }

    fn judge(&self, directives: &Directives) -> Vec<Diagnosis> {
        let url = format!("http://{}", self.door.0);
        let guessed = self.unless(self.arrives.is_some());
        let (mut findings, reached) = self.ways(directives);
        let Some(path) = reached.first() else {
            if findings.is_empty() {
                let found = format!("no ProxyPass leads to {url}");
                findings.push(
                    Diagnosis::new(guessed, "apache", found).advise("include conf/apache/mcp-guard.conf"),
                );
            }
            return findings;
        };
        findings.extend(parameters(directives, self.door, self.total));
        if directives.is_on("ProxyPreserveHost", path) {
            findings.push(
                Diagnosis::new(
                    guessed,
                    "apache",
                    "ProxyPreserveHost is On: the guard refuses the public name (421)",
                )
                .advise("ProxyPreserveHost Off for the MCP path, or add the name to [origin] hosts"),
            );
        }
        if directives.is_on("ProxyErrorOverride", path) {
            findings.push(
                Diagnosis::new(
                    guessed,
                    "apache",
                    "ProxyErrorOverride is On: clients get HTML instead of the guard's JSON",
                )
                .advise("ProxyErrorOverride Off for the MCP path"),
            );
        }
        if findings.is_empty() {
            findings.push(Diagnosis::new(
                State::Ok,
                "apache",
                format!("both slash forms reach {url}, retry and timeout fit"),
            ));
        }
        findings
    }

    /// What becomes of every path that is meant for the guard, in both slash forms; and those that reach an endpoint.
    fn ways(&self, directives: &Directives) -> (Vec<Diagnosis>, Vec<String>) {
        let Site { door, prefixes, .. } = *self;
        let is_file =
            |path: &str| path.contains("/.well-known/") || path == "/register" || path.ends_with("/health");
        let mapped = directives.mapped(door);
        let meant = mapped.iter().map(String::as_str).filter(|path| !is_file(path));
        let mut bases: Vec<&str> = meant.map(|path| path.trim_end_matches('/')).collect();
        let by_name = bases.len();
        bases.extend(prefixes.iter().map(|prefix| prefix.trim_end_matches('/')));
        let (mut findings, mut reached, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (place, base) in bases.iter().enumerate() {
            if base.is_empty() || seen.contains(base) {
                continue;
            }
            seen.push(base);
            let slashed = format!("{base}/");
            let ends = [*base, slashed.as_str()].map(|path| End::of(directives.target(path), door, prefixes));
            let state = self.unless(self.arrives == Some(*base));
            let bad = |found: String, todo: String| Diagnosis::new(state, "apache", found).advise(todo);
            match &ends {
                [End::Endpoint, End::Endpoint] => reached.push((*base).to_owned()),
                [End::Elsewhere(_), End::Elsewhere(_)] if place >= by_name => {}
                [End::Elsewhere(to), End::Elsewhere(_)] => findings.push(bad(
                    format!("{base} is mapped to the guard, but an earlier line sends it to {to}"),
                    "Apache takes the first ProxyPass that fits: put the guard's lines first".to_owned(),
                )),
                [End::NoEndpoint(path), _] | [_, End::NoEndpoint(path)] => findings.push(bad(
                    format!("{base} reaches the guard as {path}, which is none of its [paths] prefixes: 404"),
                    format!("map it to one of {}, or add it to [paths] prefixes", prefixes.join(", ")),
                )),
                [End::Elsewhere(_), End::Endpoint] => {
                    reached.push(slashed.clone());
                    findings.push(bad(
                        format!(
                            "{slashed} reaches the guard, but not {base}: the slash-less form goes elsewhere"
                        ),
                        format!("a ProxyPass for \"{base}\" beside the one for \"{slashed}\""),
                    ));
                }
                [End::Endpoint, End::Elsewhere(_)] => {
                    reached.push((*base).to_owned());
                    findings.push(bad(
                    format!(
                        "{base} reaches the guard, but not {slashed}: the form with a slash goes elsewhere"
                    ),
                    format!("put the line for \"{base}\" before the one that takes \"{slashed}\""),
                ));
                }
            }
        }
        (findings, reached)
    }
}

/// Where a request ends.
enum End {
    Endpoint,
    /// At the guard, at a path that is no endpoint.
    NoEndpoint(String),
    Elsewhere(String),
}

impl End {
    fn of(target: Option<String>, door: &Door, prefixes: &[&str]) -> End {
        let Some(target) = target else { return End::Elsewhere("no backend".to_owned()) };
        let Some(path) = door.path_of(&target) else { return End::Elsewhere(target) };
        if End::is_endpoint(path, prefixes) { End::Endpoint } else { End::NoEndpoint(path.to_owned()) }
    }

    fn is_endpoint(path: &str, prefixes: &[&str]) -> bool {
        let bare = path.strip_suffix('/').unwrap_or(path);
        prefixes.iter().any(|prefix| prefix.trim_end_matches('/') == bare)
    }
}

/// `key=value` of the guard's worker, wherever it is set.
fn parameters(directives: &Directives, door: &Door, total: Duration) -> Vec<Diagnosis> {
    let url = format!("http://{}", door.0);
    let all = directives.worker(door);
    let value = |key: &str| all.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let mut findings = Vec::new();
    if value("retry") != Some("0") {
        let found = format!(
            "retry=0 is not set for {url}: after one failed connection Apache answers 503 by itself for 60 s"
        );
        findings.push(Diagnosis::new(State::Warn, "apache", found).advise("ProxySet retry=0"));
    }
    let of_directive = directives.number("ProxyTimeout");
    let timeout =
        value("timeout").and_then(|text| text.parse().ok()).or(of_directive).unwrap_or(TIMEOUT_DEFAULT);
    if Duration::from_secs(timeout) <= total {
        let found = format!(
            "timeout={timeout} ends before the guard's own {} s: clients get Apache's HTML page",
            total.as_secs()
        );
        let todo = format!("timeout={} for the guard, or a smaller timeouts.total", total.as_secs() + 5);
        findings.push(Diagnosis::new(State::Bad, "apache", found).advise(todo));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../conf/apache/mcp-guard.conf");
    const PREFIXES: &[&str] = &["/swf-monitor/mcp", "/mcp", "/"];

    /// Judges a text; expects these words, each in a finding of its own, and no other bad or warned finding.
    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let door = Door(([127, 0, 0, 1], 8001).into());
        let site = Site { door: &door, prefixes: PREFIXES, total: Duration::from_secs(55), arrives: None };
        let findings = site.judge(&Directives::parse(text));
        let wrong: Vec<&Diagnosis> = findings.iter().filter(|finding| finding.state != State::Ok).collect();
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

    /// The shipped file with lines before and after it.
    fn beside(before: &str, after: &str) -> String {
        format!("{before}\n{SHIPPED}\n{after}\n")
    }

    const SET: &str = "ProxySet http://127.0.0.1:8001 retry=0 timeout=60\n";

    #[test]
    fn lines_are_read_in_apaches_order() {
        let takes_all = "ProxyPass \"/\" http://127.0.0.1:9/";
        check(&beside(takes_all, ""), &["an earlier line sends it to http://127.0.0.1:9/"]);
        check(&beside("", takes_all), &[]);
        check(&beside("ProxyPass /swf-monitor/mcp !", ""), &["an earlier line sends it to no backend"]);
    }

    #[test]
    fn a_path_that_is_no_prefix_of_the_guard_is_named() {
        check(
            &format!("{SET}ProxyPass /mpc http://127.0.0.1:8001/mpc\n"),
            &["/mpc reaches the guard as /mpc"],
        );
        check(&format!("{SET}ProxyPass /api/mcp http://127.0.0.1:8001/mcp\n"), &[]);
    }

    #[test]
    fn one_line_without_a_slash_covers_both_forms() {
        check(&format!("{SET}ProxyPass /mcp http://127.0.0.1:8001/mcp\n"), &[]);
    }

    #[test]
    fn parameters_of_other_workers_do_not_count() {
        check(&beside("", "ProxyPass /app http://127.0.0.1:9/app timeout=30 retry=60"), &[]);
        check(&beside("ProxyPass /app http://127.0.0.1:9/app timeout=30 retry=60", ""), &[]);
    }

    #[test]
    fn a_section_about_the_path_overrides_the_server() {
        check(&beside("ProxyPreserveHost On\nProxyErrorOverride On", ""), &[]);
        let elsewhere = "<Location /app>\nProxyPreserveHost On\n</Location>";
        check(&beside(elsewhere, ""), &[]);
    }

    #[test]
    fn other_ways_to_the_guard_are_known() {
        for line in [
            "ProxyPassMatch \"^(/mcp/?)$\" http://127.0.0.1:8001$1",
            "ProxyPassMatch \"^/mcp\" http://127.0.0.1:8001",
            "RewriteEngine On\nRewriteRule ^(/mcp/?)$ http://127.0.0.1:8001$1 [P,L]",
            "ProxyPass /mcp http://localhost:8001/mcp",
            "<Location /mcp>\nProxyPass http://127.0.0.1:8001/mcp\n</Location>",
            "<LocationMatch \"^(/mcp/?)$\">\nProxyPass http://127.0.0.1:8001$1\n</LocationMatch>",
        ] {
            check(&format!("{SET}{line}\n"), &[]);
        }
    }

    #[test]
    fn included_files_are_read_in_their_places() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("conf-available")).unwrap();
        std::fs::create_dir(folder.path().join("sites")).unwrap();
        std::fs::write(folder.path().join("conf-available/mcp-guard.conf"), SHIPPED).unwrap();
        let site = folder.path().join("sites/site.conf");
        for named in ["conf-available/mcp-guard.conf", "\"conf-available/*.conf\"", "conf-available"] {
            let text = format!(
                "<VirtualHost *:443>\nInclude {named}\nProxyPass / http://127.0.0.1:9/\n</VirtualHost>\n"
            );
            std::fs::write(&site, text).unwrap();
            check(&read(&site).unwrap(), &[]);
        }
        std::fs::write(&site, "Include site.conf\nInclude sites/*.conf\n").unwrap();
        assert!(read(&site).is_ok(), "a circle ends");
    }
}
