//! Who is calling: bearer tokens, looked up by hash and compared in constant time.

/// The index of a client in [`Clients`]: stable between reloads only by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub(super) u32);

impl ClientId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// `[auth]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// 403, or 401 for RFC 6750 mode.
    pub wrong_token_status: u16,
}

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// A client before it is indexed.
#[derive(Clone)]
pub struct ClientConfig {
    pub name: String,
    /// One or two: rotation overlaps.
    pub hashes: Vec<TokenHash>,
    /// Seconds since the epoch.
    pub not_after: Option<u64>,
}

/// All clients, indexed by token hash: lookup is O(1), comparison is constant-time.
#[derive(Clone, Default)]
pub struct Clients {}

impl Clients {
    pub fn new(clients: Vec<ClientConfig>) -> Clients {
        let _ = clients;
        Clients {}
    }
    pub fn is_empty(&self) -> bool {
        true
    }
    pub fn len(&self) -> usize {
        0
    }
    /// The client's name: a metric label and the key of the split.
    pub fn name(&self, id: ClientId) -> &str {
        let _ = id;
        todo!()
    }
}
