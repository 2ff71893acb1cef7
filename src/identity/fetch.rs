//! Fetches the keys of one issuer: from the address that is configured, or the one that its metadata names.
//!
//! Redirects are not followed, responses are bounded in size and time, and only configured hosts are asked. Must not know what a
//! key is for.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::issuer::{FRESH_SECONDS, IssuerState, Taken};
use super::store::KeyFile;
use crate::client::{Client, Limits, Method, Request, Target};
use crate::config::oauth::{Issuer, KeySource};
use crate::policy::oauth::url::split_url;
use crate::wire::bounded;

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(5), total: Duration::from_secs(10), body_bytes: 1 << 20 };
/// After a fetch that has failed; doubled each time up to the second.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// RFC 8414, 3: between the host and the path of the issuer.
const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
/// OpenID Connect Discovery 1.0, 4: behind the path of the issuer.
const OPENID_METADATA: &str = "/.well-known/openid-configuration";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} is no URL that can be asked: {1}")]
    Url(String, String),
    #[error(transparent)]
    Client(#[from] crate::client::Error),
    #[error("{0} answers {1}")]
    Status(String, u16),
    #[error("{0} has no JSON object")]
    Document(String),
    #[error("the metadata at {0} is of another issuer")]
    OtherIssuer(String),
    #[error("the metadata at {0} names no jwks_uri")]
    NoKeys(String),
    #[error("jwks_uri is not on the issuer's own host; if that is right, configure it as jwks: {0}")]
    OtherHost(String),
    #[error("{0} is no set of keys: {1}")]
    Keys(String, crate::policy::oauth::keys::KeySetError),
}

/// A response, and the time that the issuer's clock shows.
pub(crate) struct FetchedKeys {
    pub(crate) text: Bytes,
    /// Where they were found.
    pub(crate) at: String,
    /// The `Date` of the response.
    pub(crate) date: Option<String>,
}

/// Fetches the keys again and again: after `refresh`, or when an unknown key was shown, but not sooner than half a minute after
/// the last time. After a failure it tries again soon.
pub(super) async fn keep_fetching(
    issuer: Issuer,
    refresh: Duration,
    state: Arc<IssuerState>,
    file: Option<KeyFile>,
) {
    let issuer = Arc::new(issuer);
    let ask = || {
        let issuer = issuer.clone();
        async move { fetch(&issuer).await }
    };
    let save = |keys: &[u8], confirmed| {
        if let Some(file) = &file {
            file.save(keys, confirmed);
        }
    };
    keep_asking(ask, refresh, state, now, save).await;
}

