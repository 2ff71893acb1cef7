//! The closed set of field names that policy or forwarding act on, recognised once per field.

use super::bytes::lower_case;

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
        let words = Words::of(name);
        let found = candidates.iter().find(|known| WORDS[**known as usize] == words);
        found.copied().unwrap_or(Known::Other)
    }

    /// The field this name passes for once a gateway interface (CGI, WSGI) has turned `-` and other punctuation into
    /// `_`: `X_Remote_User` is `X-Remote-User` to the program behind it.
    pub fn recognise_any_spelling(name: &[u8]) -> Known {
        let found = BY_LENGTH.get(name.len()).and_then(|candidates| {
            candidates.iter().find(|known| crate::http1::hop_by_hop::same_name(name, known.name().as_bytes()))
        });
        found.copied().unwrap_or(Known::Other)
    }
}

/// The longest known name is `mcp-protocol-version`.
const LENGTH_MAX: usize = 20;

/// All bytes of a name of at most [`LENGTH_MAX`], in lower case, some of them twice: the same for two names of one length
/// only if they are one name. Of a fixed size, so that comparing is no loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Words([u64; 3]);

impl Words {
    const fn of(name: &[u8]) -> Words {
        let length = name.len();
        let [first, second, third] = match length {
            16.. => [word(name, 0), word(name, 8), word(name, length - 8)],
            8.. => [word(name, 0), word(name, length - 8), 0],
            4.. => [half_word(name, 0), half_word(name, length - 4), 0],
            2.. => [name[0] as u64, name[length - 1] as u64, name[1] as u64],
            _ => [0; 3],
        };
        Words([lower_case(first), lower_case(second), lower_case(third)])
    }
}

/// Eight bytes of `text`.
const fn word(text: &[u8], at: usize) -> u64 {
    match text.split_at(at).1.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Four bytes of `text`.
const fn half_word(text: &[u8], at: usize) -> u64 {
    match text.split_at(at).1.first_chunk::<4>() {
        Some(bytes) => u32::from_le_bytes(*bytes) as u64,
        None => 0,
    }
}

/// The name of each variant, by its number.
static WORDS: [Words; Known::COUNT] = {
    let mut all = [Words([0; 3]); Known::COUNT];
    let mut index = 0;
    while index < Known::COUNT {
        all[index] = Words::of(Known::ALL[index].name().as_bytes());
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

    proptest::proptest! {
        // A name in which one byte is another: of every length, at every place, in any case.
        #[test]
        fn a_byte_changed_anywhere_is_another_name(index in 0..Known::COUNT - 1, at: proptest::sample::Index, byte: u8) {
            let known = Known::ALL[index];
            let mut name = known.name().as_bytes().to_vec();
            let at = at.index(name.len());
            name[at] = byte;
            let same = name.eq_ignore_ascii_case(known.name().as_bytes());
            proptest::prop_assert_eq!(Known::recognise(&name) == known, same);
        }
    }
}
