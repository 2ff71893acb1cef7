//! The body of a successful response: decompressed, decoded, and judged to be JSON, text or neither.
//!
//! A service may describe its body wrongly, or respond with a login page under 200. Everything is bounded: what a few
//! bytes expand to counts, not they. Must not know the tool.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::charset;
use super::exchange::RESPONSE_BYTES_MAX;
use crate::json::{DEPTH_MAX, Json, TooDeep, indented_size};

/// The largest size of JSON that is indented for a reader.
const INDENTED_BYTES_MAX: usize = 4 * RESPONSE_BYTES_MAX;

/// What a body holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Empty,
    Json(Json),
    Text(String),
}

/// Why a body is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("responded with a page for people (HTML), perhaps a login, instead of data")]
    Page,
    #[error("declared its response as JSON, and it is not")]
    NotJson,
    #[error("responded with JSON that is nested too deeply")]
    TooDeep,
    #[error("responded with {0}, which is neither JSON nor text")]
    Binary(String),
    #[error("responded in the encoding {0}, which was not asked for")]
    Encoding(String),
    #[error("responded with text that is not in {0}")]
    Charset(String),
    #[error("responded with compressed data that are damaged or end early")]
    Damaged,
    /// Worded by the caller, as for a body that is too large without compression.
    #[error("responded with too much")]
    TooLarge,
}

/// The media type of a body, as far as it decides how the body is read.
#[derive(PartialEq)]
enum Kind {
    Json,
    Html,
    Text,
    Undeclared,
    Other,
}

/// Reads the body of a response.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Body, Unreadable> {
    if body.is_empty() {
        return Ok(Body::Empty);
    }
    let body = decompressed(headers, body)?;
    let declared = field(headers, CONTENT_TYPE.as_str());
    let mut parts = declared.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let kind = kind(&essence);
    let named = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("charset").then(|| value.trim_matches('"').to_ascii_lowercase())
    });
    let text = match (charset::decode(&body, named.as_deref()), &kind) {
        (Ok(text), _) => text,
        (Err(_), Kind::Other) => return Err(Unreadable::Binary(shown(&essence))),
        (Err(_), Kind::Undeclared) => return Err(Unreadable::Binary("data of no declared type".into())),
        (Err(charset), Kind::Json | Kind::Html | Kind::Text) => {
            return Err(Unreadable::Charset(shown(&charset)));
        }
    };
    judged(&text, &kind, &essence)
}

fn judged(text: &str, kind: &Kind, essence: &str) -> Result<Body, Unreadable> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Body::Empty);
    }
    // Some services declare no type, or another one, for what is JSON all the same.
    let looks_like_json =
        trimmed.starts_with(['{', '[']) || matches!(kind, Kind::Json | Kind::Text | Kind::Undeclared);
    if let Some(json) = looks_like_json.then(|| Json::parse(trimmed)).flatten() {
        return bounded(json);
    }
    let begins_with =
        |tag: &str| trimmed.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    match kind {
        Kind::Json => Err(Unreadable::NotJson),
        Kind::Html if trimmed.contains('<') => Err(Unreadable::Page),
        Kind::Undeclared if begins_with("<!doctype html") || begins_with("<html") => Err(Unreadable::Page),
        Kind::Undeclared if text.contains('\0') => Err(Unreadable::Binary("data of no declared type".into())),
        Kind::Text | Kind::Html if text.contains('\0') => Err(Unreadable::Binary(shown(essence))),
        Kind::Text | Kind::Html | Kind::Undeclared => Ok(Body::Text(text.to_owned())),
        Kind::Other => Err(Unreadable::Binary(shown(essence))),
    }
}

fn kind(essence: &str) -> Kind {
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    match essence {
        "" => Kind::Undeclared,
        "text/html" | "application/xhtml+xml" => Kind::Html,
        _ if subtype == "json" || subtype.ends_with("+json") => Kind::Json,
        _ if essence.starts_with("text/") => Kind::Text,
        _ if ["xml", "yaml", "x-yaml", "ndjson", "x-ndjson", "jsonl", "toml", "javascript"]
            .contains(&subtype) =>
        {
            Kind::Text
        }
        _ if essence.starts_with("application/")
            && (subtype.ends_with("+xml") || subtype.ends_with("+yaml")) =>
        {
            Kind::Text
        }
        _ => Kind::Other,
    }
}

/// The body without its content coding: the request asks for none, and some services compress nevertheless.
fn decompressed<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Unreadable> {
    let sent: Vec<&str> =
        headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    let sent = sent.join(",").to_ascii_lowercase();
    let codings: Vec<&str> =
        sent.split(',').map(str::trim).filter(|coding| !coding.is_empty() && *coding != "identity").collect();
    match codings.as_slice() {
        [] => Ok(Cow::Borrowed(body)),
        ["gzip" | "x-gzip"] => inflated(MultiGzDecoder::new(body)),
        ["deflate"] => inflated(ZlibDecoder::new(body)),
        others => Err(Unreadable::Encoding(shown(&others.join(", ")))),
    }
}

fn inflated<'a>(decoder: impl Read) -> Result<Cow<'a, [u8]>, Unreadable> {
    let mut made = Vec::new();
    let limit = u64::try_from(RESPONSE_BYTES_MAX).unwrap_or(u64::MAX);
    // Ends early: a few kilobytes may expand to gigabytes.
    let read = decoder.take(limit + 1).read_to_end(&mut made);
    read.map_err(|_| Unreadable::Damaged)?;
    if made.len() > RESPONSE_BYTES_MAX { Err(Unreadable::TooLarge) } else { Ok(Cow::Owned(made)) }
}