async fn keep_asking<F>(
    ask: impl Fn() -> F,
    refresh: Duration,
    state: Arc<IssuerState>,
    now: impl Fn() -> u64,
    save: impl Fn(&[u8], u64),
) where
    F: Future<Output = Result<FetchedKeys, FetchError>>,
{
    let mut pause = PAUSE_FIRST;
    loop {
        let begun = Instant::now();
        let outcome = match ask().await {
            Ok(found) => {
                let confirmed = now();
                let taken = state.took(&found.text, confirmed);
                if taken.is_ok() {
                    save(&found.text, confirmed);
                }
                taken.map_err(|error| FetchError::Keys(found.at.clone(), error))
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(taken) => {
                report(&state.url, &taken);
                pause = PAUSE_FIRST;
                sleep_until(begun + Duration::from_secs(FRESH_SECONDS)).await;
                tokio::select! {
                    () = sleep_until(begun + refresh) => {}
                    () = state.wanted() => {}
                }
            }
            Err(error) => {
                if state.failed() {
                    let chain = mcp_host::diagnostics::chain(&error);
                    log::warn!("issuer {}: its keys cannot be fetched: {chain}", state.url);
                }
                sleep_until(Instant::now() + pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn report(issuer: &str, taken: &Taken) {
    let Taken { keys, skipped, has_private, unchanged, was_away } = taken;
    if *unchanged && !was_away {
        return;
    }
    if *has_private {
        log::error!(
            "issuer {issuer}: its set has private keys: everybody who can read it can sign tokens; the issuer must replace them"
        );
    }
    let others = if *skipped == 0 { String::new() } else { format!(", and {skipped} that are not used") };
    if *keys == 0 {
        log::error!("issuer {issuer}: it has no key that can verify tokens{others}");
    } else {
        log::info!("issuer {issuer}: {keys} keys{others}");
    }
}

/// Fetches the keys once.
pub(crate) async fn fetch(issuer: &Issuer) -> Result<FetchedKeys, FetchError> {
    let url = match &issuer.keys {
        KeySource::Url(url) => url.clone(),
        KeySource::Discovered => discover(&issuer.url).await?,
        KeySource::File { text, path } => {
            let (text, at) = (Bytes::copy_from_slice(text.as_bytes()), path.display().to_string());
            return Ok(FetchedKeys { text, at, date: None });
        }
    };
    let (text, date) = get(&url).await?;
    Ok(FetchedKeys { text, at: url, date })
}

/// Where the issuer's metadata says that its keys are.
async fn discover(issuer: &str) -> Result<String, FetchError> {
    let mut first = None;
    for url in metadata_urls(issuer) {
        match jwks_uri(issuer, &url).await {
            Ok(found) => return Ok(found),
            // Another place may have it; a server that cannot be reached has none.
            Err(
                error @ (FetchError::Status(..)
                | FetchError::Document(_)
                | FetchError::NoKeys(_)
                | FetchError::OtherIssuer(_)),
            ) => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| FetchError::NoKeys(issuer.to_owned())))
}

/// The places of an issuer's metadata, in the order of RFC 8414, 5.
fn metadata_urls(issuer: &str) -> [String; 3] {
    let (origin, path) = split_url(issuer);
    let path = path.trim_end_matches('/');
    [
        format!("{origin}{OAUTH_METADATA}{path}"),
        format!("{origin}{path}{OPENID_METADATA}"),
        format!("{origin}{OPENID_METADATA}{path}"),
    ]
}

async fn jwks_uri(issuer: &str, url: &str) -> Result<String, FetchError> {
    let (text, _date) = get(url).await?;
    let document = bounded::parse(&text).ok().filter(Value::is_object);
    let document = document.ok_or_else(|| FetchError::Document(url.to_owned()))?;
    // RFC 8414, 3.3: "MUST be identical"; else one issuer could speak for another.
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(FetchError::OtherIssuer(url.to_owned()));
    }
    let named = document.get("jwks_uri").and_then(Value::as_str);
    let named = named.ok_or_else(|| FetchError::NoKeys(url.to_owned()))?;
    let (own, other) = (split_url(issuer).0, split_url(named).0);
    if !own.eq_ignore_ascii_case(other) {
        return Err(FetchError::OtherHost(crate::client::excerpt(named.as_bytes())));
    }
    Ok(named.to_owned())
}

async fn get(url: &str) -> Result<(Bytes, Option<String>), FetchError> {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let target = Target::parse(place).map_err(|error| FetchError::Url(url.to_owned(), error.to_string()))?;
    let target = match query {
        None => target,
        Some(query) if query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') => {
            target.with_query(query)
        }
        Some(query) => {
            return Err(FetchError::Url(place.to_owned(), crate::client::excerpt(query.as_bytes())));
        }
    };
    let client = Client::new(target, LIMITS);
    let mut request = Request::bare(Method::GET, None);
    request.headers.push((header::ACCEPT, HeaderValue::from_static("application/json")));
    let response = client.raw(request).await?;
    if response.status != 200 {
        return Err(FetchError::Status(url.to_owned(), response.status));
    }
    let date = response.header("date").map(str::to_owned);
    Ok((response.body, date))
}

/// The time, in seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mcp_testkit::TokenKey;

    use super::*;

    /// A script of answers, and when each was asked for, in seconds since the start.
    struct Script {
        start: Instant,
        asked: Mutex<Vec<u64>>,
        state: Arc<IssuerState>,
    }

    impl Script {
        fn new() -> Script {
            let state = IssuerState::new("https://a.example", Duration::from_secs(86_400));
            Script { start: Instant::now(), asked: Mutex::default(), state: Arc::new(state) }
        }

        fn now(&self) -> u64 {
            self.start.elapsed().as_secs()
        }

        /// Runs the fetches for so many seconds, with what `answer` has for each.
        async fn run(&self, seconds: u64, answer: impl Fn(usize) -> Option<String>) {
            let ask = || {
                let mut asked = self.asked.lock().unwrap();
                asked.push(self.now());
                let text = answer(asked.len() - 1).ok_or(FetchError::Status("x".to_owned(), 500));
                std::future::ready(text.map(|text| FetchedKeys {
                    text: text.into(),
                    at: "x".to_owned(),
                    date: None,
                }))
            };
            let fetching =
                keep_asking(ask, Duration::from_secs(300), self.state.clone(), || self.now(), |_, _| {});
            let _ = tokio::time::timeout(Duration::from_secs(seconds), fetching).await;
        }

        fn asked(&self) -> Vec<u64> {
            self.asked.lock().unwrap().clone()
        }
    }

    fn set(keys: &[&TokenKey]) -> Option<String> {
        Some(TokenKey::set(keys))
    }

    // "refreshed on an unknown `kid` at most every 30 s whoever asks"; "concurrent unknown `kid`s cause one fetch".
    #[tokio::test(start_paused = true)]
    async fn unknown_keys_cause_one_fetch_in_half_a_minute() {
        let (script, key) = (Script::new(), TokenKey::ed25519("a"));
        let asking = async {
            for _ in 0..100 {
                script.state.want();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::join!(script.run(110, |_| set(&[&key])), asking);
        assert_eq!(script.asked(), [0, 30, 60, 90]);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_again_after_the_refresh_time() {
        let (script, key) = (Script::new(), TokenKey::ed25519("a"));
        script.run(1_000, |_| set(&[&key])).await;
        assert_eq!(script.asked(), [0, 300, 600, 900]);
    }

    // "issuer down at start [..] replaced by garbage, gone for a day": asked again soon, and what was there holds.
    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_fails_is_asked_again_and_its_keys_hold() {
        let (script, key) = (Script::new(), TokenKey::ed25519("a"));
        script
            .run(400, |number| match number {
                0..3 => None,
                3 => set(&[&key]),
                4 => Some("<html>".to_owned()),
                _ => None,
            })
            .await;
        assert_eq!(script.asked()[..5], [0, 1, 3, 7, 307]);
        assert!(
            script.asked()[5..].array_windows().all(|[one, next]| next - one <= 30),
            "{:?}",
            script.asked()
        );
        assert_eq!(script.state.keys(script.now()).map(|keys| keys.len()), Some(1));
        assert!(!script.state.is_fresh(script.now()));
        assert!(script.state.keys(7 + 86_400).is_none(), "after a day they hold no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_takes_the_old_key_out_and_the_new_one_in() {
        let (script, old, new) = (Script::new(), TokenKey::ed25519("old"), TokenKey::ed25519("new"));
        script.run(10, |_| set(&[&old])).await;
        let before = script.state.keys(0).unwrap();
        script.run(10, |_| set(&[&new])).await;
        let after = script.state.keys(0).unwrap();
        assert!(!before.has_same_keys(&after) && after.len() == 1);
        script.run(10, |_| set(&[])).await;
        assert_eq!(script.state.keys(0).map(|keys| keys.len()), Some(0), "an empty set is a set");
    }

    #[test]
    fn the_metadata_of_an_issuer_has_these_places() {
        assert_eq!(
            metadata_urls("https://a.example/realms/mcp"),
            [
                "https://a.example/.well-known/oauth-authorization-server/realms/mcp",
                "https://a.example/realms/mcp/.well-known/openid-configuration",
                "https://a.example/.well-known/openid-configuration/realms/mcp",
            ]
        );
        assert_eq!(
            metadata_urls("https://a.example/")[..2],
            [
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ]
        );
    }
}
