//! Protocol versions: which era a request speaks, and whether its header and body agree.
//!
//! Must not know how a refusal is rendered, nor why a fence stands: `policy` is handed both.

use super::header_value;
use super::scan::{Kind, Message};
use crate::wire::method::Method;

/// The two generations of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: `initialize` first.
    Legacy,
    /// 2026-07-28 and later: each request describes itself.
    Modern,
}

/// A protocol version: an ISO date that orders as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion([u8; 10]);

impl ProtocolVersion {
    /// The first version of the modern era.
    pub const MODERN: ProtocolVersion = ProtocolVersion(*b"2026-07-28");
    /// The last version of the legacy era: where the fence stands.
    pub const LEGACY_LAST: ProtocolVersion = ProtocolVersion(*b"2025-11-25");
    /// What an absent header means (2025-06-18, Transports).
    pub const DEFAULT: ProtocolVersion = ProtocolVersion(*b"2025-03-26");
    /// Every published version, newest first.
    pub const KNOWN: [ProtocolVersion; 5] = [
        ProtocolVersion::MODERN,
        ProtocolVersion::LEGACY_LAST,
        ProtocolVersion(*b"2025-06-18"),
        ProtocolVersion::DEFAULT,
        ProtocolVersion(*b"2024-11-05"),
    ];

    /// Parses `YYYY-MM-DD`.
    pub fn parse(text: &[u8]) -> Option<ProtocolVersion> {
        let text: &[u8; 10] = text.try_into().ok()?;
        let fits = |(index, byte): (usize, &u8)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        };
        let date = text.iter().enumerate().all(fits);
        date.then_some(ProtocolVersion(*text))
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        // Digits and hyphens only: `parse` and the constants saw to that.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The era this version belongs to.
    pub fn era(self) -> Era {
        era_of(&self.0)
    }
}

/// The newest version the guard lets through; `None` is no bound.
pub type MaxVersion = Option<ProtocolVersion>;

/// The MCP header fields of a request, each present at most once (policy has seen to that), without the white space
/// around the values.
#[derive(Debug, Clone, Copy, Default)]
pub struct McpFields<'b> {
    /// `MCP-Protocol-Version`
    pub protocol_version: Option<&'b [u8]>,
    /// `Mcp-Method`
    pub method: Option<&'b [u8]>,
    /// `Mcp-Name`
    pub name: Option<&'b [u8]>,
}

/// Why the era judgement refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EraError {
    /// JSON-RPC -32600; the message is [`unsupported_version_message`], as FastMCP words it, so that every SDK falls back.
    #[error("protocol version is newer than the fence allows")]
    Fenced {
        /// The newest version the fence lets through.
        max: ProtocolVersion,
    },
    /// JSON-RPC -32600.
    #[error("malformed MCP-Protocol-Version")]
    MalformedVersion,
    /// JSON-RPC -32020 (2026-07-28, Streamable HTTP: HeaderMismatch).
    #[error("header fields and body disagree, or a required field is missing")]
    HeaderMismatch(Mismatch),
}

/// What disagrees. A client that fills in its own fields learns which, in fixed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// `MCP-Protocol-Version` is absent, or is not the version of `_meta`.
    Version,
    /// `Mcp-Method` is absent.
    MethodMissing,
    /// `Mcp-Method` is another one than the body's.
    Method,
    /// `Mcp-Name` is absent.
    NameMissing,
    /// `Mcp-Name` is another one than the body's.
    Name,
}

impl Mismatch {
    /// The field, and what is wrong with it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mismatch::Version => "MCP-Protocol-Version differs from _meta",
            Mismatch::MethodMissing => "Mcp-Method is missing",
            Mismatch::Method => "Mcp-Method differs from the method",
            Mismatch::NameMissing => "Mcp-Name is missing",
            Mismatch::Name => "Mcp-Name differs from the name",
        }
    }
}

impl EraError {
    /// The JSON-RPC code.
    pub fn code(self) -> i32 {
        match self {
            EraError::Fenced { .. } | EraError::MalformedVersion => -32600,
            EraError::HeaderMismatch(_) => -32020,
        }
    }
}

/// The longest version that is left to a backend to check.
const VERSION_LENGTH_MAX: usize = 32;

