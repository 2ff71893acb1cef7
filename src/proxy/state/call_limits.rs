//! Rate and concurrency limits of clients and tools, and what is used of them.
//!
//! The limiters outlive a reload: a client that keeps its name, and a rule that keeps its pattern, keep what they have used.
//! Must not know slots: their permits are acquired after these.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::policy::auth::ClientConfig;
use crate::policy::quota::ToolRule;
use crate::policy::shared_rates::{RateOf, SharedRates};
use crate::policy::{Call, ClientId, Clients, Denial, Limits, Quota, ToolRules};
use crate::proxy::backend::slot::remaining;
use crate::proxy::fairness::per_client::ClientKey;
use crate::proxy::fairness::semaphore::{AcquireError, Bounds, FairSemaphore, Priority, SemaphorePermit};
use crate::proxy::state::subjects::SubjectState;
use crate::proxy::state::usage::{Usage, Usages};
use crate::telemetry::metrics::Limit;
use crate::wire::Kind;

/// Every limiter of one configuration.
pub(crate) struct CallLimits {
    /// In the order of the clients; only those with a quota have a limiter.
    clients: Vec<Option<Limiter>>,
    /// In the order of the rules.
    tools: Vec<Limiter>,
}

/// What the limits are for.
#[derive(Clone, Copy)]
pub(crate) struct LimitSubjects<'c> {
    pub(crate) clients: &'c Clients,
    pub(crate) rules: &'c ToolRules,
}

/// The quota of one client or tool, and what is used of it.
#[derive(Clone)]
struct Limiter {
    quota: Quota,
    bounds: Bounds,
    usages: Usages,
}

/// A call's permits, released when it is dropped.
pub(crate) struct LimitGuard<'l> {
    _client: Option<SemaphorePermit<'l>>,
    _tool: Option<SemaphorePermit<'l>>,
}

/// The limit that stands against a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitExceeded {
    pub(crate) limit: Limit,
    pub(crate) retry_after: Option<Duration>,
}

impl LimitExceeded {
    pub(crate) fn denial(self) -> Denial {
        match self.limit {
            Limit::ClientRate | Limit::ToolRate => Denial::RateLimited,
            Limit::ClientConcurrency | Limit::ToolConcurrency => Denial::ConcurrencyLimited,
        }
    }
}

/// When a call is judged.
#[derive(Clone, Copy)]
pub(crate) struct LimitClock {
    /// The beginning of the meters' time.
    pub(crate) started: Instant,
    /// How long the call may wait for permits.
    pub(crate) timeout: Duration,
    /// The client, as the queues count it.
    pub(crate) client: ClientKey,
}

/// Who calls: the number under which it is counted, and for a subject of a grant what it has used.
#[derive(Clone, Copy)]
pub(crate) struct Who<'l> {
    pub(crate) key: ClientKey,
    pub(crate) subject: Option<&'l SubjectState>,
}

impl LimitClock {
    /// Nanoseconds on a clock that only goes forward. Read only where a quota stands.
    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One quota that holds for a call, and what is used of it.
pub(crate) struct QuotaView<'l> {
    pub(crate) of: QuotaOf<'l>,
    pub(crate) quota: Quota,
    /// A subject's usages have older ones until its next call.
    pub(crate) bounds: Bounds,
    pub(crate) usages: &'l Usages,
}

/// Whose quota it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuotaOf<'l> {
    Client,
    /// Of the tools of this pattern.
    Tools(&'l str),
}

