//! The request target: origin-form, or absolute-form whose authority the caller holds against `Host`.
//!
//! Judges raw bytes and never decodes them. Must not know which paths exist.

use super::bytes::is_target_byte;
use super::{Authority, FramingError};

/// A well-formed target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// The authority of an absolute-form target, as sent.
    pub(super) authority: Option<&'b [u8]>,
    pub(super) path: &'b [u8],
    pub(super) query: Option<&'b [u8]>,
}

/// Parses the target of any method but CONNECT. `*` is for OPTIONS only, which the guard does not serve.
pub(super) fn parse(target: &[u8]) -> Result<Target<'_>, FramingError> {
    if target.first() == Some(&b'/') {
        return path_and_query(target, None);
    }
    let rest = without_scheme(target).ok_or(FramingError::Target)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Authority::parse(authority).ok_or(FramingError::Target)?;
    path_and_query(rest, Some(authority))
}

/// Judges the beginning of a target whose end has not arrived.
pub(super) fn judge_open(open: &[u8]) -> Result<(), FramingError> {
    let fits = match open.first() {
        None => true,
        Some(b'/') => is_open_well_formed(open),
        Some(_) => is_open_absolute(open),
    };
    if fits { Ok(()) } else { Err(FramingError::Target) }
}

fn is_open_absolute(open: &[u8]) -> bool {
    let Some(rest) = without_scheme(open) else {
        return [b"http://".as_slice(), b"https://"]
            .into_iter()
            .any(|scheme| scheme.get(..open.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(open)));
    };
    match rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')) {
        Some(end) => Authority::parse(&rest[..end]).is_some() && is_open_well_formed(&rest[end..]),
        None if rest.is_empty() => true,
        // An address in brackets is judged when its bracket closes.
        None if rest[0] == b'[' && !rest.contains(&b']') => {
            rest[1..].iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        None => Authority::parse(rest).is_some(),
    }
}

/// [`is_well_formed`] but for an escape that is cut off at the end.
fn is_open_well_formed(open: &[u8]) -> bool {
    let cut = match open {
        [.., b'%'] => 1,
        [.., b'%', high] if high.is_ascii_hexdigit() => 2,
        _ => 0,
    };
    is_well_formed(&open[..open.len() - cut])
}

fn without_scheme(target: &[u8]) -> Option<&[u8]> {
    [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

fn path_and_query<'b>(text: &'b [u8], authority: Option<&'b [u8]>) -> Result<Target<'b>, FramingError> {
    let question = memchr::memchr(b'?', text);
    let (path, query) = match question {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    if !is_well_formed(path) || !query.is_none_or(is_well_formed) {
        return Err(FramingError::Target);
    }
    // RFC 9112, 3.2.2: an absolute-form target may lack a path, which then is `/`.
    Ok(Target { authority, path: if path.is_empty() { b"/" } else { path }, query })
}

/// RFC 3986 characters only, and every `%` starts an escape.
fn is_well_formed(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_target_byte(*byte) => rest,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &[u8], expect: Option<(Option<&str>, &str, Option<&str>)>) {
        let parsed = parse(target).ok();
        let expect = expect.map(|(authority, path, query)| Target {
            authority: authority.map(str::as_bytes),
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
        });
        assert_eq!(parsed, expect);
    }

    #[test]
    fn accepts_origin_form_without_touching_it() {
        check(b"/mcp", Some((None, "/mcp", None)));
        check(b"/mcp/?a=b?c", Some((None, "/mcp/", Some("a=b?c"))));
        check(b"/mcp/%2e%2E/x;y=1", Some((None, "/mcp/%2e%2E/x;y=1", None)));
        check(b"//mcp", Some((None, "//mcp", None)));
        check(b"/mcp?", Some((None, "/mcp", Some(""))));
    }

    // RFC 9112, 3.2.2: "a server MUST accept the absolute-form in requests".
    #[test]
    fn accepts_absolute_form() {
        check(b"http://mcp.test/mcp/", Some((Some("mcp.test"), "/mcp/", None)));
        check(b"HTTPS://mcp.test:443?x", Some((Some("mcp.test:443"), "/", Some("x"))));
        check(b"http://[::1]:1", Some((Some("[::1]:1"), "/", None)));
    }

    #[test]
    fn refuses_every_other_form() {
        for target in [
            b"".as_slice(),
            b"*",
            b"mcp/",
            b"?x=1",
            b"mcp.test:443",
            b"ftp://mcp.test/mcp",
            b"http:///mcp",
            b"http://u:p@mcp.test/mcp",
            b"http://mcp.test#/mcp",
            b"http://mcp.test\\mcp",
            b"http:/mcp",
        ] {
            check(target, None);
        }
    }

    // RFC 3986, appendix A.
    #[test]
    fn refuses_bytes_that_no_uri_may_hold() {
        for byte in (0..=b' ').chain(0x7f..=0xff).chain(*b"\"#<>\\^`{|}[]") {
            check(&[b"/mcp/", [byte].as_slice()].concat(), None);
            check(&[b"/mcp/?q=", [byte].as_slice()].concat(), None);
        }
        check(b"/mcp/%", None);
        check(b"/mcp/%2", None);
        check(b"/mcp/%zz", None);
    }
}
