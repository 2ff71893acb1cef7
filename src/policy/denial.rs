//! The one table of refusals: it feeds replies, logs, metrics and `docs/denials.md`.
//!
//! A row is everything a response needs to know of its kind of refusal. How a row becomes a response is `reply`.

use super::token_fault::TokenFault;
use crate::http1::{FramingError, KnownField};
use crate::wire::{
    ProtocolVersion, ScanError,
    era::{EraError, Mismatch},
};

/// Every way the guard says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each variant is")]
pub enum Denial {
    // Framing (section 3). The connection is closed.
    Framing(FramingError),
    HeaderTimeout,
    BodyTimeout,
    BodyTooLarge,
    // Checks on the head (section 2).
    OauthMetadata,
    OauthRegister,
    MethodNotAllowed,
    OriginNotAllowed,
    HostNotAllowed,
    AuthorizationMissing,
    TokensNotConfigured,
    TokenInvalid(WrongToken),
    TokenExpired(WrongToken),
    // Tokens of issuers, and keys beside them (section 18).
    JwtInvalid(TokenFault),
    JwtExpired,
    InsufficientScope {
        grant: u16,
    },
    JwtKeysUnavailable,
    TwoCredentials,
    PathNotFound,
    RepeatedField(KnownField),
    ContentType,
    ContentEncoding,
    // Routes (section 16).
    RouteMethod,
    ApiKeyMissing,
    ApiKeyInvalid,
    // Body.
    Scan(ScanError),
    Era(EraError),
    UnknownTool,
    UnknownMethod,
    // Admission and upstream (section 8).
    RateLimited,
    ConcurrencyLimited,
    Overloaded,
    ClientShare,
    StreamsLimited,
    Draining,
    NoBackend,
    BackendRefused,
    BackendReset,
    BackendInvalid,
    /// Well-formed HTTP that is no response to a call. Its code is that of [`Denial::BackendInvalid`].
    BackendNoAnswer,
    CandidateInvalid,
    BackendStatus,
    Deadline,
}

/// The status of the response to a token that is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WrongToken {
    /// 403: what the fleet's clients know.
    #[default]
    Forbidden,
    /// 401 with a challenge: RFC 6750 mode.
    Challenge,
}

impl WrongToken {
    /// The mode of `auth.wrong_token_status`.
    pub fn from_status(status: u16) -> Option<WrongToken> {
        match status {
            403 => Some(WrongToken::Forbidden),
            401 => Some(WrongToken::Challenge),
            _ => None,
        }
    }
}

/// What the table says of one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The stable code: metric label, log field and anchor in `docs/denials.md`.
    pub code: &'static str,
    /// The HTTP status when it is not translated for survival.
    pub status: u16,
    /// The text that a client may read.
    pub message: &'static str,
    /// The form of the response's body.
    pub body: DenialBody,
    /// A header field that belongs to the status.
    pub extra: Option<(&'static str, &'static str)>,
    /// When to try again, if that can help.
    pub retry_after_ms: Option<u64>,
    /// Whether a client should rather read a JSON-RPC error under HTTP 200 than lose its session.
    pub survivable: bool,
}

/// The form of a refusal's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialBody {
    /// These exact bytes.
    Fixed(&'static str),
    /// A JSON-RPC error of this code with the row's message.
    Rpc(i32),
}

const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
// The guard's own codes lie outside -32768..-32000, which JSON-RPC and MCP reserve.
const RATE: i32 = -31429;
const BAD_UPSTREAM: i32 = -31502;
const UNAVAILABLE: i32 = -31503;
const DEADLINE: i32 = -31504;

const ALLOW: (&str, &str) = ("Allow", "POST");
const CHALLENGE: (&str, &str) = ("WWW-Authenticate", "Bearer realm=\"mcp\"");
/// No scheme is registered for keys; RFC 9110, 11.6.1 requires a challenge with every 401 all the same.
const CHALLENGE_KEY: (&str, &str) = ("WWW-Authenticate", "ApiKey realm=\"mcp\"");
const CHALLENGE_SCOPE: (&str, &str) =
    ("WWW-Authenticate", "Bearer realm=\"mcp\", error=\"insufficient_scope\"");
