//! `[auth.oauth]`: whose tokens are taken, for which resource, and which client a token is.
//!
//! A grant becomes a client beside those of `tokens.toml`: `clients` takes them over, and `Oauth` knows them by their place. Must
//! not know how a token is verified, nor how keys are fetched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::table::Table;
use super::{source, tokens, tools, value};
use crate::config::diagnostics::InvalidValue;
use crate::policy::Clients;
use crate::policy::auth::ClientConfig;
use crate::policy::oauth::resource::ProtectedResource;
use crate::policy::oauth::rules::{Algorithm, ClaimValue, Grant, Rules};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const ISSUERS_MAX: usize = 16;
const GRANTS_MAX: usize = 200;
const SCOPES_MAX: usize = 32;
const CLAIMS_MAX: usize = 16;
const URL_BYTES_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 256;
const KEYS_FILE_BYTES_MAX: u64 = 1 << 20;
/// The claims that name the subject, unless the configuration says otherwise.
const SUBJECT_CLAIMS: [&str; 3] = ["client_id", "azp", "sub"];

/// `[auth.oauth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oauth {
    /// What a token must say. The issuers are in the order of `issuers`.
    pub(crate) rules: Rules,
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) resource: ProtectedResource,
    /// How often keys are fetched.
    pub(crate) refresh: Duration,
    /// For how long keys are used while their issuer cannot be reached.
    pub(crate) keep: Duration,
}

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Issuer {
    /// The exact `iss`.
    pub(crate) url: String,
    pub(crate) keys: KeySource,
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeySource {
    /// Where the issuer's own metadata says.
    Discovered,
    Url(String),
    /// In a file, which was read with the configuration.
    File {
        path: PathBuf,
        text: String,
    },
}

/// The table, before the clients have their places.
pub(super) struct OauthTable {
    resource: String,
    issuers: Vec<Issuer>,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    client_claim: Vec<String>,
    refresh: Duration,
    keep: Duration,
    grants: Vec<GrantTable>,
}

struct GrantTable {
    client: ClientConfig,
    scopes: Vec<String>,
    claims: Vec<(String, ClaimValue)>,
    /// The place of its issuer.
    issuer: Option<usize>,
}

/// Reads the table.
pub(super) fn read(mut table: Table<'_>, folder: &Path) -> OauthTable {
    let resource = table.text("resource", url);
    if !table.has("resource") {
        table.error_missing(
            "resource",
            "the public URL of the endpoint, as in \"https://mcp.example.org/mcp\"",
        );
    }
    let issuers = issuers(&mut table, folder);
    let grants = table.list_of_tables("grant", GRANTS_MAX);
    let grants = grants.into_iter().map(|table| grant(table, &issuers)).collect();
    let read = OauthTable {
        resource: resource.unwrap_or_default(),
        issuers,
        algorithms: algorithms(&mut table),
        leeway: table.duration("leeway", Duration::ZERO..=SECOND * 300, SECOND * 30),
        client_claim: client_claim(&mut table),
        refresh: table.duration("refresh", SECOND * 30..=HOUR * 24, SECOND * 300),
        keep: table.duration("keep", SECOND * 60..=HOUR * 24 * 30, HOUR * 24),
        grants,
    };
    if read.keep < read.refresh {
        let invalid = InvalidValue::new(
            "is shorter than auth.oauth.refresh: keys would end before they are fetched again",
        );
        table.error("keep", None, invalid);
    }
    let none = |value: &DeValue<'_>| value.as_array().is_some_and(|list| list.is_empty());
    if table.entry("grant").is_none_or(none) {
        let hint = "a table [[auth.oauth.grant]] with a name, and scopes or claims";
        table.error("grant", None, InvalidValue::new("without a grant no token has a right").hint(hint));
    }
    table.finish();
    read
}

impl OauthTable {
    /// The clients that the grants are.
    pub(super) fn clients(&self) -> impl Iterator<Item = ClientConfig> {
        self.grants.iter().map(|grant| grant.client.clone())
    }

    /// The settings, once the clients have their places.
    pub(super) fn resolve(self, clients: &Clients) -> Oauth {
        let scopes: Vec<Vec<String>> = self.grants.iter().map(|grant| grant.scopes.clone()).collect();
        let urls: Vec<String> = self.issuers.iter().map(|issuer| issuer.url.clone()).collect();
        let resource = ProtectedResource::new(&self.resource, &urls, &scopes);
        let placed = |grant: GrantTable| {
            let client = clients.named(&grant.client.name)?;
            Some(Grant { client, scopes: grant.scopes, claims: grant.claims, issuer: grant.issuer })
        };
        let rules = Rules {
            resource: self.resource,
            issuers: urls,
            algorithms: self.algorithms,
            leeway: self.leeway.as_secs(),
            client_claim: self.client_claim,
            grants: self.grants.into_iter().filter_map(placed).collect(),
        };
        Oauth { rules, issuers: self.issuers, resource, refresh: self.refresh, keep: self.keep }
    }
}

/// A list of URLs, or of tables that also say where the keys are.
fn issuers(table: &mut Table<'_>, folder: &Path) -> Vec<Issuer> {
    let value = table.entry("issuers");
    if value.is_none() {
        table
            .error_missing("issuers", "the exact `iss` of its tokens, as in [\"https://login.example.org\"]");
        return Vec::new();
    }
    let is_table = |item: &toml::Spanned<DeValue<'_>>| item.get_ref().is_table();
    let of_tables = value.and_then(DeValue::as_array).is_some_and(|list| list.iter().any(is_table));
    let found: Vec<Issuer> = if of_tables {
        let tables = table.list_of_tables("issuers", ISSUERS_MAX);
        tables.into_iter().filter_map(|one| issuer(one, folder)).collect()
    } else {
        let urls = table.list("issuers", ISSUERS_MAX, url).unwrap_or_default();
        if value.and_then(DeValue::as_array).is_some_and(|list| list.is_empty()) {
            table.error("issuers", None, InvalidValue::new("needs at least one issuer"));
        }
        urls.into_iter().map(|url| Issuer { url, keys: KeySource::Discovered }).collect()
    };
    for (index, one) in found.iter().enumerate() {
        if found.iter().take(index).any(|earlier| earlier.url == one.url) {
            table.error("issuers", Some(format!("\"{}\"", one.url)), InvalidValue::new("is listed twice"));
        }
    }
    found
}

fn issuer(mut table: Table<'_>, folder: &Path) -> Option<Issuer> {
    let url = table.text("url", url);
    if !table.has("url") {
        table.error_missing("url", "the exact `iss` of the issuer's tokens");
    }
    let keys = table.text("jwks", |text| keys(text, folder)).unwrap_or(KeySource::Discovered);
    #[cfg(feature = "oauth")]
    if let KeySource::File { text, .. } = &keys
        && crate::policy::oauth::keys::KeySet::parse(text.as_bytes(), None)
            .is_ok_and(|set| set.has_private_keys())
    {
        let warning = InvalidValue::new("has private keys: everybody who can read the file can sign tokens");
        table.warn("jwks", warning.hint("keep only the public keys in it"));
    }
    table.finish();
    Some(Issuer { url: url?, keys })
}

/// The files that hold keys of issuers.
#[cfg(feature = "release")]
pub(super) fn key_files(mut table: Table<'_>, folder: &Path) -> Vec<PathBuf> {
    let file = |mut issuer: Table<'_>| {
        issuer.text("jwks", |text| value::path(text, folder)).filter(|path| path.is_file())
    };
    table.list_of_tables("issuers", ISSUERS_MAX).into_iter().filter_map(file).collect()
}

