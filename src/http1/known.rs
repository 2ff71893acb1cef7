//! The closed set of field names that policy or forwarding act on, recognised once per field: one row says what each is for.

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
    XMcpSubject,
    XRealIp,
    XRemoteUser,
    XRequestId,
    Other,
}

/// What becomes of a field on the way to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    Pass,
    Drop,
}

/// What it means that `Connection` nominates a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nomination {
    Harmless,
    /// A check, framing or a handshake relies on the field: it must not be taken away.
    Refused,
}

/// What sets a known field apart.
pub(super) struct FieldRow {
    known: KnownField,
    name: &'static str,
    /// Of a client's field, on the way to the backend.
    pub(super) request: Disposition,
    /// Of a backend's field, on the way to the client.
    pub(super) response: Disposition,
    pub(super) nomination: Nomination,
}

const fn row(
    known: KnownField,
    name: &'static str,
    request: Disposition,
    response: Disposition,
    nomination: Nomination,
) -> FieldRow {
    FieldRow { known, name, request, response, nomination }
}

/// One row a field, in the order of the enum: name, request, response, nomination.
static TABLE: [FieldRow; KnownField::COUNT] = {
    use Disposition::{Drop, Pass};
    use Nomination::{Harmless, Refused};
    [
        row(KnownField::Accept, "accept", Drop, Pass, Refused),
        row(KnownField::Authorization, "authorization", Drop, Pass, Refused),
        row(KnownField::Connection, "connection", Drop, Drop, Harmless),
        row(KnownField::ContentEncoding, "content-encoding", Pass, Pass, Refused),
        row(KnownField::ContentLength, "content-length", Drop, Drop, Refused),
        row(KnownField::ContentType, "content-type", Pass, Pass, Refused),
        row(KnownField::Cookie, "cookie", Drop, Pass, Harmless),
        row(KnownField::Date, "date", Pass, Pass, Harmless),
        row(KnownField::Expect, "expect", Drop, Pass, Refused),
        row(KnownField::Forwarded, "forwarded", Drop, Pass, Refused),
        row(KnownField::Host, "host", Drop, Pass, Refused),
        row(KnownField::Http2Settings, "http2-settings", Drop, Drop, Harmless),
        row(KnownField::KeepAlive, "keep-alive", Drop, Drop, Harmless),
        row(KnownField::LastEventId, "last-event-id", Pass, Pass, Refused),
        row(KnownField::McpMethod, "mcp-method", Pass, Pass, Refused),
        row(KnownField::McpName, "mcp-name", Pass, Pass, Refused),
        row(KnownField::McpProtocolVersion, "mcp-protocol-version", Pass, Pass, Refused),
        row(KnownField::McpSessionId, "mcp-session-id", Pass, Pass, Refused),
        row(KnownField::Origin, "origin", Drop, Pass, Refused),
        row(KnownField::Proxy, "proxy", Drop, Pass, Harmless),
        row(KnownField::ProxyAuthenticate, "proxy-authenticate", Drop, Drop, Harmless),
        row(KnownField::ProxyAuthorization, "proxy-authorization", Drop, Drop, Harmless),
        row(KnownField::ProxyConnection, "proxy-connection", Drop, Drop, Harmless),
        row(KnownField::RetryAfter, "retry-after", Pass, Pass, Harmless),
        row(KnownField::Server, "server", Pass, Drop, Harmless),
        row(KnownField::SetCookie, "set-cookie", Pass, Drop, Harmless),
        row(KnownField::Te, "te", Drop, Drop, Harmless),
        row(KnownField::Traceparent, "traceparent", Drop, Pass, Refused),
        row(KnownField::Tracestate, "tracestate", Pass, Pass, Refused),
        row(KnownField::Trailer, "trailer", Drop, Drop, Harmless),
        row(KnownField::TransferEncoding, "transfer-encoding", Drop, Drop, Refused),
        row(KnownField::Upgrade, "upgrade", Drop, Drop, Harmless),
        row(KnownField::Via, "via", Pass, Pass, Refused),
        row(KnownField::XForwardedFor, "x-forwarded-for", Drop, Pass, Refused),
        row(KnownField::XForwardedHost, "x-forwarded-host", Drop, Pass, Refused),
        row(KnownField::XForwardedProto, "x-forwarded-proto", Drop, Pass, Refused),
        row(KnownField::XMcpClient, "x-mcp-client", Drop, Pass, Refused),
        row(KnownField::XMcpSubject, "x-mcp-subject", Drop, Pass, Refused),
        row(KnownField::XRealIp, "x-real-ip", Drop, Pass, Refused),
        row(KnownField::XRemoteUser, "x-remote-user", Drop, Pass, Refused),
        row(KnownField::XRequestId, "x-request-id", Drop, Drop, Refused),
        row(KnownField::Other, "", Pass, Pass, Harmless),
    ]
};

impl KnownField {
    /// How many variants there are.
    pub(super) const COUNT: usize = KnownField::Other as usize + 1;

    /// Every variant, in declaration order.
    pub const ALL: [KnownField; KnownField::COUNT] = {
        let mut all = [KnownField::Other; KnownField::COUNT];
        let mut index = 0;
        while index < all.len() {
            all[index] = TABLE[index].known;
            assert!(all[index] as usize == index, "the table is in the order of the enum");
            index += 1;
        }
        all
    };

    pub(super) const fn row(self) -> &'static FieldRow {
        &TABLE[self as usize]
    }

    /// The field's name in lower case; empty for [`KnownField::Other`].
    pub const fn name(self) -> &'static str {
        self.row().name
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
    &[KnownField::Authorization, KnownField::XRemoteUser, KnownField::LastEventId, KnownField::XMcpSubject],
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
