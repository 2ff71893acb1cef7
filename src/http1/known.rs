//! The closed set of field names that policy or forwarding act on, recognised once per field.

use super::bytes::lower_case;

/// Field names that policy or forwarding act on. Everything else is [`KnownField::Other`] and is found by name if ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is the field of that name")]
pub enum KnownField {
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

impl KnownField {
    /// Every variant, in declaration order.
    pub const ALL: [KnownField; 41] = [
        KnownField::Accept,
        KnownField::Authorization,
        KnownField::Connection,
        KnownField::ContentEncoding,
        KnownField::ContentLength,
        KnownField::ContentType,
        KnownField::Cookie,
        KnownField::Date,
        KnownField::Expect,
        KnownField::Forwarded,
        KnownField::Host,
        KnownField::Http2Settings,
        KnownField::KeepAlive,
        KnownField::LastEventId,
        KnownField::McpMethod,
        KnownField::McpName,
        KnownField::McpProtocolVersion,
        KnownField::McpSessionId,
        KnownField::Origin,
        KnownField::Proxy,
        KnownField::ProxyAuthenticate,
        KnownField::ProxyAuthorization,
        KnownField::ProxyConnection,
        KnownField::RetryAfter,
        KnownField::Server,
        KnownField::SetCookie,
        KnownField::Te,
        KnownField::Traceparent,
        KnownField::Tracestate,
        KnownField::Trailer,
        KnownField::TransferEncoding,
        KnownField::Upgrade,
        KnownField::Via,
        KnownField::XForwardedFor,
        KnownField::XForwardedHost,
        KnownField::XForwardedProto,
        KnownField::XMcpClient,
        KnownField::XRealIp,
        KnownField::XRemoteUser,
        KnownField::XRequestId,
        KnownField::Other,
    ];

    /// How many variants there are.
    pub(super) const COUNT: usize = KnownField::ALL.len();

    /// The field's name in lower case; empty for [`KnownField::Other`].
    pub const fn name(self) -> &'static str {
        match self {
            KnownField::Accept => "accept",
            KnownField::Authorization => "authorization",
            KnownField::Connection => "connection",
            KnownField::ContentEncoding => "content-encoding",
            KnownField::ContentLength => "content-length",
            KnownField::ContentType => "content-type",
            KnownField::Cookie => "cookie",
            KnownField::Date => "date",
            KnownField::Expect => "expect",
            KnownField::Forwarded => "forwarded",
            KnownField::Host => "host",
            KnownField::Http2Settings => "http2-settings",
            KnownField::KeepAlive => "keep-alive",
            KnownField::LastEventId => "last-event-id",
            KnownField::McpMethod => "mcp-method",
            KnownField::McpName => "mcp-name",
            KnownField::McpProtocolVersion => "mcp-protocol-version",
            KnownField::McpSessionId => "mcp-session-id",
            KnownField::Origin => "origin",
            KnownField::Proxy => "proxy",
            KnownField::ProxyAuthenticate => "proxy-authenticate",
            KnownField::ProxyAuthorization => "proxy-authorization",
            KnownField::ProxyConnection => "proxy-connection",
            KnownField::RetryAfter => "retry-after",
            KnownField::Server => "server",
            KnownField::SetCookie => "set-cookie",
            KnownField::Te => "te",
            KnownField::Traceparent => "traceparent",
            KnownField::Tracestate => "tracestate",
            KnownField::Trailer => "trailer",
            KnownField::TransferEncoding => "transfer-encoding",
            KnownField::Upgrade => "upgrade",
            KnownField::Via => "via",
            KnownField::XForwardedFor => "x-forwarded-for",
            KnownField::XForwardedHost => "x-forwarded-host",
            KnownField::XForwardedProto => "x-forwarded-proto",
            KnownField::XMcpClient => "x-mcp-client",
            KnownField::XRealIp => "x-real-ip",
            KnownField::XRemoteUser => "x-remote-user",
            KnownField::XRequestId => "x-request-id",
            KnownField::Other => "",
        }
    }

    /// The field this name is, ASCII case-insensitive.
    pub fn recognise(name: &[u8]) -> KnownField {
        let Some(candidates) = BY_LENGTH.get(name.len()) else { return KnownField::Other };
        let words = Words::of(name);
        let found = candidates.iter().find(|known| WORDS[**known as usize] == words);
        found.copied().unwrap_or(KnownField::Other)
    }

