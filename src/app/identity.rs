//! The keys of issuers, in a program that can verify tokens; nothing in one that cannot.

use std::sync::Arc;
#[cfg(feature = "oauth")]
use std::time::Duration;

use crate::config::Config;
#[cfg(feature = "oauth")]
use crate::identity::Issuers;
use crate::policy::identity::TokenVerifier;

/// How long a configuration waits for the first keys of its issuers; then their tokens are refused until the keys are there.
#[cfg(feature = "oauth")]
const FIRST_KEYS: Duration = Duration::from_secs(3);

/// What verifies the tokens of issuers. Copies share it.
#[derive(Clone, Default)]
pub(super) struct Identity {
    #[cfg(feature = "oauth")]
    issuers: Issuers,
}

impl Identity {
    /// What verifies tokens by this configuration.
    #[cfg(feature = "oauth")]
    pub(super) fn configure(&self, config: &Config) -> Option<Arc<dyn TokenVerifier>> {
        self.issuers.configure(config.oauth.as_deref(), config.listen.state.as_deref())
    }

    /// The same before anything is served, with the keys of those issuers that answer soon.
    pub(super) fn start(&self, config: &Config) -> Option<Arc<dyn TokenVerifier>> {
        let verifier = self.configure(config);
        self.wait_for_keys();
        verifier
    }

    /// What verifies tokens by the keys of files and by those that are saved; nothing is fetched.
    #[cfg(feature = "oauth")]
    pub(super) fn without_fetching(config: &Config) -> Option<Arc<dyn TokenVerifier>> {
        let folder = config.listen.state.as_deref();
        Some(crate::identity::without_fetching(config.oauth.as_deref()?, folder))
    }

    #[cfg(not(feature = "oauth"))]
    pub(super) fn without_fetching(_config: &Config) -> Option<Arc<dyn TokenVerifier>> {
        None
    }

    /// Waits a moment for the keys of issuers that are new, so it must not be called on a thread that serves.
    pub(super) fn wait_for_keys(&self) {
        #[cfg(feature = "oauth")]
        self.issuers.wait_for_keys(FIRST_KEYS);
    }

    #[cfg(not(feature = "oauth"))]
    pub(super) fn configure(&self, _config: &Config) -> Option<Arc<dyn TokenVerifier>> {
        None
    }
}
