//! Routes that an operator opened beside the endpoint: which request belongs to one, and whether it may pass.
//!
//! Without a route nothing of this exists. Routes are disjoint (the configuration sees to that), so one of them at most
//! serves a request, and they have no order. Must not know where a route leads, nor what becomes of the response.

mod path;

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::auth::TokenHash;
use super::{ClientId, Denial, Identity, Policy, Presented, Subject, headers, origin};
use crate::http1::{BodyLength, Fields, FramingError, KnownField, Occurs, RequestHead, Version};

/// A method that a route can take. `CONNECT` and `TRACE` never pass the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl HttpMethod {
    /// Every method, in the order of the declaration.
    pub const ALL: [HttpMethod; 7] = [
        HttpMethod::Get,
        HttpMethod::Head,
        HttpMethod::Post,
        HttpMethod::Put,
        HttpMethod::Patch,
        HttpMethod::Delete,
        HttpMethod::Options,
    ];

    /// The method as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
            HttpMethod::Options => "OPTIONS",
        }
    }

    /// The method of this name; methods are case-sensitive (RFC 9110, 9.1).
    pub fn parse(name: &[u8]) -> Option<HttpMethod> {
        HttpMethod::ALL.into_iter().find(|method| method.as_str().as_bytes() == name)
    }
}

/// How far a route reaches from its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMatch {
    /// The prefix itself, with or without a final slash.
    Exact,
    /// The prefix and every path below it.
    Prefix,
}

/// Whether a route takes connections over to another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrades {
    /// Not at all.
    Refused,
    /// To WebSocket, by GET.
    WebSocket,
}

/// Who may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// The clients of the endpoint, with their tokens.
    Bearer,
    /// A client that sends one of the keys.
    ApiKey {
        /// The field that carries it.
        field: String,
        /// The keys, each with the name of its holder.
        keys: Vec<ApiKey>,
    },
    /// Every client that reaches the listener.
    None,
}

/// A key that opens a route, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The name of its holder: a metric label.
    pub name: String,
    /// The hash of the key.
    pub hash: TokenHash,
}

/// What belongs to a route, and who may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// The metric label and log field.
    pub name: String,
    /// Absolute, without a final slash.
    pub prefix: String,
    /// Whether what lies below the prefix belongs to it.
    pub path_match: PathMatch,
    /// The methods it takes.
    pub methods: Vec<HttpMethod>,
    /// Whether it takes `Upgrade`.
    pub upgrades: Upgrades,
    /// Who may pass.
    pub auth: Auth,
    /// Bytes of a request's body.
    pub body_bytes_max: u64,
}

/// Who passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A client of the endpoint.
    Client(ClientId),
    /// The holder of the key with this index.
    Key(usize),
    /// No credential was required.
    Anyone,
}

impl Caller {
    /// The client of the endpoint, if it is one.
    pub fn client(self) -> Option<ClientId> {
        match self {
            Caller::Client(client) => Some(client),
            Caller::Key(_) | Caller::Anyone => None,
        }
    }
}

/// Proof that a request may use a route.
#[derive(Debug, PartialEq, Eq)]
pub struct RoutePermit {
    caller: Caller,
    subject: Option<Arc<Subject>>,
    upgrade: bool,
}

impl RoutePermit {
    /// Who is calling.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Which of those that the client stands for.
    pub fn subject(&self) -> Option<&Arc<Subject>> {
        self.subject.as_ref()
    }

    /// Whether the connection is to become a WebSocket.
    pub fn is_upgrade(&self) -> bool {
        self.upgrade
    }
}

/// What a request has to do with a set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It belongs to no route.
    None,
    /// Its path belongs to the route with this index, which takes its method.
    Route(usize),
    /// Its path belongs to routes of which none takes its method.
    OtherMethods,
}

impl RouteRule {
    /// Whether the path belongs to the route. It must be plain.
    fn covers(&self, path: &[u8]) -> bool {
        match self.path_match {
            PathMatch::Exact => path::is_exactly(path, self.prefix.as_bytes()),
            PathMatch::Prefix => path::is_below(path, self.prefix.as_bytes()),
        }
    }

    /// Whether the route would serve some path that is `place` or its sub-path by configuration.
    pub fn reaches(&self, place: &str) -> bool {
        self.covers(place.as_bytes())
    }

    /// Whether some request would belong to both rules.
    pub fn overlaps(&self, other: &RouteRule) -> bool {
        let share_a_path = match (self.path_match, other.path_match) {
            (PathMatch::Exact, PathMatch::Exact) => self.prefix == other.prefix,
            (PathMatch::Prefix, PathMatch::Exact) => self.covers(other.prefix.as_bytes()),
            (PathMatch::Exact, PathMatch::Prefix) => other.covers(self.prefix.as_bytes()),
            (PathMatch::Prefix, PathMatch::Prefix) => {
                self.covers(other.prefix.as_bytes()) || other.covers(self.prefix.as_bytes())
            }
        };
        share_a_path && HttpMethod::ALL.into_iter().any(|method| self.takes(method) && other.takes(method))
    }

    fn takes(&self, method: HttpMethod) -> bool {
        self.methods.contains(&method) || method == HttpMethod::Get && self.upgrades == Upgrades::WebSocket
    }
}

