//! The issuers of `[auth.oauth]`: whether their keys can be fetched, whether their clock is this one's, and whether the resource
//! is a name for this guard.

use std::time::SystemTime;

use super::diagnosis::{Diagnosis, State};
use crate::config::Config;
use crate::config::oauth::{Issuer, Oauth};
use crate::identity::fetch::{self, FetchedKeys};
use crate::policy::oauth::keys::KeySet;
use crate::policy::oauth::url::split_url;

/// Asks every issuer once.
pub(super) fn look(config: &Config) -> Result<Vec<Diagnosis>, String> {
    let Some(oauth) = &config.oauth else { return Ok(Vec::new()) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let mut found = vec![audience(config, oauth)];
    for issuer in &oauth.issuers {
        let fetched = runtime.block_on(fetch::fetch(issuer));
        let what = format!("issuer {}", issuer.url);
        match fetched {
            Ok(fetched) => found.extend(judge(&what, issuer, &fetched, oauth)),
            Err(error) => {
                let reason = mcp_host::diagnostics::chain(&error);
                let todo = "its tokens are refused with 503 once the keys that the guard has are too old";
                found.push(Diagnosis::new(State::Bad, what, reason).advise(todo));
            }
        }
    }
    // A name that is still being resolved must not hold the command.
    runtime.shutdown_background();
    Ok(found)
}

fn judge(what: &str, issuer: &Issuer, fetched: &FetchedKeys, oauth: &Oauth) -> Vec<Diagnosis> {
    let keys = match KeySet::parse(&fetched.text, None) {
        Ok(keys) if keys.is_empty() => {
            Diagnosis::new(State::Bad, what, format!("no key at {} can verify tokens", fetched.at))
        }
        Ok(keys) => Diagnosis::new(State::Ok, what, format!("{} keys at {}", keys.len(), fetched.at)),
        Err(error) => Diagnosis::new(State::Bad, what, format!("{} is no set of keys: {error}", fetched.at)),
    };
    let mut found = vec![keys];
    if let Some(seconds) = fetched.date.as_deref().and_then(|date| skew(date, SystemTime::now())) {
        let what = format!("clock of {}", issuer.url);
        found.push(if seconds > oauth.rules.leeway {
            let reason = format!("{seconds} s from this one, more than auth.oauth.leeway");
            Diagnosis::new(State::Bad, what, reason)
                .advise("tokens begin and end at the wrong time: synchronize the clocks")
        } else {
            Diagnosis::new(State::Ok, what, format!("{seconds} s from this one"))
        });
    }
    found
}

/// How far a `Date` is from now, in seconds.
fn skew(date: &str, now: SystemTime) -> Option<u64> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let then = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    Some(u64::try_from(then).ok()?.abs_diff(now))
}

/// Whether a client that asks for a token for the resource then calls this guard.
fn audience(config: &Config, oauth: &Oauth) -> Diagnosis {
    let resource = &oauth.rules.resource;
    let path = match split_url(resource).1.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    if config.paths.prefixes.iter().any(|prefix| prefix.as_str() == path) {
        return Diagnosis::new(State::Ok, "resource", format!("{resource}: its path is one of the endpoint"));
    }
    let reason = format!("{resource}: its path is none of paths.prefixes");
    Diagnosis::new(State::Warn, "resource", reason).advise(
        "right if a proxy in front maps the path; else clients get tokens for another address than they call",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_of_an_issuer_is_compared_by_its_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(skew("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(0));
        assert_eq!(skew("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(60));
        assert_eq!(skew("yesterday", now), None);
    }
}
