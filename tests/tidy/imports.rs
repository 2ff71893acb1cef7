//! Who imports whom, file by file: no two files need each other, and folders stand on floors.
//!
//! Reads `use` declarations and qualified paths as text and follows re-exports to the file that defines a name, so that
//! a facade (`mod.rs` that only re-exports) ties nothing together. Tests may import what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{code_of, module_path, read, report, root, rust_files};

/// The crates whose files are held to this, by their source folders.
const CRATES: &[&str] =
    &["src", "crates/mcp-fleet/src", "crates/mcp-host/src", "crates/mcp-tools/src", "crates/mcp-traces/src"];

/// Folders and files of one part of the guard, the lowest floor first. A file imports from its own entry and from lower floors
/// only; the longest entry that fits is a file's own. `ARCHITECTURE.md` describes the floors of the proxy.
const FLOORS: &[&[&[&str]]] = &[
    &[
        &[
            "proxy/date",
            "proxy/drain",
            "proxy/error",
            "proxy/fairness",
            "proxy/head_writer",
            "proxy/io",
            "proxy/request_id",
            "proxy/sync",
            "proxy/tls_stream",
        ],
        &["proxy/backend"],
        &["proxy/downstream"],
        &["proxy/state"],
        &["proxy/downstream/health"],
        &["proxy/downstream/request"],
        &["proxy/call", "proxy/route"],
        &["proxy/downstream/connection", "proxy/explain"],
        &["proxy/server"],
        &["proxy"],
    ],
    &[
        &["config/diagnostics", "config/environment", "config/suggest"],
        &["config/source", "config/value"],
        &["config/env_file", "config/table"],
        &[
            "config/backend_address",
            "config/notify",
            "config/release",
            "config/reload",
            "config/shadow",
            "config/tools",
        ],
        &["config/tls", "config/traces"],
        &["config/dependencies", "config/tokens"],
        &["config/oauth"],
        &["config/console", "config/fleet", "config/plan", "config/slots"],
        &["config/model"],
        &["config/feature"],
        &["config/file", "config/routes"],
        &["config/recover", "config/secrets", "config/validate"],
        &["config"],
    ],
    &[
        &[
            "control/clock",
            "control/feature_file",
            "control/fleet_report",
            "control/notification",
            "control/parity_check",
            "control/probe",
            "control/rollout_record",
            "control/settings",
            "control/state_file",
            "control/task",
        ],
        &["control/commands", "control/notify", "control/probe_tasks", "control/state_writer"],
        &["control/dependency_tasks", "control/fleet", "control/persistence"],
        &["control/controller"],
        &["control"],
    ],
];

/// A module's path inside its crate: `["proxy", "call", "retry"]`.
type Module = Vec<String>;

/// One crate: its files, and what each brings into scope from elsewhere in the crate.
struct Crate {
    folder: &'static str,
    files: BTreeMap<Module, String>,
    uses: BTreeMap<Module, Vec<Use>>,
}

/// One path that a file names.
struct Use {
    path: Vec<String>,
    /// The name under which it is known here.
    alias: String,
    is_public: bool,
}

impl Crate {
    fn load(folder: &'static str) -> Crate {
        let mut files = BTreeMap::new();
        for path in rust_files(&[folder]) {
            let module = module_path(folder, &path);
            files.entry(module).or_insert_with(|| code_of(&path));
        }
        let mut uses = BTreeMap::new();
        for (module, code) in &files {
            uses.insert(module.clone(), uses_of(code));
        }
        Crate { folder, files, uses }
    }

    /// The file that defines what `path` (from the crate's root) names.
    fn definition(&self, path: &[String], depth: usize) -> Option<Module> {
        let known = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(known);
        let Some(name) = rest.first() else { return Some(module.to_vec()) };
        let exported = self.uses[module].iter().find(|used| used.is_public && used.alias == *name);
        match exported {
            Some(used) if depth < 8 => {
                let mut target = absolute(module, &used.path);
                // A path without `crate`, `self` or `super` starts at a child module or at another crate.
                if target.is_empty() {
                    target = [module, &used.path].concat();
                }
                target.extend(rest[1..].iter().cloned());
                self.definition(&target, depth + 1)
            }
            _ => Some(module.to_vec()),
        }
    }

