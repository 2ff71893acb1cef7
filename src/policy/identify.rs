//! Checks 6 to 8: who calls, by a token of the configuration, else by a certificate, else by a token of an issuer.
//!
//! Must not know what may be done by whom.

use super::auth::TokenHash;
use super::identity::{Credential, Identity, Presented};
use super::order::{Observer, OrderCheck};
use super::{ClientId, CredentialFields, Denial, Policy, auth};
use crate::http1::Fields;

impl Policy {
    /// Checks 6 to 8. The refusal of a client that is off is that of an unknown token.
    pub(super) fn identify(
        &self,
        fields: &Fields<'_>,
        presented: Presented<'_>,
        now: u64,
        seen: impl Observer,
    ) -> Result<Identity, Denial> {
        seen.at(OrderCheck::Credential);
        let identity = match self.credential(fields) {
            Ok(token) => self.identify_by_token(token, presented, now, seen)?,
            Err(missing @ Denial::AuthorizationMissing) => {
                self.identify_by_certificate(presented, now)?.ok_or(missing)?
            }
            Err(denial) => return Err(denial),
        };
        seen.identified(&identity);
        seen.at(OrderCheck::ClientOff);
        self.check_client_off(identity.client())?;
        Ok(identity)
    }

    /// The end of check 8: a client that is switched off has no valid credential.
    pub(super) fn check_client_off(&self, client: ClientId) -> Result<(), Denial> {
        if self.off.has_client(client) { Err(Denial::TokenInvalid(self.auth.wrong_token)) } else { Ok(()) }
    }

    fn identify_by_token(
        &self,
        token: &[u8],
        presented: Presented<'_>,
        now: u64,
        seen: impl Observer,
    ) -> Result<Identity, Denial> {
        let hash = TokenHash::of(token);
        match self.clients.authenticate(&hash, now, self.auth) {
            Ok((client, place)) => Ok(Identity::new(client, Credential::Token(place), None)),
            Err(unknown @ (Denial::TokenInvalid(_) | Denial::TokensNotConfigured)) => {
                match (self.identify_by_certificate(presented, now)?, &self.verifier) {
                    (Some(identity), _) => Ok(identity),
                    (None, Some(verifier)) => {
                        let (client, subject) = seen.verify(verifier.as_ref(), token, &hash, now)?;
                        Ok(Identity::new(client, Credential::SignedToken, Some(subject)))
                    }
                    (None, None) => Err(unknown),
                }
            }
            Err(denial) => Err(denial),
        }
    }

    /// Check 6.
    fn credential<'b>(&self, fields: &Fields<'b>) -> Result<&'b [u8], Denial> {
        if self.credentials == CredentialFields::AuthorizationOrApiKey
            && let Some(key) = auth::api_key(fields)?
        {
            return Ok(key);
        }
        auth::bearer(fields)
    }

    fn identify_by_certificate(
        &self,
        presented: Presented<'_>,
        now: u64,
    ) -> Result<Option<Identity>, Denial> {
        let Some(shown) = presented.certificate else { return Ok(None) };
        let client = self.clients.certified(shown, now, self.auth)?;
        Ok(client.map(|client| Identity::new(client, Credential::Certificate, None)))
    }
}
