//! How names and comments speak: one thing a name, and no person for a program.
//!
//! Reads declarations and comments as text. Quoted requirements keep their words.

use std::collections::{BTreeMap, BTreeSet};

use super::{code_of, read, relative, report, rust_files};

/// A type that other files see may share its name with one more, in another part; a reader cannot tell three apart.
const SAME_NAME_MAX: usize = 2;

/// Words for persons where a component is meant.
const PERSONS: &[&str] = &["nobody", "somebody", "whoever", "anybody", "everybody"];

#[test]
fn no_type_name_stands_for_more_than_two_things() {
    let mut problems = Vec::new();
    for folder in [
        "src",
        "crates/mcp-fleet/src",
        "crates/mcp-host/src",
        "crates/mcp-tools/src",
        "crates/mcp-traces/src",
    ] {
        let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in rust_files(&[folder]) {
            for name in code_of(&path).lines().filter_map(visible_type) {
                places.entry(name.to_owned()).or_default().insert(relative(&path));
            }
        }
        // `module::Error` is what Rust calls a module's failure.
        places.remove("Error");
        for (name, places) in places.iter().filter(|(_, places)| places.len() > SAME_NAME_MAX) {
            problems.push(format!("{name}: {places:?}"));
        }
    }
    report(&problems);
}

/// The name of the type that this line declares for other files.
fn visible_type(line: &str) -> Option<&str> {
    let visible = line.trim_start().strip_prefix("pub")?;
    let declaration = match visible.strip_prefix('(') {
        Some(scope) => scope.split_once(") ")?.1,
        None => visible.strip_prefix(' ')?,
    };
    let kinds = ["enum ", "struct ", "type ", "trait "];
    let name = kinds.iter().find_map(|kind| declaration.strip_prefix(kind))?;
    name.split(|letter: char| !letter.is_alphanumeric()).next()
}

#[test]
fn comments_and_test_names_speak_of_components() {
    let mut problems = Vec::new();
    for path in rust_files(&["src", "crates", "tests", "benches"]) {
        if relative(&path) == "tests/tidy/language.rs" {
            continue;
        }
        for (index, line) in read(&path).lines().enumerate() {
            let spoken = match line.split_once("fn ") {
                Some((_, name)) => name.split('(').next().unwrap_or_default().replace('_', " "),
                None => comment(line),
            };
            let mut words = spoken.split(|letter: char| !letter.is_alphanumeric());
            if let Some(person) = words.find(|word| PERSONS.contains(&word.to_ascii_lowercase().as_str())) {
                problems.push(format!("{}:{}: {person}", relative(&path), index + 1));
            }
        }
    }
    report(&problems);
}

/// The comment of a line without what it quotes.
fn comment(line: &str) -> String {
    let comment =
        line.trim_start().strip_prefix("//").or_else(|| line.split_once(" // ").map(|(_, behind)| behind));
    comment.unwrap_or_default().split('"').step_by(2).collect()
}