/// Judges the version of a request: fence first, then (modern only) agreement of header and body.
///
/// A version that is not a date, or an unpublished date, passes: only the backend knows what it speaks, and its
/// refusal lists its versions (-32022). Such a value is of the era its text orders into, which is how servers sort it.
pub fn check(fields: &McpFields<'_>, message: &Message<'_>, max: MaxVersion) -> Result<Era, EraError> {
    if fields.protocol_version.is_some_and(|version| !is_token(version)) {
        return Err(EraError::MalformedVersion);
    }
    // White space around it, say: some programs would trim it, and speak another version than the one that is judged.
    if message.meta_version.as_deref().is_some_and(|version| !is_token(version.as_bytes())) {
        return Err(EraError::MalformedVersion);
    }
    let meta = message.meta_version.as_deref().map(str::as_bytes);
    if let Some(max) = max {
        // A request whose body alone speaks a newer version comes from a client that must fall back as well.
        let newest = fields.protocol_version.max(meta);
        if newest.is_some_and(|version| version > max.0.as_slice()) {
            return Err(EraError::Fenced { max });
        }
    }
    let era = fields.protocol_version.map_or(Era::Legacy, era_of);
    let disagreement = match era {
        // 2026-07-28, Protocol Version Header: every POST MUST include the header, and it MUST match `_meta`. Without
        // it a server takes the request for a legacy one, while its body, and whatever reads that, says otherwise.
        Era::Legacy => meta.filter(|meta| era_of(meta) == Era::Modern).map(|_| Mismatch::Version),
        Era::Modern => modern_mismatch(fields, message, meta),
    };
    disagreement.map_or(Ok(era), |mismatch| Err(EraError::HeaderMismatch(mismatch)))
}

/// Judges the version of a request without a body: of a session, which the modern era does not have.
pub fn check_bodiless(version: Option<&[u8]>, max: MaxVersion) -> Result<Era, EraError> {
    let Some(version) = version else { return Ok(Era::Legacy) };
    match max {
        _ if !is_token(version) => Err(EraError::MalformedVersion),
        Some(max) if version > max.0.as_slice() => Err(EraError::Fenced { max }),
        Some(_) | None => Ok(era_of(version)),
    }
}

/// The era of a request whose body could not be judged, by its header alone. A client whose header is no version copes with
/// the real status.
pub fn presume(protocol_version: Option<&[u8]>) -> Era {
    match protocol_version {
        None => Era::Legacy,
        Some(version) if is_token(version) => era_of(version),
        Some(_) => Era::Modern,
    }
}

/// The fence's message: FastMCP's words without the requested version, which is client input.
pub fn unsupported_version_message(max: ProtocolVersion) -> String {
    format!("Bad Request: Unsupported protocol version. Supported versions: {}", supported_up_to(max))
}

/// Supported versions up to `max`, newest first, comma separated: for the fence's message.
pub fn supported_up_to(max: ProtocolVersion) -> String {
    let supported = ProtocolVersion::KNOWN.iter().filter(|version| **version <= max);
    supported.map(ProtocolVersion::as_str).collect::<Vec<_>>().join(", ")
}

fn era_of(version: &[u8]) -> Era {
    if version < ProtocolVersion::MODERN.0.as_slice() { Era::Legacy } else { Era::Modern }
}

fn is_token(version: &[u8]) -> bool {
    !version.is_empty() && version.len() <= VERSION_LENGTH_MAX && version.iter().all(u8::is_ascii_graphic)
}

fn modern_mismatch(fields: &McpFields<'_>, message: &Message<'_>, meta: Option<&[u8]>) -> Option<Mismatch> {
    // A body without the version is not a disagreement but an incomplete request: the backend owes it -32602.
    if meta.is_some() && meta != fields.protocol_version {
        return Some(Mismatch::Version);
    }
    // A method is plain ASCII wherever it is known, so its field has no encoded form.
    let method_agrees = fields.method.map(|method| method == message.method_name.as_bytes());
    let wrong_method = (method_agrees == Some(false)).then_some(Mismatch::Method);
    match message.kind {
        // The handshake of the era before: its clients send the new fields only once a version is agreed on.
        Kind::Request if message.method == Method::Initialize => wrong_method,
        Kind::Request if method_agrees.is_none() => Some(Mismatch::MethodMissing),
        Kind::Request => wrong_method.or_else(|| name_mismatch(fields.name, message)),
        // 2026-07-28 defines no notifications from clients and leaves their header fields open. Absent is fine, wrong
        // is not: an intermediary may route on it.
        Kind::Notification => wrong_method,
        // Clients must not send these any more; the backend refuses them.
        Kind::Response => None,
    }
}

