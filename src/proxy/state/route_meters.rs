//! The rate limiters of one route: one for each caller that the rate counts.
//!
//! The configuration bounds the names of callers. Addresses are whatever comes, so they have a bound of their own: those that owe
//! nothing any more are forgotten, and those beyond it share one limiter. Must not know who has an address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::rate::RateLimiter;

/// Addresses that a route counts on their own.
const ADDRESSES_MAX: usize = 10_000;
/// Between two searches for addresses that owe nothing: a search looks at all of them.
const FORGET_EVERY_NS: u64 = 1_000_000_000;

/// Whose requests a rate counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted<'c> {
    /// A caller by its name; without a name, everyone.
    Caller(&'c str),
    /// An address; of IPv6 the network, because one host has a whole one.
    Address(IpAddr),
}

/// The limiters.
#[derive(Default)]
pub(super) struct RouteMeters {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    callers: HashMap<String, Arc<RateLimiter>>,
    addresses: HashMap<IpAddr, Arc<RateLimiter>>,
    /// For addresses beyond the bound.
    others: Arc<RateLimiter>,
    forgot_ns: u64,
}

impl RouteMeters {
    /// The limiter that counts a request at `now_ns`; `unused` makes that of a caller.
    pub(super) fn of(
        &self,
        counted: Counted<'_>,
        now_ns: u64,
        unused: impl FnOnce() -> RateLimiter,
    ) -> Arc<RateLimiter> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match counted {
            Counted::Caller(name) => match inner.callers.get(name) {
                Some(meter) => meter.clone(),
                None => inner.callers.entry(name.to_owned()).or_insert_with(|| Arc::new(unused())).clone(),
            },
            Counted::Address(address) => inner.of_address(network(address), now_ns),
        }
    }
}

impl Inner {
    fn of_address(&mut self, address: IpAddr, now_ns: u64) -> Arc<RateLimiter> {
        if let Some(meter) = self.addresses.get(&address) {
            return meter.clone();
        }
        if self.addresses.len() >= ADDRESSES_MAX && now_ns >= self.forgot_ns + FORGET_EVERY_NS {
            self.forgot_ns = now_ns;
            self.addresses.retain(|_, meter| !meter.is_unused(now_ns));
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            return self.others.clone();
        }
        self.addresses.entry(address).or_default().clone()
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [one, two, three, four, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(one, two, three, four, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::policy::rate::Rate;

    const SECOND: u64 = 1_000_000_000;

    fn once_a_minute() -> Rate {
        Rate::new(NonZeroU32::MIN, Duration::from_secs(60), NonZeroU32::MIN).unwrap()
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn addresses_beyond_the_bound_share_one_rate_until_others_owe_nothing() {
        let (meters, rate) = (RouteMeters::default(), once_a_minute());
        let admits = |number: u32, now_ns: u64| {
            let counted = Counted::Address(address(number));
            meters.of(counted, now_ns, RateLimiter::default).admit(&rate, now_ns).is_ok()
        };
        let bound = u32::try_from(ADDRESSES_MAX).unwrap();
        assert!((0..bound).all(|number| admits(number, SECOND)));
        assert!(!(0..bound).any(|number| admits(number, 2 * SECOND)), "each has a rate of its own");
        assert!(admits(bound, 3 * SECOND), "the first one beyond the bound");
        assert!(!admits(bound + 1, 3 * SECOND), "the second one shares its rate");
        assert_eq!(meters.inner.lock().unwrap().addresses.len(), ADDRESSES_MAX);
        // After a minute none owes anything, and all but the new one are forgotten.
        assert!(admits(bound + 2, 62 * SECOND));
        assert_eq!(meters.inner.lock().unwrap().addresses.len(), 1);
        assert!(!admits(bound + 2, 63 * SECOND));
    }

    #[test]
    fn of_ipv6_a_network_is_one_address() {
        let (meters, rate) = (RouteMeters::default(), once_a_minute());
        let admits = |text: &str| {
            let counted = Counted::Address(text.parse().unwrap());
            meters.of(counted, SECOND, RateLimiter::default).admit(&rate, SECOND).is_ok()
        };
        assert!(admits("2001:db8:1:2::1"));
        assert!(!admits("2001:db8:1:2:ffff::7"));
        assert!(admits("2001:db8:1:3::1"));
    }
}
