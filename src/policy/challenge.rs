//! What a client of a protected resource is told besides the refusal: where its tokens come from.
//!
//! Without `[auth.oauth]` every reply stays as it is. Must not know tokens.

use std::borrow::Cow;

use super::reply::Reply;
use super::{Denial, Policy};

/// What a client reads that wants to register here, where another server is the one to ask.
const REGISTER: &str = r#"{"error":"access_denied","error_description":"This server registers no clients; register at its authorization server, which /.well-known/oauth-protected-resource names"}"#;

impl Policy {
    /// The reply with the challenge that leads a client to its authorization server, where one is configured.
    pub fn challenged(&self, denial: Denial, reply: Reply) -> Reply {
        if denial == Denial::OauthRegister && self.resource.is_some() {
            return Reply { body: Cow::Borrowed(REGISTER.as_bytes()), ..reply };
        }
        match self.resource.as_ref().and_then(|resource| resource.challenge(denial)) {
            Some(challenge) => {
                Reply { extra: Some(("WWW-Authenticate", Cow::Owned(challenge.to_owned()))), ..reply }
            }
            None => reply,
        }
    }

    /// The protected-resource metadata (RFC 9728).
    pub fn metadata_reply(&self) -> Reply {
        let document = self.resource.as_ref().map(|resource| resource.document().as_bytes().to_vec());
        Reply { status: 200, retry_after: None, extra: None, body: Cow::Owned(document.unwrap_or_default()) }
    }
}
