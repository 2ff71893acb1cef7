//! Judges a token: who issued it, for whom, for how long, by which key, and which client it is then.
//!
//! The cheap checks come first: a token that would be refused anyway costs no signature. Must not know where keys come from.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::super::ClientId;
use super::super::subject::Subject;
use super::super::token_fault::TokenFault;
use super::jws::Jws;
use super::keys::{Key, KeySet};
use super::rules::{ClaimValue, Grant, Rules};

/// A set may have several keys of one id while it changes over; more are not tried.
const TRIED_MAX: usize = 4;

/// A token that holds.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The client of the grant.
    pub client: ClientId,
    /// Whom it is for.
    pub subject: Arc<Subject>,
    /// When it ends, in seconds since the epoch.
    pub expires: u64,
    /// What it was signed by.
    pub key: Arc<Key>,
    /// The index of its issuer.
    pub issuer: usize,
}

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is no token for this server.
    Fault(TokenFault),
    /// The key that it names, or the only one that fits, has not signed it. The issuer of this index may have replaced that key.
    WrongKey {
        /// The index of the issuer.
        issuer: usize,
        /// What is wrong.
        fault: TokenFault,
    },
    /// It was one.
    Expired,
    /// It holds, and no grant gives it a right; the one of this index comes nearest.
    NoGrant(u16),
    /// The keys of an issuer are not known, or its key is not among them.
    UnknownKey(UnknownKey),
}

/// What a token of an unknown key says of itself. Nothing of it is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownKey {
    /// The index of the issuer.
    pub issuer: usize,
    /// When it was issued, in seconds since the epoch.
    pub issued: Option<u64>,
}

impl From<TokenFault> for Refused {
    fn from(fault: TokenFault) -> Refused {
        Refused::Fault(fault)
    }
}

impl Rules {
    /// Judges a token at `now`, in seconds since the epoch; `keys` has the keys of an issuer, by its index.
    pub fn verify(
        &self,
        token: &[u8],
        now: u64,
        keys: impl Fn(usize) -> Option<Arc<KeySet>>,
    ) -> Result<Verified, Refused> {
        let jws = Jws::parse(token)?;
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(TokenFault::Algorithm.into());
        }
        let issuer = self.issuer(&jws.claims)?;
        self.check_audience(&jws.claims)?;
        let expires = self.check_times(&jws.claims, now)?;
        let issued = jws.claims.get("iat").and_then(seconds);
        let unknown = Refused::UnknownKey(UnknownKey { issuer, issued });
        let known = keys(issuer).ok_or(unknown)?;
        let key = match find_key(&jws, &known) {
            Ok(key) => key.ok_or(unknown)?,
            Err(fault) => return Err(Refused::WrongKey { issuer, fault }),
        };
        let subject = self.subject(&jws.claims)?;
        let client = self.grant(&jws.claims, issuer).map_err(Refused::NoGrant)?;
        Ok(Verified { client, subject, expires, key, issuer })
    }

    /// RFC 9068, 4: "MUST exactly match".
    fn issuer(&self, claims: &Map<String, Value>) -> Result<usize, TokenFault> {
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(TokenFault::Issuer)?;
        self.issuers.iter().position(|known| known == issuer).ok_or(TokenFault::Issuer)
    }

    /// RFC 7519, 4.1.3: a text or a list of texts.
    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), TokenFault> {
        let is_ours = match claims.get("aud") {
            Some(Value::String(audience)) => *audience == self.resource,
            Some(Value::Array(audiences)) => {
                audiences.iter().all(Value::is_string)
                    && audiences.iter().any(|audience| audience.as_str() == Some(&self.resource))
            }
            _ => false,
        };
        if is_ours { Ok(()) } else { Err(TokenFault::Audience) }
    }

    /// RFC 7519, 4.1.4 and 4.1.5. Returns when the token ends.
    fn check_times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Refused> {
        let expires = claims.get("exp").and_then(seconds).ok_or(TokenFault::NoExpiry)?;
        if now >= expires.saturating_add(self.leeway) {
            return Err(Refused::Expired);
        }
        match claims.get("nbf").map(seconds) {
            None => Ok(expires),
            Some(Some(begins)) if begins <= now.saturating_add(self.leeway) => Ok(expires),
            Some(_) => Err(TokenFault::NotYetValid.into()),
        }
    }

    /// The client of the first grant that matches, or the grant that comes nearest: of those that lack only scopes, the first
    /// that lacks fewest. A client asks for these, and its user for no more rights than it takes.
    fn grant(&self, claims: &Map<String, Value>, issuer: usize) -> Result<ClientId, u16> {
        let scopes = scopes(claims);
        let has_claims = |grant: &&Grant| {
            grant.issuer.is_none_or(|only| only == issuer)
                && grant.claims.iter().all(|(name, value)| holds(claims, name, value))
        };
        let lacks =
            |grant: &Grant| grant.scopes.iter().filter(|scope| !scopes.contains(&scope.as_str())).count();
        if let Some(grant) = self.grants.iter().filter(has_claims).find(|grant| lacks(grant) == 0) {
            return Ok(grant.client);
        }
        let reachable = self.grants.iter().enumerate().filter(|(_, grant)| has_claims(grant));
        let nearest = reachable.min_by_key(|(_, grant)| lacks(grant)).map_or(0, |(index, _)| index);
        Err(u16::try_from(nearest).unwrap_or_default())
    }

    fn subject(&self, claims: &Map<String, Value>) -> Result<Arc<Subject>, TokenFault> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (claim, name) = self
            .client_claim
            .iter()
            .find_map(|claim| text(claim).map(|text| (claim.as_str(), text)))
            .ok_or(TokenFault::Subject)?;
        let (claim, user) = text("sub").map_or((claim, name), |user| ("sub", user));
        // Names are an issuer's own, and each claim has its own kind of them: a program may be called what a user is. The zero
        // bytes keep `a` + `bc` apart from `ab` + `c`.
        let hash: [u8; 32] = Sha256::new()
            .chain_update(text("iss").unwrap_or_default())
            .chain_update([0])
            .chain_update(claim)
            .chain_update([0])
            .chain_update(user)
            .finalize()
            .into();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        Ok(Arc::new(Subject::new(name, short)))
    }
}