    /// The other files of the crate that each file needs.
    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut edges = BTreeMap::new();
        for (module, code) in &self.files {
            let mut targets = BTreeSet::new();
            let named = self.uses[module].iter().filter(|used| !used.is_public).map(|used| used.path.clone());
            for path in named.chain(qualified_paths(code)) {
                let mut full = absolute(module, &path);
                let child = [module.as_slice(), &path[..1]].concat();
                if full.is_empty() && self.files.contains_key(&child) {
                    full = [module.as_slice(), &path].concat();
                }
                if let Some(target) = (!full.is_empty()).then(|| self.definition(&full, 0)).flatten() {
                    targets.insert(target);
                }
            }
            targets.remove(module);
            // The crate's root holds nothing but the modules.
            targets.remove(&Vec::new());
            edges.insert(module.clone(), targets);
        }
        edges
    }

    fn name(&self, module: &Module) -> String {
        format!("{}/{}", self.folder, module.join("/"))
    }
}

/// `path` from the crate's root, where it is relative to `module`; empty if it does not start inside the crate.
fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    match path.first().map(String::as_str) {
        Some("crate") => path[1..].to_vec(),
        Some("self") => [module, &path[1..]].concat(),
        Some("super") => {
            let ups = path.iter().take_while(|segment| *segment == "super").count();
            let kept = module.len().saturating_sub(ups);
            [&module[..kept], &path[ups..]].concat()
        }
        _ => Vec::new(),
    }
}

/// Every path of the `use` declarations of `code`.
fn uses_of(code: &str) -> Vec<Use> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        let declaration = rest[at + 4..].split(';').next().unwrap_or_default();
        rest = &rest[at + 4..];
        if before.is_empty() || before.starts_with("pub") && !before.contains(' ') {
            let text: String = declaration.split_whitespace().collect::<Vec<_>>().join(" ");
            flatten(&text, &[], !before.is_empty(), &mut found);
        }
    }
    found
}

/// Spreads one tree of a `use` declaration into paths.
fn flatten(tree: &str, prefix: &[String], is_public: bool, found: &mut Vec<Use>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let head = tree[..open].trim_end_matches("::").split("::").filter(|part| !part.is_empty());
        let prefix: Vec<String> = prefix.iter().cloned().chain(head.map(str::to_owned)).collect();
        let inner = tree[open + 1..].rsplit_once('}').map_or("", |(inner, _)| inner);
        let (mut depth, mut start) = (0, 0);
        for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[start..at].trim().is_empty() {
                        flatten(&inner[start..at], &prefix, is_public, found);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut path: Vec<String> = prefix.iter().cloned().chain(path.split("::").map(str::to_owned)).collect();
    if path.last().is_some_and(|last| last == "self" || last == "*") {
        path.pop();
    }
    let alias = if alias.is_empty() { path.last().cloned().unwrap_or_default() } else { alias.to_owned() };
    if !path.is_empty() {
        found.push(Use { path, alias, is_public });
    }
}

/// Paths that the code names in full, outside of `use`.
fn qualified_paths(code: &str) -> Vec<Vec<String>> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("use "));
    // `pub(in crate::cli)` names a scope and imports nothing.
    let scope = |line| str::split_once(line, "pub(in ").and_then(|(_, rest)| rest.split_once(')'));
    let lines = lines.map(|line| scope(line).map_or(line, |(_, rest)| rest));
    let words = lines
        .flat_map(|line| line.split(move |letter: char| !is_part(letter)).filter(|word| word.contains("::")));
    words
        .map(|word| word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>())
        .filter(|path| !path.is_empty())
        .collect()
}

