//! Strict readers of both ends of a connection, written apart from the guard's own on purpose.

use tokio::io::{AsyncRead, AsyncReadExt};

/// An answer as a client reads it.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and fields, as text.
    pub head: String,
    /// Whether it says that the connection ends.
    pub closes: bool,
    /// Whether its end is the end of the connection.
    pub is_last: bool,
}

impl Answer {
    /// How many fields have this name.
    pub fn fields(&self, name: &str) -> usize {
        values(&self.head, name).len()
    }
}

fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// Every whole answer, and what is left: nothing, or an answer that is cut.
pub fn answers(mut bytes: &[u8]) -> (Vec<Answer>, &[u8]) {
    let mut found = Vec::new();
    while let Some((answer, length)) = answer(bytes) {
        bytes = &bytes[length..];
        found.push(answer);
    }
    (found, bytes)
}

fn answer(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = check_lines(&bytes[..end]).unwrap_or_else(|wrong| panic!("the client heard {wrong}"));
    let status =
        head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {head}"));
    let (lengths, codings) = (values(&head, "content-length"), values(&head, "transfer-encoding"));
    let closes = values(&head, "connection").contains(&"close");
    let start = end + 4;
    let (length, is_last) = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) if matches!(status, 100 | 204 | 304) => (start, false),
        ([length], []) => (start + length.parse::<usize>().expect("a length"), false),
        ([], ["chunked"]) => (start + chunked(&bytes[start..])?, false),
        ([], []) => (bytes.len(), true),
        _ => panic!("two lengths: {head}"),
    };
    assert!(!is_last || closes, "an answer without an end: {head}");
    (length <= bytes.len()).then_some((Answer { status, head, closes, is_last }, length))
}

/// The length of a whole chunked body; trailers are not expected.
fn chunked(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line])
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.expect("a chunk size");
        at += line + 2;
        let chunk_end = bytes.get(at + size..at + size + 2)?;
        assert_eq!(chunk_end, b"\r\n");
        at += size + 2;
        if size == 0 {
            return Some(at);
        }
    }
}

/// Lines of a start and of fields that no two readers understand differently.
fn check_lines(head: &[u8]) -> Result<String, String> {
    let shown = || head.escape_ascii().to_string();
    // Values may hold bytes beyond ASCII (RFC 9110, obs-text), each of which is a character here.
    let head: String = head.iter().copied().map(char::from).collect();
    let (start, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    if start.chars().any(|c| c.is_ascii_control()) {
        return Err(shown());
    }
    for line in fields.split("\r\n").filter(|_| !fields.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(shown)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty()
            || !name.bytes().all(token)
            || value.chars().any(|c| c.is_ascii_control() && c != '\t')
        {
            return Err(shown());
        }
    }
    Ok(head)
}

/// The body of the next request of a guard, `None` at the end of the connection, or what is wrong with it.
pub async fn read_request<S>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String>
where
    S: AsyncRead + Unpin,
{
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        if !matches!(stream.read_buf(buffer).await, Ok(read) if read > 0) {
            // Nothing, or a request that the client's leaving cut: it cannot be taken for a whole one.
            return Ok(None);
        }
    };
    let head = check_lines(&buffer[..end])?;
    let length = check_request(&head)?;
    while buffer.len() < end + 4 + length {
        if !matches!(stream.read_buf(buffer).await, Ok(read) if read > 0) {
            return Ok(None);
        }
    }
    let body = buffer[end + 4..end + 4 + length].to_vec();
    buffer.drain(..end + 4 + length);
    if !buffer.is_empty() {
        return Err(format!("{} bytes behind the request", buffer.len()));
    }
    match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(call) if call["jsonrpc"] == "2.0" => Ok(Some(body)),
        Err(error) if error.to_string().contains("number out of range") => Ok(Some(body)),
        other => Err(format!("{other:?}: {}", body.escape_ascii())),
    }
}

/// The declared length of a request that is as plain as it has to be.
fn check_request(head: &str) -> Result<usize, String> {
    let (start, _) = head.split_once("\r\n").unwrap_or((head, ""));
    let [host, length] = ["host", "content-length"].map(|name| values(head, name));
    let stripped = [
        "authorization",
        "cookie",
        "origin",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "proxy",
        "expect",
        "x-remote-user",
        "proxy-authorization",
        "keep-alive",
    ];
    let plain = start == "POST /mcp HTTP/1.1"
        && host == ["localhost:80"]
        && stripped.iter().all(|name| values(head, name).is_empty())
        && ["content-type", "x-request-id"].iter().all(|name| values(head, name).len() == 1)
        && values(head, "via").last().is_some_and(|via| via.ends_with("1.1 mcp-guard"))
        && length.len() == 1
        && length[0].bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| length[0].parse().ok()).flatten().ok_or_else(|| head.to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
