//! What the log adds to a refusal of a request head, so that the operator need not guess: the refused host or origin, the
//! field, the limit. Never a token, a path, a query or the value of a field that may hold one.

use super::auth::{TOKEN_PREFIX, TokenHash};
use super::{Denial, Policy, paths};
use crate::http1::{BodyLength, KnownField, Occurs, RequestHead};
use crate::wire::era::EraError;

/// Most bytes of a client's words in a log line, escapes included.
const DETAIL_BYTES_MAX: usize = 100;
/// As much of a client's words is looked at.
const LOOKED_AT_BYTES_MAX: usize = 1024;
/// Shorter words are no tokens.
const TOKEN_BYTES_MIN: usize = 6;
/// How the header of a signed token begins: `{"` in base64.
const SIGNED_PREFIX: &[u8] = b"eyJ";
/// How one with white space behind its brace does, and how short it can be: `{"alg":"x"}` and a space have more. Without the length,
/// words would be hidden.
const SPACED_PREFIXES: [&[u8]; 2] = [b"ey", b"ew"];
const SPACED_BYTES_MIN: usize = 16;
/// What stands in a token's place.
const HIDDEN: &[u8] = b"[token]";
/// The longest method that is plainly one.
const METHOD_BYTES_MAX: usize = 16;

impl Policy {
    /// What the log adds to this refusal of `head`; `None` where the code says it all.
    pub fn detail(&self, denial: Denial, head: &RequestHead<'_>) -> Option<String> {
        match denial {
            Denial::HostNotAllowed => Some(self.shown(head.host)),
            Denial::OriginNotAllowed => Some(self.origin(head)),
            Denial::MethodNotAllowed | Denial::RouteMethod => Some(method(head.method)),
            Denial::AuthorizationMissing => Some(authorization(head).to_owned()),
            Denial::PathNotFound => Some(self.paths.near(head.path)),
            Denial::JwtInvalid(fault) => Some(fault.as_str().to_owned()),
            Denial::RepeatedField(known) => Some(known.name().to_owned()).filter(|name| !name.is_empty()),
            Denial::Era(error) => Some(era(error, head)),
            Denial::ContentType => Some(self.content_type(head)),
            Denial::ContentEncoding => Some(self.coding(head)),
            Denial::BodyTooLarge if self.session_request(head).is_some() => {
                Some(format!("a body with {}", method(head.method)))
            }
            Denial::BodyTooLarge => declared(head, self.limits.body_bytes_max),
            Denial::Framing(_)
            | Denial::HeaderTimeout
            | Denial::BodyTimeout
            | Denial::OauthMetadata
            | Denial::OauthRegister
            | Denial::TokensNotConfigured
            | Denial::TokenInvalid(_)
            | Denial::TokenExpired(_)
            | Denial::JwtExpired
            | Denial::InsufficientScope { .. }
            | Denial::JwtKeysUnavailable
            | Denial::TwoCredentials
            | Denial::ApiKeyMissing
            | Denial::ApiKeyInvalid
            | Denial::Scan(_)
            | Denial::UnknownTool
            | Denial::UnknownMethod
            | Denial::RateLimited
            | Denial::ConcurrencyLimited
            | Denial::Overloaded
            | Denial::ClientShare
            | Denial::StreamsLimited
            | Denial::Draining
            | Denial::NoBackend
            | Denial::BackendRefused
            | Denial::BackendReset
            | Denial::BackendInvalid
            | Denial::BackendNoAnswer
            | Denial::CandidateInvalid
            | Denial::BackendStatus
            | Denial::Deadline => None,
        }
    }

    /// A client's words without tokens, escaped and cut.
    pub fn shown(&self, text: &[u8]) -> String {
        let text = &text[..text.len().min(LOOKED_AT_BYTES_MAX)];
        let whole = |run: &[u8]| self.is_token(run.strip_prefix(b"//").unwrap_or(run));
        if text.split(|byte| !is_of_token(*byte)).any(whole) {
            return String::from_utf8_lossy(HIDDEN).into_owned();
        }
        let is_of_word = |byte: u8| is_of_token(byte) && !b"/=".contains(&byte);
        let without = text.split_inclusive(|byte| !is_of_word(*byte)).flat_map(|piece| {
            let at = piece.iter().position(|byte| !is_of_word(*byte)).unwrap_or(piece.len());
            let (word, rest) = piece.split_at(at);
            let hides =
                self.is_token(word) || word.split(|byte| *byte == b'.').any(|part| self.is_token(part));
            [if hides { HIDDEN } else { word }, rest]
        });
        let mut out = String::new();
        for &byte in without.flatten() {
            let escaped = byte.escape_ascii().to_string();
            if out.len() + escaped.len() > DETAIL_BYTES_MAX - "...".len() {
                return out + "...";
            }
            out.push_str(&escaped);
        }
        out
    }