fn name_mismatch(field: Option<&[u8]>, message: &Message<'_>) -> Option<Mismatch> {
    let differs = |differs: bool| differs.then_some(Mismatch::Name);
    match (field, message.name.as_deref()) {
        (Some(field), Some(name)) => differs(!header_value::is(field, name.as_bytes())),
        (None, Some(_)) => message.method.requires_name().then_some(Mismatch::NameMissing),
        (Some(_), None) => differs(message.method.name_source().is_some()),
        // Neither names anything: the backend owes a call without a name -32602.
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scan;

    const FENCE: MaxVersion = Some(ProtocolVersion::LEGACY_LAST);

    /// Header values: version, method, name; empty for absent.
    #[track_caller]
    fn check(header: [&str; 3], body: &str, max: MaxVersion, expect: Result<Era, EraError>) {
        let [protocol_version, method, name] =
            header.map(|value| (!value.is_empty()).then_some(value).map(str::as_bytes));
        let fields = McpFields { protocol_version, method, name };
        let message = scan(body.as_bytes()).expect("a valid body");
        let found = match super::check(&fields, &message, max) {
            Err(EraError::HeaderMismatch(_)) => MISMATCH,
            found => found,
        };
        assert_eq!(found, expect, "{header:?} {body}");
    }

    #[test]
    fn the_field_that_disagrees_is_named() {
        let body = modern("tools/call", r#""name":"a""#);
        let modern = "2026-07-28";
        for ([version, method, name], expect) in [
            (["", "tools/call", "a"], Mismatch::Version),
            (["2025-11-25", "tools/call", "a"], Mismatch::Version),
            (["2026-08-01", "tools/call", "a"], Mismatch::Version),
            ([modern, "", "a"], Mismatch::MethodMissing),
            ([modern, "tools/list", "a"], Mismatch::Method),
            ([modern, "tools/call", ""], Mismatch::NameMissing),
            ([modern, "tools/call", "b"], Mismatch::Name),
        ] {
            let field = |value: &'static str| (!value.is_empty()).then_some(value.as_bytes());
            let fields =
                McpFields { protocol_version: field(version), method: field(method), name: field(name) };
            let message = scan(body.as_bytes()).expect("a valid body");
            let found = super::check(&fields, &message, None);
            assert_eq!(found, Err(EraError::HeaderMismatch(expect)), "{version} {method} {name}");
        }
    }

    fn call(method: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
    }

    /// A modern call: the `_meta` every request carries is added to `params`.
    fn modern(method: &str, params: &str) -> String {
        let comma = if params.is_empty() { "" } else { "," };
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        call(method, &format!("{meta}{comma}{params}"))
    }

    /// Stands for every mismatch; [`the_field_that_disagrees_is_named`] distinguishes them.
    const MISMATCH: Result<Era, EraError> = Err(EraError::HeaderMismatch(Mismatch::Name));
    const MODERN: Result<Era, EraError> = Ok(Era::Modern);
    const LEGACY: Result<Era, EraError> = Ok(Era::Legacy);

    #[test]
    fn parses_iso_dates_and_orders_them() {
        for version in ProtocolVersion::KNOWN {
            assert_eq!(ProtocolVersion::parse(version.as_str().as_bytes()), Some(version));
        }
        assert!(ProtocolVersion::KNOWN.is_sorted_by(|newer, older| newer > older));
        for wrong in ["", "2026-07-2", "2026-07-288", "2026/07/28", "2026-o7-28", "v999.0.0", "20260-7-28"] {
            assert_eq!(ProtocolVersion::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    // Contract, section 5: "header absent = 2025-03-26".
    #[test]
    fn takes_a_request_without_the_header_for_a_legacy_one() {
        check(["", "", ""], &call("tools/list", ""), None, LEGACY);
        check(["", "", ""], &call("initialize", r#""protocolVersion":"2025-11-25""#), FENCE, LEGACY);
        assert_eq!(ProtocolVersion::DEFAULT.era(), Era::Legacy);
    }

    #[test]
    fn presumes_the_era_of_the_header() {
        let cases: [(Option<&[u8]>, Era); 5] = [
            (None, Era::Legacy),
            (Some(b"2025-11-25"), Era::Legacy),
            (Some(b"2026-07-28"), Era::Modern),
            (Some(b"2025-11-25, 2026-07-28"), Era::Modern),
            (Some(b""), Era::Modern),
        ];
        for (header, era) in cases {
            assert_eq!(presume(header), era, "{header:?}");
        }
    }

    #[test]
    fn asks_nothing_more_of_legacy_versions() {
        for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-27", "1900-01-01"] {
            check([version, "", ""], &call("tools/call", r#""name":"a""#), None, LEGACY);
            check([version, "tools/list", "b"], &call("tools/call", r#""name":"a""#), None, LEGACY);
        }
    }

    // The backend responds with its own versions (-32022), which the guard cannot know.
    #[test]
    fn leaves_unknown_versions_to_the_backend() {
        let body = |version: &str| {
            call("ping", &format!(r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}"#))
        };
        check(["2099-01-01", "ping", ""], &body("2099-01-01"), None, MODERN);
        check(["v999.0.0", "ping", ""], &body("v999.0.0"), None, MODERN);
        check(["0.1", "", ""], &call("ping", ""), None, LEGACY);
    }

    #[test]
    fn refuses_a_version_that_is_no_token() {
        for version in ["2025-11-25, 2026-07-28", "2025\u{e9}", "x".repeat(33).as_str()] {
            check([version, "", ""], &call("ping", ""), None, Err(EraError::MalformedVersion));
        }
        for version in
            [" 2026-07-28", "2026-07-28\\n", "2026-07-28\\u0000", "\\ufeff2026-07-28", "", "\\ud800"]
        {
            let meta = format!(r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}"#);
            check(["2025-11-25", "", ""], &call("ping", &meta), None, Err(EraError::MalformedVersion));
        }
        let empty = McpFields { protocol_version: Some(b""), ..McpFields::default() };
        let body = call("ping", "");
        let message = scan(body.as_bytes()).expect("a valid body");
        assert_eq!(super::check(&empty, &message, None), Err(EraError::MalformedVersion));
    }

    // Contract, section 5: "requests with a newer `MCP-Protocol-Version` get `400` with JSON-RPC -32600 and a message
    // that lists the supported versions".
    #[test]
    fn fences_newer_versions_before_anything_else() {
        let fenced = Err(EraError::Fenced { max: ProtocolVersion::LEGACY_LAST });
        check(["2026-07-28", "server/discover", ""], &modern("server/discover", ""), FENCE, fenced);
        check(["2026-07-28", "", ""], &modern("tools/list", ""), FENCE, fenced);
        check(["", "", ""], &modern("tools/list", ""), FENCE, fenced);
        check(["v999.0.0", "", ""], &call("ping", ""), FENCE, fenced);
        check(["2025-11-25", "", ""], &call("tools/list", ""), FENCE, LEGACY);
        let lower = ProtocolVersion::parse(b"2025-06-18").expect("a date");
        check(["2025-11-25", "", ""], &call("ping", ""), Some(lower), Err(EraError::Fenced { max: lower }));
    }

    #[test]
    fn words_the_fence_as_fastmcp_does_without_echoing_the_client() {
        let message = "Bad Request: Unsupported protocol version. \
                       Supported versions: 2025-11-25, 2025-06-18, 2025-03-26, 2024-11-05";
        assert_eq!(unsupported_version_message(ProtocolVersion::LEGACY_LAST), message);
    }

    // 2026-07-28, Protocol Version Header: "If the values do not match, the server MUST reject the request".
    #[test]
    fn demands_that_header_and_meta_name_the_same_version() {
        check(["2026-07-28", "tools/list", ""], &modern("tools/list", ""), None, MODERN);
        check(["2026-07-29", "tools/list", ""], &modern("tools/list", ""), None, MISMATCH);
        check(["2025-11-25", "tools/list", ""], &modern("tools/list", ""), None, MISMATCH);
        check(["", "tools/list", ""], &modern("tools/list", ""), None, MISMATCH);
        let older = call("tools/list", r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}"#);
        check(["2026-07-28", "tools/list", ""], &older, None, MISMATCH);
        check(["2026-07-28", "tools/list", ""], &call("tools/list", ""), None, MODERN);
    }

    // 2026-07-28, Standard Request Headers: `Mcp-Method` is required for all requests, and values are case-sensitive.
    #[test]
    fn demands_the_method_of_modern_requests() {
        check(["2026-07-28", "", ""], &modern("tools/list", ""), None, MISMATCH);
        check(["2026-07-28", "tools/call", ""], &modern("tools/list", ""), None, MISMATCH);
        check(["2026-07-28", "Tools/List", ""], &modern("tools/list", ""), None, MISMATCH);
        check(["2026-07-28", "=?base64?dG9vbHMvbGlzdA==?=", ""], &modern("tools/list", ""), None, MISMATCH);
        check(["2026-07-28", "x/own", ""], &modern("x/own", ""), None, MODERN);
    }

    #[test]
    fn lets_the_handshake_and_notifications_omit_the_method_but_not_contradict_it() {
        let initialize = call("initialize", r#""protocolVersion":"2025-11-25""#);
        check(["2026-07-28", "", ""], &initialize, None, MODERN);
        check(["2026-07-28", "ping", ""], &initialize, None, MISMATCH);
        let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        check(["2026-07-28", "", ""], note, None, MODERN);
        check(["2026-07-28", "notifications/cancelled", ""], note, None, MODERN);
        check(["2026-07-28", "tools/call", ""], note, None, MISMATCH);
        check(["2026-07-28", "", ""], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, None, MODERN);
    }

    // 2026-07-28: `Mcp-Name` repeats `params.name` or `params.uri`; SEP-2663: `params.taskId`.
    #[test]
    fn demands_the_name_of_the_methods_that_have_one() {
        let cases = [
            ("tools/call", "name"),
            ("prompts/get", "name"),
            ("resources/read", "uri"),
            ("tasks/get", "taskId"),
            ("tasks/update", "taskId"),
            ("tasks/cancel", "taskId"),
        ];
        for (method, member) in cases {
            let body = modern(method, &format!(r#""{member}":"a""#));
            check(["2026-07-28", method, "a"], &body, None, MODERN);
            check(["2026-07-28", method, "b"], &body, None, MISMATCH);
            check(["2026-07-28", method, "A"], &body, None, MISMATCH);
            check(["2026-07-28", method, ""], &body, None, MISMATCH);
            check(["2026-07-28", method, "a"], &modern(method, ""), None, MISMATCH);
            check(["2026-07-28", method, "5"], &modern(method, &format!(r#""{member}":5"#)), None, MISMATCH);
        }
        check(["2026-07-28", "tools/list", "anything"], &modern("tools/list", ""), None, MODERN);
        check(["2026-07-28", "tools/call", ""], &modern("tools/call", ""), None, MODERN);
    }

    // 2026-07-28, Value Encoding: "These markers are case-sensitive and MUST appear exactly as shown (lowercase)."
    #[test]
    fn decodes_names_that_are_not_plain_ascii() {
        let check_name = |name: &str, field: &str, expect| {
            let body = modern("tools/call", &format!(r#""name":"{name}""#));
            check(["2026-07-28", "tools/call", field], &body, None, expect);
        };
        check_name("café", "=?base64?Y2Fmw6k=?=", MODERN);
        check_name("caf\\u00e9", "=?base64?Y2Fmw6k=?=", MODERN);
        check_name("a", "=?base64?YQ==?=", MODERN);
        check_name(" padded ", "=?base64?IHBhZGRlZCA=?=", MODERN);
        check_name("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", MODERN);
        check_name("=?base64?literal?=", "=?base64?literal?=", MISMATCH);
        check_name("", "=?base64??=", MODERN);
        check_name("=?base64?=", "=?base64?=", MODERN);
        check_name("a b\\tc", "a b\tc", MODERN);
        check_name("café", "café", MISMATCH);
        check_name("a", "=?BASE64?YQ==?=", MISMATCH);
        check_name("a", "=?base64?YQ?=", MISMATCH);
        check_name("a", "=?base64?YR==?=", MISMATCH);
        check_name("a", "=?base64?YQ==", MISMATCH);
        check_name("a", "=?base64?Y Q==?=", MISMATCH);
    }
}