const CHALLENGE_INVALID: (&str, &str) = ("WWW-Authenticate", "Bearer realm=\"mcp\", error=\"invalid_token\"");

impl Row {
    const fn fixed(code: &'static str, status: u16, message: &'static str, body: &'static str) -> Row {
        let body = DenialBody::Fixed(body);
        Row { code, status, message, body, extra: None, retry_after_ms: None, survivable: false }
    }

    const fn rpc(code: &'static str, status: u16, rpc_code: i32, message: &'static str) -> Row {
        let body = DenialBody::Rpc(rpc_code);
        Row { code, status, message, body, extra: None, retry_after_ms: None, survivable: false }
    }

    const fn with(self, extra: (&'static str, &'static str)) -> Row {
        Row { extra: Some(extra), ..self }
    }

    const fn retry_after_ms(self, milliseconds: u64) -> Row {
        Row { retry_after_ms: Some(milliseconds), ..self }
    }

    const fn survivable(self) -> Row {
        Row { survivable: true, ..self }
    }
}

impl Denial {
    /// The table.
    #[rustfmt::skip]
    pub fn row(self) -> Row {
        match self {
            Denial::Framing(error) => framing_row(error),
            Denial::HeaderTimeout => Row::fixed("header_timeout", 408, "Request timeout", r#"{"error": "Request timeout"}"#),
            Denial::BodyTimeout => Row::rpc("body_timeout", 408, INVALID_REQUEST, "Request body did not arrive in time"),
            Denial::BodyTooLarge => Row::rpc("body_too_large", 413, INVALID_REQUEST, "Request body too large").survivable(),

            Denial::OauthMetadata => Row::fixed("oauth_metadata", 404, "not_found", r#"{"error":"not_found"}"#),
            Denial::OauthRegister => Row::fixed("oauth_register", 400, "This server uses a static bearer token; set the Authorization header",
                r#"{"error":"access_denied","error_description":"This server uses a static bearer token; set the Authorization header"}"#),
            Denial::MethodNotAllowed => Row::fixed("method_not_allowed", 405, "MCP endpoint accepts POST JSON-RPC only",
                r#"{"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]}"#).with(ALLOW),
            Denial::OriginNotAllowed => Row::fixed("origin_not_allowed", 403, "Origin not allowed", r#"{"error": "Origin not allowed"}"#),
            Denial::HostNotAllowed => Row::fixed("host_not_allowed", 421, "Host not allowed", r#"{"error": "Host not allowed"}"#),
            Denial::AuthorizationMissing => Row::fixed("authorization_missing", 401, "Authorization required", r#"{"error": "Authorization required"}"#).with(CHALLENGE),
            Denial::TokensNotConfigured => Row::fixed("tokens_not_configured", 503, "MCP token not configured", r#"{"error": "MCP token not configured"}"#).retry_after_ms(30_000),
            Denial::TokenInvalid(mode) => wrong_token_row("token_invalid", mode),
            Denial::TokenExpired(mode) => wrong_token_row("token_expired", mode),
            Denial::JwtInvalid(_) => wrong_token_row("jwt_invalid", WrongToken::Challenge),
            Denial::JwtExpired => wrong_token_row("jwt_expired", WrongToken::Challenge),
            Denial::InsufficientScope { grant: _ } => Row::fixed("insufficient_scope", 403, "Insufficient scope", r#"{"error": "Insufficient scope"}"#).with(CHALLENGE_SCOPE),
            Denial::JwtKeysUnavailable => Row::fixed("jwt_keys_unavailable", 503, "The token cannot be verified now; retry later", r#"{"error": "The token cannot be verified now; retry later"}"#).retry_after_ms(5_000),
            Denial::TwoCredentials => Row::fixed("two_credentials", 400, "Two credentials in one request", r#"{"error": "Two credentials in one request"}"#),
            Denial::PathNotFound => Row::fixed("path_not_found", 404, "Not found", r#"{"error": "Not found"}"#),
            Denial::RepeatedField(_) => Row::rpc("repeated_field", 400, INVALID_REQUEST, "A header field that must be single is repeated"),
            Denial::ContentType => Row::rpc("content_type", 415, INVALID_REQUEST, "Content-Type must be application/json"),
            Denial::ContentEncoding => Row::rpc("content_encoding", 415, INVALID_REQUEST, "Content-Encoding is not supported"),

            Denial::RouteMethod => Row::fixed("route_method", 405, "Method not allowed", r#"{"error": "Method not allowed"}"#),
            Denial::ApiKeyMissing => Row::fixed("api_key_missing", 401, "API key required", r#"{"error": "API key required"}"#).with(CHALLENGE_KEY),
            Denial::ApiKeyInvalid => Row::fixed("api_key_invalid", 401, "Invalid API key", r#"{"error": "Invalid API key"}"#).with(CHALLENGE_KEY),

            Denial::Scan(error) => scan_row(error),
            Denial::Era(error) => era_row(error),
            Denial::UnknownTool => Row::rpc("unknown_tool", 400, INVALID_PARAMS, "Unknown tool").survivable(),
            Denial::UnknownMethod => Row::rpc("unknown_method", 400, METHOD_NOT_FOUND, "Method not found").survivable(),

            Denial::RateLimited => Row::rpc("rate_limited", 429, RATE, "Rate limit reached; retry later").retry_after_ms(1000).survivable(),
            Denial::ConcurrencyLimited => Row::rpc("concurrency_limited", 429, RATE, "Too many calls at a time; retry later").retry_after_ms(1000).survivable(),
            Denial::Overloaded => Row::rpc("overloaded", 503, UNAVAILABLE, "Too many calls in progress; retry later").retry_after_ms(1000).survivable(),
            Denial::ClientShare => Row::rpc("client_share", 503, UNAVAILABLE, "This client has more than its share under way; retry later").retry_after_ms(1000).survivable(),
            Denial::StreamsLimited => Row::rpc("streams_limited", 503, UNAVAILABLE, "Too many open streams; close one or retry later").retry_after_ms(5000).survivable(),
            Denial::Draining => Row::rpc("draining", 503, UNAVAILABLE, "The server is restarting; retry later").retry_after_ms(2000).survivable(),
            Denial::NoBackend => Row::rpc("no_backend", 503, UNAVAILABLE, "No tool server is available; retry later").retry_after_ms(2000).survivable(),
            Denial::BackendRefused => Row::rpc("backend_refused", 503, UNAVAILABLE, "The tool server cannot be reached; retry later").retry_after_ms(2000).survivable(),
            Denial::BackendReset => Row::rpc("backend_reset", 502, BAD_UPSTREAM, "The tool server closed the connection before it answered").retry_after_ms(1000).survivable(),
            Denial::BackendInvalid => Row::rpc("backend_invalid", 502, BAD_UPSTREAM, "The tool server sent an invalid answer").retry_after_ms(1000),
            Denial::BackendNoAnswer => Denial::BackendInvalid.row().survivable(),
            Denial::CandidateInvalid => Row::rpc("candidate_invalid", 502, BAD_UPSTREAM, "The tool server sent an invalid answer").retry_after_ms(1000).survivable(),
            Denial::BackendStatus => Row::rpc("backend_status", 502, BAD_UPSTREAM, "The tool server failed").retry_after_ms(1000).survivable(),
            Denial::Deadline => Row::rpc("deadline", 504, DEADLINE, "The tool server did not answer in time").retry_after_ms(1000).survivable(),
        }
    }

    /// The stable code: metric label, log field and anchor in `docs/denials.md`.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status when it is not translated for survival.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// The text that a client may read.
    pub fn message(self) -> &'static str {
        self.row().message
    }

    /// The JSON-RPC error code of refusals that are JSON-RPC shaped.
    pub fn rpc_code(self) -> Option<i32> {
        match self.row().body {
            DenialBody::Fixed(_) => None,
            DenialBody::Rpc(code) => Some(code),
        }
    }

    /// Whether the bytes that follow on the connection can no longer be distinguished from an attack, so that it must be
    /// closed after the response.
    pub fn closes_connection(self) -> bool {
        matches!(self, Denial::Framing(_) | Denial::HeaderTimeout | Denial::BodyTimeout)
    }

    /// Every kind of refusal once (payloads by example): for docs, metrics and tests.
    pub fn all() -> impl Iterator<Item = Denial> {
        let framing = FramingError::ALL.into_iter().map(Denial::Framing);
        let scan = SCAN_ERRORS.into_iter().map(Denial::Scan);
        framing.chain(PLAIN).chain(scan).chain(ERA_ERRORS.into_iter().map(Denial::Era)).chain(CALL)
    }
}

const PLAIN: [Denial; 24] = [
    Denial::HeaderTimeout,
    Denial::BodyTimeout,
    Denial::BodyTooLarge,
    Denial::OauthMetadata,
    Denial::OauthRegister,
    Denial::MethodNotAllowed,
    Denial::OriginNotAllowed,
    Denial::HostNotAllowed,
    Denial::AuthorizationMissing,
    Denial::TokensNotConfigured,
    Denial::TokenInvalid(WrongToken::Forbidden),
    Denial::TokenExpired(WrongToken::Forbidden),
    Denial::JwtInvalid(TokenFault::Signature),
    Denial::JwtExpired,
    Denial::InsufficientScope { grant: 0 },
    Denial::JwtKeysUnavailable,
    Denial::TwoCredentials,
    Denial::PathNotFound,
    Denial::RepeatedField(KnownField::McpName),
    Denial::ContentType,
    Denial::ContentEncoding,
    Denial::RouteMethod,
    Denial::ApiKeyMissing,
    Denial::ApiKeyInvalid,
];

const SCAN_ERRORS: [ScanError; 9] = [
    ScanError::Empty,
    ScanError::Utf8,
    ScanError::Syntax,
    ScanError::Depth,
    ScanError::DuplicateKey,
    ScanError::FoldedKey,
    ScanError::MissingId,
    ScanError::Batch,
    ScanError::Envelope,
];

const ERA_ERRORS: [EraError; 3] = [
    EraError::Fenced { max: ProtocolVersion::DEFAULT },
    EraError::MalformedVersion,
    EraError::HeaderMismatch(Mismatch::Name),
];

const CALL: [Denial; 15] = [
    Denial::UnknownTool,
    Denial::UnknownMethod,
    Denial::RateLimited,
    Denial::ConcurrencyLimited,
    Denial::Overloaded,
    Denial::ClientShare,
    Denial::StreamsLimited,
    Denial::Draining,
    Denial::NoBackend,
    Denial::BackendRefused,
    Denial::BackendReset,
    Denial::BackendInvalid,
    Denial::CandidateInvalid,
    Denial::BackendStatus,
    Denial::Deadline,
];

/// The same words for an unknown and an expired token: only the log distinguishes them.
fn wrong_token_row(code: &'static str, mode: WrongToken) -> Row {
    let row = |status| Row::fixed(code, status, "Invalid token", r#"{"error": "Invalid token"}"#);
    match mode {
        WrongToken::Forbidden => row(403),
        WrongToken::Challenge => row(401).with(CHALLENGE_INVALID),
    }
}

fn scan_row(error: ScanError) -> Row {
    let (code, message) = match error {
        ScanError::Empty => ("scan_empty", "Parse error: the body is empty"),
        ScanError::Utf8 => ("scan_utf8", "Parse error: the body is not valid UTF-8"),
        ScanError::Syntax => ("scan_syntax", "Parse error: the body is not one JSON value"),
        ScanError::Depth => ("scan_depth", "Invalid Request: the body is nested too deeply"),
        ScanError::DuplicateKey => ("scan_duplicate_key", "Invalid Request: the body repeats a key"),
        ScanError::FoldedKey => {
            ("scan_folded_key", "Invalid Request: a key can be mistaken for one of the protocol")
        }
        ScanError::MissingId => ("scan_missing_id", "Invalid Request: a request needs an id"),
        ScanError::Batch => ("scan_batch", "Invalid Request: batches are not supported"),
        ScanError::Envelope => ("scan_envelope", "Invalid Request: the body is not a JSON-RPC 2.0 message"),
    };
    // A language model writes the arguments: they must not end a session.
    Row::rpc(code, 400, error.code(), message).survivable()
}

fn era_row(error: EraError) -> Row {
    let (code, message) = match error {
        // The response adds the versions a client may fall back to.
        EraError::Fenced { max: _ } => ("era_fenced", "Bad Request: Unsupported protocol version"),
        EraError::MalformedVersion => ("era_malformed_version", "Malformed MCP-Protocol-Version"),
        EraError::HeaderMismatch(_) => ("era_header_mismatch", "Header fields and body disagree"),
    };
    Row::rpc(code, 400, error.code(), message)
}

/// The sender of malformed bytes learns the status and no more.
fn framing_row(error: FramingError) -> Row {
    let code = framing_code(error);
    match error {
        FramingError::TargetTooLong => {
            Row::fixed(code, 414, "Request target too long", r#"{"error": "Request target too long"}"#)
        }
        FramingError::HeadTooLarge | FramingError::TooManyFields => Row::fixed(
            code,
            431,
            "Request header fields too large",
            r#"{"error": "Request header fields too large"}"#,
        ),
        FramingError::Expectation => {
            Row::fixed(code, 417, "Expectation failed", r#"{"error": "Expectation failed"}"#)
        }
        FramingError::BareLf
        | FramingError::BareCr
        | FramingError::ControlByte
        | FramingError::ObsFold
        | FramingError::SpaceBeforeColon
        | FramingError::FieldName
        | FramingError::StartLine
        | FramingError::Method
        | FramingError::Target
        | FramingError::Version
        | FramingError::Host
        | FramingError::Authority
        | FramingError::ContentLength
        | FramingError::TransferEncoding
        | FramingError::LengthConflict
        | FramingError::Forbidden
        | FramingError::Nomination
        | FramingError::Chunk
        | FramingError::Trailer
        | FramingError::StatusLine => Row::fixed(code, 400, "Bad request", r#"{"error": "Bad request"}"#),
    }
}

fn framing_code(error: FramingError) -> &'static str {
    match error {
        FramingError::BareLf => "framing_bare_lf",
        FramingError::BareCr => "framing_bare_cr",
        FramingError::ControlByte => "framing_control_byte",
        FramingError::ObsFold => "framing_obs_fold",
        FramingError::SpaceBeforeColon => "framing_space_before_colon",
        FramingError::FieldName => "framing_field_name",
        FramingError::StartLine => "framing_start_line",
        FramingError::Method => "framing_method",
        FramingError::Target => "framing_target",
        FramingError::Version => "framing_version",
        FramingError::Host => "framing_host",
        FramingError::Authority => "framing_authority",
        FramingError::ContentLength => "framing_content_length",
        FramingError::TransferEncoding => "framing_transfer_encoding",
        FramingError::LengthConflict => "framing_length_conflict",
        FramingError::Forbidden => "framing_forbidden",
        FramingError::Nomination => "framing_nomination",
        FramingError::Expectation => "framing_expectation",
        FramingError::Chunk => "framing_chunk",
        FramingError::Trailer => "framing_trailer",
        FramingError::HeadTooLarge => "framing_head_too_large",
        FramingError::TooManyFields => "framing_too_many_fields",
        FramingError::TargetTooLong => "framing_target_too_long",
        FramingError::StatusLine => "framing_status_line",
    }
}

#[cfg(test)]
mod tests;
