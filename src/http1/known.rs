//! The closed set of field names that policy or forwarding act on, recognised once per field.

/// Field names that policy or forwarding act on. Everything else is [`Known::Other`] and is found by name if ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is the field of that name")]
pub enum Known {
    Accept,
    Authorization,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    LastEventId,
    McpMethod,
    McpName,
    McpProtocolVersion,
    McpSessionId,
    Origin,
    Proxy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    RetryAfter,
    Server,
    SetCookie,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XMcpClient,
    XRealIp,
    XRemoteUser,
    XRequestId,
    Other,
}

impl Known {
    /// Every variant, in declaration order.
    pub const ALL: [Known; 41] = [
        Known::Accept,
        Known::Authorization,
        Known::Connection,
        Known::ContentEncoding,
        Known::ContentLength,
        Known::ContentType,
        Known::Cookie,
        Known::Date,
        Known::Expect,
        Known::Forwarded,
        Known::Host,
        Known::Http2Settings,
        Known::KeepAlive,
        Known::LastEventId,
        Known::McpMethod,
        Known::McpName,
        Known::McpProtocolVersion,
        Known::McpSessionId,
        Known::Origin,
        Known::Proxy,
        Known::ProxyAuthenticate,
        Known::ProxyAuthorization,
        Known::ProxyConnection,
        Known::RetryAfter,
        Known::Server,
        Known::SetCookie,
        Known::Te,
        Known::Traceparent,
        Known::Tracestate,
        Known::Trailer,
        Known::TransferEncoding,
        Known::Upgrade,
        Known::Via,
        Known::XForwardedFor,
        Known::XForwardedHost,
        Known::XForwardedProto,
        Known::XMcpClient,
        Known::XRealIp,
        Known::XRemoteUser,
        Known::XRequestId,
        Known::Other,
    ];

    /// How many variants there are.
    pub(super) const COUNT: usize = Known::ALL.len();

    /// The field's name in lower case; empty for [`Known::Other`].
    pub const fn name(self) -> &'static str {
        match self {
            Known::Accept => "accept",
            Known::Authorization => "authorization",
            Known::Connection => "connection",
            Known::ContentEncoding => "content-encoding",
            Known::ContentLength => "content-length",
            Known::ContentType => "content-type",
            Known::Cookie => "cookie",
            Known::Date => "date",
            Known::Expect => "expect",
            Known::Forwarded => "forwarded",
            Known::Host => "host",
            Known::Http2Settings => "http2-settings",
            Known::KeepAlive => "keep-alive",
            Known::LastEventId => "last-event-id",
            Known::McpMethod => "mcp-method",
            Known::McpName => "mcp-name",
            Known::McpProtocolVersion => "mcp-protocol-version",
            Known::McpSessionId => "mcp-session-id",
            Known::Origin => "origin",
            Known::Proxy => "proxy",
            Known::ProxyAuthenticate => "proxy-authenticate",
            Known::ProxyAuthorization => "proxy-authorization",
            Known::ProxyConnection => "proxy-connection",
            Known::RetryAfter => "retry-after",
            Known::Server => "server",
            Known::SetCookie => "set-cookie",
            Known::Te => "te",
            Known::Traceparent => "traceparent",
            Known::Tracestate => "tracestate",
            Known::Trailer => "trailer",
            Known::TransferEncoding => "transfer-encoding",
            Known::Upgrade => "upgrade",
            Known::Via => "via",
            Known::XForwardedFor => "x-forwarded-for",
            Known::XForwardedHost => "x-forwarded-host",
            Known::XForwardedProto => "x-forwarded-proto",
            Known::XMcpClient => "x-mcp-client",
            Known::XRealIp => "x-real-ip",
            Known::XRemoteUser => "x-remote-user",
            Known::XRequestId => "x-request-id",
            Known::Other => "",
        }
    }

    /// The field this name is, ASCII case-insensitive.
    pub fn recognise(name: &[u8]) -> Known {
        let Some(candidates) = BY_LENGTH.get(name.len()) else { return Known::Other };
        let padded = Padded::of(name);
        let found = candidates.iter().find(|known| PADDED[**known as usize] == padded);
        found.copied().unwrap_or(Known::Other)
    }

    /// The field this name passes for once a gateway interface (CGI, WSGI) has turned `-` and other punctuation into
    /// `_`: `X_Remote_User` is `X-Remote-User` to the program behind it.
    pub fn recognise_any_spelling(name: &[u8]) -> Known {
        let found = BY_LENGTH.get(name.len()).and_then(|candidates| {
            candidates.iter().find(|known| super::forward::same_name(name, known.name().as_bytes()))
        });
        found.copied().unwrap_or(Known::Other)
    }
}