    /// Whether a token stands in a client's words.
    pub fn shows_token(&self, text: &[u8]) -> bool {
        memchr::memmem::find(self.shown(text).as_bytes(), HIDDEN).is_some()
    }

    /// Whether a client put a token where none belongs: one that is configured, or one of the form that `token new` gives.
    fn is_token(&self, part: &[u8]) -> bool {
        let begins = |prefix: &[u8]| part.starts_with(prefix);
        let header = part.split(|byte| *byte == b'.').next().unwrap_or_default();
        let is_spaced =
            || header.len() >= SPACED_BYTES_MIN && SPACED_PREFIXES.iter().any(|prefix| begins(prefix));
        part.len() >= TOKEN_BYTES_MIN
            && (begins(TOKEN_PREFIX.as_bytes())
                || begins(SIGNED_PREFIX)
                || is_spaced()
                || self.clients.find(&TokenHash::of(part)).is_some())
    }

    /// Scheme, host and port; what stands before and behind them is no part of an origin and may be anything.
    fn origin(&self, head: &RequestHead<'_>) -> String {
        let value = match head.fields.occurs(KnownField::Origin) {
            Occurs::Once(b"null") => return "null".to_owned(),
            Occurs::Once(value) => value,
            Occurs::Repeated => return "several Origin fields".to_owned(),
            Occurs::Never => return "no Origin".to_owned(),
        };
        let Some(at) = memchr::memmem::find(value, b"://") else {
            return format!("no origin, {} bytes", value.len());
        };
        let (scheme, rest) = value.split_at(at + "://".len());
        let end = rest.iter().position(|byte| b"/?# ".contains(byte)).unwrap_or(rest.len());
        let host = rest[..end].rsplit(|byte| *byte == b'@').next().unwrap_or_default();
        self.shown(&[scheme, host].concat())
    }

    fn content_type(&self, head: &RequestHead<'_>) -> String {
        match head.fields.occurs(KnownField::ContentType) {
            Occurs::Once(value) if is_plain_media_type(value) => self.shown(value),
            Occurs::Once(value) => format!("no media type, {} bytes", value.len()),
            Occurs::Never | Occurs::Repeated => "no Content-Type".to_owned(),
        }
    }

    fn coding(&self, head: &RequestHead<'_>) -> String {
        match head.fields.occurs(KnownField::ContentEncoding) {
            Occurs::Once(value) if value.len() <= METHOD_BYTES_MAX => self.shown(value),
            Occurs::Once(_) | Occurs::Repeated | Occurs::Never => "several codings".to_owned(),
        }
    }
}

/// RFC 6750, 2.1: what a bearer token is made of.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

fn method(method: &[u8]) -> String {
    let plain = method.len() <= METHOD_BYTES_MAX
        && method.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-');
    if plain {
        String::from_utf8_lossy(method).into_owned()
    } else {
        format!("a method of {} bytes", method.len())
    }
}