impl CallLimits {
    /// The quotas that hold for a call of this client and tool, in the order in which they are charged.
    pub(crate) fn of<'l>(
        &'l self,
        rules: &'l ToolRules,
        client: ClientId,
        tool: Option<&str>,
    ) -> impl Iterator<Item = QuotaView<'l>> {
        let own = self.clients.get(client.index()).and_then(Option::as_ref);
        let rule = tool.and_then(|tool| rules.find(tool));
        let of_tool = rule.and_then(|(place, rule)| Some((rule.pattern.as_str(), self.tools.get(place)?)));
        let view = |of, limiter: &'l Limiter| QuotaView {
            of,
            quota: limiter.quota,
            bounds: limiter.bounds,
            usages: &limiter.usages,
        };
        let own = own.map(|limiter| view(QuotaOf::Client, limiter));
        own.into_iter().chain(of_tool.map(|(pattern, limiter)| view(QuotaOf::Tools(pattern), limiter)))
    }

    /// The limiters of these subjects; those that `previous` has for the same ones go on.
    pub(crate) fn new(
        subjects: LimitSubjects<'_>,
        limits: &Limits,
        shared: Option<&dyn SharedRates>,
        previous: Option<(&CallLimits, LimitSubjects<'_>)>,
    ) -> CallLimits {
        let mut by_client: HashMap<&str, &Limiter> = HashMap::new();
        let mut by_pattern: HashMap<&str, &Limiter> = HashMap::new();
        if let Some((limits, old)) = previous {
            let names = old.clients.iter().map(|client| client.name.as_str()).zip(&limits.clients);
            by_client.extend(names.filter_map(|(name, limiter)| Some((name, limiter.as_ref()?))));
            by_pattern.extend(old.rules.iter().map(|rule| rule.pattern.as_str()).zip(&limits.tools));
        }
        let shares = if subjects.clients.are_several() { Bounds::shared } else { Bounds::of_one };
        let client = |client: &ClientConfig| {
            let old = by_client.get(client.name.as_str()).copied();
            let bounds = bounds(client.quota, limits, Bounds::of_one);
            let unused =
                || Usages::new(bounds, |messages| RateOf::Client(&client.name, messages).limiter(shared));
            client.quota.is_bounded().then(|| Limiter::new(client.quota, bounds, old, unused))
        };
        let tool = |rule: &ToolRule| {
            let old = by_pattern.get(rule.pattern.as_str()).copied();
            let bounds = bounds(rule.quota, limits, shares);
            let pattern = rule.pattern.as_str();
            let unused = || Usages::new(bounds, |messages| RateOf::Tools(pattern, messages).limiter(shared));
            Limiter::new(rule.quota, bounds, old, unused)
        };
        CallLimits {
            clients: subjects.clients.iter().map(client).collect(),
            tools: subjects.rules.iter().map(tool).collect(),
        }
    }

    /// Admits a call, at once or when it gets its permits, or says which limit stands against it. A call that is not made,
    /// because a limit stands against it or the wait is dropped, is not charged.
    pub(crate) async fn admit<'l>(
        &'l self,
        rules: &ToolRules,
        call: &Call<'_>,
        subject: Option<&'l SubjectState>,
        at: LimitClock,
    ) -> Result<LimitGuard<'l>, LimitExceeded> {
        let client = self.clients.get(call.client().index()).and_then(Option::as_ref);
        let tool = call.tool().and_then(|tool| rules.find(tool)).and_then(|(place, _)| self.tools.get(place));
        let mut guard = LimitGuard { _client: None, _tool: None };
        if client.is_none() && tool.is_none() {
            return Ok(guard);
        }
        let (now_ns, kind) = (at.now_ns(), call.kind());
        let client = client.map(|client| client.charge_for(subject, kind, now_ns)).transpose()?;
        let tool = tool.map(|tool| tool.charge(&tool.usages, kind, now_ns, Limit::ToolRate)).transpose()?;
        let until = Instant::now() + at.timeout;
        if let Some(charge) = &client {
            guard._client = charge.acquire(at.client, until, Limit::ClientConcurrency).await?;
        }
        if let Some(charge) = &tool {
            guard._tool = charge.acquire(at.client, until, Limit::ToolConcurrency).await?;
        }
        client.into_iter().chain(tool).for_each(Charge::keep);
        Ok(guard)
    }
}

fn bounds(quota: Quota, limits: &Limits, shares: fn(usize, usize) -> Bounds) -> Bounds {
    let permits = quota.concurrency.map_or(usize::MAX, |permits| permits.get() as usize);
    shares(permits, limits.waiting_max)
}

impl Limiter {
    fn new(quota: Quota, bounds: Bounds, old: Option<&Limiter>, unused: impl FnOnce() -> Usages) -> Limiter {
        let usages = match old {
            Some(old) => {
                old.usages.set_bounds(bounds);
                old.usages.clone()
            }
            None => unused(),
        };
        Limiter { quota, bounds, usages }
    }

    /// Charges a client's message, of this kind, to its rate; a quota of a grant holds for each subject.
    fn charge_for<'l>(
        &'l self,
        subject: Option<&'l SubjectState>,
        kind: Kind,
        now_ns: u64,
    ) -> Result<Charge<'l>, LimitExceeded> {
        let usages = subject.map_or(&self.usages, |subject| &subject.usages);
        if subject.is_some() && self.quota.concurrency.is_some() {
            // The grant may have another bound since the subject was last seen.
            usages.set_bounds(self.bounds);
        }
        self.charge(usages, kind, now_ns, Limit::ClientRate)
    }

    /// Charges a message of this kind to the rate.
    fn charge<'l>(
        &'l self,
        usages: &'l Usages,
        kind: Kind,
        now_ns: u64,
        limit: Limit,
    ) -> Result<Charge<'l>, LimitExceeded> {
        let usage = usages.of(kind);
        match self.quota.rate.as_ref().map_or(Ok(()), |rate| usage.meter.admit(rate, now_ns)) {
            Ok(()) => Ok(Charge { quota: &self.quota, usage, at_ns: now_ns, kept: false }),
            Err(wait) => Err(LimitExceeded { limit, retry_after: Some(wait) }),
        }
    }
}

/// A charge to a rate, refunded when it is dropped and not kept.
struct Charge<'l> {
    quota: &'l Quota,
    usage: &'l Usage,
    /// When it was charged.
    at_ns: u64,
    kept: bool,
}

impl<'l> Charge<'l> {
    /// Acquires a permit, where the quota bounds them.
    async fn acquire(
        &self,
        client: ClientKey,
        until: Instant,
        limit: Limit,
    ) -> Result<Option<SemaphorePermit<'l>>, LimitExceeded> {
        if self.quota.concurrency.is_none() {
            return Ok(None);
        }
        let semaphore: &'l FairSemaphore = &self.usage.semaphore;
        let acquired = semaphore.acquire(client, Priority::Normal, remaining(until)).await;
        acquired.map(Some).map_err(|(AcquireError::QueueFull | AcquireError::Timeout)| LimitExceeded {
            limit,
            retry_after: semaphore.expected_wait(),
        })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if let (false, Some(rate)) = (self.kept, &self.quota.rate) {
            self.usage.meter.refund(rate, self.at_ns);
        }
    }
}
