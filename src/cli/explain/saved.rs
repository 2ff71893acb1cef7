//! The request that `mcp-guard explain` asks about: made from a method and a tool, or read from a file as people have them.
//!
//! Must not know what becomes of it.

use serde_json::json;

use crate::wire::{Era, Method, ProtocolVersion, header_value, scan};

/// A request, and what was done to the file to get it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) bytes: Vec<u8>,
    pub(super) notes: Vec<&'static str>,
    /// Whether its path was made up, too.
    pub(super) is_made: bool,
}

impl Saved {
    /// A request with a path of its own.
    fn of(bytes: Vec<u8>, notes: impl IntoIterator<Item = &'static str>) -> Saved {
        Saved { bytes, notes: notes.into_iter().collect(), is_made: false }
    }
}

/// What a request is made of where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) tool: Option<&'a str>,
    pub(super) version: ProtocolVersion,
}

const CURL: &str = "the file is the output of `curl -v`, which does not have the body: \
                    with --method, and --tool, the request gets one";
const H2: &str = "curl sent it over HTTP/2, which the guard does not speak: it was read as HTTP/1.1";
const UNUSED: &str = "--method and --tool were not used: the file has a request of its own";
const LF: &str = "the file ends its lines with LF alone, as editors do: they were read as CRLF";

impl Made<'_> {
    /// The body of such a call.
    fn body(&self) -> String {
        let mut params = json!({});
        if let Some(tool) = self.tool {
            params = json!({ "name": tool, "arguments": {} });
        } else if Method::from_name(self.method) == Method::Initialize {
            params = json!({
                "protocolVersion": self.version.as_str(), "capabilities": {},
                "clientInfo": { "name": "mcp-guard explain", "version": "0" },
            });
        }
        if self.version.era() == Era::Modern {
            params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": self.version.as_str() });
        }
        let mut message = json!({ "jsonrpc": "2.0", "method": self.method, "params": params });
        if !self.method.starts_with("notifications/") {
            message["id"] = json!(1);
        }
        message.to_string()
    }

    /// The whole request.
    pub(super) fn request(&self) -> Saved {
        self.around(self.body().as_bytes())
    }

    /// A request with this body, and the fields that belong to it.
    fn around(&self, body: &[u8]) -> Saved {
        let message = scan(body).ok();
        let said = message.as_ref().and_then(|message| message.meta_version.as_deref());
        let version = said.unwrap_or(self.version.as_str());
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\n",
            self.path,
            header_value::encode(version)
        );
        let is_modern =
            ProtocolVersion::parse(version.as_bytes()).is_some_and(|known| known.era() == Era::Modern);
        if let Some(message) = message.filter(|_| is_modern) {
            head += &format!("Mcp-Method: {}\r\n", header_value::encode(&message.method_name));
            if let Some(name) = &message.name {
                head += &format!("Mcp-Name: {}\r\n", header_value::encode(name));
            }
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        Saved { is_made: true, ..Saved::of([head.as_bytes(), body].concat(), []) }
    }

    /// A request from a file: raw HTTP, the output of `curl -v`, or a JSON body alone.
    pub(super) fn read(&self, file: &[u8], has_method: bool) -> Saved {
        let unused = has_method.then_some(UNUSED);
        let text = file.trim_ascii_start();
        if text.first().is_some_and(|first| matches!(first, b'{' | b'[')) {
            let saved = self.around(text.trim_ascii_end());
            return Saved { notes: unused.into_iter().collect(), ..saved };
        }
        if let Some((head, is_h2)) = curl_head(file) {
            let body = if has_method { self.body() } else { String::new() };
            let head = if has_method { with_length(&head, body.len()) } else { head };
            let notes = [Some(CURL), is_h2.then_some(H2)].into_iter().flatten();
            return Saved::of([head.as_bytes(), body.as_bytes()].concat(), notes);
        }
        let Some(end) = memchr::memmem::find(file, b"\n\n").filter(|end| !file[..*end].contains(&b'\r'))
        else {
            return Saved::of(file.to_vec(), unused);
        };
        let (head, body) = file.split_at(end);
        let head = head.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(b"\r\n".as_slice());
        let notes = std::iter::once(LF).chain(unused);
        Saved::of([&head, b"\r\n\r\n".as_slice(), &body[2..]].concat(), notes)
    }
}