fn authorization(head: &RequestHead<'_>) -> &'static str {
    match head.fields.occurs(KnownField::Authorization) {
        Occurs::Never => "no Authorization",
        Occurs::Once(value) if value.len() >= 6 && value[..6].eq_ignore_ascii_case(b"bearer") => {
            "Bearer without a token"
        }
        Occurs::Once(_) | Occurs::Repeated => "another scheme than Bearer",
    }
}

fn era(error: EraError, head: &RequestHead<'_>) -> String {
    let plain = |version: &&[u8]| {
        version.len() == 10 && version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
    };
    match (error, head.fields.occurs(KnownField::McpProtocolVersion)) {
        (EraError::HeaderMismatch(mismatch), _) => mismatch.as_str().to_owned(),
        (EraError::Fenced { .. } | EraError::MalformedVersion, Occurs::Once(version)) if plain(&version) => {
            String::from_utf8_lossy(version).into_owned()
        }
        (EraError::Fenced { .. }, Occurs::Never) => "a version in _meta only".to_owned(),
        (EraError::Fenced { .. } | EraError::MalformedVersion, _) => "no date".to_owned(),
    }
}

/// `type/subtype` with parameters, of the bytes that these are made of.
fn is_plain_media_type(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/;=\"+-._, ".contains(byte);
    value.contains(&b'/') && value.iter().all(plain)
}

fn declared(head: &RequestHead<'_>, bytes_max: u64) -> Option<String> {
    match head.body {
        BodyLength::Bytes(bytes) if bytes > bytes_max => {
            Some(format!("{bytes} bytes declared, {bytes_max} allowed"))
        }
        BodyLength::Bytes(_) | BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => {
            Some(format!("more than {bytes_max} bytes"))
        }
    }
}

impl paths::Paths {
    /// Where a path that names nothing lies, by the configured prefixes alone.
    fn near(&self, path: &[u8]) -> String {
        let below = |prefix: &&[u8]| path.strip_prefix(*prefix).is_some_and(|rest| rest.starts_with(b"/"));
        let same_letters =
            |prefix: &&[u8]| path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let text = |prefix: &[u8]| String::from_utf8_lossy(prefix).into_owned();
        if let Some(prefix) = self.prefixes().find(below) {
            format!("below {}", text(prefix))
        } else if let Some(prefix) = self.prefixes().find(same_letters) {
            format!("not {}, but begins like it", text(prefix))
        } else {
            format!("{} bytes, below none of paths.prefixes", path.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::{AuthRules, ClientConfig, Clients, WrongToken};
    use super::super::{Limits, origin};
    use super::*;
    use crate::http1::{FieldSpans, request};
    use crate::wire::ProtocolVersion;
    use crate::wire::era::Mismatch;

    fn policy() -> Policy {
        let prefixes = ["/swf-monitor/mcp", "/mcp", "/"].map(|prefix| paths::Prefix::parse(prefix).unwrap());
        Policy::new(
            &paths::PathRules { prefixes: prefixes.to_vec() },
            origin::OriginRules::default(),
            AuthRules { wrong_token: WrongToken::Forbidden },
            Limits::SMALL,
            Clients::new(vec![ClientConfig::new("bot", vec![TokenHash::of(b"s3cret.t0ken-of-bot")])])
                .unwrap(),
        )
    }

    #[track_caller]
    fn check(denial: Denial, line: &str, fields: &str, expect: &str) {
        let head = format!("{line} HTTP/1.1\r\n{fields}\r\n");
        let mut spans = FieldSpans::default();
        let limits = crate::http1::HeadLimits { bytes_max: 8192, fields_max: 32 };
        let head = request::parse(head.as_bytes(), &mut spans, &limits).unwrap();
        let detail = policy().detail(denial, &head).unwrap_or_default();
        assert_eq!(detail, expect, "{line} {fields}");
        assert!(detail.len() <= DETAIL_BYTES_MAX, "{detail}");
    }

    #[test]
    fn the_log_names_the_refused_host_and_origin_without_what_may_be_secret() {
        check(
            Denial::HostNotAllowed,
            "POST /",
            "Host: host.docker.internal:8001\r\n",
            "host.docker.internal:8001",
        );
        let origin = |value: &str, expect: &str| {
            check(Denial::OriginNotAllowed, "POST /", &format!("Host: a\r\nOrigin: {value}\r\n"), expect);
        };
        origin("vscode-webview://0abc", "vscode-webview://0abc");
        origin("https://evil.test/path?token=s3cr3t", "https://evil.test");
        origin("https://a\u{e9}\"\\", "https://a\\xc3\\xa9\\\"\\\\");
        origin("null", "null");
        origin("s3cr3t-token", "no origin, 12 bytes");
        origin("https://a\r\nOrigin: https://b", "several Origin fields");
        let long = format!("https://{}", "a".repeat(500));
        let cut = format!("{}...", &long[..97]);
        origin(&long, &cut);
    }

    // "a token that appears in any log [..] is a defect": also where a client puts it by mistake.
    #[test]
    fn the_log_shows_no_token_wherever_it_was_put() {
        for token in [
            "s3cret.t0ken-of-bot",
            "swf_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
            "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
            "eyAiYWxnIjoiRVMyNTYifQ.eyAic3ViIjoieCJ9.c2lnbmF0dXJl",
            "ewoiYWxnIjoiRVMyNTYifQ.ewoic3ViIjoieCJ9.c2lnbmF0dXJl",
        ] {
            let host = |value: String, expect: &str| {
                check(Denial::HostNotAllowed, "POST /", &format!("Host: {value}\r\n"), expect);
            };
            host(token.to_owned(), "[token]");
            host(format!("{token}:80"), "[token]");
            let origin = |value: String, expect: &str| {
                check(Denial::OriginNotAllowed, "POST /", &format!("Host: a\r\nOrigin: {value}\r\n"), expect);
            };
            origin(format!("https://{token}"), "[token]");
            origin(format!("{token}://a"), "[token]");
            origin(format!("https://{token}@evil.test"), "https://evil.test");
            origin(format!("https://user:{token}@evil.test/x"), "https://evil.test");
            let kind = |value: String, expect: &str| {
                check(
                    Denial::ContentType,
                    "POST /",
                    &format!("Host: a\r\nContent-Type: {value}\r\n"),
                    expect,
                );
            };
            if token.starts_with(TOKEN_PREFIX) {
                origin(format!("https://{token}.evil.test"), "[token]");
                kind(format!("text/{token}"), "text/[token]");
                kind(format!("text/plain; charset={token}"), "text/plain; charset=[token]");
            }
        }
        let name = "eyes.of-a-rather-long-name.example.org";
        check(Denial::HostNotAllowed, "POST /", &format!("Host: {name}\r\n"), name);
    }

    #[test]
    fn the_log_names_what_a_head_lacks() {
        let host = "Host: a\r\n";
        check(Denial::MethodNotAllowed, "GET /mcp", host, "GET");
        check(Denial::MethodNotAllowed, "s3cr3t-t0ken /mcp", host, "a method of 12 bytes");
        check(Denial::AuthorizationMissing, "POST /", host, "no Authorization");
        check(
            Denial::AuthorizationMissing,
            "POST /",
            "Host: a\r\nAuthorization: s3cr3t\r\n",
            "another scheme than Bearer",
        );
        check(
            Denial::AuthorizationMissing,
            "POST /",
            "Host: a\r\nAuthorization: Bearer\r\n",
            "Bearer without a token",
        );
        for (path, expect) in [
            ("/mcp/x?token=s3cr3t", "below /mcp"),
            ("/MCP/s3cr3t", "not /mcp, but begins like it"),
            ("/mcpx", "not /mcp, but begins like it"),
            ("/api/s3cr3t", "11 bytes, below none of paths.prefixes"),
        ] {
            check(Denial::PathNotFound, &format!("POST {path}"), host, expect);
        }
        check(Denial::RepeatedField(KnownField::McpName), "POST /", host, "mcp-name");
        check(Denial::ContentType, "POST /", host, "no Content-Type");
        check(Denial::ContentType, "POST /", "Host: a\r\nContent-Type: text/plain\r\n", "text/plain");
        check(Denial::ContentType, "POST /", "Host: a\r\nContent-Type: s3cr3t\r\n", "no media type, 6 bytes");
        check(Denial::ContentEncoding, "POST /", "Host: a\r\nContent-Encoding: gzip\r\n", "gzip");
        let declared = "Host: a\r\nContent-Length: 1001\r\n";
        check(Denial::BodyTooLarge, "POST /", declared, "1001 bytes declared, 1000 allowed");
        check(Denial::HeaderTimeout, "POST /", host, "");
    }

    #[test]
    fn the_log_names_the_version_or_the_field_that_disagrees() {
        let fenced = Denial::Era(EraError::Fenced { max: ProtocolVersion::DEFAULT });
        check(fenced, "POST /", "Host: a\r\nMCP-Protocol-Version: 2026-07-28\r\n", "2026-07-28");
        check(fenced, "POST /", "Host: a\r\n", "a version in _meta only");
        check(
            Denial::Era(EraError::MalformedVersion),
            "POST /",
            "Host: a\r\nMCP-Protocol-Version: s3 t\r\n",
            "no date",
        );
        let mismatch = Denial::Era(EraError::HeaderMismatch(Mismatch::Method));
        check(mismatch, "POST /", "Host: a\r\n", "Mcp-Method differs from the method");
    }
}
