//! The request head: start line, target form and body length, all judged before policy sees it.

use super::bytes::is_token;
use super::fields::{Occurs, line};
use super::framing::{declared_length, persists};
use super::{Authority, BodyLength, FieldSpans, Fields, FramingError, HeadLimits, Known, target};

/// The protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A well-formed request head, borrowed from the connection's buffer.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'b> {
    /// The method as sent; case matters.
    pub method: &'b [u8],
    /// The path as sent, without the `http://authority` of an absolute-form target: never decoded.
    pub path: &'b [u8],
    /// Bytes after the first `?`, if any.
    pub query: Option<&'b [u8]>,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The value of `Host`, present and single.
    pub host: &'b [u8],
    /// The same, in parts.
    pub authority: Authority<'b>,
    /// The header fields.
    pub fields: Fields<'b>,
    /// How long the body is; never [`BodyLength::UntilClose`].
    pub body: BodyLength,
    /// Whether the client lets the connection live on (version and `Connection`).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Parses `head`, which is exactly one head block as found by [`super::head_end`].
///
/// Everything in section 3 of the contract is judged here; a head that comes back can be trusted as to its framing.
pub fn parse<'b>(
    head: &'b [u8],
    spans: &'b mut FieldSpans,
    limits: &HeadLimits,
) -> Result<RequestHead<'b>, FramingError> {
    if head.len() > limits.bytes_max as usize {
        return Err(FramingError::HeadTooLarge);
    }
    let start = super::leading_empty_lines(head);
    let (end, fields_start) = line(head, start)?;
    let (method, target, version) = start_line(&head[start..end])?;
    spans.read(head, fields_start, limits)?;
    let connection = spans.connection();
    let fields = Fields::new(head, spans);

    let target = target::parse(target)?;
    let Occurs::Once(host) = fields.occurs(Known::Host) else { return Err(FramingError::Host) };
    let authority = Authority::parse(host).ok_or(FramingError::Host)?;
    if target.authority.is_some_and(|target| !target.eq_ignore_ascii_case(host)) {
        return Err(FramingError::Authority);
    }
    let body = declared_length(&fields, version)?;
    if fields.occurs(Known::Upgrade) != Occurs::Never {
        return Err(FramingError::Forbidden);
    }
    if connection.nominates_relied {
        return Err(FramingError::Nomination);
    }
    let expects_continue =
        expects_continue(&fields, version)? && !matches!(body, BodyLength::None | BodyLength::Bytes(0));
    let keep_alive = persists(connection, version);
    let (path, query) = (target.path, target.query);
    Ok(RequestHead {
        method,
        path,
        query,
        version,
        host,
        authority,
        fields,
        body,
        keep_alive,
        expects_continue,
    })
}

/// `method SP request-target SP HTTP-version`, each space exactly one.
fn start_line(line: &[u8]) -> Result<(&[u8], &[u8], Version), FramingError> {
    if !super::bytes::is_value(line) {
        return Err(if line.contains(&b'\r') { FramingError::BareCr } else { FramingError::ControlByte });
    }
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(FramingError::StartLine);
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(FramingError::Version),
    };
    if !is_token(method) {
        return Err(FramingError::Method);
    }
    if method == b"CONNECT" || method == b"TRACE" {
        return Err(FramingError::Forbidden);
    }
    Ok((method, target, version))
}

/// RFC 9110, 10.1.1: a 100-continue expectation in HTTP/1.0 must be ignored.
fn expects_continue(fields: &Fields<'_>, version: Version) -> Result<bool, FramingError> {
    match fields.occurs(Known::Expect) {
        Occurs::Never => Ok(false),
        Occurs::Once(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(version == Version::Http11),
        Occurs::Once(_) | Occurs::Repeated => Err(FramingError::Expectation),
    }
}
