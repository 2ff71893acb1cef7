//! Who is calling: bearer tokens, looked up by hash and compared in constant time.
//!
//! Holds hashes only, never a token. Must not know where clients are configured.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::Denial;
use super::certificate::{CertificateIndex, CertificateName, ClientCertificate};
pub use super::denial::WrongToken;
use super::quota::Quota;
use super::subject::Subject;
use super::tools::ToolPolicy;
use crate::http1::{Fields, FramingError, KnownField, Occurs};

/// How a token of `mcp-guard token new` begins, so that a leaked one is recognised.
pub const TOKEN_PREFIX: &str = "swf_";

/// The index of a client in [`Clients`]: stable between reloads only by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub(super) u32);

impl ClientId {
    /// The client's place in the order of configuration.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// `[auth]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthRules {
    /// The refusal of a token that is not valid.
    pub wrong_token: WrongToken,
}

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token.
    ///
    /// Every request pays for it. `ring` has assembly for processors without an instruction for it, which `sha2` has not.
    pub fn of(token: &[u8]) -> TokenHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        TokenHash(hash)
    }

    /// Eight hex digits that tell tokens apart for people; too few to help an attacker.
    pub fn fingerprint(&self) -> String {
        self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Hashes are uniform, so their own leading bits spread them over the buckets.
    fn leading_bits(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}..)", self.fingerprint())
    }
}

/// A client before it is indexed.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// A metric label, and the key of the split.
    pub name: String,
    /// One or two: rotation overlaps.
    pub hashes: Vec<TokenHash>,
    /// The certificates that name it.
    pub certificates: Vec<CertificateName>,
    /// Seconds since the epoch; from then on its tokens and certificates are refused.
    pub not_after: Option<u64>,
    /// The tools the client may call.
    pub tools: ToolPolicy,
    /// Its quotas.
    pub quota: Quota,
    /// What it is split by instead of its name: clients of one cohort go to the same slot.
    pub cohort: Option<String>,
    /// Whether it stands for every subject whose token has a grant: it has no token of its own, and its quotas hold for each.
    pub is_grant: bool,
}

impl ClientConfig {
    /// A client without quotas, with this token.
    pub fn new(name: &str, hashes: Vec<TokenHash>) -> ClientConfig {
        ClientConfig {
            name: name.to_owned(),
            hashes,
            certificates: Vec::new(),
            not_after: None,
            tools: ToolPolicy::default(),
            quota: Quota::default(),
            cohort: None,
            is_grant: false,
        }
    }
}

/// Why a set of clients is contradictory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientsError {
    /// Names are metric labels and split keys.
    #[error("client `{0}` is declared twice")]
    RepeatedName(String),
    /// A token would stand for two clients.
    #[error("clients `{first}` and `{second}` have the same token hash")]
    RepeatedHash {
        /// The one declared first.
        first: String,
        /// The one declared later.
        second: String,
    },
    /// A certificate would stand for two clients.
    #[error("clients `{first}` and `{second}` have the same certificate")]
    RepeatedCertificate {
        /// The one declared first.
        first: String,
        /// The one declared later.
        second: String,
    },
    /// More than can be counted.
    #[error("too many clients")]
    TooMany,
}

/// All clients, indexed by token hash: lookup is O(1), comparison is constant-time. Copies share their memory.
#[derive(Clone, Default)]
pub struct Clients {
    clients: Arc<[ClientConfig]>,
    /// The tokens of all clients, ordered by bucket.
    tokens: Arc<[(TokenHash, ClientId)]>,
    /// Where each bucket starts in `tokens`, and the end of the last one; twice as many buckets as tokens, so that a
    /// bucket holds one token or none as a rule.
    starts: Arc<[u32]>,
    /// How far leading bits are shifted to give the bucket.
    shift: u32,
    certificates: Arc<CertificateIndex>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clients({})", self.clients.len())
    }
}

