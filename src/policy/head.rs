//! Checks 1 to 11 on the request head, in order.
//!
//! The order is a security property: it stands here once, in straight lines. What each check means is in its own file.

use super::identity::Identity;
use super::limits::excess_max;
use super::order::{Observer, OrderCheck};
use super::session::{SessionRequest, check_bodiless};
use super::{
    Denial, Local, Permit, Policy, Presented, Sessions, Verdict, cors, headers, origin, paths,
    paths::PathKind,
};
use crate::http1::{BodyLength, Fields, RequestHead};

impl Policy {
    /// Checks 1 to 10 of the decision order, and the declared body length. `now` is seconds since the epoch.
    ///
    /// Allocates nothing.
    pub fn decide(&self, head: &RequestHead<'_>, presented: Presented<'_>, now: u64) -> Verdict {
        let identify = |fields: &Fields<'_>| self.identify(fields, presented, now, ());
        self.judge(head, identify, ()).unwrap_or_else(Verdict::Deny)
    }

    /// Whether the request is one of checks 1 and 2, which load balancers and monitors send without naming a host.
    pub fn is_probe(&self, head: &RequestHead<'_>) -> bool {
        match self.paths.classify(head.path) {
            PathKind::Health => true,
            PathKind::Ready => matches!(head.method, b"GET" | b"HEAD"),
            PathKind::Endpoint | PathKind::WellKnown | PathKind::Register | PathKind::Other => false,
        }
    }

    /// The checks in order. `identify` is checks 6 to 8.
    pub(super) fn judge(
        &self,
        head: &RequestHead<'_>,
        identify: impl FnOnce(&Fields<'_>) -> Result<Identity, Denial>,
        seen: impl Observer,
    ) -> Result<Verdict, Denial> {
        let place = self.paths.classify(head.path);
        seen.at(OrderCheck::Health);
        if place == PathKind::Health {
            return Ok(Verdict::Answer(Local::Health));
        }
        seen.at(OrderCheck::Ready);
        if place == PathKind::Ready && matches!(head.method, b"GET" | b"HEAD") {
            return Ok(Verdict::Answer(Local::Ready));
        }
        seen.at(OrderCheck::OauthProbe);
        if place == PathKind::WellKnown
            && let Some(local) = self.about_resource(head)
        {
            return Ok(Verdict::Answer(local));
        }
        paths::check_oauth_probe(place, head.method)?;
        seen.at(OrderCheck::Preflight);
        if self.is_preflight(head) {
            return Ok(Verdict::Answer(Local::Preflight));
        }
        seen.at(OrderCheck::Method);
        let session = self.session_request(head);
        if session.is_none() {
            check_method(head.method)?;
        }
        seen.at(OrderCheck::Origin);
        origin::check(&self.origin, head)?;
        let identity = identify(&head.fields)?;
        seen.at(OrderCheck::Path);
        paths::check_endpoint(place)?;
        seen.at(OrderCheck::Fields);
        if let Some(session) = session {
            headers::check_single(&head.fields)?;
            seen.at(OrderCheck::Body);
            check_bodiless(head.body)?;
            return Ok(Verdict::Session(session, Permit::new(identity)));
        }
        headers::check(&head.fields)?;
        seen.at(OrderCheck::Body);
        self.check_declared_length(head.body)?;
        Ok(Verdict::Forward(Permit::new(identity)))
    }

    /// The exception to check 3 where an authorization is configured: the metadata of this resource.
    fn about_resource(&self, head: &RequestHead<'_>) -> Option<Local> {
        let is_metadata = self.resource.as_ref()?.is_metadata(head.path, &self.paths);
        let asks = cors::preflight_method(head) == Some(b"GET") && self.allowed_origin(head).is_some();
        match head.method {
            _ if !is_metadata => None,
            b"GET" | b"HEAD" => Some(Local::ResourceMetadata),
            _ => asks.then_some(Local::MetadataPreflight),
        }
    }

    /// Check 4a: a preflight: whether a page of an allowed origin may call.
    fn is_preflight(&self, head: &RequestHead<'_>) -> bool {
        cors::preflight_method(head) == Some(b"POST") && self.allowed_origin(head).is_some()
    }

    /// The exception to check 4: `GET` and `DELETE` of a session at the endpoint, where a slot has `sessions`.
    pub(super) fn session_request(&self, head: &RequestHead<'_>) -> Option<SessionRequest> {
        let may_be = self.sessions == Sessions::Passed && head.method != b"POST";
        let asked = may_be.then(|| SessionRequest::of(head)).flatten();
        asked.filter(|_| self.paths.classify(head.path) == PathKind::Endpoint)
    }

    /// Check 11, as far as the head shows: a body that is not even read for its id is refused at once.
    fn check_declared_length(&self, body: BodyLength) -> Result<(), Denial> {
        match body {
            BodyLength::Bytes(bytes) if bytes > excess_max(self.limits.body_bytes_max) => {
                Err(Denial::BodyTooLarge)
            }
            BodyLength::Bytes(_) | BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => Ok(()),
        }
    }
}

/// Check 4: methods are case-sensitive (RFC 9110, 9.1).
fn check_method(method: &[u8]) -> Result<(), Denial> {
    if method == b"POST" { Ok(()) } else { Err(Denial::MethodNotAllowed) }
}

#[cfg(test)]
mod tests {
    use super::super::auth::{AuthRules, ClientConfig, Clients, TokenHash, WrongToken};
    use super::super::{Limits, origin, paths};
    use super::*;
    use crate::http1::{FieldSpans, KnownField, request};

