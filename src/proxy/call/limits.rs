//! What clients and tools have used of what they may ask for: rates, calls at a time, and when a token was last seen.
//!
//! The accounts outlive a reload: a client that keeps its name, and a rule that keeps its pattern, keep what they have used.
//! Must not know slots: places in flight there come after these.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::policy::auth::TokenHash;
use crate::policy::rate::RateLimiter;
use crate::policy::{Call, Clients, Denial, Limits, Permit, Quota, ToolRules};
use crate::proxy::backend::slot::left;
use crate::proxy::call::dispatch::Why;
use crate::proxy::downstream::stream::Downstream;
use crate::proxy::fairness::semaphore::{Bounds, Key, NoPlace, Place, Places, Standing};
use crate::telemetry::metrics::Limit;
use crate::wire::Kind;

/// Every account of one configuration.
pub(crate) struct Quotas {
    /// In the order of the clients; only those with a quota have an account.
    clients: Vec<Option<Account>>,
    /// In the order of the rules.
    tools: Vec<Account>,
    /// In the order of the tokens: seconds since the epoch, 0 for never.
    used: Vec<AtomicU64>,
}

/// What the accounts are for.
#[derive(Clone, Copy)]
pub(crate) struct Holders<'c> {
    pub(crate) clients: &'c Clients,
    pub(crate) rules: &'c ToolRules,
}

/// One holder's quota, and what was used of it.
#[derive(Clone)]
struct Account {
    quota: Quota,
    requests: Usage,
    /// Notifications and posted responses: as many as requests, and apart from them. A client that has used up its rate can
    /// still cancel each of its calls, and one that cancels them all can still call.
    others: Usage,
}

/// What was used of a quota.
#[derive(Clone)]
struct Usage {
    meter: Arc<RateLimiter>,
    gate: Arc<Places>,
}

/// A call's leave to go on; its places are given back when it is dropped.
pub(crate) struct Pass<'q> {
    _client: Option<Place<'q>>,
    _tool: Option<Place<'q>>,
}

/// Why a call may not go on.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Why,
    /// Which limit it ran into; none if the client left or the call's time was up.
    pub(crate) limit: Option<Limit>,
    pub(crate) retry_after: Option<Duration>,
}

/// When a call is judged.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// The beginning of the meters' time.
    pub(crate) started: Instant,
    /// How long the call may wait for its turn.
    pub(crate) patience: Duration,
    /// Whose turn it is.
    pub(crate) who: Key,
}

