//! Denial to the response that a client survives (contract, sections 2 and 8).
//!
//! Makes status, fields and body; writes nothing to a connection and reads no clock.

use std::borrow::Cow;

use super::denial::{DenialBody, Row};
use super::{Denial, call::ReplyTo};
use crate::wire::era::{EraError, unsupported_version_message};
use crate::wire::jsonrpc::{ErrorParts, write_error};
use crate::wire::{Era, Method};

/// Whether call errors are translated so that clients survive them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorMode {
    /// Section 8: HTTP 200 and a JSON-RPC error for legacy requests with an id.
    #[default]
    Survivable,
    /// The real status always.
    Http,
}

/// Whether the backend may have acted on the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// No byte reached a backend.
    No,
    /// At least one byte reached a backend.
    Unknown,
}

/// What a refusal after the scan says besides its reason.
#[derive(Debug, Clone, Copy)]
pub struct ErrorContext<'a> {
    /// The `X-Request-Id` of the response.
    pub request_id: &'a str,
    /// Whether the call may be repeated without harm.
    pub executed: Executed,
    /// When it makes sense to, if better is known than the table's default.
    pub retry_after_ms: Option<u64>,
    /// `[errors] mode`
    pub mode: ErrorMode,
}

/// A complete local reply, without connection-level fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// `Allow: POST`, `WWW-Authenticate: Bearer realm="mcp"`; never a client's words.
    pub extra: Option<(&'static str, Cow<'static, str>)>,
    /// `application/json`
    pub body: Cow<'static, [u8]>,
}

/// The response to a refusal on the head, or of a body that could not be scanned: fixed bytes, real status.
pub fn head_reply(denial: Denial) -> Reply {
    let row = denial.row();
    let body = match row.body {
        DenialBody::Fixed(text) => Cow::Borrowed(text.as_bytes()),
        DenialBody::Rpc(code) => Cow::Owned(rpc_body(None, code, &message(denial, &row), None)),
    };
    Reply { status: row.status, retry_after: row.retry_after_ms.map(whole_seconds), extra: extra(&row), body }
}

/// The response to a refusal after the scan.
pub fn call_reply(denial: Denial, to: &ReplyTo<'_>, error_context: &ErrorContext<'_>) -> Reply {
    let row = denial.row();
    let DenialBody::Rpc(code) = row.body else { return head_reply(denial) };
    let retry_after_ms = error_context.retry_after_ms.or(row.retry_after_ms);
    let says_more = retry_after_ms.is_some() || is_of_a_body(denial) && to.id.is_some();
    let data = says_more.then(|| data(&row, retry_after_ms, error_context));
    let body = Cow::Owned(rpc_body(to.id, code, &message(denial, &row), data.as_deref()));
    if survives(denial, &row, to, error_context.mode) {
        return Reply { status: 200, retry_after: None, extra: None, body };
    }
    // A client takes any 4xx to the opening probe for a verdict on the protocol era, and may remember it.
    let rate_of_discover = denial == Denial::RateLimited && to.method == Method::Discover;
    // 2026-07-28: an unknown method gets 404 with -32601.
    let unknown_method = denial == Denial::UnknownMethod && to.era == Era::Modern && to.id.is_some();
    let status = match (rate_of_discover, unknown_method) {
        (true, _) => 503,
        (_, true) => 404,
        (false, false) => row.status,
    };
    Reply { status, retry_after: retry_after_ms.map(whole_seconds), extra: extra(&row), body }
}

/// The response to a refusal on a route, where clients do not speak JSON-RPC: the real status, and the message as JSON.
pub fn route_reply(denial: Denial, retry_after_ms: Option<u64>) -> Reply {
    let row = denial.row();
    let body = match row.body {
        DenialBody::Fixed(text) => Cow::Borrowed(text.as_bytes()),
        DenialBody::Rpc(_) => {
            Cow::Owned(format!("{{\"error\": \"{}\"}}", message(denial, &row)).into_bytes())
        }
    };
    let retry_after = retry_after_ms.or(row.retry_after_ms).map(whole_seconds);
    Reply { status: row.status, retry_after, extra: extra(&row), body }
}

/// The response to a method that no route at the path takes.
pub fn to_route_method(allow: String) -> Reply {
    Reply { extra: Some(("Allow", Cow::Owned(allow))), ..route_reply(Denial::RouteMethod, None) }
}