/// The lines that `curl -v` sent, and whether it showed those of HTTP/2, which have no such form on the wire.
fn curl_head(file: &[u8]) -> Option<(String, bool)> {
    let text = std::str::from_utf8(file).ok()?;
    let sent: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix('>')).map(str::trim).collect();
    let first = sent.first()?;
    first.split(' ').nth(2).filter(|version| version.starts_with("HTTP/"))?;
    let end = sent.iter().position(|line| line.is_empty()).unwrap_or(sent.len());
    let rest: String = sent[1..end].iter().map(|line| format!("{line}\r\n")).collect();
    let h2 = first.strip_suffix(" HTTP/2");
    let first = h2.map_or_else(|| (*first).to_owned(), |request| format!("{request} HTTP/1.1"));
    Some((format!("{first}\r\n{rest}\r\n"), h2.is_some()))
}

/// The head with the length of another body.
fn with_length(head: &str, length: usize) -> String {
    let is_length = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
    };
    let kept = head.trim_end().split("\r\n").filter(|line| !is_length(line));
    let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
    format!("{kept}Content-Length: {length}\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made<'a>(method: &'a str, tool: Option<&'a str>, version: &str) -> Made<'a> {
        Made { path: "/mcp", method, tool, version: ProtocolVersion::parse(version.as_bytes()).unwrap() }
    }

    fn text(saved: &Saved) -> &str {
        std::str::from_utf8(&saved.bytes).unwrap()
    }

    #[test]
    fn a_request_is_made_in_either_era() {
        let request = made("tools/call", Some("jobs_list"), "2025-11-25").request();
        assert!(text(&request).starts_with("POST /mcp HTTP/1.1\r\n"), "{}", text(&request));
        assert!(text(&request).contains(r#""params":{"name":"jobs_list","arguments":{}}"#));
        assert!(!text(&request).contains("Mcp-"), "{}", text(&request));
        let request = made("tools/call", Some("caf\u{e9}"), "2026-07-28").request();
        let fields = "Mcp-Method: tools/call\r\nMcp-Name: =?base64?Y2Fmw6k=?=\r\n";
        assert!(text(&request).contains(fields), "{}", text(&request));
        let note = made("notifications/initialized", None, "2025-11-25").request();
        assert!(!text(&note).contains("\"id\""), "{}", text(&note));
    }

    #[test]
    fn a_saved_request_is_raw_http_or_what_curl_shows_or_a_body() {
        let raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        let of = |file: &[u8], has_method| made("ping", None, "2025-11-25").read(file, has_method);
        assert_eq!(of(raw, false), Saved::of(raw.to_vec(), []));
        assert_eq!(of(raw, true), Saved::of(raw.to_vec(), [UNUSED]), "it has a call of its own");
        let edited = b"POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}";
        assert_eq!(of(edited, false), Saved::of(raw.to_vec(), [LF]));
        let curl = b"* Connected to a\n> POST / HTTP/1.1\n> Host: a\n> Content-Length: 99\n> \n< HTTP/1.1 200 OK\n{}";
        assert_eq!(text(&of(curl, false)), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n");
        let body = r#"{"jsonrpc":"2.0","method":"ping","params":{},"id":1}"#;
        assert_eq!(
            text(&of(curl, true)),
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        );
        let h2 = b"> POST /mcp HTTP/2\r\n> Host: a\r\n> \r\n";
        let read = of(h2, false);
        assert_eq!(text(&read), "POST /mcp HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(read.notes, [CURL, H2]);
        let modern = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let request = of(&[modern.as_slice(), b"\n"].concat(), false);
        assert!(
            text(&request)
                .contains("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: x\r\n")
        );
        assert!(text(&request).ends_with("\"}}}") && request.is_made, "{}", text(&request));
        assert_eq!(of(b"nonsense", false).bytes, b"nonsense");
    }
}