/// The longest known name is `mcp-protocol-version`.
const LENGTH_MAX: usize = 20;

/// A name of at most [`LENGTH_MAX`] bytes in lower case with zeros behind it: of a fixed size, so that comparing takes two
/// instructions and not a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Padded([u8; 24]);

impl Padded {
    const fn of(name: &[u8]) -> Padded {
        let mut bytes = [0; 24];
        bytes.split_at_mut(name.len()).0.copy_from_slice(name);
        bytes.make_ascii_lowercase();
        Padded(bytes)
    }
}

/// The name of each variant, by its number.
static PADDED: [Padded; Known::COUNT] = {
    let mut all = [Padded([0; 24]); Known::COUNT];
    let mut index = 0;
    while index < Known::COUNT {
        all[index] = Padded::of(Known::ALL[index].name().as_bytes());
        index += 1;
    }
    all
};

/// The known names of each length, so that a name is compared with few others. A test holds it against
/// [`Known::name`].
static BY_LENGTH: [&[Known]; LENGTH_MAX + 1] = [
    &[],
    &[],
    &[Known::Te],
    &[Known::Via],
    &[Known::Host, Known::Date],
    &[Known::Proxy],
    &[Known::Accept, Known::Origin, Known::Cookie, Known::Expect, Known::Server],
    &[Known::Upgrade, Known::Trailer],
    &[Known::McpName],
    &[Known::Forwarded, Known::XRealIp],
    &[Known::Connection, Known::McpMethod, Known::KeepAlive, Known::SetCookie, Known::Tracestate],
    &[Known::Traceparent, Known::RetryAfter],
    &[Known::ContentType, Known::XRequestId, Known::XMcpClient],
    &[Known::Authorization, Known::XRemoteUser, Known::LastEventId],
    &[Known::ContentLength, Known::McpSessionId, Known::Http2Settings],
    &[Known::XForwardedFor],
    &[Known::ContentEncoding, Known::XForwardedHost, Known::ProxyConnection],
    &[Known::TransferEncoding, Known::XForwardedProto],
    &[Known::ProxyAuthenticate],
    &[Known::ProxyAuthorization],
    &[Known::McpProtocolVersion],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, exact: Known, any_spelling: Known) {
        assert_eq!(Known::recognise(name.as_bytes()), exact);
        assert_eq!(Known::recognise_any_spelling(name.as_bytes()), any_spelling);
    }

    // RFC 9110, 5.1: "Field names are case-insensitive".
    #[test]
    fn recognises_every_known_name_in_any_case() {
        for known in Known::ALL {
            check(known.name(), known, known);
            check(&known.name().to_uppercase(), known, known);
        }
    }

    #[test]
    fn all_is_in_declaration_order() {
        for (index, known) in Known::ALL.iter().enumerate() {
            assert_eq!(*known as usize, index);
        }
    }

    #[test]
    fn another_spelling_is_another_field_but_passes_for_the_known_one() {
        check("Content_Length", Known::Other, Known::ContentLength);
        check("X_Remote_User", Known::Other, Known::XRemoteUser);
        check("x.remote.user", Known::Other, Known::XRemoteUser);
    }

    #[test]
    fn a_name_that_only_resembles_a_known_one_is_other() {
        for name in ["", "hos", "hosts", "content-lengthx", "mcp-param-x", "x-a"] {
            check(name, Known::Other, Known::Other);
        }
    }
}