fn extra(row: &Row) -> Option<(&'static str, Cow<'static, str>)> {
    row.extra.map(|(name, value)| (name, Cow::Borrowed(value)))
}

/// Whether the refusal travels under HTTP 200. It never does without an id: `id: null` under 200 hangs clients.
fn survives(denial: Denial, row: &Row, to: &ReplyTo<'_>, mode: ErrorMode) -> bool {
    // A forbidden tool must look like one that does not exist, in either era and mode; so must a method.
    let translated = denial == Denial::UnknownTool
        || denial == Denial::UnknownMethod && to.era == Era::Legacy
        || mode == ErrorMode::Survivable && to.era == Era::Legacy && !opens_session(to.method);
    row.survivable && translated && to.id.is_some()
}

/// Whether the body is refused, whatever its method: repeating it as it is will not help.
fn is_of_a_body(denial: Denial) -> bool {
    matches!(denial, Denial::Scan(_) | Denial::BodyTooLarge)
}

/// A client that cannot even connect does best with the real status.
fn opens_session(method: Method) -> bool {
    matches!(method, Method::Initialize | Method::Discover)
}

fn message(denial: Denial, row: &Row) -> Cow<'static, str> {
    if let Denial::Era(EraError::Fenced { max }) = denial {
        return Cow::Owned(unsupported_version_message(max));
    }
    let named = if let Denial::Era(EraError::HeaderMismatch(mismatch)) = denial {
        mismatch.as_str()
    } else if let Denial::RepeatedField(known) = denial {
        known.name()
    } else {
        ""
    };
    if named.is_empty() {
        Cow::Borrowed(row.message)
    } else {
        Cow::Owned(format!("{}: {named}", row.message))
    }
}