    /// The field this name passes for once a gateway interface (CGI, WSGI) has turned `-` and other punctuation into
    /// `_`: `X_Remote_User` is `X-Remote-User` to the program behind it.
    pub fn recognise_any_spelling(name: &[u8]) -> KnownField {
        let found = BY_LENGTH
            .get(name.len())
            .and_then(|candidates| candidates.iter().find(|known| same_name(name, known.name().as_bytes())));
        found.copied().unwrap_or(KnownField::Other)
    }
}

/// Whether two field names are one name behind a gateway interface (CGI, WSGI): letters and digits equal without regard to
/// case, and punctuation in the same places (`X-Guard-Auth`, `x_guard_auth`).
pub fn same_name(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| {
            a.eq_ignore_ascii_case(b) || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric())
        })
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
static WORDS: [Words; KnownField::COUNT] = {
    let mut all = [Words([0; 3]); KnownField::COUNT];
    let mut index = 0;
    while index < KnownField::COUNT {
        all[index] = Words::of(KnownField::ALL[index].name().as_bytes());
        index += 1;
    }
    all
};

/// The known names of each length, so that a name is compared with few others. A test holds it against
/// [`KnownField::name`].
static BY_LENGTH: [&[KnownField]; LENGTH_MAX + 1] = [
    &[],
    &[],
    &[KnownField::Te],
    &[KnownField::Via],
    &[KnownField::Host, KnownField::Date],
    &[KnownField::Proxy],
    &[KnownField::Accept, KnownField::Origin, KnownField::Cookie, KnownField::Expect, KnownField::Server],
    &[KnownField::Upgrade, KnownField::Trailer],
    &[KnownField::McpName],
    &[KnownField::Forwarded, KnownField::XRealIp],
    &[
        KnownField::Connection,
        KnownField::McpMethod,
        KnownField::KeepAlive,
        KnownField::SetCookie,
        KnownField::Tracestate,
    ],
    &[KnownField::Traceparent, KnownField::RetryAfter],
    &[KnownField::ContentType, KnownField::XRequestId, KnownField::XMcpClient],
    &[KnownField::Authorization, KnownField::XRemoteUser, KnownField::LastEventId],
    &[KnownField::ContentLength, KnownField::McpSessionId, KnownField::Http2Settings],
    &[KnownField::XForwardedFor],
    &[KnownField::ContentEncoding, KnownField::XForwardedHost, KnownField::ProxyConnection],
    &[KnownField::TransferEncoding, KnownField::XForwardedProto],
    &[KnownField::ProxyAuthenticate],
    &[KnownField::ProxyAuthorization],
    &[KnownField::McpProtocolVersion],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, exact: KnownField, any_spelling: KnownField) {
        assert_eq!(KnownField::recognise(name.as_bytes()), exact);
        assert_eq!(KnownField::recognise_any_spelling(name.as_bytes()), any_spelling);
    }

    // RFC 9110, 5.1: "Field names are case-insensitive".
    #[test]
    fn recognises_every_known_name_in_any_case() {
        for known in KnownField::ALL {
            check(known.name(), known, known);
            check(&known.name().to_uppercase(), known, known);
        }
    }

    #[test]
    fn all_is_in_declaration_order() {
        for (index, known) in KnownField::ALL.iter().enumerate() {
            assert_eq!(*known as usize, index);
        }
    }

    #[test]
    fn another_spelling_is_another_field_but_passes_for_the_known_one() {
        check("Content_Length", KnownField::Other, KnownField::ContentLength);
        check("X_Remote_User", KnownField::Other, KnownField::XRemoteUser);
        check("x.remote.user", KnownField::Other, KnownField::XRemoteUser);
    }

    #[test]
    fn a_name_that_only_resembles_a_known_one_is_other() {
        for name in ["", "hos", "hosts", "content-lengthx", "mcp-param-x", "x-a"] {
            check(name, KnownField::Other, KnownField::Other);
        }
    }

    proptest::proptest! {
        // A name in which one byte is another: of every length, at every place, in any case.
        #[test]
        fn a_byte_changed_anywhere_is_another_name(index in 0..KnownField::COUNT - 1, at: proptest::sample::Index, byte: u8) {
            let known = KnownField::ALL[index];
            let mut name = known.name().as_bytes().to_vec();
            let at = at.index(name.len());
            name[at] = byte;
            let same = name.eq_ignore_ascii_case(known.name().as_bytes());
            proptest::prop_assert_eq!(KnownField::recognise(&name) == known, same);
        }
    }
}