impl Clients {
    /// Indexes the clients, whose order is kept.
    pub fn new(clients: Vec<ClientConfig>) -> Result<Clients, ClientsError> {
        let mut names = HashSet::new();
        if let Some(client) = clients.iter().find(|client| !names.insert(client.name.as_str())) {
            return Err(ClientsError::RepeatedName(client.name.clone()));
        }
        let mut tokens = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let id = ClientId(u32::try_from(index).map_err(|_| ClientsError::TooMany)?);
            tokens.extend(client.hashes.iter().map(|&hash| (hash, id)));
        }
        tokens.sort_by_key(|(hash, id)| (hash.0, id.0));
        if let Some([(_, first), (_, second)]) = tokens.array_windows().find(|[a, b]| a.0 == b.0) {
            let name = |id: &ClientId| clients[id.index()].name.clone();
            return Err(ClientsError::RepeatedHash { first: name(first), second: name(second) });
        }
        let bits = (tokens.len().max(1) * 2).next_power_of_two().ilog2();
        let shift = u32::BITS.checked_sub(bits).ok_or(ClientsError::TooMany)?;
        let starts = (0..=1_u64 << bits)
            .map(|bucket| {
                tokens.partition_point(|(hash, _)| u64::from(hash.leading_bits() >> shift) < bucket)
            })
            .map(|start| u32::try_from(start).map_err(|_| ClientsError::TooMany))
            .collect::<Result<Arc<[u32]>, _>>()?;
        let names = clients.iter().map(|client| client.certificates.as_slice());
        let certificates = CertificateIndex::new(names).map_err(|(first, second)| {
            let name = |place: u32| clients[place as usize].name.clone();
            ClientsError::RepeatedCertificate { first: name(first), second: name(second) }
        })?;
        let certificates = Arc::new(certificates);
        Ok(Clients { clients: clients.into(), tokens: tokens.into(), starts, shift, certificates })
    }

    /// Whether no token and no certificate at all is configured: then no client can be let in.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.certificates.is_empty()
    }

    /// The client that a certificate names; `Err` if its time is over.
    pub(super) fn certified(
        &self,
        shown: &ClientCertificate,
        now: u64,
        config: AuthRules,
    ) -> Result<Option<ClientId>, Denial> {
        let Some(id) = self.certificates.find(shown).map(ClientId) else { return Ok(None) };
        self.check_time(id, now, config)?;
        Ok(Some(id))
    }

    /// Whether the client's tokens and certificates are valid now.
    pub(super) fn check_time(&self, id: ClientId, now: u64, config: AuthRules) -> Result<(), Denial> {
        match self.not_after(id) {
            Some(not_after) if now >= not_after => Err(Denial::TokenExpired(config.wrong_token)),
            Some(_) | None => Ok(()),
        }
    }

    /// The number of clients.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether more than one party may call: what all share is then divided.
    pub fn are_several(&self) -> bool {
        self.clients.len() > 1 || self.clients.iter().any(|client| client.is_grant)
    }

    /// The client's name: a metric label and the key of the split.
    pub fn name(&self, id: ClientId) -> &str {
        self.clients.get(id.index()).map_or("", |client| &client.name)
    }

    /// Whether it stands for every subject whose token has a grant.
    pub fn is_grant(&self, id: ClientId) -> bool {
        self.clients.get(id.index()).is_some_and(|client| client.is_grant)
    }

    /// Whether each subject of the client has a place of its own on the circle of a split.
    pub fn is_split_by_subject(&self, id: ClientId) -> bool {
        self.clients.get(id.index()).is_some_and(|client| client.is_grant && client.cohort.is_none())
    }

    /// Until when the client's tokens are valid, in seconds since the epoch.
    pub fn not_after(&self, id: ClientId) -> Option<u64> {
        self.clients.get(id.index())?.not_after
    }

    /// What a caller is split by: the client's cohort, else the subject, else the client's name.
    pub fn split_key<'s>(&'s self, id: ClientId, subject: Option<&'s Subject>) -> &'s str {
        let client = self.clients.get(id.index());
        let cohort = client.and_then(|client| client.cohort.as_deref());
        let own = || subject.map(Subject::text).or_else(|| client.map(|client| client.name.as_str()));
        cohort.or_else(own).unwrap_or_default()
    }

    /// The client of this name.
    pub fn named(&self, name: &str) -> Option<ClientId> {
        let index = self.clients.iter().position(|client| client.name == name)?;
        u32::try_from(index).ok().map(ClientId)
    }

    /// Every client in the order of configuration.
    pub fn iter(&self) -> impl Iterator<Item = &ClientConfig> {
        self.clients.iter()
    }

    /// Every token, in an order of its own that a permit refers to.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenHash, ClientId)> {
        self.tokens.iter().map(|(hash, id)| (hash, *id))
    }

    /// What the client may do with tools.
    pub(super) fn tools(&self, id: ClientId) -> Option<&ToolPolicy> {
        self.clients.get(id.index()).map(|client| &client.tools)
    }

    /// The client whose token this is, and the token's place among all. What an observer can time is which bucket the hash of his guess falls into, which
    /// he knows already; how far it agrees with a stored hash he cannot.
    pub(super) fn find(&self, hash: &TokenHash) -> Option<(ClientId, u32)> {
        let bucket = (hash.leading_bits().checked_shr(self.shift).unwrap_or(0)) as usize;
        let (start, end) = (*self.starts.get(bucket)?, *self.starts.get(bucket + 1)?);
        let mut found = Choice::from(0);
        let (mut client, mut which) = (0_u32, 0_u32);
        for (place, (stored, id)) in (start..end).zip(&self.tokens[start as usize..end as usize]) {
            let same = stored.0.ct_eq(&hash.0);
            client.conditional_assign(&id.0, same);
            which.conditional_assign(&place, same);
            found |= same;
        }
        bool::from(found).then_some((ClientId(client), which))
    }

    /// Checks 7 and 8.
    pub(super) fn authenticate(
        &self,
        token: &TokenHash,
        now: u64,
        config: AuthRules,
    ) -> Result<(ClientId, u32), Denial> {
        if self.is_empty() {
            return Err(Denial::TokensNotConfigured);
        }
        let (id, which) = self.find(token).ok_or(Denial::TokenInvalid(config.wrong_token))?;
        self.check_time(id, now, config)?;
        Ok((id, which))
    }
}