/// Groups of more than one file in which every file reaches every other.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = edges
        .keys()
        .map(|start| {
            let (mut seen, mut pending) = (BTreeSet::new(), vec![start]);
            while let Some(module) = pending.pop() {
                for next in edges.get(module).into_iter().flatten() {
                    if seen.insert(next) {
                        pending.push(next);
                    }
                }
            }
            (start, seen)
        })
        .collect();
    let (mut found, mut done) = (Vec::new(), BTreeSet::new());
    for (module, seen) in &reached {
        let group: Vec<Module> = seen
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(*module)))
            .map(|other| (*other).clone())
            .collect();
        if group.len() > 1 && done.insert(group.clone()) {
            found.push(group);
        }
    }
    found
}

#[test]
fn no_two_files_need_each_other() {
    let mut problems = Vec::new();
    for folder in CRATES {
        let krate = Crate::load(folder);
        let edges = krate.edges();
        assert!(edges.values().any(|targets| !targets.is_empty()), "{folder}: imports are not read");
        for circle in circles(&edges) {
            let mut lines = vec![format!("a circle of {} files:", circle.len())];
            for module in &circle {
                let inside = edges[module].iter().filter(|target| circle.contains(target));
                let names: Vec<String> = inside.map(|target| target.join("/")).collect();
                lines.push(format!("  {} needs {}", krate.name(module), names.join(", ")));
            }
            problems.push(lines.join("\n"));
        }
    }
    report(&problems);
}

#[test]
fn folders_import_only_from_lower_floors() {
    let krate = Crate::load("src");
    let mut problems = Vec::new();
    for floors in FLOORS {
        let place = |module: &Module| {
            let path = module.join("/");
            let fits = |entry: &str| path == entry || path.starts_with(&format!("{entry}/"));
            let entries = floors
                .iter()
                .enumerate()
                .flat_map(|(floor, row)| row.iter().map(move |entry| (floor, *entry)));
            entries.filter(|(_, entry)| fits(entry)).max_by_key(|(_, entry)| entry.len())
        };
        for entry in floors.iter().flat_map(|row| row.iter()) {
            let exists = krate.files.keys().any(|module| place(module).is_some_and(|(_, own)| own == *entry));
            assert!(exists, "tests/tidy/imports.rs lists `{entry}`, which does not exist");
        }
        for (module, targets) in krate.edges() {
            let Some((floor, own)) = place(&module) else { continue };
            if module.last().is_some_and(|last| last == "tests") {
                continue;
            }
            for target in targets {
                let Some((other, entry)) = place(&target) else { continue };
                if entry != own && other >= floor && !(floor == 0 && other == 0) {
                    problems.push(format!("src/{}: `{own}` must not import `{entry}`", module.join("/")));
                }
            }
        }
    }
    report(&problems);
}

// The tests above are worth what this finds.
#[test]
fn a_circle_of_imports_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let edges = BTreeMap::from([
        (module("a"), BTreeSet::from([module("b")])),
        (module("b"), BTreeSet::from([module("c")])),
        (module("c"), BTreeSet::from([module("a")])),
        (module("d"), BTreeSet::from([module("a")])),
    ]);
    assert_eq!(circles(&edges), [vec![module("a"), module("b"), module("c")]]);
    let found = uses_of("use crate::{a::{self, B as C}, d};\npub(crate) use e::F;\n");
    let paths: Vec<String> =
        found.iter().map(|used| format!("{} {}", used.path.join("::"), used.alias)).collect();
    assert_eq!(paths, ["crate::a a", "crate::a::B C", "crate::d d", "e::F F"]);
    assert_eq!(absolute(&[String::from("a"), String::from("b")], &["super".into(), "c".into()]), ["a", "c"]);
    assert!(root().join(Path::new("Cargo.toml")).exists() && !read(&root().join("Cargo.toml")).is_empty());
}
