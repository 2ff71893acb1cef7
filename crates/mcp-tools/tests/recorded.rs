//! What the server answered to a broad table of requests is what it answers: both eras, refusals, and odd ones.
//!
//! Each line of `data/recorded/exchanges.jsonl` is a request, byte for byte, and its answer: status, the headers that matter, and
//! the body to the byte. They were recorded when the SDK's own HTTP service answered. Must not know why an answer is right.

use std::collections::BTreeMap;

use serde::Deserialize;

use mcp_testkit::{Message, exchange};

use crate::program::start;

const EXCHANGES: &str = include_str!("data/recorded/exchanges.jsonl");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recorded");

/// Header fields of a response that are not compared.
const OF_THE_MOMENT: [&str; 3] = ["date", "content-length", "connection"];

#[derive(Deserialize)]
struct Exchange {
    name: String,
    method: String,
    /// A null value takes the header away that would be sent otherwise.
    headers: Vec<(String, Option<String>)>,
    body: String,
    status: u16,
    answer_headers: BTreeMap<String, String>,
    answer: String,
}

impl Exchange {
    fn request(&self) -> String {
        let mut head = format!("{} / HTTP/1.1\r\n", self.method);
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            if let Some(value) = value {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{}", self.body.len(), self.body)
    }

    /// How `reply` differs from what was recorded.
    fn difference(&self, reply: &Message) -> Option<String> {
        let headers: BTreeMap<String, String> = reply
            .fields
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.to_lowercase()))
            .filter(|(name, _)| !OF_THE_MOMENT.contains(&name.as_str()))
            .collect();
        let recorded: BTreeMap<String, String> =
            self.answer_headers.iter().map(|(name, value)| (name.clone(), value.to_lowercase())).collect();
        let answer = self.answer.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        if (reply.status(), &headers, reply.text()) == (self.status, &recorded, answer.as_str()) {
            return None;
        }
        Some(format!(
            "{}: {}\n  was: {} {recorded:?} {answer}\n  is:  {} {headers:?} {}",
            self.name,
            self.body,
            self.status,
            reply.status(),
            reply.text()
        ))
    }
}

#[test]
fn answers_every_recorded_request_as_it_did() {
    let catalogue = format!("{FOLDER}/catalogue.toml");
    let instructions = format!("{FOLDER}/instructions.txt");
    let server = start(&["--catalog", &catalogue, "--instructions", &instructions, "--demo"]);
    let exchanges: Vec<Exchange> =
        EXCHANGES.lines().map(|line| serde_json::from_str(line).expect("an exchange")).collect();
    assert!(exchanges.len() > 380, "{} exchanges", exchanges.len());
    let differences: Vec<String> = exchanges
        .iter()
        .filter_map(|recorded| recorded.difference(&exchange(&server.socket, recorded.request().as_bytes())))
        .collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