/// The key that has signed; nothing if the key is not known.
fn find_key(jws: &Jws<'_>, keys: &KeySet) -> Result<Option<Arc<Key>>, TokenFault> {
    let id = jws.key_id.as_deref();
    let fitting: Vec<&Arc<Key>> = keys.fitting(id, jws.algorithm).take(TRIED_MAX + 1).collect();
    match (fitting.as_slice(), id) {
        // A key of this id that is for another algorithm is the wrong key, not an unknown one.
        ([], Some(id)) if keys.has(id) => return Err(TokenFault::Algorithm),
        ([], _) => return Ok(None),
        ([_, _, ..], None) => return Err(TokenFault::Key),
        _ => {}
    }
    let signed = |key: &&&Arc<Key>| key.has_signed(jws.algorithm, jws.signed, jws.signature);
    let found = fitting.iter().take(TRIED_MAX).find(signed).map(|key| Arc::clone(key));
    found.map(Some).ok_or(TokenFault::Signature)
}

/// A NumericDate: seconds since the epoch, which may have a fraction.
fn seconds(value: &Value) -> Option<u64> {
    /// The year 9999; beyond, an issuer has counted something else.
    const END: f64 = 253_402_300_800.0;
    let number = value.as_f64().filter(|number| (0.0..END).contains(number))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the line above bounds it")]
    Some(number as u64)
}

/// The scopes of a token: RFC 8693's `scope`, a list of words; or `scp`, as some issuers call it; or a list of texts.
fn scopes(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(words)) => words.split(' ').filter(|word| !word.is_empty()).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn holds(claims: &Map<String, Value>, name: &str, wanted: &ClaimValue) -> bool {
    let is = |value: &Value| match wanted {
        ClaimValue::Text(text) => value.as_str() == Some(text),
        ClaimValue::Number(number) => value.as_i64() == Some(*number),
        ClaimValue::Flag(flag) => value.as_bool() == Some(*flag),
    };
    match claims.get(name) {
        Some(Value::Array(list)) => list.iter().any(is),
        Some(value) => is(value),
        None => false,
    }
}
