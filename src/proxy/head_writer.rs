//! Writes status lines and field lines, in both directions.

/// Appends `HTTP/1.1 200 OK` and its line end.
pub(crate) fn append_status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `Content-Length: …` and its line end.
pub(crate) fn append_length(out: &mut Vec<u8>, length: u64) {
    append_line(out, b"Content-Length: ", itoa::Buffer::new().format(length).as_bytes());
}

/// Appends a field line that begins like this: cheaper than [`append_field`] where the name is known.
#[inline]
pub(crate) fn append_line<const N: usize>(out: &mut Vec<u8>, begin: &[u8; N], value: &[u8]) {
    out.extend_from_slice(begin);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a field line.
pub(crate) fn append_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase; empty for a status without one, which RFC 9112 allows.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
