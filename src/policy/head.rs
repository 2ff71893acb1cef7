//! Checks 1 to 11 on the request head, in order.
//!
//! The order is a security property: it stands here once, in straight lines. What each check means is in its own file.

use super::{Denial, Local, Permit, Policy, Verdict, auth, headers, origin, paths, paths::Place};
use crate::http1::{BodyLength, RequestHead};

impl Policy {
    /// Checks 1 to 10 of the decision order, and the declared body length. `now` is seconds since the epoch.
    ///
    /// Allocates nothing.
    pub fn decide(&self, head: &RequestHead<'_>, now: u64) -> Verdict {
        self.judge(head, now).unwrap_or_else(Verdict::Deny)
    }

    fn judge(&self, head: &RequestHead<'_>, now: u64) -> Result<Verdict, Denial> {
        let place = self.paths.locate(head.path);
        if place == Place::Health {
            return Ok(Verdict::Answer(Local::Health));
        }
        if place == Place::Ready && matches!(head.method, b"GET" | b"HEAD") {
            return Ok(Verdict::Answer(Local::Ready));
        }
        paths::check_oauth_probe(place, head.method)?;
        check_method(head.method)?;
        origin::check(&self.origin, head)?;
        let token = auth::bearer(&head.fields)?;
        let client = self.clients.authenticate(token, now, self.auth)?;
        paths::check_endpoint(place)?;
        headers::check(&head.fields)?;
        self.check_declared_length(head.body)?;
        Ok(Verdict::Forward(Permit::new(client)))
    }

    /// Check 11, as far as the head tells: a body that is too large is refused before it is read.
    fn check_declared_length(&self, body: BodyLength) -> Result<(), Denial> {
        match body {
            BodyLength::Bytes(bytes) if bytes > self.limits.body_bytes_max => Err(Denial::BodyTooLarge),
            BodyLength::Bytes(_) | BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => Ok(()),
        }
    }
}

/// Check 4: methods are case-sensitive (RFC 9110, 9.1).
fn check_method(method: &[u8]) -> Result<(), Denial> {
    if method == b"POST" { Ok(()) } else { Err(Denial::MethodNotAllowed) }
}
