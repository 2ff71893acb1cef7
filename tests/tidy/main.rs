//! Keeps the house in order: import direction, file sizes, and documents in step with the code.
//!
//! Works on the source as text, so it sees what a reader sees. Function sizes are clippy's part (`clippy.toml`).

mod imports;
mod language;
mod layers;
mod requirements;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use layers::{FLEET_MAY_IMPORT, FLEET_PURE, MAY_IMPORT, TOOLS_MAY_IMPORT};

const FILE_LINES_MAX: usize = 500;

/// The pure core: decides, and can be tested without a clock, a socket or a file.
const PURE: &[&str] = &["http1", "wire", "policy", "upstream", "parity", "rollout"];

/// What the pure core must never name.
const IMPURE_WORDS: &[&str] = &[
    "pingora",
    "tokio::",
    "prometheus::",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::os::unix::net",
    "std::thread",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::panic, reason = "a file that is not there fails the test, by name")]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Every Rust file below these folders.
fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no Rust files below {folders:?}: is the path right?");
    found
}

/// The path of a file's module inside the crate whose sources are in `folder`.
fn module_path(folder: &str, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(root().join(folder)).unwrap_or(file).with_extension("");
    let mut parts: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// A module's files: `src/name.rs` and everything below `src/name/`.
fn module_files(module: &str) -> Vec<PathBuf> {
    files_of("src", module)
}

/// The files of a module of the crate whose sources are in `folder`.
fn files_of(folder: &str, module: &str) -> Vec<PathBuf> {
    let (file, below) = (format!("{folder}/{module}.rs"), format!("{folder}/{module}/"));
    let mut files = rust_files(&[folder]);
    files.retain(|path| relative(path) == file || relative(path).starts_with(&below));
    files
}

/// Code without its comments and without what follows `#[cfg(test)]`, which may import what it likes.
fn code_of(path: &Path) -> String {
    let text = read(path);
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn imports_follow_the_architecture() {
    check_imports("src", MAY_IMPORT);
    check_imports("crates/mcp-tools/src", TOOLS_MAY_IMPORT);
    check_imports("crates/mcp-fleet/src", FLEET_MAY_IMPORT);
}

/// No module of `table` imports another one, or the command line, unless the table says so.
#[track_caller]
fn check_imports(folder: &str, table: &[(&str, &[&str])]) {
    let mut problems = Vec::new();
    for (module, allowed) in table {
        let files = files_of(folder, module);
        assert!(!files.is_empty(), "tests/tidy lists `{folder}/{module}`, which does not exist");
        for path in files {
            let code = code_of(&path);
            for (other, _) in table.iter().chain(&[("cli", &[] as &[&str])]) {
                let named =
                    code.contains(&format!("crate::{other}::")) || code.contains(&format!("crate::{other};"));
                if other != module && !allowed.contains(other) && named {
                    problems.push(format!("{}: `{module}` must not import `{other}`", relative(&path)));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn the_core_is_pure() {
    let mut problems = Vec::new();
    let fleet = FLEET_PURE.iter().flat_map(|module| files_of("crates/mcp-fleet/src", module));
    for path in PURE.iter().flat_map(|module| module_files(module)).chain(fleet) {
        let code = code_of(&path);
        for word in IMPURE_WORDS.iter().filter(|word| code.contains(**word)) {
            problems.push(format!("{}: the core must not name `{word}`", relative(&path)));
        }
    }
    report(&problems);
}

#[test]
fn only_the_proxy_names_pingora() {
    let outside =
        rust_files(&["src", "crates"]).into_iter().filter(|path| !relative(path).starts_with("src/proxy"));
    let named = outside.filter(|path| code_of(path).contains("pingora::"));
    report(&named.map(|path| format!("{}: names Pingora", relative(&path))).collect::<Vec<_>>());
}

#[test]
fn only_the_command_lines_print() {
    let mut problems = Vec::new();
    for path in rust_files(&["src", "crates"]) {
        let name = relative(&path);
        if name.starts_with("src/cli/") || name.starts_with("crates/mcp-tools/src/cli") {
            continue;
        }
        // Tests, which are modules of the crate and print what they measure.
        if name.starts_with("crates/mcp-fleet/src/simulation/")
            || name.starts_with("crates/mcp-fleet/src/real_store/")
        {
            continue;
        }
        let code = code_of(&path);
        if ["println!", "eprintln!", "print!(", "eprint!("].iter().any(|word| code.contains(word)) {
            problems.push(format!("{name}: prints; only a command line may"));
        }
    }
    report(&problems);
}

#[test]
fn files_are_small_and_say_what_they_are_for() {
    let mut problems = Vec::new();
    for path in rust_files(&["src", "crates", "tests", "benches", "fuzz"]) {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", relative(&path)));
        }
        if !text.starts_with("//!") {
            problems.push(format!("{}: does not open with a `//!` line", relative(&path)));
        }
    }
    report(&problems);
}

#[test]
fn nothing_is_left_unfinished() {
    // Spelled in halves so that this file does not find itself.
    let words = [["todo", "!("], ["unimplemented", "!("], ["#[ig", "nore"], ["FIX", "ME"], ["XX", "X:"]]
        .map(|w| w.concat());
    let mut problems = Vec::new();
    for path in rust_files(&["src", "crates", "tests", "benches"]) {
        let text = read(&path);
        for word in words.iter().filter(|word| text.contains(word.as_str())) {
            problems.push(format!("{}: contains `{word}`", relative(&path)));
        }
    }
    report(&problems);
}

/// First cells of the table rows of a document: what it documents, by name.
fn documented(document: &str) -> BTreeSet<String> {
    read(&root().join(document))
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned))
        .collect()
}

fn compare(document: &str, defined: &BTreeSet<String>, what: &str) {
    let documented = documented(document);
    let missing =
        defined.difference(&documented).map(|name| format!("{document}: {what} `{name}` is not documented"));
    let stale = documented.difference(defined).map(|name| format!("{document}: `{name}` does not exist"));
    report(&missing.chain(stale).collect::<Vec<_>>());
}

#[test]
fn every_denial_is_documented() {
    let defined = mcp_guard::policy::Denial::all().map(|denial| denial.code().to_owned()).collect();
    compare("docs/denials.md", &defined, "denial");
}

#[test]
fn every_metric_is_documented() {
    let files = [
        "metrics.rs",
        "metrics/console.rs",
        "metrics/dependencies.rs",
        "metrics/fleet.rs",
        "metrics/issuers.rs",
        "metrics/rollout.rs",
        "metrics/routes.rs",
        "metrics/shadow.rs",
        "metrics/slots.rs",
        "metrics/tally.rs",
        "metrics/tls.rs",
        "metrics/traces.rs",
    ];
    let code: String = files.map(|file| read(&root().join("src/telemetry").join(file))).concat();
    let names = code.split('"').filter(|text| {
        (text.starts_with("mcp_guard_") || text.starts_with("mcp_server_") || text.starts_with("mcp_client_"))
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    });
    compare("docs/metrics.md", &names.map(str::to_owned).collect(), "metric");
}

// The same of the tool server, in the table of a page that has other tables.
#[test]
fn every_metric_of_the_tool_server_is_documented() {
    let is_name = |text: &&str| text.starts_with("mcp_tools_") && !text.contains([' ', '{']);
    let code = code_of(&root().join("crates/mcp-tools/src/metrics.rs"));
    let defined: BTreeSet<&str> = code.split('"').filter(is_name).collect();
    let page = read(&root().join("docs/tools.md"));
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<&str> = cells.filter(is_name).collect();
    assert!(!defined.is_empty());
    assert_eq!(documented, defined, "docs/tools.md and crates/mcp-tools/src/metrics.rs");
}

// A threat whose test is gone is a threat without an answer.
#[test]
fn every_threat_names_tests_that_exist() {
    check_proofs("docs/threat-model.md", "## Threats");
}

// The same of a drill.
#[test]
fn every_drill_names_tests_that_exist() {
    check_proofs("docs/testing.md", "## Fault tests");
}

/// The sources that tests stand in, with a test of Python written as one of Rust: `fn NAME(`.
fn source_of_tests() -> String {
    let mut code: String = rust_files(&["src", "crates", "tests", "fuzz"])
        .iter()
        .filter(|path| !path.ends_with("tidy.rs"))
        .map(|path| read(path))
        .collect();
    let scripts = fs::read_dir(root().join("tests/e2e")).into_iter().flatten().flatten();
    for file in scripts.map(|entry| entry.path()) {
        if file.extension().is_some_and(|extension| extension == "py") {
            code.push_str(&read(&file).replace("def test", "fn test"));
        }
    }
    code
}

/// The last column of the first table below `heading` names tests.
#[track_caller]
fn check_proofs(document: &str, heading: &str) {
    let code = source_of_tests();
    let page = read(&root().join(document));
    let section = page.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "the table of {document} is not where it was");
    let mut problems = Vec::new();
    for row in rows {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let tests: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            problems.push(format!("{document}: nothing proves: {row}"));
        }
        let is_missing = |test: &&str| !test.contains('/') && !code.contains(&format!("fn {test}("));
        let missing = tests.into_iter().filter(is_missing);
        problems.extend(missing.map(|test| format!("{document}: there is no test `{test}`")));
    }
    report(&problems);
}

#[test]
fn the_code_map_names_every_module() {
    let map = read(&root().join("ARCHITECTURE.md"));
    let mut problems = Vec::new();
    for entry in fs::read_dir(root().join("src")).expect("src exists").filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let shown = if entry.path().is_dir() { format!("{name}/") } else { name };
        if !map.contains(&shown) {
            problems.push(format!("ARCHITECTURE.md: the code map does not name `{shown}`"));
        }
    }
    report(&problems);
}

/// The documents of the project.
fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
            .iter()
            .map(|name| root().join(name))
            .collect();
    documents.extend(
        fs::read_dir(root().join("docs"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path()),
    );
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents
}

// A name that a move left behind sends a reader to nowhere.
#[test]
fn paths_in_documents_exist() {
    const FOLDERS: &[&str] =
        &["src/", "crates/", "tests/", "benches/", "fuzz/", "conf/", "docs/", "scripts/", "packaging/"];
    let mut problems = Vec::new();
    let mut found = 0;
    for path in documents() {
        let text = read(&path);
        let words = text.split('`').skip(1).step_by(2).filter_map(|code| code.split([' ', ':']).next());
        for word in words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder))) {
            found += 1;
            let is_pattern = word.contains(['*', '{', '<', '[', '$', '\n']);
            if !is_pattern && !root().join(word.trim_end_matches(['.', ','])).exists() {
                problems.push(format!("{}: there is no `{word}`", relative(&path)));
            }
        }
    }
    assert!(found > 50, "{found} paths found: is code written otherwise?");
    report(&problems);
}