impl Moment {
    /// Nanoseconds on a clock that only goes forward. Asked for only where a quota stands.
    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Quotas {
    /// Opens the accounts; those that `previous` had for the same holders go on.
    pub(crate) fn new(
        holders: Holders<'_>,
        limits: &Limits,
        previous: Option<(&Quotas, Holders<'_>)>,
    ) -> Quotas {
        let mut by_client: HashMap<&str, &Account> = HashMap::new();
        let mut by_pattern: HashMap<&str, &Account> = HashMap::new();
        let mut by_token: HashMap<TokenHash, u64> = HashMap::new();
        if let Some((quotas, old)) = previous {
            let names = old.clients.iter().map(|client| client.name.as_str());
            by_client.extend(
                names.zip(&quotas.clients).filter_map(|(name, account)| Some((name, account.as_ref()?))),
            );
            by_pattern.extend(old.rules.iter().map(|rule| rule.pattern.as_str()).zip(&quotas.tools));
            let used = quotas.used.iter().map(|used| used.load(Ordering::Relaxed));
            by_token
                .extend(old.clients.tokens().map(|(hash, _)| *hash).zip(used).filter(|(_, used)| *used > 0));
        }
        let shares = if holders.clients.len() > 1 { Bounds::shared } else { Bounds::of_one };
        let client = |client: &crate::policy::auth::ClientConfig| {
            let old = by_client.get(client.name.as_str()).copied();
            client.quota.is_bounded().then(|| Account::open(client.quota, limits, Bounds::of_one, old))
        };
        let tool = |rule: &crate::policy::quota::ToolRule| {
            let old = by_pattern.get(rule.pattern.as_str()).copied();
            Account::open(rule.quota, limits, shares, old)
        };
        let used = |hash: &TokenHash| AtomicU64::new(by_token.get(hash).copied().unwrap_or_default());
        Quotas {
            clients: holders.clients.iter().map(client).collect(),
            tools: holders.rules.iter().map(tool).collect(),
            used: holders.clients.tokens().map(|(hash, _)| used(hash)).collect(),
        }
    }

    /// A valid token was seen at `now`, in seconds since the epoch.
    pub(crate) fn saw(&self, permit: &Permit, now: u64) {
        if let Some(used) = self.used.get(permit.token())
            && used.load(Ordering::Relaxed) != now
        {
            used.store(now, Ordering::Relaxed);
        }
    }

    /// When the token at this place was last seen.
    pub(crate) fn last_used(&self, token: usize) -> Option<u64> {
        let used = self.used.get(token)?.load(Ordering::Relaxed);
        (used > 0).then_some(used)
    }

    /// Lets a call on, at once or when its turn comes, or says which limit stands against it.
    pub(crate) async fn admit<'q>(
        &'q self,
        rules: &ToolRules,
        call: &Call<'_>,
        at: Moment,
        client: &mut Downstream,
    ) -> Result<Pass<'q>, Refused> {
        let own = self.clients.get(call.client().index()).and_then(Option::as_ref);
        let tool = call.tool().and_then(|tool| rules.find(tool)).and_then(|(place, _)| self.tools.get(place));
        let mut pass = Pass { _client: None, _tool: None };
        if own.is_none() && tool.is_none() {
            return Ok(pass);
        }
        let now_ns = at.now_ns();
        let kind = call.kind();
        if let Some(own) = own {
            own.meet(kind, now_ns).map_err(|wait| Refused::by_rate(Limit::ClientRate, wait))?;
        }
        if let Some(tool) = tool {
            tool.meet(kind, now_ns).map_err(|wait| {
                // A call that is not made counts nowhere.
                own.inspect(|own| own.give_back(kind));
                Refused::by_rate(Limit::ToolRate, wait)
            })?;
        }
        let turn = (at.who, Instant::now() + at.patience);
        let entered = async {
            if let Some(own) = own {
                pass._client = own.enter(kind, turn, Limit::ClientConcurrency, client).await?;
            }
            if let Some(tool) = tool {
                pass._tool = tool.enter(kind, turn, Limit::ToolConcurrency, client).await?;
            }
            Ok(pass)
        };
        entered
            .await
            .inspect_err(|_refused| own.into_iter().chain(tool).for_each(|used| used.give_back(kind)))
    }
}

impl Refused {
    fn by_rate(limit: Limit, wait: Duration) -> Refused {
        let why = Why::Refused(Denial::RateLimited);
        Refused { why, limit: Some(limit), retry_after: Some(wait) }
    }
}

impl Account {
    fn open(
        quota: Quota,
        limits: &Limits,
        shares: impl Fn(usize, usize) -> Bounds,
        old: Option<&Account>,
    ) -> Account {
        let places = quota.concurrency.map_or(usize::MAX, |places| places.get() as usize);
        let bounds = shares(places, limits.waiting_max);
        let usage = |old: Option<&Usage>| {
            let Some(old) = old.cloned() else {
                return Usage { meter: Arc::default(), gate: Arc::new(Places::new(bounds)) };
            };
            old.gate.set_bounds(bounds);
            old
        };
        let (requests, others) = old.map(|old| (&old.requests, &old.others)).unzip();
        Account { quota, requests: usage(requests), others: usage(others) }
    }

    fn usage(&self, kind: Kind) -> &Usage {
        match kind {
            Kind::Request => &self.requests,
            Kind::Notification | Kind::Response => &self.others,
        }
    }

    fn meet(&self, kind: Kind, now_ns: u64) -> Result<(), Duration> {
        let meter = &self.usage(kind).meter;
        self.quota.rate.as_ref().map_or(Ok(()), |rate| meter.admit(rate, now_ns))
    }

    fn give_back(&self, kind: Kind) {
        if let Some(rate) = &self.quota.rate {
            self.usage(kind).meter.refund(rate);
        }
    }

    async fn enter(
        &self,
        kind: Kind,
        (who, until): (Key, Instant),
        limit: Limit,
        client: &mut Downstream,
    ) -> Result<Option<Place<'_>>, Refused> {
        if self.quota.concurrency.is_none() {
            return Ok(None);
        }
        let gate = &self.usage(kind).gate;
        match client.until(gate.enter(who, Standing::New, left(until))).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(NoPlace::LineFull | NoPlace::WaitedTooLong)) => Err(Refused {
                why: Why::Refused(Denial::ConcurrencyLimited),
                limit: Some(limit),
                retry_after: gate.expected_wait(),
            }),
            Err(interrupt) => Err(Refused { why: interrupt.into(), limit: None, retry_after: None }),
        }
    }
}
