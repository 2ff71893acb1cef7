//! The one table of refusals: it feeds replies, logs, metrics and `docs/denials.md`.

use crate::http1::FramingError;
use crate::wire::{ScanError, era::EraError};

/// Every way the guard says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    // Framing (section 3). The connection is closed.
    Framing(FramingError),
    HeaderTimeout,
    BodyTimeout,
    BodyTooLarge,
    // Front door (section 2).
    OauthMetadata,
    OauthRegister,
    MethodNotAllowed,
    OriginNotAllowed,
    HostNotAllowed,
    AuthorizationMissing,
    TokensNotConfigured,
    TokenInvalid,
    TokenExpired,
    PathNotFound,
    RepeatedField,
    ContentType,
    // Body.
    Scan(ScanError),
    Era(EraError),
    UnknownTool,
    // Admission and upstream (section 8).
    RateLimited,
    Overloaded,
    Draining,
    NoBackend,
    BackendRefused,
    BackendReset,
    BackendInvalid,
    BackendStatus,
    Deadline,
}

impl Denial {
    /// The stable code: metric label, log field and anchor in `docs/denials.md`.
    pub fn code(self) -> &'static str {
        todo!()
    }

    /// The HTTP status when it is not translated for survival.
    pub fn status(self) -> u16 {
        todo!()
    }

    /// What a stranger may read.
    pub fn message(self) -> &'static str {
        todo!()
    }

    /// The JSON-RPC error code of refusals that are JSON-RPC shaped.
    pub fn rpc_code(self) -> Option<i32> {
        todo!()
    }

    /// Every kind of refusal once (payloads by example): for docs, metrics and tests.
    pub fn all() -> impl Iterator<Item = Denial> {
        std::iter::empty()
    }
}
