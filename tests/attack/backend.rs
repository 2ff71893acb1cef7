//! The scripted backend: reads every request strictly, reports it to the ledger, and responds in all forms.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::answers;
use crate::bodies;
use crate::ledger::Ledger;

/// Fields that concern one connection or the client alone: none of them may arrive here.
const STRIPPED: &[&str] = &[
    "authorization",
    "cookie",
    "keep-alive",
    "origin",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-remote-user",
    "x_mcp_client",
];
/// Fields that stand there exactly once.
const ONCE: &[&str] = &["content-length", "host", "x-mcp-client", "x-request-id"];

/// Serves until the process ends. `is_strict` requires what only the guard promises of a head.
pub(crate) fn serve(folder: &Path, ledger: Arc<Ledger>, is_strict: bool) -> PathBuf {
    let path = folder.join("backend.sock");
    let listener = UnixListener::bind(&path).expect("a socket in a directory of our own");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let ledger = ledger.clone();
            std::thread::spawn(move || connection(stream, &ledger, is_strict));
        }
    });
    path
}

fn connection(mut stream: UnixStream, ledger: &Ledger, is_strict: bool) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
    let mut buffer: Vec<u8> = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let served = loop {
            match serve_first(&buffer, ledger, is_strict) {
                Ok(Some(served)) => break served,
                Ok(None) => {}
                Err(problem) => {
                    let head = String::from_utf8_lossy(&buffer[..buffer.len().min(2000)]).into_owned();
                    return ledger
                        .violate(&format!("malformed at the backend: {problem}"), &format!("{head:?}"));
                }
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&piece[..read]),
            }
        };
        buffer.drain(..served.length);
        if stream.write_all(&served.answer).is_err() || served.ends {
            return;
        }
    }
}

struct Served {
    length: usize,
    answer: Vec<u8>,
    ends: bool,
}

/// Reads the first request, if it is whole, and makes its answer.
fn serve_first(bytes: &[u8], ledger: &Ledger, is_strict: bool) -> Result<Option<Served>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        // A bare line feed in what has arrived will not become better.
        let has_bare = bytes.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
        return if has_bare { Err("bare line feed".to_owned()) } else { Ok(None) };
    };
    let head = head(&bytes[..end])?;
    let length = head.length()?;
    let Some(body) = bytes.get(end + 4..end + 4 + length) else { return Ok(None) };
    let length = end + 4 + length;
    let Some(number) = bodies::marked(body) else {
        // The guard's own questions have no mark, nor what is no request of this suite.
        if is_strict && head.value("x-mcp-client").is_some() {
            return Err("a body without a mark".to_owned());
        }
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        return Ok(Some(Served { length, answer, ends: false }));
    };
    let is_mutated = ledger.received(number, head.value("x-mcp-client"), body);
    if is_strict && !is_mutated && head.value("x-hop").is_some() {
        return Err("a nominated field was not stripped".to_owned());
    }
    if is_strict {
        head.judge()?;
    }
    let is_notification = memchr::memmem::find(body, b"\"notifications/").is_some();
    let (answer, ends) = answers::whole(number, is_notification);
    Ok(Some(Served { length, answer, ends }))
}

struct Head {
    line: String,
    fields: Vec<(String, String)>,
}

/// Reads a head in the strictest way.
fn head(bytes: &[u8]) -> Result<Head, String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    for field in std::iter::once(line.as_str()).chain(lines) {
        if let Some(bad) = field.chars().find(|letter| letter.is_ascii_control() && *letter != '\t') {
            return Err(format!("byte {bad:?} in a head"));
        }
        if field == line && fields.is_empty() {
            continue;
        }
        let (name, value) = field.split_once(':').ok_or("no colon")?;
        let is_token = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
        if name.is_empty() || !name.chars().all(is_token) {
            return Err("name that is no token".to_owned());
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Head { line, fields })
}

impl Head {
    fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        self.fields.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> Result<usize, String> {
        let mut lengths = self.values("content-length");
        let length = lengths.next().unwrap_or("0");
        if lengths.next().is_some() || self.value("transfer-encoding").is_some() {
            return Err("more than one length".to_owned());
        }
        let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| length.parse().ok()).flatten();
        number.ok_or_else(|| format!("length {length:?}"))
    }

    /// What the contract promises (section 6).
    fn judge(&self) -> Result<(), String> {
        if self.line != "POST /mcp HTTP/1.1" {
            return Err(format!("request line {:?}", self.line));
        }
        if let Some(name) = STRIPPED.iter().find(|name| self.value(name).is_some()) {
            return Err(format!("{name} was not stripped"));
        }
        let repeated = ONCE.iter().find(|name| self.values(name).count() != 1);
        if let Some(name) = repeated {
            return Err(format!("{name} stands there {} times", self.values(name).count()));
        }
        let host = self.value("host");
        if host != Some("localhost:80") {
            return Err(format!("host {host:?}"));
        }
        Ok(())
    }
}