fn keys(text: &str, folder: &Path) -> Result<KeySource, InvalidValue> {
    if text.contains("://") {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let _place = url(place)?;
        if text.len() > URL_BYTES_MAX || !query.bytes().all(is_of_url) {
            return Err(InvalidValue::new("must be an https URL without a user or a fragment"));
        }
        return Ok(KeySource::Url(text.to_owned()));
    }
    let path = value::path(text, folder)?;
    let text =
        source::read(&path, KEYS_FILE_BYTES_MAX).map_err(|error| InvalidValue::new(error.to_string()))?;
    #[cfg(feature = "oauth")]
    match crate::policy::oauth::keys::KeySet::parse(text.as_bytes(), None) {
        Ok(set) if set.is_empty() => {
            return Err(InvalidValue::new("has no key that can verify tokens"));
        }
        Ok(_) => {}
        Err(error) => return Err(InvalidValue::new(format!("is no set of keys: {error}"))),
    }
    Ok(KeySource::File { path, text })
}

/// An `https` URL without user, query and fragment; `http` on loopback, where nothing is between the two programs.
fn url(text: &str) -> Result<String, InvalidValue> {
    let invalid = || InvalidValue::new("must be an https URL without a user, a query or a fragment");
    if text.len() > URL_BYTES_MAX || text.contains('?') || !text.bytes().all(is_of_url) {
        return Err(invalid());
    }
    let authority = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    if let Some(port) = value::split_port(&authority(rest)).1
        && !port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
    {
        return Err(invalid().hint("a port is a number from 1 to 65535"));
    }
    let is_loopback = |rest: &str| {
        let authority = authority(rest);
        let (host, _) = value::split_port(&authority);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let valid = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => value::host_name(value::split_port(&authority(rest)).0).is_ok(),
        (None, Some(rest)) if is_loopback(rest) => true,
        (None, Some(_)) => {
            return Err(invalid()
                .hint("http is accepted for a loopback address only, as in \"http://127.0.0.1:9000\""));
        }
        (None, None) => false,
    };
    if valid { Ok(text.to_owned()) } else { Err(invalid().hint("as in \"https://login.example.org\"")) }
}

