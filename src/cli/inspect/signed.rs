//! Tokens of issuers, judged as the guard does, with keys that are fetched now.

use std::sync::Arc;

use serde_json::Value;

use super::found::Found;
use crate::client::excerpt;
use crate::config::Config;
use crate::config::oauth::Oauth;
use crate::identity::fetch;
use crate::policy::Denial;
use crate::policy::auth::WrongToken;
use crate::policy::oauth::jws::Jws;
use crate::policy::oauth::keys::KeySet;
use crate::policy::oauth::verify::Refused;
use crate::policy::token_fault::TokenFault;

/// The claims that explain most refusals.
const SHOWN: [&str; 5] = ["iss", "aud", "scope", "exp", "nbf"];

pub(super) fn find(config: &Config, oauth: &Oauth, token: &str, now: u64) -> Result<Found, String> {
    if !token.contains('.') {
        let denial = Denial::TokenInvalid(WrongToken::Challenge);
        return Ok(Found::Refused { denial, why: None, says: Vec::new() });
    }
    // Without keys, everything is judged that needs none: only then is an issuer asked.
    let keys = match oauth.rules.verify(token.as_bytes(), now, |_| None) {
        Err(Refused::UnknownKey(token)) => Some((token.issuer, Arc::new(keys(oauth, token.issuer)?))),
        Ok(_)
        | Err(Refused::Fault(_) | Refused::WrongKey { .. } | Refused::Expired | Refused::NoGrant(_)) => None,
    };
    let of = |issuer: usize| keys.as_ref().filter(|(of, _)| *of == issuer).map(|(_, keys)| keys.clone());
    let (denial, why) = match oauth.rules.verify(token.as_bytes(), now, of) {
        Ok(verified) => {
            return Ok(Found::Signed {
                client: config.clients.name(verified.client).to_owned(),
                subject: verified.subject.text().to_owned(),
                expires: verified.expires,
                left: verified.expires.saturating_sub(now),
            });
        }
        Err(Refused::Fault(fault) | Refused::WrongKey { fault, .. }) => {
            (Denial::JwtInvalid(fault), Some(fault.as_str()))
        }
        Err(Refused::Expired) => (Denial::JwtExpired, None),
        Err(Refused::NoGrant(grant)) => {
            (Denial::InsufficientScope { grant }, Some("no grant matches its scopes and claims"))
        }
        Err(Refused::UnknownKey(_)) => {
            let fault = TokenFault::UnknownKey;
            (Denial::JwtInvalid(fault), Some(fault.as_str()))
        }
    };
    Ok(Found::Refused { denial, why, says: says(token) })
}

fn keys(oauth: &Oauth, issuer: usize) -> Result<KeySet, String> {
    let issuer = oauth.issuers.get(issuer).ok_or("the issuer is not configured")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let fetched = runtime.block_on(fetch::fetch(issuer));
    // A name that is still being resolved must not hold the command.
    runtime.shutdown_background();
    let cannot = |error: &dyn std::error::Error| {
        format!("the keys of {} cannot be fetched: {}", issuer.url, mcp_host::diagnostics::chain(error))
    };
    let fetched = fetched.map_err(|error| cannot(&error))?;
    KeySet::parse(&fetched.text, None).map_err(|error| cannot(&error))
}

fn says(token: &str) -> Vec<(&'static str, String)> {
    let Ok(jws) = Jws::parse(token.as_bytes()) else { return Vec::new() };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let shown = |value: &Value| excerpt(text(value).as_bytes());
    SHOWN.into_iter().filter_map(|name| Some((name, shown(jws.claims.get(name)?)))).collect()
}