    fn clients() -> Clients {
        let client = |name: &str, token: &str, not_after| ClientConfig {
            not_after,
            ..ClientConfig::new(name, vec![TokenHash::of(token.as_bytes())])
        };
        Clients::new(vec![client("bot", "good", None), client("old", "expired", Some(100))]).unwrap()
    }

    fn policy(clients: Clients, wrong_token: WrongToken) -> Policy {
        let prefixes = ["/swf-monitor/mcp", "/mcp", "/"].map(|prefix| paths::Prefix::parse(prefix).unwrap());
        Policy::new(
            &paths::PathRules { prefixes: prefixes.to_vec() },
            origin::OriginRules::default(),
            AuthRules { wrong_token },
            Limits::SMALL,
            clients,
        )
    }

    #[track_caller]
    fn check_with(policy: &Policy, line: &str, fields: &str, expect: Result<Option<Local>, Denial>) {
        let head = format!("{line} HTTP/1.1\r\n{fields}\r\n");
        let mut spans = FieldSpans::default();
        let head = request::parse(head.as_bytes(), &mut spans, &Limits::SMALL.head).unwrap();
        let verdict = match policy.decide(&head, Presented::default(), 100) {
            Verdict::Answer(local) => Ok(Some(local)),
            Verdict::Deny(denial) => Err(denial),
            Verdict::Forward(permit) | Verdict::Session(_, permit) => {
                assert_eq!(policy.clients().name(permit.client()), "bot");
                Ok(None)
            }
        };
        assert_eq!(verdict, expect, "{line} {fields}");
    }

    #[track_caller]
    fn check(line: &str, fields: &str, expect: Result<Option<Local>, Denial>) {
        check_with(&policy(clients(), WrongToken::Forbidden), line, fields, expect);
    }

    const INVALID: Denial = Denial::TokenInvalid(WrongToken::Forbidden);
    const GOOD: &str = "Host: localhost\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\nContent-Length: 40\r\n";

    #[test]
    fn a_good_call_passes_at_every_spelling_of_the_endpoint() {
        for path in ["/swf-monitor/mcp", "/swf-monitor/mcp/", "/mcp", "/mcp/?a=b", "/", "http://localhost"] {
            check(&format!("POST {path}"), GOOD, Ok(None));
        }
    }

