//! The policy as the checks see it, and the verdict on a request head.

use std::sync::Arc;

use super::auth::Clients;
use super::denial::Denial;
use super::identity::{IssuerStatus, TokenVerifier};
use super::limits::Limits;
use super::oauth::resource::ProtectedResource;
use super::permit::Permit;
use super::session::SessionRequest;
use super::switched_off::SwitchedOff;
use super::{auth, origin, paths, tools};

/// Everything the checks need, immutable: a reload builds a new one.
#[derive(Debug)]
pub struct Policy {
    pub(super) paths: paths::Paths,
    pub(super) origin: origin::OriginRules,
    pub(super) auth: auth::AuthRules,
    pub(super) limits: Limits,
    pub(super) clients: Clients,
    pub(super) read_only: tools::ReadOnlyTools,
    pub(super) sessions: Sessions,
    pub(super) off: SwitchedOff,
    pub(super) credentials: CredentialFields,
    /// What clients are told of their authorization server, if they may come from one.
    pub(super) resource: Option<ProtectedResource>,
    pub(super) verifier: Option<Arc<dyn TokenVerifier>>,
}

/// The fields that may carry a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CredentialFields {
    /// `Authorization`
    #[default]
    Authorization,
    /// `Authorization` or `X-API-Key`
    AuthorizationOrApiKey,
}

/// Whether any slot takes the requests of a session that are no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// The endpoint takes POST only.
    Refused,
    /// `GET` and `DELETE` of a session pass to the slots that have `sessions`.
    Passed,
}

/// The local replies that refuse nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `200 {"status": "ok"}`
    Health,
    /// Readiness; the shell knows the state of the backends.
    Ready,
    /// A CORS preflight for a page of an allowed origin.
    Preflight,
    /// The protected-resource metadata.
    ResourceMetadata,
    /// A preflight for it.
    MetadataPreflight,
}

impl Local {
    /// The whole body of the response to a health check.
    pub const HEALTH_BODY: &'static str = r#"{"status": "ok"}"#;
}

/// The verdict on a request head.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A local reply.
    Answer(Local),
    /// The request is refused.
    Deny(Denial),
    /// The head passes; the body may be read.
    Forward(Permit),
    /// The head passes, and has no body: a request of a session.
    Session(SessionRequest, Permit),
}

impl Policy {
    /// Prepares the checks: what can be computed once is computed here.
    pub fn new(
        paths: &paths::PathRules,
        origin: origin::OriginRules,
        auth: auth::AuthRules,
        limits: Limits,
        clients: Clients,
    ) -> Policy {
        let read_only = tools::ReadOnlyTools::default();
        Policy {
            paths: paths::Paths::new(paths),
            origin,
            auth,
            limits,
            clients,
            read_only,
            sessions: Sessions::Refused,
            off: SwitchedOff::default(),
            credentials: CredentialFields::default(),
            resource: None,
            verifier: None,
        }
    }

    /// The same, with these tools known to change nothing.
    pub fn with_read_only_tools(self, read_only: tools::ReadOnlyTools) -> Policy {
        Policy { read_only, ..self }
    }

    /// The same, with requests of sessions passed or refused.
    pub fn with_sessions(self, sessions: Sessions) -> Policy {
        Policy { sessions, ..self }
    }

    /// The same, with these tools and clients refused.
    pub fn with_switched_off(self, off: SwitchedOff) -> Policy {
        Policy { off, ..self }
    }

    /// The same, which reads credentials from these fields.
    pub fn with_credentials(self, credentials: CredentialFields) -> Policy {
        Policy { credentials, ..self }
    }

    /// The same, which takes tokens of issuers as well, if any are configured. Every token that is not valid is then challenged, so that a client
    /// gets a new one.
    pub fn with_oauth(self, oauth: Option<(ProtectedResource, Arc<dyn TokenVerifier>)>) -> Policy {
        let Some((resource, verifier)) = oauth else { return self };
        let auth = auth::AuthRules { wrong_token: auth::WrongToken::Challenge };
        Policy { auth, resource: Some(resource), verifier: Some(verifier), ..self }
    }

    /// What is known of the keys of each issuer.
    pub fn issuers(&self) -> Vec<IssuerStatus> {
        self.verifier.as_ref().map(|verifier| verifier.issuers()).unwrap_or_default()
    }

    /// The fields that may carry a credential.
    pub fn credentials(&self) -> CredentialFields {
        self.credentials
    }

    /// The bounds this policy was built with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The first path of the endpoint.
    pub fn first_path(&self) -> &str {
        self.paths.first()
    }

    /// The clients this policy knows.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }
}
