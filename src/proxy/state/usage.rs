//! What a client, a tool or a subject has used of its quota.

use std::sync::Arc;

use crate::policy::rate::RateLimiter;
use crate::policy::shared_rates::Messages;
use crate::proxy::fairness::semaphore::{Bounds, FairSemaphore};
use crate::wire::Kind;

/// The meter of a rate, and the permits of a concurrency. Copies share them.
#[derive(Clone)]
pub(crate) struct Usage {
    pub(crate) meter: Arc<RateLimiter>,
    pub(crate) semaphore: Arc<FairSemaphore>,
}

/// The usage of requests, and of what is none.
#[derive(Clone)]
pub(crate) struct Usages {
    requests: Usage,
    /// Notifications and posted responses: as many as requests, and apart from them. A client that has used up its rate can
    /// still cancel each of its calls, and one that cancels them all can still call.
    others: Usage,
}

impl Usages {
    /// Nothing is used of it; `limiter` makes the meters.
    pub(crate) fn new(bounds: Bounds, limiter: impl Fn(Messages) -> RateLimiter) -> Usages {
        let unused = |messages| Usage {
            meter: Arc::new(limiter(messages)),
            semaphore: Arc::new(FairSemaphore::new(bounds)),
        };
        Usages { requests: unused(Messages::Requests), others: unused(Messages::Others) }
    }

    /// Sets how many permits there are.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        self.requests.semaphore.set_bounds(bounds);
        self.others.semaphore.set_bounds(bounds);
    }

    pub(crate) fn of(&self, kind: Kind) -> &Usage {
        match kind {
            Kind::Request => &self.requests,
            Kind::Notification | Kind::Response => &self.others,
        }
    }
}