    // "Every request is judged in this order; the order is a security property". A request that is wrong in every way
    // meets the checks one by one as its faults are mended.
    #[test]
    fn faults_are_named_in_the_order_of_the_contract() {
        let type_twice = "Content-Type: a\r\nContent-Type: a\r\n";
        let type_once = "Content-Type: application/json\r\n";
        let big = "Content-Length: 8001\r\n";
        for (line, fields, expect) in [
            (
                "GET /mcp/health",
                format!("Host: evil\r\nOrigin: null\r\n{type_twice}{big}"),
                Ok(Some(Local::Health)),
            ),
            (
                "GET /ready",
                format!("Host: evil\r\nOrigin: null\r\n{type_twice}{big}"),
                Ok(Some(Local::Ready)),
            ),
            (
                "GET /x/.well-known/y",
                format!("Host: evil\r\nOrigin: null\r\n{big}"),
                Err(Denial::OauthMetadata),
            ),
            ("POST /register", format!("Host: evil\r\nOrigin: null\r\n{big}"), Err(Denial::OauthRegister)),
            (
                "GET /x",
                format!("Host: evil\r\nOrigin: null\r\n{type_twice}{big}"),
                Err(Denial::MethodNotAllowed),
            ),
            (
                "POST /x",
                format!("Host: evil\r\nOrigin: null\r\n{type_twice}{big}"),
                Err(Denial::OriginNotAllowed),
            ),
            ("POST /x", format!("Host: evil\r\n{type_twice}{big}"), Err(Denial::HostNotAllowed)),
            ("POST /x", format!("Host: localhost\r\n{type_twice}{big}"), Err(Denial::AuthorizationMissing)),
            (
                "POST /x",
                format!("Host: localhost\r\nAuthorization: Bearer no\r\n{type_twice}{big}"),
                Err(INVALID),
            ),
            (
                "POST /x",
                format!("Host: localhost\r\nAuthorization: Bearer good\r\n{type_twice}{big}"),
                Err(Denial::PathNotFound),
            ),
            (
                "POST /",
                format!("Host: localhost\r\nAuthorization: Bearer good\r\n{type_twice}{big}"),
                Err(Denial::RepeatedField(KnownField::ContentType)),
            ),
            (
                "POST /",
                format!("Host: localhost\r\nAuthorization: Bearer good\r\n{big}"),
                Err(Denial::ContentType),
            ),
            (
                "POST /",
                format!("Host: localhost\r\nAuthorization: Bearer good\r\n{type_once}{big}"),
                Err(Denial::BodyTooLarge),
            ),
            ("POST /", format!("Host: localhost\r\nAuthorization: Bearer good\r\n{type_once}"), Ok(None)),
        ] {
            check(line, &fields, expect);
        }
    }

    // Check 4a: "answered before 4 ... Others: 405 as in 4".
    #[test]
    fn a_preflight_of_an_allowed_origin_comes_before_the_method_check() {
        let asks = "Access-Control-Request-Method: POST\r\n";
        let preflight = Ok(Some(Local::Preflight));
        for (line, fields, expect) in [
            ("OPTIONS /mcp", format!("Host: evil\r\nOrigin: http://localhost:6274\r\n{asks}"), preflight),
            ("OPTIONS /x", format!("Host: a\r\nOrigin: http://[::1]\r\n{asks}"), preflight),
            ("OPTIONS /mcp/register", format!("Host: a\r\nOrigin: http://localhost\r\n{asks}"), preflight),
            ("OPTIONS /mcp", format!("Host: a\r\nOrigin: null\r\n{asks}"), Err(Denial::MethodNotAllowed)),
            (
                "OPTIONS /mcp",
                format!("Host: a\r\nOrigin: https://evil.test\r\n{asks}"),
                Err(Denial::MethodNotAllowed),
            ),
            ("OPTIONS /mcp", format!("Host: a\r\n{asks}"), Err(Denial::MethodNotAllowed)),
            (
                "OPTIONS /mcp",
                "Host: a\r\nOrigin: http://localhost\r\n".to_owned(),
                Err(Denial::MethodNotAllowed),
            ),
            (
                "OPTIONS /mcp",
                "Host: a\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: DELETE\r\n".to_owned(),
                Err(Denial::MethodNotAllowed),
            ),
            (
                "OPTIONS /health",
                format!("Host: a\r\nOrigin: http://localhost\r\n{asks}"),
                Ok(Some(Local::Health)),
            ),
            (
                "OPTIONS /.well-known/x",
                format!("Host: a\r\nOrigin: http://localhost\r\n{asks}"),
                Err(Denial::OauthMetadata),
            ),
        ] {
            check(line, &fields, expect);
        }
    }

