//! Where Apache sends a request for a path: its directives read as text, matched in Apache's own order.
//!
//! Rewriting first, then the proxied `Location`s, then `ProxyPass` and `ProxyPassMatch` as they stand in the file. Must not
//! know what is right: `apache` judges.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use regex::Regex;

/// The guard's address, in every spelling that leads there.
pub(super) struct Door(pub(super) SocketAddr);

impl Door {
    /// The path at which a target reaches the guard; nothing when it leads elsewhere.
    pub(super) fn path_of<'a>(&self, target: &'a str) -> Option<&'a str> {
        let rest = target.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '$']).unwrap_or(rest.len()));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        let ip = self.0.ip();
        let local = ip.is_loopback() || ip.is_unspecified();
        let named = match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(given) => given == ip || (ip.is_unspecified() && given.is_loopback()),
            Err(_) => local && host.eq_ignore_ascii_case("localhost"),
        };
        (named && port.parse() == Ok(self.0.port())).then_some(path)
    }
}

/// A section that a directive stands in.
#[derive(Debug, Clone)]
enum Section {
    Proxy(String),
    Location(String),
    LocationMatch(String),
    /// One that does not depend on the path.
    Other,
}

impl Section {
    fn of(words: &[String]) -> Section {
        let argument = words.get(1).cloned().unwrap_or_default();
        match words.first().map(|name| name.to_ascii_lowercase()).as_deref() {
            Some("proxy") => Section::Proxy(argument),
            Some("location") if argument == "~" => {
                Section::LocationMatch(words.get(2).cloned().unwrap_or_default())
            }
            Some("location") => Section::Location(argument),
            Some("locationmatch") => Section::LocationMatch(argument),
            _ => Section::Other,
        }
    }

    /// Whether it is about some paths only; and whether about this one.
    fn covers(&self, path: &str) -> Option<bool> {
        match self {
            Section::Location(from) => Some(behind(from, path).is_some()),
            Section::LocationMatch(pattern) => {
                Some(Regex::new(pattern).is_ok_and(|regex| regex.is_match(path)))
            }
            Section::Proxy(_) | Section::Other => None,
        }
    }
}

struct Directive {
    words: Vec<String>,
    sections: Vec<Section>,
}

impl Directive {
    fn is(&self, name: &str) -> bool {
        self.words.first().is_some_and(|word| word.eq_ignore_ascii_case(name))
    }

    fn word(&self, place: usize) -> &str {
        self.words.get(place).map_or("", String::as_str)
    }

    /// The section that says for which paths it holds; the innermost.
    fn place(&self) -> Option<&Section> {
        self.sections.iter().rev().find(|section| section.covers("/").is_some())
    }
}

/// A configuration, with its `Define`s put in.
pub(super) struct Directives(Vec<Directive>);

