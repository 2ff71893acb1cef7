//! Requests with a right token for another place, or in a form that the endpoint does not take.

use crate::bodies;
use crate::dice::Dice;
use crate::grammar::{Grammar, ORIGIN, Request, Want};
use crate::ledger::FULL;

/// What Apache says itself to what is not for the guard.
pub(crate) const APACHES_OWN: &[u16] = &[400, 403, 404, 405, 501];

/// Heads that checks 4a, 5 and 10 of the contract answer: what is added or replaced, and the statuses.
const HYGIENE: &[(&str, &str, &str, &[u16])] = &[
    ("preflight", "", "Access-Control-Request-Method: POST", &[204]),
    (
        "preflight of a foreign page",
        "Origin",
        "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST",
        &[405],
    ),
    ("foreign page", "Origin", "Origin: http://evil.example", &[403]),
    ("page without an origin", "Origin", "Origin: null", &[403]),
    ("two origins", "", "Origin: http://localhost", &[403]),
    ("foreign host", "Host", "Host: evil.example", &[421]),
    ("two types", "", "Content-Type: application/json", &[400]),
    ("two versions", "", "MCP-Protocol-Version: 2025-06-18\r\nMCP-Protocol-Version: 2025-11-25", &[400]),
    ("two sessions", "", "Mcp-Session-Id: a\r\nMcp-Session-Id: b", &[400]),
    ("two methods", "", "Mcp-Method: tools/call\r\nMcp-Method: tools/call", &[400]),
    ("another type", "Content-Type", "Content-Type: text/plain", &[415]),
    ("no type", "Content-Type", "X-Type: application/json", &[415]),
    ("another charset", "Content-Type", "Content-Type: application/json; charset=latin1", &[415]),
];

impl Grammar {
    /// Requests for something else than the endpoint, with a token that is right.
    pub(crate) fn elsewhere(&self, dice: &mut Dice, number: u64) -> Request {
        const PLACES: &[(&str, &str, &[u16])] = &[
            ("POST", "/x", &[404]),
            ("POST", "//", &[404]),
            ("POST", "/../mcp", &[404]),
            ("POST", "%2f", &[404]),
            ("POST", ";x", &[404]),
            ("POST", "/health", &[200]),
            ("GET", "", &[405]),
            ("PUT", "", &[405]),
            ("DELETE", "", &[405]),
            ("post", "", &[405]),
            ("POST", "/.well-known/oauth-protected-resource", &[404]),
            ("POST", "/register", &[400]),
        ];
        let (method, tail, statuses) = *dice.pick(PLACES);
        let body = bodies::call(dice, number, "ok_a", false);
        let mut draft = self.draft(dice, FULL, body);
        draft.line = format!("{method} {}{tail} HTTP/1.1", self.targets[0]).into_bytes();
        let mut request = self.request("elsewhere", number, FULL, &draft);
        request.name = tail;
        request.want = match self.is_behind_apache {
            false => Want::Refused(statuses),
            // Apache merges slashes before it looks for the endpoint.
            true if tail == "//" => Want::Unclear,
            true if tail == "/health" => Want::Refused(statuses),
            true => Want::Refused(APACHES_OWN),
        };
        request
    }

    /// With a head that is well-formed and not taken.
    pub(crate) fn hygiene(&self, dice: &mut Dice, number: u64) -> Request {
        let (name, replaced, line, statuses) = *dice.pick(HYGIENE);
        let body = bodies::call(dice, number, "ok_a", false);
        let mut draft = self.draft(dice, FULL, body);
        draft.add(ORIGIN);
        if !replaced.is_empty() {
            draft.remove(replaced);
        }
        draft.add(line);
        if name.starts_with("preflight") {
            draft.line = format!("OPTIONS {} HTTP/1.1", self.targets[0]).into_bytes();
        }
        let mut request = self.request("hygiene", number, FULL, &draft);
        request.name = name;
        request.want = match self.is_behind_apache {
            // Apache names the host anew, takes the last of two types, and joins two lines, which the older versions do not read.
            true if matches!(name, "foreign host" | "two types" | "two methods") => Want::Unclear,
            _ => Want::Refused(statuses),
        };
        request
    }
}
