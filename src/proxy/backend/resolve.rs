//! The addresses of one name: looked up by one task at a time, remembered in the order in which they are tried.
//!
//! A name is looked up at the first connection, then off the path of requests, and again when none of its addresses could be reached.
//! A lookup that failed counts for a while, too. Must not know what is done with an address.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::upstream::ADDRESSES_MAX;

/// How long the addresses of a name are believed.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// After a lookup that failed, or while no address can be reached, how soon the name is looked up again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a lookup off the path of requests is waited for.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);

/// Finds the addresses of a name.
pub(super) trait LookUp: Debug + Send + Sync {
    fn look_up(&self, host: Arc<str>, port: u16) -> Answering;
}

/// An answer to come.
pub(super) type Answering = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The resolver of the system.
#[derive(Debug)]
pub(super) struct System;

impl LookUp for System {
    fn look_up(&self, host: Arc<str>, port: u16) -> Answering {
        Box::pin(async move { Ok(tokio::net::lookup_host((&*host, port)).await?.collect()) })
    }
}

/// The addresses of one name.
#[derive(Debug)]
pub(super) struct Resolver {
    host: Arc<str>,
    port: u16,
    by: Arc<dyn LookUp>,
    known: Arc<Mutex<Known>>,
    /// Held by the task of a lookup until it has ended, also where no connection waits for it any more: a name server that does not answer costs one thread.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// The one that was reached last comes first, those that were not come last.
    addresses: Vec<SocketAddr>,
    /// When the last lookup ended.
    asked: Option<Instant>,
    /// Why it found nothing.
    failure: Option<(io::ErrorKind, String)>,
    /// Whether no address could be reached since.
    is_distrusted: bool,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16, by: Arc<dyn LookUp>) -> Resolver {
        Resolver { host: host.into(), port, by, known: Arc::default(), turn: Arc::default() }
    }

    /// The addresses to try. Only where none is known, or all have failed, is the name looked up first.
    pub(super) async fn addresses(&self, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
        let now = Instant::now();
        let (is_due, is_known) = {
            let known = self.known();
            (known.is_due(now), !known.addresses.is_empty())
        };
        if is_due {
            // Addresses that may still be right need time to be tried, too.
            let left = deadline.saturating_duration_since(now);
            let until = if is_known { now + left / 2 } else { deadline };
            let _found_or_not = timeout_at(until, self.resolve(Known::is_due)).await;
        }
        let known = self.known();
        match (&*known.addresses, &known.failure) {
            ([], Some((kind, why))) => Err(io::Error::new(*kind, why.clone())),
            ([], None) => Err(io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time")),
            (addresses, _) => Ok(addresses.to_vec()),
        }
    }

    /// Looks the name up again if its addresses are old. What no connection has asked for is not looked up.
    pub(super) async fn refresh(&self) {
        if self.known().is_old(Instant::now()) {
            let until = Instant::now() + LOOKUP_TIME_MAX;
            let _found_or_not = timeout_at(until, self.resolve(Known::is_old)).await;
        }
    }

    /// Waits for the lookup that is under way, or makes one.
    async fn resolve(&self, is_due: fn(&Known, Instant) -> bool) {
        let turn = self.turn.clone().lock_owned().await;
        // The lookup that this one has waited for may have found everything.
        if !is_due(&self.known(), Instant::now()) {
            return;
        }
        let (answering, known) = (self.by.look_up(self.host.clone(), self.port), self.known.clone());
        // A task, because the system's resolver cannot be stopped: a connection that is given up leaves it the turn.
        let lookup = tokio::spawn(async move {
            let found = answering.await;
            lock(&known).update(found, Instant::now());
            drop(turn);
        });
        let _ended = lookup.await;
    }

    /// Whether the name still has this address, as far as is known.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.known().addresses.contains(&address)
    }

    /// This address was reached: it is tried first from now on.
    pub(super) fn prefer(&self, address: SocketAddr) {
        self.known().prefer(address);
    }

    /// This address was not reached in its time: the others are tried first.
    pub(super) fn defer(&self, address: SocketAddr) {
        self.known().defer(address);
    }

    /// No address was reached: the next connection looks the name up again, but not each of many.
    pub(super) fn distrust(&self) {
        self.known().is_distrusted = true;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Whether a connection must look the name up.
    fn is_due(&self, now: Instant) -> bool {
        let trusted = !self.addresses.is_empty() && !self.is_distrusted;
        !trusted && self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= RETRY_INTERVAL)
    }

    /// Whether the addresses that connections use have not been confirmed for long.
    fn is_old(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now.saturating_duration_since(asked) >= RESOLVE_INTERVAL)
    }

    /// Takes the result of a lookup. The addresses that stay keep their order, whichever order the name server has now. One that fails is
    /// no reason to give up addresses that may still be right.
    fn update(&mut self, found: io::Result<Vec<SocketAddr>>, now: Instant) {
        self.asked = Some(now);
        self.is_distrusted = false;
        self.failure = match found {
            Ok(found) if !found.is_empty() => {
                self.addresses.retain(|address| found.contains(address));
                for address in found {
                    if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&address) {
                        self.addresses.push(address);
                    }
                }
                None
            }
            Ok(_none) => Some((io::ErrorKind::NotFound, "the name has no address".to_owned())),
            Err(error) => Some((error.kind(), error.to_string())),
        };
    }

    fn prefer(&mut self, address: SocketAddr) {
        if let Some(at) = self.addresses.iter().position(|known| *known == address) {
            self.addresses[..=at].rotate_right(1);
        }
    }

    fn defer(&mut self, address: SocketAddr) {
        if let Some(at) = self.addresses.iter().position(|known| *known == address) {
            self.addresses[at..].rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 80).into()
    }

    /// A name server: it answers once for each permit, and says how often it was asked.
    #[derive(Debug)]
    struct Server {
        asked: AtomicUsize,
        answers: Arc<Semaphore>,
        found: Mutex<Result<Vec<SocketAddr>, io::ErrorKind>>,
    }

    impl LookUp for Server {
        fn look_up(&self, _host: Arc<str>, _port: u16) -> Answering {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let (answers, found) = (self.answers.clone(), self.found.lock().unwrap().clone());
            Box::pin(async move {
                answers.acquire().await.unwrap().forget();
                found.map_err(io::Error::from)
            })
        }
    }

    fn resolver(
        answers: usize,
        found: Result<Vec<SocketAddr>, io::ErrorKind>,
    ) -> (Arc<Server>, Arc<Resolver>) {
        let (answers, found) = (Arc::new(Semaphore::new(answers)), Mutex::new(found));
        let server = Arc::new(Server { asked: AtomicUsize::new(0), answers, found });
        (server.clone(), Arc::new(Resolver::new("a.example", 80, server)))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_never_resolved_has_one_lookup_at_a_time() {
        let (server, resolver) = resolver(0, Ok(vec![address(1)]));
        for _ in 0..50 {
            let late = resolver.addresses(soon()).await.unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(
            server.asked.load(Ordering::SeqCst),
            1,
            "a connection that is given up leaves the lookup under way"
        );
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let resolver = resolver.clone();
                tokio::spawn(async move { resolver.addresses(soon()).await.unwrap() })
            })
            .collect();
        tokio::task::yield_now().await;
        server.answers.add_permits(1);
        for one in waiting {
            assert_eq!(one.await.unwrap(), [address(1)]);
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_lookup_counts_for_the_retry_interval() {
        let (server, resolver) = resolver(9, Err(io::ErrorKind::NotFound));
        for _ in 0..50 {
            let failed = resolver.addresses(soon()).await.unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
        *server.found.lock().unwrap() = Ok(vec![address(1)]);
        tokio::time::advance(RETRY_INTERVAL).await;
        assert_eq!(resolver.addresses(soon()).await.unwrap(), [address(1)]);
        assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_addresses_all_fail_is_resolved_again_at_most_once_a_second() {
        let (server, resolver) = resolver(9, Ok(vec![address(1)]));
        for _ in 0..10 {
            assert_eq!(resolver.addresses(soon()).await.unwrap(), [address(1)]);
            resolver.distrust();
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(RETRY_INTERVAL).await;
        *server.found.lock().unwrap() = Err(io::ErrorKind::TimedOut);
        assert_eq!(resolver.addresses(soon()).await.unwrap(), [address(1)], "they may still be right");
        assert_eq!(server.asked.load(Ordering::SeqCst), 2);
        resolver.refresh().await;
        assert_eq!(server.asked.load(Ordering::SeqCst), 2, "not old yet");
        tokio::time::advance(RESOLVE_INTERVAL).await;
        resolver.refresh().await;
        assert_eq!(server.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn known_addresses_are_tried_while_the_name_server_is_silent() {
        let (_server, resolver) = resolver(1, Ok(vec![address(1)]));
        resolver.addresses(soon()).await.unwrap();
        resolver.distrust();
        tokio::time::advance(RETRY_INTERVAL).await;
        let begun = Instant::now();
        assert_eq!(resolver.addresses(soon()).await.unwrap(), [address(1)]);
        assert!(begun.elapsed() < Duration::from_millis(600), "half of the time is left");
    }

    #[test]
    fn the_address_of_a_name_that_was_reached_last_is_tried_first_and_one_that_failed_last() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.update(Ok(vec![address(1), address(2), address(3)]), now);
        known.prefer(address(3));
        assert_eq!(known.addresses, [address(3), address(1), address(2)]);
        // Its name server answers in another order each time.
        known.update(Ok(vec![address(2), address(1), address(3)]), now);
        assert_eq!(known.addresses, [address(3), address(1), address(2)]);
        known.defer(address(3));
        assert_eq!(known.addresses, [address(1), address(2), address(3)]);
        known.prefer(address(9));
        known.defer(address(9));
        assert_eq!(known.addresses.len(), 3);
    }

    #[test]
    fn a_name_with_many_addresses_keeps_those_that_are_known_whichever_come_first() {
        let (mut known, now) = (Known::default(), Instant::now());
        let mut all: Vec<_> = (0..40).map(address).collect();
        known.update(Ok(all.clone()), now);
        let first = known.addresses.clone();
        assert_eq!(first.len(), ADDRESSES_MAX);
        for _ in 0..40 {
            all.rotate_left(7);
            known.update(Ok(all.clone()), now);
            assert_eq!(known.addresses, first);
        }
        known.update(Ok(vec![address(39), address(3)]), now);
        assert_eq!(known.addresses, [address(3), address(39)]);
    }
}
