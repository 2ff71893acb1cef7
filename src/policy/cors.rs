//! What a web page of an allowed origin may send and read (Fetch standard, CORS protocol). A browser sends a preflight
//! before every MCP call, and hands a response to the page only if it names the page's origin.
//!
//! Never `*`, and never with credentials: a page that may call has a token to call with. Must not know the response.

use std::borrow::Cow;

use super::Policy;
use super::auth::API_KEY_FIELD;
use super::decision::CredentialFields;
use super::origin::is_allowed_origin;
use crate::http1::is_of_family;
use crate::http1::{KnownField, Occurs, RequestHead};

/// What an MCP client in a page reads besides the fields that are always readable.
const EXPOSED: &str = "mcp-session-id, retry-after, x-request-id, www-authenticate";
/// What an MCP client in a page sends.
const SENT: &str = "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name, last-event-id";
/// A tool's own fields, by 2026-07-28: their names are the tool's.
const PARAMETERS: &[u8] = b"mcp-param-";
/// Seconds that a browser may remember a preflight: an origin that is taken away is refused soon.
const MAX_AGE: &str = "600";
/// Field names of its own that a preflight may list.
const ASKED_MAX: usize = 64;

/// The origin of the page, proved to be an allowed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedOrigin<'b>(&'b [u8]);

/// Which of the fields that a preflight lists the page may send, beside those of every MCP client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sendable {
    /// `Mcp-Param-*`
    Parameters,
    /// These, and the key of a client that sets no `Authorization`.
    ParametersAndKey,
    /// All that it lists: what a route's backend reads is not known here.
    Any,
}

/// The request that a browser sends before a page's own, and its response.
#[derive(Debug, PartialEq, Eq)]
pub struct Preflight<'b> {
    origin: AllowedOrigin<'b>,
    methods: Cow<'static, str>,
    fields: Vec<u8>,
}

impl Policy {
    /// The origin of the page; `None` for any other client, and for a page that is not allowed.
    pub fn allowed_origin<'b>(&self, head: &RequestHead<'b>) -> Option<AllowedOrigin<'b>> {
        match head.fields.occurs(KnownField::Origin) {
            Occurs::Once(origin) if is_allowed_origin(&self.origin, origin) => Some(AllowedOrigin(origin)),
            Occurs::Once(_) | Occurs::Never | Occurs::Repeated => None,
        }
    }
}

impl CredentialFields {
    /// What a page may send to the endpoint.
    pub fn sendable(self) -> Sendable {
        match self {
            CredentialFields::Authorization => Sendable::Parameters,
            CredentialFields::AuthorizationOrApiKey => Sendable::ParametersAndKey,
        }
    }
}

impl<'b> AllowedOrigin<'b> {
    /// Appends the field lines that let the page read a response.
    pub fn append_fields(self, out: &mut Vec<u8>) {
        append(out, "Access-Control-Allow-Origin", self.0);
        append(out, "Access-Control-Expose-Headers", EXPOSED.as_bytes());
        append(out, "Vary", b"Origin");
    }

    /// The response to the preflight `head`, where these methods are taken.
    pub fn preflight(
        self,
        head: &RequestHead<'_>,
        methods: Cow<'static, str>,
        sendable: Sendable,
    ) -> Preflight<'b> {
        let mut fields = SENT.as_bytes().to_vec();
        for name in preflight_fields(head).filter(|name| sendable.includes(name)).take(ASKED_MAX) {
            fields.extend_from_slice(b", ");
            fields.extend_from_slice(name);
        }
        Preflight { origin: self, methods, fields }
    }
}

impl Sendable {
    fn includes(self, name: &[u8]) -> bool {
        match self {
            Sendable::Parameters => is_of_family(name, PARAMETERS),
            Sendable::ParametersAndKey => {
                is_of_family(name, PARAMETERS) || name.eq_ignore_ascii_case(API_KEY_FIELD)
            }
            Sendable::Any => !SENT.split(", ").any(|sent| sent.as_bytes().eq_ignore_ascii_case(name)),
        }
    }
}