impl Directives {
    pub(super) fn parse(text: &str) -> Directives {
        let mut defined: BTreeMap<String, String> = BTreeMap::new();
        let (mut all, mut sections) = (Vec::new(), Vec::new());
        for line in text.replace("\\\n", " ").lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut line = line.to_owned();
            for (name, value) in &defined {
                line = line.replace(&format!("${{{name}}}"), value);
            }
            if line.starts_with("</") {
                sections.pop();
            } else if let Some(opened) = line.strip_prefix('<') {
                sections.push(Section::of(&words(opened.trim_end_matches('>'))));
            } else {
                let words = words(&line);
                if let [directive, name, value] = words.as_slice()
                    && directive.eq_ignore_ascii_case("Define")
                {
                    defined.insert(name.clone(), value.clone());
                }
                all.push(Directive { words, sections: sections.clone() });
            }
        }
        Directives(all)
    }

    /// Whether any directive or section names the guard.
    pub(super) fn names(&self, door: &Door) -> bool {
        let leads = |word: &str| door.path_of(word).is_some();
        self.0.iter().any(|directive| directive.words.iter().any(|word| leads(word)))
    }

    /// The URL that a request for this path is sent to.
    pub(super) fn target(&self, path: &str) -> Option<String> {
        let rewrite =
            self.0.iter().filter(|directive| directive.is("RewriteRule") && proxies(directive.word(3)));
        let mut rewritten = rewrite.filter_map(|rule| substituted(rule.word(1), rule.word(2), path));
        if let Some(url) = rewritten.next() {
            return Some(url);
        }
        // The last Location that covers the path decides, before every ProxyPass outside.
        let inside = self.0.iter().rev().find(|directive| {
            directive.is("ProxyPass")
                && directive.place().is_some_and(|place| place.covers(path) == Some(true))
        });
        if let Some(directive) = inside {
            return match directive.place() {
                Some(Section::Location(from)) => {
                    behind(from, path).map(|rest| directive.word(1).to_owned() + rest)
                }
                Some(Section::LocationMatch(pattern)) => substituted(pattern, directive.word(1), path),
                Some(Section::Proxy(_) | Section::Other) | None => None,
            };
        }
        for directive in self.0.iter().filter(|directive| directive.place().is_none()) {
            let found = if directive.is("ProxyPass") {
                behind(directive.word(1), path).map(|rest| directive.word(2).to_owned() + rest)
            } else if directive.is("ProxyPassMatch") {
                match_target(directive, path)
            } else {
                None
            };
            if let Some(url) = found {
                return (directive.word(2) != "!").then_some(url);
            }
        }
        None
    }

    /// The paths that are mapped to the guard by name.
    pub(super) fn mapped(&self, door: &Door) -> Vec<String> {
        let from = |directive: &Directive| match directive.place() {
            None if door.path_of(directive.word(2)).is_some() => Some(directive.word(1).to_owned()),
            Some(Section::Location(from)) if door.path_of(directive.word(1)).is_some() => Some(from.clone()),
            Some(_) | None => None,
        };
        self.0.iter().filter(|directive| directive.is("ProxyPass")).filter_map(from).collect()
    }

    /// Whether an on-off directive holds for a path: sections about paths come after everything else.
    pub(super) fn is_on(&self, name: &str, path: &str) -> bool {
        let on = |directive: &Directive| directive.word(1).eq_ignore_ascii_case("on");
        let named = || self.0.iter().filter(|directive| directive.is(name));
        let outside = named().filter(|directive| directive.place().is_none()).map(on).next_back();
        let inside = named()
            .filter(|directive| directive.place().is_some_and(|place| place.covers(path) == Some(true)))
            .map(on)
            .next_back();
        inside.or(outside).unwrap_or(false)
    }

    /// The `key=value` words of the guard's worker.
    pub(super) fn worker(&self, door: &Door) -> Vec<&str> {
        let leads = |word: &str| door.path_of(word).is_some();
        let ours = |directive: &&Directive| {
            let proxied = directive.is("ProxyPass") || directive.is("ProxyPassMatch");
            let set = directive.is("ProxySet");
            let section = |section: &Section| matches!(section, Section::Proxy(url) if leads(url));
            ((proxied || set) && directive.words.iter().any(|word| leads(word)))
                || (set && directive.sections.iter().any(section))
        };
        self.0.iter().filter(ours).flat_map(|directive| &directive.words).map(String::as_str).collect()
    }

    /// The number of the last directive of this name outside sections about paths.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.iter().rev().find(|directive| directive.is(name))?.word(1).parse().ok()
    }
}

fn match_target(directive: &Directive, path: &str) -> Option<String> {
    let target = directive.word(2);
    if target.contains('$') || target == "!" {
        return substituted(directive.word(1), target, path);
    }
    // Without a reference the path is appended as it is.
    let matches = Regex::new(directive.word(1)).is_ok_and(|regex| regex.is_match(path));
    matches.then(|| target.trim_end_matches('/').to_owned() + path)
}

fn substituted(pattern: &str, target: &str, path: &str) -> Option<String> {
    let captures = Regex::new(pattern).ok()?.captures(path)?;
    let mut url = target.to_owned();
    for place in 0..10 {
        let part = captures.get(place).map_or("", |part| part.as_str());
        url = url.replace(&format!("${place}"), part);
    }
    Some(url)
}

/// Whether the flags of a rule hand the request to the proxy.
fn proxies(flags: &str) -> bool {
    flags.trim_matches(['[', ']']).split(',').any(|flag| matches!(flag.trim(), "P" | "proxy"))
}

/// What follows a prefix of whole segments.
fn behind<'p>(from: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(from)?;
    (from.ends_with('/') || rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The words of a line; quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (None, '"' | '\'') => (quote, any) = (Some(letter), true),
            (Some(open), letter) if letter == open => quote = None,
            (None, letter) if letter.is_whitespace() => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (_, letter) => word.push(letter),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}