fn data(row: &Row, retry_after_ms: Option<u64>, error_context: &ErrorContext<'_>) -> String {
    let executed = match error_context.executed {
        Executed::No => "no",
        Executed::Unknown => "unknown",
    };
    let request_id = serde_json::Value::from(error_context.request_id);
    let reason = row.code;
    let retry = retry_after_ms.map(|time| format!(r#""retryAfterMs":{time},"#)).unwrap_or_default();
    format!(r#"{{"reason":"{reason}",{retry}"requestId":{request_id},"executed":"{executed}"}}"#)
}

fn rpc_body(id: Option<&[u8]>, code: i32, message: &str, data: Option<&str>) -> Vec<u8> {
    let mut body = Vec::with_capacity(192);
    write_error(&mut body, &ErrorParts { id, code, message, data });
    body
}

/// `Retry-After` counts whole seconds; rounding down would invite a retry that is refused again.
fn whole_seconds(milliseconds: u64) -> u64 {
    milliseconds.div_ceil(1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{FramingError, KnownField};
    use crate::policy::auth::WrongToken;
    use crate::wire::era::Mismatch;
    use crate::wire::{ProtocolVersion, ScanError};

    #[track_caller]
    fn check_head(denial: Denial, status: u16, body: &str, extra: Option<(&str, &str)>) {
        let reply = head_reply(denial);
        assert_eq!(
            (
                reply.status,
                std::str::from_utf8(&reply.body).unwrap(),
                reply.extra.as_ref().map(|(name, value)| (*name, value.as_ref()))
            ),
            (status, body, extra)
        );
    }

    // "messages name the field that disagrees", in words of the guard's own
    #[test]
    fn a_refused_field_is_named_to_the_client() {
        for (denial, expect) in [
            (
                Denial::RepeatedField(KnownField::McpName),
                "A header field that must be single is repeated: mcp-name",
            ),
            (Denial::RepeatedField(KnownField::Other), "A header field that must be single is repeated"),
            (
                Denial::Era(EraError::HeaderMismatch(Mismatch::NameMissing)),
                "Header fields and body disagree: Mcp-Name is missing",
            ),
        ] {
            let body: serde_json::Value = serde_json::from_slice(&head_reply(denial).body).unwrap();
            assert_eq!(body["error"]["message"], expect);
        }
        let route = route_reply(Denial::RepeatedField(KnownField::Authorization), None);
        assert_eq!(
            &*route.body,
            br#"{"error": "A header field that must be single is repeated: authorization"}"#
        );
    }

    // The exact bytes of the contract, section 2.
    #[test]
    fn refusals_on_the_head_have_the_words_of_the_contract() {
        let allow = Some(("Allow", "POST"));
        let challenge = Some(("WWW-Authenticate", r#"Bearer realm="mcp""#));
        check_head(Denial::OauthMetadata, 404, r#"{"error":"not_found"}"#, None);
        check_head(
            Denial::OauthRegister,
            400,
            r#"{"error":"access_denied","error_description":"This server uses a static bearer token; set the Authorization header"}"#,
            None,
        );
        check_head(
            Denial::MethodNotAllowed,
            405,
            r#"{"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]}"#,
            allow,
        );
        check_head(Denial::OriginNotAllowed, 403, r#"{"error": "Origin not allowed"}"#, None);
        check_head(Denial::HostNotAllowed, 421, r#"{"error": "Host not allowed"}"#, None);
        check_head(Denial::AuthorizationMissing, 401, r#"{"error": "Authorization required"}"#, challenge);
        check_head(Denial::TokensNotConfigured, 503, r#"{"error": "MCP token not configured"}"#, None);
        assert_eq!(head_reply(Denial::TokensNotConfigured).retry_after, Some(30));
        check_head(Denial::TokenInvalid(WrongToken::Forbidden), 403, r#"{"error": "Invalid token"}"#, None);
        check_head(Denial::PathNotFound, 404, r#"{"error": "Not found"}"#, None);
    }

    // RFC 6750, 3: the resource server includes the challenge with 401, and `invalid_token` for one that is expired.
    #[test]
    fn a_wrong_token_is_challenged_in_rfc_6750_mode() {
        let challenge = Some(("WWW-Authenticate", r#"Bearer realm="mcp", error="invalid_token""#));
        check_head(
            Denial::TokenExpired(WrongToken::Challenge),
            401,
            r#"{"error": "Invalid token"}"#,
            challenge,
        );
    }

    #[test]
    fn what_follows_authentication_is_json_rpc_shaped() {
        for (denial, status, code) in [
            (Denial::RepeatedField(KnownField::McpMethod), 400, -32600),
            (Denial::ContentType, 415, -32600),
            (Denial::BodyTooLarge, 413, -32600),
            (Denial::BodyTimeout, 408, -32600),
            (Denial::Scan(ScanError::Syntax), 400, -32700),
            (Denial::Scan(ScanError::Batch), 400, -32600),
            (Denial::Era(EraError::HeaderMismatch(Mismatch::Method)), 400, -32020),
        ] {
            let reply = head_reply(denial);
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, &body["error"]["code"]), (status, &code.into()), "{}", denial.code());
            assert!(body["id"].is_null() && body["jsonrpc"] == "2.0");
        }
        check_head(Denial::Framing(FramingError::BareLf), 400, r#"{"error": "Bad request"}"#, None);
        check_head(
            Denial::Framing(FramingError::Expectation),
            417,
            r#"{"error": "Expectation failed"}"#,
            None,
        );
    }

    const LEGACY: ReplyTo<'_> =
        ReplyTo { id: Some(b"\"a\\u0062\""), era: Era::Legacy, method: Method::ToolsCall };
    const PLAIN: ErrorContext<'_> = ErrorContext {
        request_id: "r1",
        executed: Executed::No,
        retry_after_ms: None,
        mode: ErrorMode::Survivable,
    };

    #[track_caller]
    fn check(
        denial: Denial,
        to: ReplyTo<'_>,
        error_context: ErrorContext<'_>,
        status: u16,
        retry_after: Option<u64>,
    ) {
        let reply = call_reply(denial, &to, &error_context);
        assert_eq!((reply.status, reply.retry_after), (status, retry_after), "{denial:?} {to:?}");
    }

    // "`200`, `{"jsonrpc":"2.0","id":<same>,"error":{"code":C,"message":M,"data":{…}}}`"
    #[test]
    fn a_legacy_call_survives_under_200_with_its_own_id_in_its_own_bytes() {
        let unknown = ErrorContext { executed: Executed::Unknown, retry_after_ms: Some(1500), ..PLAIN };
        let reply = call_reply(Denial::BackendReset, &LEGACY, &unknown);
        let expect = concat!(
            r#"{"jsonrpc":"2.0","id":"a\u0062","error":{"code":-31502,"#,
            r#""message":"The tool server closed the connection before it answered","#,
            r#""data":{"reason":"backend_reset","retryAfterMs":1500,"requestId":"r1","executed":"unknown"}}}"#
        );
        assert_eq!(std::str::from_utf8(&reply.body).unwrap(), expect);
        assert_eq!((reply.status, reply.retry_after), (200, None));
        let body = call_reply(Denial::Overloaded, &LEGACY, &PLAIN).body;
        assert!(
            String::from_utf8_lossy(&body)
                .contains(r#""retryAfterMs":1000,"requestId":"r1","executed":"no""#)
        );
    }

    #[test]
    fn every_denial_after_the_head_is_translated_for_a_legacy_call() {
        for denial in [
            Denial::RateLimited,
            Denial::Overloaded,
            Denial::Draining,
            Denial::NoBackend,
            Denial::BackendRefused,
            Denial::BackendReset,
            Denial::CandidateInvalid,
            Denial::BackendStatus,
            Denial::Deadline,
            Denial::UnknownTool,
        ] {
            check(denial, LEGACY, PLAIN, 200, None);
        }
    }

    // "once the body has a readable `id` - also where something behind it is refused (depth, size, UTF-8 of an argument)"
    #[test]
    fn a_refused_body_is_survived_under_its_own_id() {
        let expect = concat!(
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"Invalid Request: the body is nested too deeply","#,
            r#""data":{"reason":"scan_depth","requestId":"r1","executed":"no"}}}"#
        );
        let to = ReplyTo { id: Some(b"7"), ..LEGACY };
        let modern = ReplyTo { era: Era::Modern, ..to };
        let http = ErrorContext { mode: ErrorMode::Http, ..PLAIN };
        for (to, error_context, status) in [(to, PLAIN, 200), (modern, PLAIN, 400), (to, http, 400)] {
            let reply = call_reply(Denial::Scan(ScanError::Depth), &to, &error_context);
            assert_eq!((reply.status, std::str::from_utf8(&reply.body).unwrap()), (status, expect));
            assert_eq!(reply.retry_after, None);
        }
        for error in [
            ScanError::Utf8,
            ScanError::Syntax,
            ScanError::DuplicateKey,
            ScanError::FoldedKey,
            ScanError::Envelope,
        ] {
            check(Denial::Scan(error), LEGACY, PLAIN, 200, None);
            check(Denial::Scan(error), ReplyTo { method: Method::Initialize, ..LEGACY }, PLAIN, 400, None);
        }
        check(Denial::BodyTooLarge, LEGACY, PLAIN, 200, None);
        check(Denial::BodyTooLarge, modern, PLAIN, 413, None);
        let unknown = ReplyTo { id: None, ..LEGACY };
        assert_eq!(call_reply(Denial::BodyTooLarge, &unknown, &PLAIN), head_reply(Denial::BodyTooLarge));
    }

    // "garbage -> the guard's own 502": what is no HTTP is not translated into a response that looks like one.
    #[test]
    fn a_malformed_response_is_a_502_in_either_era() {
        check(Denial::BackendInvalid, LEGACY, PLAIN, 502, Some(1));
        check(Denial::BackendInvalid, ReplyTo { era: Era::Modern, ..LEGACY }, PLAIN, 502, Some(1));
    }

    // "2026-07-28 era: the same body under the real status, with `Retry-After`"; "`errors.mode = "http"` turns this
    // translation off".
    #[test]
    fn a_modern_client_and_http_mode_meet_the_real_status() {
        let modern = ReplyTo { era: Era::Modern, ..LEGACY };
        let http = ErrorContext { mode: ErrorMode::Http, ..PLAIN };
        for (to, error_context) in [(modern, PLAIN), (LEGACY, http)] {
            check(Denial::RateLimited, to, error_context, 429, Some(1));
            check(Denial::NoBackend, to, error_context, 503, Some(2));
            check(Denial::BackendInvalid, to, error_context, 502, Some(1));
            check(Denial::Deadline, to, error_context, 504, Some(1));
        }
        let survivable = call_reply(Denial::Deadline, &LEGACY, &PLAIN).body;
        assert_eq!(call_reply(Denial::Deadline, &modern, &PLAIN).body, survivable);
        let late = ErrorContext { retry_after_ms: Some(1001), ..http };
        check(Denial::Overloaded, LEGACY, late, 503, Some(2));
    }

    // "`initialize`, `server/discover`, notifications, unparsable bodies: the real status (… never 429 for discover)"
    #[test]
    fn the_opening_of_a_session_meets_the_real_status() {
        for method in [Method::Initialize, Method::Discover] {
            check(Denial::NoBackend, ReplyTo { method, ..LEGACY }, PLAIN, 503, Some(2));
            check(Denial::Deadline, ReplyTo { method, ..LEGACY }, PLAIN, 504, Some(1));
        }
        check(Denial::RateLimited, ReplyTo { method: Method::Initialize, ..LEGACY }, PLAIN, 429, Some(1));
        for era in [Era::Legacy, Era::Modern] {
            check(
                Denial::RateLimited,
                ReplyTo { method: Method::Discover, era, ..LEGACY },
                PLAIN,
                503,
                Some(1),
            );
        }
        check(Denial::NoBackend, ReplyTo { id: None, ..LEGACY }, PLAIN, 503, Some(2));
    }

    // "a tool that this client may not call, in either era: `200` with `-32602` "Unknown tool""
    #[test]
    fn a_forbidden_tool_looks_like_one_that_does_not_exist() {
        let expect = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}"#;
        for (era, mode) in [
            (Era::Legacy, ErrorMode::Survivable),
            (Era::Modern, ErrorMode::Survivable),
            (Era::Legacy, ErrorMode::Http),
        ] {
            let to = ReplyTo { id: Some(b"7"), era, method: Method::ToolsCall };
            let reply = call_reply(Denial::UnknownTool, &to, &ErrorContext { mode, ..PLAIN });
            assert_eq!((reply.status, std::str::from_utf8(&reply.body).unwrap()), (200, expect));
        }
        check(Denial::UnknownTool, ReplyTo { id: None, ..LEGACY }, PLAIN, 400, None);
    }

    // A backend refuses an unknown method under 200 in the older versions, under 404 in 2026-07-28.
    #[test]
    fn a_forbidden_method_looks_like_one_that_does_not_exist() {
        let expect = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"Method not found"}}"#;
        let http = ErrorContext { mode: ErrorMode::Http, ..PLAIN };
        for (era, error_context, status) in [
            (Era::Legacy, PLAIN, 200),
            (Era::Legacy, http, 200),
            (Era::Modern, PLAIN, 404),
            (Era::Modern, http, 404),
        ] {
            let to = ReplyTo { id: Some(b"7"), era, method: Method::Other };
            let reply = call_reply(Denial::UnknownMethod, &to, &error_context);
            assert_eq!((reply.status, std::str::from_utf8(&reply.body).unwrap()), (status, expect));
        }
        for era in [Era::Legacy, Era::Modern] {
            check(Denial::UnknownMethod, ReplyTo { id: None, era, method: Method::Other }, PLAIN, 400, None);
        }
    }

    // "`id:null` under 200 hangs clients"
    #[test]
    fn nothing_travels_under_200_without_an_id() {
        for denial in Denial::all() {
            for era in [Era::Legacy, Era::Modern] {
                let reply = call_reply(denial, &ReplyTo { id: None, era, method: Method::ToolsCall }, &PLAIN);
                assert!(reply.status >= 400, "{}", denial.code());
            }
            assert_eq!(head_reply(denial).status, denial.status());
        }
    }

    // "requests with a newer `MCP-Protocol-Version` get `400` with JSON-RPC -32600 and a message that lists the supported
    // versions"
    #[test]
    fn the_era_fence_names_the_versions_a_client_may_fall_back_to() {
        let max = ProtocolVersion::parse(b"2025-06-18").unwrap();
        let to = ReplyTo { id: Some(b"1"), era: Era::Modern, method: Method::Discover };
        let reply = call_reply(Denial::Era(EraError::Fenced { max }), &to, &PLAIN);
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message
                .starts_with("Bad Request: Unsupported protocol version. Supported versions: 2025-06-18, "),
            "{message}"
        );
        assert_eq!((reply.status, &body["error"]["code"], &body["id"]), (400, &(-32600).into(), &1.into()));
    }

    #[test]
    fn a_request_id_cannot_break_out_of_its_string() {
        let hostile = ErrorContext { request_id: "a\"},\"x\":\"\n", ..PLAIN };
        let body = call_reply(Denial::Deadline, &LEGACY, &hostile).body;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["data"]["requestId"], "a\"},\"x\":\"\n");
    }
}
