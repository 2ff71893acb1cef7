//! What a token is, by the configuration.

use crate::policy::Denial;

/// What the token is.
pub(super) enum Found {
    /// Of a client of the configuration; when it ends, in seconds since the epoch.
    Token { client: String, fingerprint: String, not_after: Option<u64> },
    /// Of an issuer; when it ends, and how long it holds from now on in seconds.
    #[cfg(feature = "oauth")]
    Signed { client: String, subject: String, expires: u64, left: u64 },
    /// Nothing here; `why` is what the log would say, and `says` are the claims that are not believed.
    Refused { denial: Denial, why: Option<&'static str>, says: Vec<(&'static str, String)> },
}