/// The field of a credential for clients that can set no `Authorization`.
pub const API_KEY_FIELD: &[u8] = b"x-api-key";

/// The one `X-API-Key` of the request, where the guard reads it.
pub(super) fn api_key<'b>(fields: &Fields<'b>) -> Result<Option<&'b [u8]>, Denial> {
    let mut sent = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(API_KEY_FIELD));
    match (sent.next(), sent.next()) {
        (None, _) => Ok(None),
        (Some(field), None) if field.nominated => Err(Denial::Framing(FramingError::Nomination)),
        (Some(_), None) if fields.occurs(KnownField::Authorization) != Occurs::Never => {
            Err(Denial::TwoCredentials)
        }
        (Some(field), None) => Ok(Some(field.value).filter(|key| !key.is_empty())),
        (Some(_), Some(_)) => Err(Denial::TwoCredentials),
    }
}

/// Check 6: the credentials of `Authorization: Bearer …`, scheme without regard to case, then spaces (RFC 9110, 11.4).
///
/// Repeated fields are refused here already: check 10 could not make good a choice between them.
pub(super) fn bearer<'b>(fields: &Fields<'b>) -> Result<&'b [u8], Denial> {
    let value = match fields.occurs(KnownField::Authorization) {
        Occurs::Once(value) => value,
        Occurs::Never => return Err(Denial::AuthorizationMissing),
        Occurs::Repeated => return Err(Denial::RepeatedField(KnownField::Authorization)),
    };
    let scheme_length = value.iter().position(|&byte| byte == b' ').ok_or(Denial::AuthorizationMissing)?;
    let (scheme, rest) = value.split_at(scheme_length);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Denial::AuthorizationMissing);
    }
    let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
    Ok(&rest[spaces..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(name: &str, tokens: &[&str]) -> ClientConfig {
        ClientConfig::new(name, tokens.iter().map(|token| TokenHash::of(token.as_bytes())).collect())
    }

    #[track_caller]
    fn check(clients: &Clients, token: &str, expect: Result<&str, Denial>) {
        let config = AuthRules { wrong_token: WrongToken::Forbidden };
        let found = clients.authenticate(&TokenHash::of(token.as_bytes()), 100, config);
        assert_eq!(found.map(|(id, _)| clients.name(id)), expect, "{token}");
    }

    const INVALID: Result<&str, Denial> = Err(Denial::TokenInvalid(WrongToken::Forbidden));

    // "one or two SHA-256 token hashes (rotation overlaps)"
    #[test]
    fn either_token_of_a_client_is_the_client() {
        let clients =
            Clients::new(vec![client("bot", &["old", "new"]), client("default", &["other"])]).unwrap();
        check(&clients, "old", Ok("bot"));
        check(&clients, "new", Ok("bot"));
        check(&clients, "other", Ok("default"));
        for token in ["", "ol", "oldx", "OLD", "old ", " old", "bot"] {
            check(&clients, token, INVALID);
        }
    }

    // "A rollout's key is the subject", unless the grant has a cohort.
    #[test]
    fn a_caller_is_split_by_its_cohort_or_its_subject_or_its_client() {
        let grant = |name: &str, cohort: Option<&str>| ClientConfig {
            is_grant: true,
            cohort: cohort.map(str::to_owned),
            ..ClientConfig::new(name, Vec::new())
        };
        let clients = vec![client("bot", &["t"]), grant("users", None), grant("staff", Some("people"))];
        let clients = Clients::new(clients).unwrap();
        let subject = Subject::new("ann", [0; 16]);
        let key = |name: &str, subject| clients.split_key(clients.named(name).unwrap(), subject).to_owned();
        assert_eq!(key("bot", None), "bot");
        assert_eq!(key("users", Some(&subject)), "ann");
        assert_eq!(key("staff", Some(&subject)), "people");
    }

    #[test]
    fn a_token_is_refused_from_not_after_on() {
        let until = |not_after| ClientConfig { not_after: Some(not_after), ..client("bot", &["t"]) };
        check(&Clients::new(vec![until(101)]).unwrap(), "t", Ok("bot"));
        check(
            &Clients::new(vec![until(100)]).unwrap(),
            "t",
            Err(Denial::TokenExpired(WrongToken::Forbidden)),
        );
        check(&Clients::new(vec![until(0)]).unwrap(), "x", INVALID);
    }

    // "at least one token is configured | 503"
    #[test]
    fn without_any_token_configured_no_token_is_wrong() {
        check(&Clients::default(), "t", Err(Denial::TokensNotConfigured));
        check(&Clients::new(vec![client("idle", &[])]).unwrap(), "t", Err(Denial::TokensNotConfigured));
    }

    #[test]
    fn contradictory_clients_are_refused() {
        let twice = Clients::new(vec![client("a", &["1"]), client("a", &["2"])]);
        assert_eq!(twice.err(), Some(ClientsError::RepeatedName("a".into())));
        let shared = Clients::new(vec![client("b", &["1"]), client("a", &["1"])]);
        assert_eq!(shared.err(), Some(ClientsError::RepeatedHash { first: "b".into(), second: "a".into() }));
    }

    #[test]
    fn nothing_that_holds_hashes_prints_them() {
        let config = client("bot", &["secret"]);
        let hex: String = config.hashes[0].0.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = format!("{config:?} {:?}", Clients::new(vec![config.clone()]).unwrap());
        assert!(!shown.contains(&hex) && !shown.contains("secret"), "{shown}");
    }

    // "Lookup is O(1) in the number of clients": a bucket holds one token or none as a rule, however many there are.
    #[test]
    fn buckets_stay_small_with_many_clients() {
        let many = (0..20_000).map(|n| client(&format!("c{n}"), &[&format!("token {n}")])).collect();
        let clients = Clients::new(many).unwrap();
        let largest = clients.starts.array_windows().map(|[a, b]| b - a).max();
        assert!(largest < Some(10), "{largest:?}");
        check(&clients, "token 19999", Ok("c19999"));
        check(&clients, "token 20000", INVALID);
    }

    proptest! {
        #[test]
        fn exactly_the_configured_tokens_are_found(tokens in proptest::collection::hash_set("[a-z]{1,3}", 1..40), other in "[a-z]{1,3}") {
            let clients = tokens.iter().map(|token| client(token, &[token])).collect();
            let clients = Clients::new(clients).unwrap();
            for token in &tokens {
                prop_assert_eq!(clients.find(&TokenHash::of(token.as_bytes())).map(|(id, _)| clients.name(id)), Some(token.as_str()));
                let (id, which) = clients.find(&TokenHash::of(token.as_bytes())).unwrap();
                prop_assert_eq!(clients.tokens().nth(which as usize), Some((&TokenHash::of(token.as_bytes()), id)));
            }
            prop_assert_eq!(clients.find(&TokenHash::of(other.as_bytes())).is_some(), tokens.contains(&other));
        }
    }
}
