//! `docs/requirements.md`: every requirement has one row, and what the row claims is shown by tests that exist.
//!
//! Reads the page and the tests as text. It does not know whether a test shows what the row says: a reader judges that.

use super::{read, report, root, source_of_tests};

const PAGE: &str = "docs/requirements.md";
const COUNT: usize = 172;

/// One row: number, requirement, state, and the tests that show it.
struct Row<'a> {
    number: &'a str,
    state: &'a str,
    tests: Vec<&'a str>,
}

fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> =
        line.strip_prefix("| ")?.trim_end_matches('|').split(" |").map(str::trim).collect();
    let [number, _, state, proof] = cells[..] else { return None };
    let tests = proof.split('`').skip(1).step_by(2).collect();
    Some(Row { number, state, tests })
}

/// What is wrong with a row, without its number.
fn fault(row: &Row, code: &str) -> Option<String> {
    let (kind, reason) = row.state.split_once(": ").unwrap_or((row.state, ""));
    if !["yes", "part", "open", "other"].contains(&kind) {
        return Some(format!("`{kind}` is no state"));
    }
    if kind != "yes" && reason.is_empty() {
        return Some(format!("`{kind}` without a reason"));
    }
    if ["yes", "part"].contains(&kind) && row.tests.is_empty() {
        return Some(format!("`{kind}`, and no test shows it"));
    }
    let is_missing = |test: &&&str| !code.contains(&format!("fn {test}("));
    row.tests.iter().find(is_missing).map(|test| format!("there is no test `{test}`"))
}

#[test]
fn every_requirement_names_tests_that_exist_or_a_reason() {
    let page = read(&root().join(PAGE));
    let code = source_of_tests();
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("| R")).collect();
    let mut problems = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(row) = row(line) else {
            problems.push(format!("{PAGE}: a row has other than four cells: {line}"));
            continue;
        };
        let expected = format!("R{:03}", index + 1);
        if row.number != expected {
            problems.push(format!("{PAGE}: {} stands where {expected} is expected", row.number));
        }
        problems.extend(fault(&row, &code).map(|fault| format!("{PAGE}: {}: {fault}", row.number)));
    }
    report(&problems);
    assert_eq!(lines.len(), COUNT, "{PAGE} has a row for every requirement");
}

#[test]
fn a_requirement_without_its_test_is_a_fault() {
    let code = "fn there_is_one() {";
    let judged = |line| fault(&row(line).expect("a row"), code);
    assert_eq!(judged("| R001 | a | yes | `there_is_one` |"), None);
    assert_eq!(judged("| R001 | a | other: code of the bots | |"), None);
    for bad in [
        "| R001 | a | yes | |",
        "| R001 | a | yes | `there_is_none` |",
        "| R001 | a | part: half | |",
        "| R001 | a | open | |",
        "| R001 | a | other | `there_is_one` |",
        "| R001 | a | done | `there_is_one` |",
    ] {
        assert!(judged(bad).is_some(), "{bad}");
    }
}
