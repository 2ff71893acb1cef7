//! Header hygiene: fields that must be single, and the media type of a call.
//!
//! Must not know what the fields mean to the protocol; that is `wire::era`.

use super::Denial;
use crate::http1::{Fields, KnownField, Occurs};

/// Two of any of these could be read differently by two programs.
const SINGLE: [KnownField; 6] = [
    KnownField::Authorization,
    KnownField::ContentType,
    KnownField::McpProtocolVersion,
    KnownField::McpMethod,
    KnownField::McpName,
    KnownField::McpSessionId,
];

/// The part of check 10 that holds for every request: no field that must be single is repeated.
pub(super) fn check_single(fields: &Fields<'_>) -> Result<(), Denial> {
    let repeated = SINGLE.into_iter().find(|&known| fields.occurs(known) == Occurs::Repeated);
    repeated.map_or(Ok(()), |known| Err(Denial::RepeatedField(known)))
}

/// Check 10.
pub(super) fn check(fields: &Fields<'_>) -> Result<(), Denial> {
    check_single(fields)?;
    match fields.occurs(KnownField::ContentType) {
        Occurs::Once(value) if is_json(value) => {}
        Occurs::Once(_) | Occurs::Never | Occurs::Repeated => return Err(Denial::ContentType),
    }
    // The guard judges the bytes as they are: a coded body would be judged in another form than the backend reads it.
    match fields.occurs(KnownField::ContentEncoding) {
        Occurs::Never => Ok(()),
        Occurs::Once(coding) if coding.eq_ignore_ascii_case(b"identity") => Ok(()),
        Occurs::Once(_) | Occurs::Repeated => Err(Denial::ContentEncoding),
    }
}

/// `application/json`, with any parameters as long as a charset says UTF-8. The plain spelling needs no parser.
fn is_json(value: &[u8]) -> bool {
    const ESSENCE: &[u8] = b"application/json";
    let Some((essence, rest)) = value.split_at_checked(ESSENCE.len()) else { return false };
    essence.eq_ignore_ascii_case(ESSENCE) && (rest.is_empty() || are_parameters_of_utf8(rest))
}

/// RFC 9110, 5.6.6: `*( OWS ";" OWS [ parameter ] )`. A semicolon in quotes ends nothing.
fn are_parameters_of_utf8(mut rest: &[u8]) -> bool {
    loop {
        rest = rest.trim_ascii_start();
        rest = match rest {
            [] => return true,
            [b';', rest @ ..] => rest,
            _ => return false,
        };
        let Some(end) = parameter_end(rest) else { return false };
        let (parameter, behind) = rest.split_at(end);
        if names_other_charset(parameter.trim_ascii()) {
            return false;
        }
        rest = behind;
    }
}

/// Where the parameter at the beginning ends; `None` if its quotes do not close.
fn parameter_end(text: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

/// RFC 8259, 8.1: "JSON text exchanged between systems that are not part of a closed ecosystem MUST be encoded using
/// UTF-8"; a backend that believed a UTF-16 label would read another body than the guard did.
fn names_other_charset(parameter: &[u8]) -> bool {
    let mut halves = parameter.splitn(2, |&byte| byte == b'=');
    let is_charset = halves.next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"charset"));
    let value = halves.next().unwrap_or_default().trim_ascii();
    is_charset && !is_utf8_label(value)
}

/// Every spelling under which the registry and browsers know UTF-8, quoted or not; some clients quote as their language does.
fn is_utf8_label(value: &[u8]) -> bool {
    let bare = |quote: &[u8]| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let value = bare(b"\"").or_else(|| bare(b"'")).unwrap_or(value).trim_ascii();
    // A quoted pair stands for its second byte.
    let plain = value.iter().copied().filter(|byte| *byte != b'\\').map(|byte| byte.to_ascii_lowercase());
    LABELS.iter().any(|label| plain.clone().eq(label.iter().copied()))
}

const LABELS: [&[u8]; 4] = [b"utf-8", b"utf8", b"utf_8", b"csutf8"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{FieldSpans, HeadLimits, request};

    #[track_caller]
    fn check(lines: &str, expect: Result<(), Denial>) {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut spans = FieldSpans::default();
        let limits = HeadLimits { bytes_max: 4096, fields_max: 32 };
        let head = request::parse(head.as_bytes(), &mut spans, &limits).unwrap();
        assert_eq!(super::check(&head.fields), expect, "{lines}");
    }

    // "exactly one `Authorization`, `Content-Type`, `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name`, `Mcp-Session-Id` at
    // most (`MCP-Protocol-Version` and `Mcp-Session-Id`: copies that agree byte for byte, on one line or several, are one)"
    #[test]
    fn refuses_a_repeated_field_even_with_equal_values() {
        let lines = |name: &str, second: &str| {
            format!("Content-Type: application/json\r\n{name}: a\r\n{name}: {second}\r\n")
        };
        for name in ["Authorization", "Content-Type", "mcp-method", "Mcp-Name"] {
            check(&lines(name, "a"), Err(Denial::RepeatedField(KnownField::recognise(name.as_bytes()))));
        }
        for name in ["MCP-Protocol-Version", "Mcp-Session-Id"] {
            check(&lines(name, "a"), Ok(()));
            check(&lines(name, "b"), Err(Denial::RepeatedField(KnownField::recognise(name.as_bytes()))));
        }
        check("Content-Type: application/json\r\nX-A: 1\r\nX-A: 1\r\n", Ok(()));
    }

    // "`Content-Type: application/json`"
    #[test]
    fn refuses_another_media_type() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json ;a=b; Charset=\"UTF-8\"",
            "Application/JSON; charset=\"utf-8\"",
            "application/json;charset=UTF8",
            "application/json; charset=utf8",
            "application/json;charset='utf-8'",
            "application/json; charset=\"ut\\f-8\"",
            "application/json; charset=utf_8",
            "application/json;charset=csUTF8",
            "application/json;",
            "application/json ; ; charset=utf-8 ;\t",
            "application/json; charset = utf-8",
            "application/json; charset=utf-8; charset=UTF8",
            "application/json; a=\"x;charset=utf-16\"",
            "application/json; profile=\"https://a/b\\\"c\"; charset=utf-8",
            "application/json; x",
        ] {
            check(&format!("Content-Type: {value}\r\n"), Ok(()));
        }
        for value in [
            "",
            "text/plain",
            "application/jsonx",
            "application/json, text/plain",
            "application/json-seq",
            "json",
            "application/json; charset=utf-16",
            "application/json; charset=\"utf-16\"",
            "application/json; charset=",
            "application/json; charset",
            "application/json; charset=utf-8x",
            "application/json; charset=latin1; charset=utf-8",
            "application/json; charset=\"utf-8",
            "application/json charset=utf-8",
            "application/json, application/json",
            "application/json; a=\"x; charset=utf-8",
            "application/json;a=\"\\\";charset=utf-8\"; charset=utf-7",
            "application/json; charset=utf-8; charset=utf-7",
        ] {
            check(&format!("Content-Type: {value}\r\n"), Err(Denial::ContentType));
        }
        check("", Err(Denial::ContentType));
    }

    #[test]
    fn refuses_a_coded_body() {
        check("Content-Type: application/json\r\nContent-Encoding: identity\r\n", Ok(()));
        for coding in ["gzip", "chunked", "", "identity, gzip"] {
            let lines = format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
            check(&lines, Err(Denial::ContentEncoding));
        }
    }
}