    // The exception to check 4 where a slot has `sessions`: the order of the others stays.
    #[test]
    fn session_requests_pass_every_check_but_the_one_of_the_method() {
        let open = || policy(clients(), WrongToken::Forbidden).with_sessions(Sessions::Passed);
        let refused = Err(Denial::MethodNotAllowed);
        for (method, asks) in [("GET", "Accept: text/event-stream\r\n"), ("DELETE", "Mcp-Session-Id: s\r\n")]
        {
            let auth = "Host: localhost\r\nAuthorization: Bearer good\r\n";
            for (line, fields, expect) in [
                ("/mcp", format!("Host: localhost\r\nOrigin: null\r\n{asks}"), Err(Denial::OriginNotAllowed)),
                ("/mcp", format!("Host: evil\r\n{asks}"), Err(Denial::HostNotAllowed)),
                ("/mcp", format!("Host: localhost\r\n{asks}"), Err(Denial::AuthorizationMissing)),
                ("/mcp", format!("Host: localhost\r\nAuthorization: Bearer no\r\n{asks}"), Err(INVALID)),
                (
                    "/mcp",
                    format!("{auth}{asks}Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\nContent-Length: 1\r\n"),
                    Err(Denial::RepeatedField(KnownField::McpSessionId)),
                ),
                ("/mcp", format!("{auth}{asks}Content-Length: 1\r\n"), Err(Denial::BodyTooLarge)),
                ("/mcp", format!("{auth}{asks}Transfer-Encoding: chunked\r\n"), Err(Denial::BodyTooLarge)),
                ("/mcp", format!("{auth}{asks}"), Ok(None)),
                ("/mcp/?q", format!("{auth}{asks}Content-Length: 0\r\n"), Ok(None)),
                ("/health", asks.to_owned(), Ok(Some(Local::Health))),
                ("/x", format!("{auth}{asks}"), refused),
                ("/mcp", auth.to_owned(), refused),
                ("/mcp", "Host: evil\r\nOrigin: null\r\n".to_owned(), refused),
            ] {
                let fields = if line == "/health" { format!("Host: a\r\n{fields}") } else { fields };
                check_with(&open(), &format!("{method} {line}"), &fields, expect);
                let closed = if line == "/health" { expect } else { refused };
                check(&format!("{method} {line}"), &fields, closed);
            }
            check_with(&open(), "PUT /mcp", &format!("{auth}{asks}"), refused);
            check_with(&open(), "HEAD /mcp", &format!("{auth}{asks}"), refused);
        }
        check_with(&open(), "POST /mcp", GOOD, Ok(None));
    }

    // "any method, no auth"
    #[test]
    fn health_takes_any_method_and_readiness_only_reads() {
        for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
            check(&format!("{method} /health"), "Host: evil\r\n", Ok(Some(Local::Health)));
        }
        check("HEAD /ready", "Host: evil\r\n", Ok(Some(Local::Ready)));
        check("POST /ready", GOOD, Err(Denial::PathNotFound));
        check("DELETE /ready", GOOD, Err(Denial::MethodNotAllowed));
        check("GET /health/", GOOD, Err(Denial::MethodNotAllowed));
        check("POST /health/../admin", GOOD, Err(Denial::PathNotFound));
    }

    // What HAProxy, Nagios, AWS and Kubernetes send by default, and old ones that name no host.
    #[test]
    fn a_probe_needs_no_host_and_nothing_else_goes_without() {
        for (line, expect) in [
            ("OPTIONS /health", true),
            ("HEAD /mcp/health?x", true),
            ("GET /ready", true),
            ("HEAD /ready?verbose", true),
            ("POST /ready", false),
            ("GET /", false),
            ("POST /mcp", false),
            ("GET /health/", false),
            ("GET /.well-known/x", false),
        ] {
            let head = format!("{line} HTTP/1.0\r\n\r\n");
            let mut spans = FieldSpans::default();
            let head = request::parse(head.as_bytes(), &mut spans, &Limits::SMALL.head).unwrap();
            assert_eq!(policy(clients(), WrongToken::Forbidden).is_probe(&head), expect, "{line}");
        }
        check("POST /mcp", &GOOD.replace("Host: localhost", "Host:"), Err(Denial::HostNotAllowed));
    }