#[test]
fn links_between_documents_resolve() {
    let mut problems = Vec::new();
    for path in documents() {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let local = !target.is_empty() && !target.contains("://");
            if local && !path.parent().is_some_and(|folder| folder.join(target).exists()) {
                problems.push(format!("{}: link to `{target}` leads nowhere", relative(&path)));
            }
        }
    }
    report(&problems);
}

/// The crates of a section of `Cargo.toml`, each with the version it asks for.
fn dependencies(manifest: &str, section: &str) -> Vec<(String, String)> {
    let after = manifest.split(&format!("\n[{section}]\n")).nth(1).unwrap_or_default();
    let lines = after.lines().take_while(|line| !line.starts_with('['));
    let parts = lines.filter_map(|line| line.split_once(" = "));
    parts
        .map(|(name, asked)| {
            let version = asked
                .split("version = ")
                .last()
                .filter(|_| !asked.contains("path = "))
                .and_then(|rest| rest.split('"').nth(1));
            (name.to_owned(), version.unwrap_or_default().to_owned())
        })
        .collect()
}

#[test]
fn every_dependency_is_accounted_for() {
    let manifest = read(&root().join("Cargo.toml"));
    let mut all = dependencies(&manifest, "workspace.dependencies");
    all.retain(|(_, version)| !version.is_empty());
    assert!(all.len() > 30, "Cargo.toml is not read as it is written: {all:?}");
    compare("docs/dependencies.md", &all.iter().map(|(name, _)| name.clone()).collect(), "crate");
    let document = read(&root().join("docs/dependencies.md"));
    let stale = all.iter().filter(|(name, version)| !document.contains(&format!("| `{name}` | {version} |")));
    report(
        &stale
            .map(|(name, version)| {
                format!("docs/dependencies.md: the row of `{name}` is not about version {version}: look at it again")
            })
            .collect::<Vec<_>>(),
    );
}

// Each program's audit reads its own tree: the guard's names no SQL engine, and the tool server's no proxy.
#[test]
fn each_program_depends_only_on_what_it_needs() {
    let tree = |package: &str| {
        let arguments = ["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", package];
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = std::process::Command::new(cargo).args(arguments).current_dir(root()).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (guard, tools) = (tree("mcp-guard"), tree("mcp-tools"));
    assert!(
        guard.contains("pingora") && tools.contains("rusqlite"),
        "cargo tree is not read as it is written"
    );
    for unwanted in ["rusqlite", "libsqlite3-sys", "tokio-postgres", "rmcp", "jsonschema", "mcp-tools"] {
        assert!(!guard.contains(unwanted), "mcp-guard depends on {unwanted}");
    }
    assert!(!tools.iter().any(|name| name.starts_with("pingora") || name == "mcp-guard"), "{tools:?}");
}

// One reader of event streams: another one would disagree with it about where an event ends.
#[test]
fn only_wire_sse_reads_event_streams() {
    let readers = rust_files(&["src"]).into_iter().filter(|path| code_of(path).contains("b\"data:\""));
    let others: Vec<String> =
        readers.map(|path| relative(&path)).filter(|path| path != "src/wire/sse.rs").collect();
    report(&others);
}
