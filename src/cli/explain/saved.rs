//! The request that `mcp-guard explain` asks about: made from a method and a tool, or read from a file as people have them.
//!
//! Must not know what becomes of it.

use serde_json::json;

use crate::wire::{Era, Method, ProtocolVersion, header_value, scan};

/// A request, and what was done to the file to get it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) bytes: Vec<u8>,
    pub(super) note: Option<&'static str>,
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
        Saved { bytes: [head.as_bytes(), body].concat(), note: None }
    }

    /// A request from a file: raw HTTP, the output of `curl -v`, or a JSON body alone.
    pub(super) fn read(&self, file: &[u8], has_method: bool) -> Saved {
        let text = file.trim_ascii_start();
        if text.first().is_some_and(|first| matches!(first, b'{' | b'[')) {
            return self.around(text.trim_ascii_end());
        }
        if let Some(head) = curl_head(file) {
            let body = if has_method { self.body() } else { String::new() };
            let head = if has_method { with_length(&head, body.len()) } else { head };
            return Saved { bytes: [head.as_bytes(), body.as_bytes()].concat(), note: Some(CURL) };
        }
        let Some(end) = memchr::memmem::find(file, b"\n\n").filter(|end| !file[..*end].contains(&b'\r'))
        else {
            return Saved { bytes: file.to_vec(), note: None };
        };
        let (head, body) = file.split_at(end);
        let head = head.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(b"\r\n".as_slice());
        Saved { bytes: [&head, b"\r\n\r\n".as_slice(), &body[2..]].concat(), note: Some(LF) }
    }
}

/// The lines that `curl -v` sent.
fn curl_head(file: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(file).ok()?;
    let sent: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix('>')).map(str::trim).collect();
    let begins = sent.first()?.split(' ').nth(2).is_some_and(|version| version.starts_with("HTTP/"));
    let end = sent.iter().position(|line| line.is_empty()).unwrap_or(sent.len());
    begins.then(|| sent[..end].iter().map(|line| format!("{line}\r\n")).collect::<String>() + "\r\n")
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
        assert_eq!(of(raw, false), Saved { bytes: raw.to_vec(), note: None });
        let edited = b"POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}";
        assert_eq!(of(edited, false), Saved { bytes: raw.to_vec(), note: Some(LF) });
        let curl = b"* Connected to a\n> POST / HTTP/1.1\n> Host: a\n> Content-Length: 99\n> \n< HTTP/1.1 200 OK\n{}";
        assert_eq!(text(&of(curl, false)), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n");
        let body = r#"{"jsonrpc":"2.0","method":"ping","params":{},"id":1}"#;
        assert_eq!(
            text(&of(curl, true)),
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        );
        let modern = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let request = of(&[modern.as_slice(), b"\n"].concat(), false);
        assert!(
            text(&request)
                .contains("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: x\r\n")
        );
        assert!(text(&request).ends_with("\"}}}"), "{}", text(&request));
        assert_eq!(of(b"nonsense", false).bytes, b"nonsense");
    }
}