    #[test]
    fn only_a_post_registers() {
        check("POST /mcp/register", "Host: evil\r\n", Err(Denial::OauthRegister));
        check("GET /register", "Host: evil\r\n", Err(Denial::MethodNotAllowed));
        check("POST /x/register", GOOD, Err(Denial::PathNotFound));
        check("DELETE /.well-known/x", "Host: evil\r\n", Err(Denial::OauthMetadata));
    }

    // RFC 9110, 9.1: "The method token is case-sensitive".
    #[test]
    fn every_method_but_post_is_refused_before_auth() {
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "post", "POSTX", "PATCH"] {
            check(&format!("{method} /mcp"), "Host: localhost\r\n", Err(Denial::MethodNotAllowed));
        }
    }

    // "`Authorization` present with scheme `Bearer` (scheme case-insensitive)", "token matches (constant time, over bytes)"
    #[test]
    fn credentials_are_the_bearer_token_and_nothing_else() {
        let with = |value: &str| GOOD.replace("Bearer good", value);
        for value in ["bearer good", "BEARER good", "Bearer   good", "Bearer good \t"] {
            check("POST /mcp", &with(value), Ok(None));
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "good",
            "Bearergood",
            "Basic Z29vZA==",
            "Bearer\tgood",
            "Bearer, Bearer good",
            "Digest good",
        ] {
            check("POST /mcp", &with(value), Err(Denial::AuthorizationMissing));
        }
        for value in [
            "Bearer goo",
            "Bearer goodx",
            "Bearer good,",
            "Bearer good x",
            "Bearer \"good\"",
            "Bearer GOOD",
            "Bearer %67ood",
            "Bearer null",
        ] {
            check("POST /mcp", &with(value), Err(INVALID));
        }
        check("POST /mcp", &with("Bearer expired"), Err(Denial::TokenExpired(WrongToken::Forbidden)));
        let twice = with("Bearer good\r\nAuthorization: Bearer good");
        check("POST /mcp", &twice, Err(Denial::RepeatedField(KnownField::Authorization)));
    }

    // "a token in a query string is never accepted"
    #[test]
    fn a_token_elsewhere_is_no_token() {
        let bare = "Host: localhost\r\nContent-Type: application/json\r\n";
        check("POST /mcp?access_token=good", bare, Err(Denial::AuthorizationMissing));
        for name in ["Proxy-Authorization", "X-Original-Authorization", "HTTP_AUTHORIZATION", "X-Api-Key"] {
            let fields = format!("{bare}{name}: Bearer good\r\n");
            check("POST /mcp", &fields, Err(Denial::AuthorizationMissing));
        }
    }

    // "There is no switch that disables auth"; without tokens a request with credentials meets 503, one without 401.
    #[test]
    fn without_tokens_no_client_enters() {
        let policy = policy(Clients::default(), WrongToken::Challenge);
        check_with(&policy, "POST /mcp", GOOD, Err(Denial::TokensNotConfigured));
        check_with(&policy, "POST /mcp", "Host: localhost\r\n", Err(Denial::AuthorizationMissing));
        check_with(&policy, "GET /health", "Host: localhost\r\n", Ok(Some(Local::Health)));
    }

    #[test]
    fn the_status_of_a_wrong_token_is_chosen_by_configuration() {
        let policy = policy(clients(), WrongToken::Challenge);
        let fields = GOOD.replace("good", "bad");
        check_with(&policy, "POST /mcp", &fields, Err(Denial::TokenInvalid(WrongToken::Challenge)));
    }

    #[test]
    fn a_body_of_the_largest_size_passes() {
        check("POST /mcp", &GOOD.replace(": 40", ": 1000"), Ok(None));
        // Beyond the limit it is read for the id that its refusal carries.
        check("POST /mcp", &GOOD.replace(": 40", ": 8000"), Ok(None));
        check("POST /mcp", &GOOD.replace(": 40", ": 8001"), Err(Denial::BodyTooLarge));
        check("POST /mcp", &GOOD.replace("Content-Length: 40", "Transfer-Encoding: chunked"), Ok(None));
        check("POST /mcp", &GOOD.replace(": 40", ": 18446744073709551615"), Err(Denial::BodyTooLarge));
    }
}
