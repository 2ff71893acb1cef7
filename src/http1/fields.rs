//! Header fields: spans into the head's bytes, with the names this program acts on recognised once.

/// Field names that policy or forwarding act on. Everything else is [`Known::Other`] and is found by name if ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    Accept,
    Authorization,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentType,
    Cookie,
    Expect,
    Forwarded,
    Host,
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
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRemoteUser,
    XRequestId,
    Other,
}

/// Reusable storage for the spans of one head's fields.
#[derive(Debug, Default)]
pub struct FieldSpans {
    // Owner: core. Spans of name and value, the known name, and for each known name its first index and count.
}

/// The fields of one head: a view over the head's bytes and the spans found in them.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'b> {
    block: &'b [u8],
    spans: &'b FieldSpans,
}

/// One field line: name as sent, value without surrounding white space.
#[derive(Debug, Clone, Copy)]
pub struct Field<'b> {
    pub known: Known,
    pub name: &'b [u8],
    pub value: &'b [u8],
}

/// How often a known field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurs<'b> {
    Never,
    Once(&'b [u8]),
    /// More than once; the value of the first is not to be trusted for anything.
    Repeated,
}

impl<'b> Fields<'b> {
    /// All fields in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = Field<'b>> + use<'b> {
        let _ = (self.block, self.spans);
        std::iter::empty()
    }

    /// How often `known` occurs; constant time.
    pub fn occurs(&self, known: Known) -> Occurs<'b> {
        let _ = known;
        todo!()
    }

    /// Whether any `Connection` field names `name` (ASCII case-insensitive): such a field is hop-by-hop and not forwarded.
    pub fn connection_nominates(&self, name: &[u8]) -> bool {
        let _ = name;
        todo!()
    }
}