/// The route that a request belongs to. What the guard serves itself belongs to none, whatever stands before it.
pub fn find<'r>(rules: impl Iterator<Item = &'r RouteRule>, head: &RequestHead<'_>) -> Match {
    if !path::is_plain(head.path) || memchr::memmem::find(head.path, b"/.well-known/").is_some() {
        return Match::None;
    }
    let method = HttpMethod::parse(head.method);
    let mut found = Match::None;
    for (index, rule) in rules.enumerate().filter(|(_, rule)| rule.covers(head.path)) {
        if method.is_some_and(|method| rule.takes(method)) {
            return Match::Route(index);
        }
        found = Match::OtherMethods;
    }
    found
}

/// Whether a route at this path, which is a plain one, takes the method.
pub fn takes<'r>(mut rules: impl Iterator<Item = &'r RouteRule>, path: &[u8], method: &[u8]) -> bool {
    HttpMethod::parse(method).is_some_and(|method| rules.any(|rule| rule.covers(path) && rule.takes(method)))
}

/// The methods that the routes at this path take, as `Allow` lists them.
pub fn allow<'r>(rules: impl Iterator<Item = &'r RouteRule>, path: &[u8]) -> String {
    let there: Vec<&RouteRule> = rules.filter(|rule| rule.covers(path)).collect();
    let taken = |method: &HttpMethod| there.iter().any(|rule| rule.takes(*method));
    HttpMethod::ALL.into_iter().filter(taken).map(HttpMethod::as_str).collect::<Vec<_>>().join(", ")
}

impl Policy {
    /// The checks in their order, as far as they concern a request that belongs to `rule`. `now` is
    /// seconds since the epoch.
    pub fn decide_route(
        &self,
        rule: &RouteRule,
        head: &RequestHead<'_>,
        presented: Presented<'_>,
        now: u64,
    ) -> Result<RoutePermit, Denial> {
        self.judge_route(rule, head, |fields| self.identify(fields, presented, now, ()))
    }

    /// The same; `identify` is checks 6 to 8.
    pub(super) fn judge_route(
        &self,
        rule: &RouteRule,
        head: &RequestHead<'_>,
        identify: impl FnOnce(&Fields<'_>) -> Result<Identity, Denial>,
    ) -> Result<RoutePermit, Denial> {
        origin::check(&self.origin, head)?;
        let (caller, subject) = match &rule.auth {
            Auth::Bearer => {
                let identity = identify(&head.fields)?;
                (Caller::Client(identity.client()), identity.subject().cloned())
            }
            Auth::ApiKey { field, keys } => (Caller::Key(holder(head, field, keys)?), None),
            Auth::None => (Caller::Anyone, None),
        };
        headers::check_single(&head.fields)?;
        if matches!(head.body, BodyLength::Bytes(bytes) if bytes > rule.body_bytes_max) {
            return Err(Denial::BodyTooLarge);
        }
        // Anywhere else an offered upgrade is ignored (RFC 9110, 7.8); half a handshake is no plain request.
        let upgrade = rule.upgrades == Upgrades::WebSocket && head.offers_websocket();
        if upgrade && !is_websocket(head) {
            return Err(Denial::Framing(FramingError::Forbidden));
        }
        Ok(RoutePermit { caller, subject, upgrade })
    }
}

/// The index of the key that the request carries. Every key is looked at, each in constant time.
fn holder(head: &RequestHead<'_>, name: &str, keys: &[ApiKey]) -> Result<usize, Denial> {
    let mut sent = head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    let value = match (sent.next(), sent.next()) {
        (None, _) => return Err(Denial::ApiKeyMissing),
        (Some(field), None) if field.nominated => return Err(Denial::Framing(FramingError::Nomination)),
        (Some(field), None) if field.value.is_empty() => return Err(Denial::ApiKeyMissing),
        (Some(field), None) => field.value,
        (Some(_), Some(_)) => return Err(Denial::RepeatedField(KnownField::Other)),
    };
    let hash = TokenHash::of(value);
    let (mut found, mut holder) = (Choice::from(0), 0_u32);
    for (index, key) in (0_u32..).zip(keys) {
        let same = key.hash.0.ct_eq(&hash.0);
        holder.conditional_assign(&index, same);
        found |= same;
    }
    if bool::from(found) { Ok(holder as usize) } else { Err(Denial::ApiKeyInvalid) }
}

/// RFC 6455, 4.1: GET, at least HTTP/1.1, `Upgrade: websocket`, `Connection: Upgrade`, one key. What the backend makes of
/// the rest is its own affair; what must not happen is that one of us takes this for a plain request.
fn is_websocket(head: &RequestHead<'_>) -> bool {
    let named =
        |name: &[u8]| head.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).count();
    let upgrade = match head.fields.occurs(KnownField::Upgrade) {
        Occurs::Once(value) => value.eq_ignore_ascii_case(b"websocket"),
        Occurs::Never | Occurs::Repeated => false,
    };
    let nominated = head.fields.iter().any(|field| field.known == KnownField::Upgrade && field.nominated);
    let bare = matches!(head.body, BodyLength::None | BodyLength::Bytes(0));
    head.method == b"GET"
        && head.version == Version::Http11
        && upgrade
        && nominated
        && bare
        && named(b"sec-websocket-key") == 1
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