impl Preflight<'_> {
    /// Appends the field lines of the response.
    pub fn append_fields(&self, out: &mut Vec<u8>) {
        self.origin.append_fields(out);
        append(out, "Access-Control-Allow-Methods", self.methods.as_bytes());
        append(out, "Access-Control-Allow-Headers", &self.fields);
        append(out, "Access-Control-Max-Age", MAX_AGE.as_bytes());
    }
}

/// The method that a preflight names; `None` for what is no preflight.
pub fn preflight_method<'b>(head: &RequestHead<'b>) -> Option<&'b [u8]> {
    if head.method != b"OPTIONS" {
        return None;
    }
    let mut asked = values(head, b"access-control-request-method");
    asked.next().filter(|_| asked.next().is_none())
}

/// The field names that a preflight lists, each a token.
fn preflight_fields<'b>(head: &RequestHead<'b>) -> impl Iterator<Item = &'b [u8]> {
    values(head, b"access-control-request-headers")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| {
            !name.is_empty()
                && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        })
}

fn values<'b>(head: &RequestHead<'b>, name: &'static [u8]) -> impl Iterator<Item = &'b [u8]> {
    head.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn append(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{FieldSpans, HeadLimits, request};

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 8192, fields_max: 32 };

    fn with_head<T>(line: &str, fields: &str, see: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let mut spans = FieldSpans::default();
        see(&request::parse(text.as_bytes(), &mut spans, &LIMITS).unwrap())
    }

    fn answer(fields: &str, sendable: Sendable) -> String {
        with_head("OPTIONS /mcp", fields, |head| {
            let mut out = Vec::new();
            AllowedOrigin(b"http://a").preflight(head, "POST".into(), sendable).append_fields(&mut out);
            String::from_utf8(out).unwrap()
        })
    }

    #[test]
    fn a_preflight_names_one_method_by_options() {
        let check = |line: &str, fields: &str, expect: Option<&[u8]>| {
            with_head(line, fields, |head| assert_eq!(preflight_method(head), expect, "{line} {fields}"));
        };
        check("OPTIONS /mcp", "access-control-request-method: POST\r\n", Some(b"POST"));
        check("OPTIONS /mcp", "Access-Control-Request-Method: GET\r\n", Some(b"GET"));
        check("OPTIONS /mcp", "", None);
        check("POST /mcp", "Access-Control-Request-Method: POST\r\n", None);
        let twice = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Method: POST\r\n";
        check("OPTIONS /mcp", twice, None);
    }

    #[test]
    fn a_preflight_response_grants_what_an_mcp_client_needs() {
        let text = answer("", Sendable::Parameters);
        let expect = format!(
            "Access-Control-Allow-Origin: http://a\r\nAccess-Control-Expose-Headers: {EXPOSED}\r\nVary: Origin\r\n\
             Access-Control-Allow-Methods: POST\r\nAccess-Control-Allow-Headers: {SENT}\r\nAccess-Control-Max-Age: 600\r\n"
        );
        assert_eq!(text, expect);
        assert!(!text.contains('*') && !text.contains("Credentials"), "{text}");
    }

    // "asked-for `mcp-param-*`": names are a client's words, so only tokens come back, and only of that family.
    #[test]
    fn parameter_fields_that_a_preflight_lists_may_be_sent() {
        let asked = "Access-Control-Request-Headers: authorization,mcp-param-city, Mcp-Param-b,x-evil,,mcp-param-a b\r\n\
                     Access-Control-Request-Headers: mcp-param-c\r\n";
        let line = |sendable| {
            let text = answer(asked, sendable);
            let line = text.lines().find(|line| line.starts_with("Access-Control-Allow-Headers")).unwrap();
            line.split_once("last-event-id").unwrap().1.to_owned()
        };
        assert_eq!(line(Sendable::Parameters), ", mcp-param-city, Mcp-Param-b, mcp-param-c");
        assert_eq!(line(Sendable::Any), ", mcp-param-city, Mcp-Param-b, x-evil, mcp-param-c");
        let many = format!("Access-Control-Request-Headers: {}\r\n", "mcp-param-x,".repeat(200));
        assert_eq!(answer(&many, Sendable::Parameters).matches("mcp-param-x").count(), ASKED_MAX);
    }
}
