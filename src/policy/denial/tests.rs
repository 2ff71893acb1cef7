//! The table is complete, fit for labels, and the one that the document shows.

use std::collections::HashSet;

use super::*;

/// The variants that the source of an enum declares.
fn declared(source: &str, name: &str) -> usize {
    let start = source.find(&format!("pub enum {name} {{")).unwrap();
    let body = &source[start..start + source[start..].find("\n}").unwrap()];
    body.lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .count()
}

#[test]
fn all_names_every_refusal_once() {
    let framing = declared(include_str!("../../http1/error.rs"), "FramingError");
    let scan = declared(include_str!("../../wire/error.rs"), "ScanError");
    let era = declared(include_str!("../../wire/era.rs"), "EraError");
    // Three variants carry an error of their own, and one shares the code of another.
    let own = declared(include_str!("../denial.rs"), "Denial") - 4;
    assert_eq!(Denial::all().count(), framing + scan + era + own);
    let codes: HashSet<_> = Denial::all().map(Denial::code).collect();
    assert_eq!(codes.len(), Denial::all().count(), "a code stands for one refusal");
}

// "Messages never contain the words "404", "405", "Not Found", "Method Not Allowed", "Unauthorized" (mcp-remote
// matches on them)."
#[test]
fn no_body_holds_a_word_that_sends_a_client_elsewhere() {
    for denial in Denial::all() {
        let row = denial.row();
        let body = match row.body {
            DenialBody::Fixed(body) => body,
            DenialBody::Rpc(_) => row.message,
        };
        for word in ["404", "405", "Not Found", "Method Not Allowed", "Unauthorized"] {
            assert!(!row.message.contains(word) && !body.contains(word), "{}: {word}", row.code);
        }
    }
}

#[test]
fn codes_are_fit_for_labels_and_statuses_refuse() {
    for denial in Denial::all() {
        let row = denial.row();
        assert!(
            row.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
        );
        assert!((400..600).contains(&row.status), "{}", row.code);
        if let DenialBody::Fixed(body) = row.body {
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{}", row.code);
        }
    }
}

// JSON-RPC 2.0 and MCP reserve -32768..-32000; 2026-07-28 allows -32020..-32099 only with their meanings.
#[test]
fn own_codes_lie_outside_the_reserved_range() {
    for denial in Denial::all() {
        let standard = [None, Some(-32700), Some(-32600), Some(-32601), Some(-32602), Some(-32020)];
        let code = denial.rpc_code();
        assert!(standard.contains(&code) || code.is_some_and(|code| code > -32000), "{}", denial.code());
    }
}

/// The first columns of a denial's row in the document.
fn documented(denial: Denial) -> String {
    let row = denial.row();
    let answer = match row.body {
        DenialBody::Fixed(body) => format!("`{body}`"),
        DenialBody::Rpc(code) => format!("`{code}` {}", row.message),
    };
    format!("| `{}` | {} | {answer} |", row.code, row.status)
}

#[test]
fn the_document_has_one_row_for_each_refusal() {
    let document = include_str!("../../../docs/denials.md");
    let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
    for denial in Denial::all() {
        let expect = documented(denial);
        let found = rows.iter().filter(|row| row.starts_with(&expect)).count();
        assert_eq!(found, 1, "docs/denials.md lacks: {expect}");
    }
    assert_eq!(rows.len(), Denial::all().count(), "docs/denials.md has rows for what is no denial");
}