/// Refuses JSON that would grow beyond all bounds when it is indented.
fn bounded(json: Json) -> Result<Body, Unreadable> {
    let size = indented_size(json.as_str(), DEPTH_MAX).map_err(|TooDeep| Unreadable::TooDeep)?;
    if size > INDENTED_BYTES_MAX { Err(Unreadable::TooLarge) } else { Ok(Body::Json(json)) }
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A word of the service, short enough and plain enough for an error message.
fn shown(word: &str) -> String {
    word.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ').take(60).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use hyper::header::HeaderValue;

    use super::*;

    fn judge(kind: &str, coding: &str, body: &[u8]) -> Result<Body, Unreadable> {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        }
        if !coding.is_empty() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
        }
        read(&headers, body)
    }

    fn json(text: &str) -> Result<Body, Unreadable> {
        Ok(Body::Json(Json::parse(text).unwrap()))
    }

    fn text(text: &str) -> Result<Body, Unreadable> {
        Ok(Body::Text(text.to_owned()))
    }

    #[test]
    fn a_body_is_judged_by_its_type_and_by_what_it_is() {
        let page = b"<!DOCTYPE html><title>Log in</title>";
        for (kind, body, expected) in [
            (
                "application/json",
                &b"{\"n\": 12345678901234567890.10}"[..],
                json("{\"n\": 12345678901234567890.10}"),
            ),
            ("application/problem+json; charset=utf-8", b"\xef\xbb\xbf[1]", json("[1]")),
            ("application/json", page, Err(Unreadable::NotJson)),
            ("application/json", b"{\"cut\": ", Err(Unreadable::NotJson)),
            ("application/json", b"\"\xff\"", Err(Unreadable::Charset("UTF-8".into()))),
            ("application/json", b" \r\n", Ok(Body::Empty)),
            ("text/html; charset=utf-8", page, Err(Unreadable::Page)),
            ("application/xhtml+xml", page, Err(Unreadable::Page)),
            ("text/html", b"{\"n\": 1}", json("{\"n\": 1}")),
            ("text/html", b"Message sent", text("Message sent")),
            ("", page, Err(Unreadable::Page)),
            ("", b"  <HTML><body>", Err(Unreadable::Page)),
            ("", b"{\"n\": 1}", json("{\"n\": 1}")),
            ("", b"plain", text("plain")),
            ("", b"a\0b", Err(Unreadable::Binary("data of no declared type".into()))),
            ("", b"\x89PNG", Err(Unreadable::Binary("data of no declared type".into()))),
            ("text/plain", b"42", json("42")),
            ("text/csv", b"a,b\n1,2\n", text("a,b\n1,2\n")),
            ("text/plain", b"a\0b", Err(Unreadable::Binary("text/plain".into()))),
            ("text/plain; charset=ISO-8859-1", b"gr\xfc\xdfe \x80", text("gr\u{fc}\u{df}e \u{20ac}")),
            ("text/plain; charset=\"utf-16le\"", b"h\0i\0", text("hi")),
            ("text/plain; charset=koi8-r", b"x", Err(Unreadable::Charset("koi8-r".into()))),
            ("text/plain", b"gr\xfc\xdfe", Err(Unreadable::Charset("UTF-8".into()))),
            ("application/xml", b"<a/>", text("<a/>")),
            ("application/atom+xml", b"<feed/>", text("<feed/>")),
            ("image/png", b"\x89PNG", Err(Unreadable::Binary("image/png".into()))),
            ("image/svg+xml", b"<svg/>", Err(Unreadable::Binary("image/svg+xml".into()))),
            ("application/octet-stream", b"text", Err(Unreadable::Binary("application/octet-stream".into()))),
            ("application/octet-stream", b"[1]", json("[1]")),
        ] {
            assert_eq!(judge(kind, "", body), expected, "{kind} {}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_compressed_body_is_read_and_a_bomb_ends_early() {
        let packed = |body: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        };
        let small = packed(b"{\"n\": 1}");
        assert_eq!(judge("application/json", "gzip", &small), json("{\"n\": 1}"));
        assert_eq!(judge("application/json", "identity, X-GZIP", &small), json("{\"n\": 1}"));
        assert_eq!(judge("text/plain", "gzip", &[packed(b"one "), packed(b"two")].concat()), text("one two"));
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"[1]").unwrap();
        assert_eq!(judge("application/json", "deflate", &zlib.finish().unwrap()), json("[1]"));
        let cut = small.get(..small.len() - 4).unwrap();
        assert_eq!(judge("application/json", "gzip", cut), Err(Unreadable::Damaged));
        assert_eq!(judge("application/json", "gzip", b"{\"n\": 1}"), Err(Unreadable::Damaged));
        for coding in ["br", "gzip, gzip", "zstd"] {
            assert_eq!(judge("text/plain", coding, &small), Err(Unreadable::Encoding(coding.into())));
        }
        let bomb = packed(&vec![b' '; 64 * 1024 * 1024]);
        assert!(bomb.len() < 100_000);
        assert_eq!(judge("application/json", "gzip", &bomb), Err(Unreadable::TooLarge));
    }

    #[test]
    fn json_that_would_grow_beyond_bounds_when_it_is_indented_is_refused() {
        let nested =
            |depth: usize, inside: &str| format!("{}{inside}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(judge("", "", nested(127, "").as_bytes()).is_ok());
        assert_eq!(judge("", "", nested(128, "").as_bytes()), Err(Unreadable::TooDeep));
        let wide = nested(120, &"0,".repeat(100_000)).replace(",]", "]");
        assert_eq!(judge("", "", wide.as_bytes()), Err(Unreadable::TooLarge));
        // Brackets in a string are text.
        let quoted = format!("[\"{}\\\"\"]", "[".repeat(200));
        assert!(judge("", "", quoted.as_bytes()).is_ok());
    }
}
