//! The admin socket of a configuration's guard, read from a file that may be half edited.
//!
//! An order must reach the guard that runs, whatever was just done to its file. Must not judge anything else in it.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Environment;
use super::file::OFF;
use super::source::{FILE_BYTES_MAX, folder};
use super::table::Table;
use super::{file, source};
use crate::config::diagnostics::DiagnosticSink;

/// The admin sockets that a file names, and what kept it from being read as it is meant.
pub(crate) struct AdminSockets {
    /// In the order of the file; more than one where it is broken.
    pub(crate) sockets: Vec<PathBuf>,
    /// What the operator should know: the file is no valid TOML, cannot be read, or names no socket.
    pub(crate) trouble: Option<String>,
}

/// The admin sockets that a configuration names, even when it is broken elsewhere.
pub(crate) fn admin_sockets(path: &Path) -> AdminSockets {
    let text = match source::read(path, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(unreadable) => {
            return AdminSockets { sockets: Vec::new(), trouble: Some(unreadable.to_string()) };
        }
    };
    let sink = DiagnosticSink::new(path, &text);
    let Some(entries) = source::parse(&text, &sink) else {
        let problems: Vec<String> = sink.finish().problems.iter().map(ToString::to_string).collect();
        let sockets = recovered(&text).iter().map(|named| folder(path).join(named)).collect();
        return AdminSockets { sockets, trouble: Some(problems.join("; ")) };
    };
    let listen = Table::root(entries.get_ref(), &sink).table("listen");
    match file::listen(listen, folder(path), &Environment::NOTHING).admin {
        Some(socket) => AdminSockets { sockets: vec![socket], trouble: None },
        None => AdminSockets {
            sockets: Vec::new(),
            trouble: Some(format!(
                "{}: listen.admin: not set (hint: admin = \"/run/mcp-guard/admin.sock\")",
                path.display()
            )),
        },
    }
}

/// Every `admin = "..."` of a table `[listen]`, line by line: a line that is whole is believed whatever is around it.
fn recovered(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_listen = false;
    let mut at_root = true;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            at_root = false;
            in_listen =
                line.trim_start_matches('[').trim_start().starts_with("listen") && !line.contains('.');
            continue;
        }
        let keys: &[&str] = match (in_listen, at_root) {
            (true, _) => &["admin"],
            (false, true) => &["listen", "admin"],
            (false, false) => continue,
        };
        let Ok(table) = DeTable::parse(line) else { continue };
        if let Some(named) = text_at(table.get_ref(), keys)
            && named != OFF
            && !found.iter().any(|known| known == named)
        {
            found.push(named.to_owned());
        }
    }
    found
}

fn text_at<'a>(table: &'a DeTable<'_>, keys: &[&str]) -> Option<&'a str> {
    let (first, rest) = keys.split_first()?;
    match table.get(*first)?.get_ref() {
        DeValue::String(text) if rest.is_empty() => Some(text),
        DeValue::Table(table) => text_at(table, rest),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        assert_eq!(recovered(text), expect, "{text}");
    }

    #[test]
    fn a_broken_file_still_names_its_admin_socket() {
        let whole = "[listen]\naddress = \"127.0.0.1:1\"\nadmin = \"/run/a.sock\" # here\n\n[slots.blue]\naddress = \"127.0.0.1:2\"\n";
        let one = &["/run/a.sock"];
        for broken in
            ["x = ", "[limits", "a = \"b", "[listen]", "[[", "= 3", "[slots.blue]", "a = \"\"\"", "\u{0}"]
        {
            check(&format!("{whole}{broken}\n"), one);
            check(&format!("{broken}\n{whole}"), one);
            check(&whole.replace("\n\n", &format!("\n{broken}\n")), one);
        }
        check(&format!("{whole}[listen]\nadmin = \"/run/b.sock\""), &["/run/a.sock", "/run/b.sock"]);
        check("listen.admin = '/run/a.sock'\nx =", one);
        check("listen = { admin = \"/run/a.sock\" }\nx =", one);
        check("[ listen ]\nadmin=\"/run/a.sock\"\nx =", one);
    }

    #[test]
    fn nothing_else_is_taken_for_an_admin_socket() {
        check("[slots.blue]\nadmin = \"/run/a.sock\"\nx =", &[]);
        check("[listen.tls]\nadmin = \"/run/a.sock\"\nx =", &[]);
        check("[listen]\n# admin = \"/run/a.sock\"\nadmin = \"off\"\nadmin = 3\nadmin = \"/run/a\nx =", &[]);
        check("admin = \"/run/a.sock\"\nx =", &[]);
    }
}