/// What may stand in a URL and in a header field in quotes.
fn is_of_url(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"\\<>#@".contains(&byte)
}

fn algorithms(table: &mut Table<'_>) -> Vec<Algorithm> {
    let parsed = table.list("algorithms", Algorithm::ALL.len(), |text| {
        let names = || Algorithm::ALL.map(Algorithm::as_str).join(", ");
        let unknown = || InvalidValue::new(format!("must be one of {}", names()));
        Algorithm::parse(text).ok_or_else(|| match text {
            "none" | "HS256" | "HS384" | "HS512" => {
                unknown().hint("a token that anybody, or every holder of a key, can make proves nothing")
            }
            _ => unknown(),
        })
    });
    if table.entry("algorithms").and_then(DeValue::as_array).is_some_and(|list| list.is_empty()) {
        let invalid = InvalidValue::new("needs at least one algorithm");
        table.error("algorithms", None, invalid.hint("remove the line to use the default"));
    }
    parsed.unwrap_or_else(|| Algorithm::DEFAULT.to_vec())
}

/// One claim, or a list of which the first that is present counts.
fn client_claim(table: &mut Table<'_>) -> Vec<String> {
    let is_list = table.entry("client_claim").is_some_and(DeValue::is_array);
    let names = if is_list {
        table.list("client_claim", CLAIMS_MAX, claim_name)
    } else {
        table.text("client_claim", claim_name).map(|name| vec![name])
    };
    names.filter(|names| !names.is_empty()).unwrap_or_else(|| SUBJECT_CLAIMS.map(str::to_owned).to_vec())
}

fn claim_name(text: &str) -> Result<String, InvalidValue> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(InvalidValue::new("must be the name of a claim"));
    }
    Ok(text.to_owned())
}

/// RFC 6749, 3.3.
fn scope(text: &str) -> Result<String, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
        return Err(InvalidValue::new(
            "must be one scope: visible ASCII without a quotation mark or backslash",
        ));
    }
    Ok(text.to_owned())
}

fn grant(mut table: Table<'_>, issuers: &[Issuer]) -> GrantTable {
    let name = table.text("name", |text| {
        tokens::check_name(text).map_err(InvalidValue::new)?;
        Ok(text.to_owned())
    });
    if !table.has("name") {
        table.error_missing("name", "a label of metrics and log, as for a client of tokens.toml");
    }
    let issuer = table.text("issuer", |text| {
        let place = issuers.iter().position(|issuer| issuer.url == text);
        place.ok_or_else(|| InvalidValue::new("is none of auth.oauth.issuers"))
    });
    if issuers.len() > 1 && !table.has("issuer") {
        let warning = InvalidValue::new("tokens of every issuer can have this grant");
        table.warn(
            "issuer",
            warning.hint("name the one that may give it, if the issuers are not equally trusted"),
        );
    }
    let scopes = table.list("scopes", SCOPES_MAX, scope).unwrap_or_default();
    let claims = claims(table.table("claims"));
    if scopes.is_empty() && claims.is_empty() {
        let hint = "scopes = [\"mcp\"], or a claim that only some tokens have";
        table.warn(
            "scopes",
            InvalidValue::new("every token of every issuer for this resource has this grant").hint(hint),
        );
    }
    let tools = tokens::tool_policy(&mut table);
    let quota = tools::quota(&mut table);
    let cohort = tokens::cohort(&mut table);
    table.finish();
    let name = name.unwrap_or_default();
    let client =
        ClientConfig { tools, quota, cohort, is_grant: true, ..ClientConfig::new(&name, Vec::new()) };
    GrantTable { client, scopes, claims, issuer }
}

fn claims(mut table: Table<'_>) -> Vec<(String, ClaimValue)> {
    let mut claims = Vec::new();
    for name in table.names() {
        let Some(value) = table.entry(&name) else { continue };
        let number = || i64::from_str_radix(value.as_integer()?.as_str(), value.as_integer()?.radix()).ok();
        let parsed = match (value.as_str(), value.as_bool(), number()) {
            (Some(text), ..) => Some(ClaimValue::Text(text.to_owned())),
            (None, Some(flag), _) => Some(ClaimValue::Flag(flag)),
            (None, None, Some(number)) => Some(ClaimValue::Number(number)),
            (None, None, None) => table.wrong_type(&name, value, "a text, a whole number, true or false"),
        };
        claims.extend(parsed.map(|value| (name, value)));
    }
    if claims.len() > CLAIMS_MAX {
        table.error_whole(InvalidValue::new(format!("at most {CLAIMS_MAX} claims are allowed")));
    }
    table.finish();
    claims
}

#[cfg(test)]
mod tests;
