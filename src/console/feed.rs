//! The event stream: the state twice a second, each second of the series, each transition; it resumes after a number.
//!
//! The number of an event is its second since the epoch. A stream whose client does not read, or may no longer look, ends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::body::Body;
use super::drawing;
use super::problem::Problem;
use super::refusals::Refusals;
use super::releases::Releases;
use super::service::{Service, value_of};
use super::who::People;
use crate::admin::{AdminCommand, AdminResponse};
use crate::config::console::Person;
use crate::rollout::Transition;
use crate::series::{Latest, Picture, Recent, Series, View};
use crate::telemetry::metrics::ConsoleRefusal;
use crate::upstream::Slot;

/// Between two looks at what was counted, and at the state.
const INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks at the fleet.
const FLEET_INTERVAL: Duration = Duration::from_millis(500);
const SUBSCRIBERS_MAX: usize = 32;
/// Events that a client may be behind.
const BEHIND_MAX: usize = 16;
/// Who asks for the stream.
const ITSELF: &str = "the console";

/// The series, who watches it, and what both need.
pub(super) struct Feed {
    pub(super) service: Service,
    pub(super) people: Arc<People>,
    series: Arc<Mutex<Series>>,
    subscribers: Mutex<Vec<Subscriber>>,
    /// None without subscribers.
    sent: Mutex<Option<Sent>>,
    refusals: Refusals,
    releases: Releases,
    is_watched: watch::Sender<bool>,
    /// As it was asked for last; null where the guard is in none, and without subscribers.
    fleet: Mutex<Value>,
}

/// What every stream has been sent, or more than that.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Since the epoch.
    second: u64,
    /// A transition's number; none before the first stream has begun with a state.
    transition: Option<u64>,
}

struct Subscriber {
    person: Person,
    events: mpsc::Sender<Bytes>,
}

impl Feed {
    pub(super) fn new(service: Service, people: Arc<People>, series: Arc<Mutex<Series>>) -> Feed {
        let (subscribers, sent, refusals, releases, is_watched, fleet) = Default::default();
        Feed { service, people, series, subscribers, sent, refusals, releases, is_watched, fleet }
    }

    /// Counts a refusal, logs it, and makes a response of it.
    pub(super) fn refuse(&self, refusal: ConsoleRefusal, peer: IpAddr) -> Problem {
        (self.service.refused)(refusal);
        if let Some(line) = self.refusals.line(Instant::now(), refusal, peer) {
            log::warn!("{line}");
        }
        Problem::from(refusal)
    }

    /// The release that each slot starts from.
    pub(super) async fn releases(&self) -> BTreeMap<Slot, String> {
        self.releases.current(&self.service.releases).await
    }

    /// Asks for the fleet again and again while it is watched, apart from the seconds: a store that is away holds such a look up.
    pub(super) async fn follow_fleet(&self) {
        let mut watched = self.is_watched.subscribe();
        // The sender is here, so this does not end.
        while watched.wait_for(|is_watched| *is_watched).await.is_ok() {
            let found = self.ask_fleet().await;
            // What is asked for while the last one leaves is not for the next one who comes.
            if *self.is_watched.borrow() {
                *lock(&self.fleet) = found;
            }
            tokio::time::sleep(FLEET_INTERVAL).await;
        }
    }

    async fn ask_fleet(&self) -> Value {
        let response = self.service.ask(AdminCommand::Fleet, ITSELF).await;
        response.and_then(value_of).unwrap_or_default()
    }

    pub(super) fn latest(&self) -> Option<Latest> {
        lock(&self.series).latest()
    }

    pub(super) fn tools(&self) -> Vec<Recent> {
        lock(&self.series).tools()
    }

    pub(super) fn clients(&self) -> Vec<Recent> {
        lock(&self.series).clients()
    }

    /// Ends every stream.
    pub(super) fn end(&self) {
        lock(&self.subscribers).clear();
    }

    pub(super) fn picture(&self, view: &View) -> Picture {
        lock(&self.series).picture(view)
    }

    /// The last half hour of slots with its transitions, as SVG.
    pub(super) async fn drawing(&self, who: &str) -> Result<String, Problem> {
        let response = self.service.ask(AdminCommand::History, who).await?;
        let history = if let AdminResponse::History(history) = response { history } else { Vec::new() };
        Ok(drawing::of_now(&lock(&self.series), &history))
    }

    /// Whether another process has taken over.
    pub(super) fn is_over(&self) -> bool {
        (self.service.is_over)()
    }

    /// Sends the streams the state at each tick, seconds that were counted, transitions.
    pub(super) async fn stream(&self) {
        let mut watched = self.is_watched.subscribe();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        // The sender is here, so this does not end.
        while watched.wait_for(|is_watched| *is_watched).await.is_ok() {
            ticks.tick().await;
            if self.still_watched() {
                self.stream_once().await;
            }
        }
    }

    async fn stream_once(&self) {
        let Some(before) = *lock(&self.sent) else { return };
        let (mut now, mut text) = (before, String::new());
        for second in seconds_after(&lock(&self.series), before.second) {
            append(&mut text, second.at, "second", &second);
            now.second = second.at;
        }
        match self.state().await {
            Ok((state, last)) => {
                append(&mut text, now.second, "state", &state);
                if let Some(transition) = before.transition {
                    let is_new = |one: &Transition| one.seq > transition;
                    if transition < last && self.append_transitions(&mut text, now.second, is_new).await {
                        now.transition = Some(last);
                    }
                }
            }
            Err(problem) => log::debug!("console: no state for the stream: {}", problem.detail()),
        }
        self.publish(Bytes::from(text));
        if let Some(sent) = lock(&self.sent).as_mut() {
            // A stream that began meanwhile may have set another transition.
            let is_unchanged = sent.transition == before.transition;
            let transition = if is_unchanged { now.transition } else { sent.transition };
            *sent = Sent { second: now.second, transition };
        }
    }

    /// Whether there are subscribers. Without them, nothing is sent, and nothing is asked for.
    fn still_watched(&self) -> bool {
        let subscribers = lock(&self.subscribers);
        let is_watched = !subscribers.is_empty();
        if !is_watched {
            // Under the lock of the subscribers: one that comes now says so after this.
            self.is_watched.send_replace(false);
            *lock(&self.sent) = None;
            *lock(&self.fleet) = Value::Null;
        }
        is_watched
    }

    /// The state, and the number of the latest transition in it.
    async fn state(&self) -> Result<(Value, u64), Problem> {
        let status = value_of(self.service.ask(AdminCommand::Status, ITSELF).await?)?;
        let rollout = self.service.ask(AdminCommand::Rollout, ITSELF).await?;
        let last = last_seq(&rollout);
        let releases = self.releases().await;
        let fleet = lock(&self.fleet).clone();
        let state =
            json!({ "status": status, "rollout": value_of(rollout)?, "releases": releases, "fleet": fleet });
        Ok((state, last))
    }

    /// Returns whether the history could be read.
    async fn append_transitions(
        &self,
        text: &mut String,
        id: u64,
        wanted: impl Fn(&Transition) -> bool,
    ) -> bool {
        let history = self.service.ask(AdminCommand::History, ITSELF).await;
        let Ok(AdminResponse::History(history)) = history else { return false };
        for transition in history.iter().filter(|transition| wanted(transition)) {
            append(text, id, "transition", transition);
        }
        true
    }

    fn publish(&self, events: Bytes) {
        let takes = |subscriber: &Subscriber| {
            self.people.has(&subscriber.person) && subscriber.events.try_send(events.clone()).is_ok()
        };
        lock(&self.subscribers).retain(takes);
    }

    /// Begins a stream. After a number it begins with what came since.
    pub(super) async fn subscribe(
        &self,
        person: Person,
        after: Option<u64>,
    ) -> Result<Response<Body>, Problem> {
        // Registered before anything is asked for: what happens meanwhile is in the channel.
        let (events, stream) = mpsc::channel(BEHIND_MAX);
        let id = {
            let mut subscribers = lock(&self.subscribers);
            subscribers.retain(|subscriber| !subscriber.events.is_closed());
            if subscribers.len() >= SUBSCRIBERS_MAX {
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open"));
            }
            subscribers.push(Subscriber { person, events });
            // Not the present second, which may not be counted yet: a client that resumes after it would miss it.
            let id = self.latest().map_or_else(|| now().saturating_sub(1), |latest| latest.at);
            lock(&self.sent).get_or_insert(Sent { second: id, transition: None });
            self.is_watched.send_replace(true);
            id
        };
        // Before the history, which is to have every transition up to this state.
        let (state, last) = self.state().await?;
        let mut first = format!("retry: {}\n\n", INTERVAL.as_millis() * 2);
        if let Some(after) = after {
            let missed = lock(&self.series).since(after);
            append(&mut first, id, "seconds", &missed);
            // Rather twice than never: what came in this second after its event was sent, too.
            self.append_transitions(&mut first, id, |one| one.at.millis() / 1_000 >= after).await;
        }
        append(&mut first, id, "state", &state);
        // The earliest of all streams: rather twice than never here, too.
        if let Some(sent) = lock(&self.sent).as_mut() {
            sent.transition = Some(sent.transition.map_or(last, |transition| transition.min(last)));
        }
        let mut response = Response::new(Body::Events(Some(Bytes::from(first)), stream));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }
}

/// What was counted after this second; with a clock that was set back, the latest.
fn seconds_after(series: &Series, sent: u64) -> Vec<Latest> {
    match series.latest() {
        Some(latest) if latest.at < sent => vec![latest],
        Some(_) | None => series.since(sent),
    }
}

/// The number of the last transition; 0 before the first.
pub(super) fn last_seq(rollout: &AdminResponse) -> u64 {
    let last = if let AdminResponse::Rollout(report) = rollout { report.last.as_ref() } else { None };
    last.map_or(0, |transition| transition.seq)
}

/// JSON has no line ends of its own, so an event is one `data` line.
fn append(text: &mut String, id: u64, name: &str, data: &impl Serialize) {
    let data = serde_json::to_string(data).unwrap_or_default();
    text.push_str(&format!("id: {id}\nevent: {name}\ndata: {data}\n\n"));
}

pub(super) fn now() -> u64 {
    since_epoch().as_secs()
}

pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::console::Role;
    use crate::console::service::Running;
    use crate::policy::auth::TokenHash;
    use crate::telemetry::metrics::{Tally, Totals};

    fn series(seconds: impl IntoIterator<Item = u64>) -> Series {
        let mut series = Series::default();
        for second in seconds {
            let mut totals = Totals::default();
            totals.slots.insert(Slot::Blue, Tally::default());
            series.push(second, totals);
        }
        series
    }

    fn at(seconds: &[Latest]) -> Vec<u64> {
        seconds.iter().map(|second| second.at).collect()
    }

    #[test]
    fn seconds_after_the_last_one_sent_are_all_that_were_counted_since() {
        let counted = series(100..=105);
        assert_eq!(at(&seconds_after(&counted, 102)), [103, 104, 105]);
        assert!(seconds_after(&counted, 105).is_empty());
        assert!(seconds_after(&Series::default(), 105).is_empty());
        let set_back = series([100, 105, 50]);
        assert_eq!(at(&seconds_after(&set_back, 105)), [50]);
    }

    /// A guard that carries out commands like this.
    fn service(run: impl Fn(AdminCommand) -> Running + Send + Sync + 'static) -> Service {
        Service {
            run: Arc::new(move |command, _| run(command)),
            totals: Arc::new(Totals::default),
            releases: Arc::new(|| Ok(BTreeMap::new())),
            refused: Arc::new(|_| {}),
            is_over: Arc::new(|| false),
            over: Arc::new(|| Box::pin(std::future::pending())),
        }
    }

    fn rejected() -> Running {
        Box::pin(async { AdminResponse::Rejected("away".to_owned()) })
    }

    fn person() -> Person {
        Person { name: "one".to_owned(), hash: TokenHash::of(b"token"), role: Role::Viewer }
    }

    fn feed(service: Service) -> Arc<Feed> {
        let (people, series) = (People::new(vec![person()]), series(100..=101));
        Arc::new(Feed::new(service, Arc::new(people), Arc::new(Mutex::new(series))))
    }

    #[tokio::test]
    async fn a_stream_that_ends_before_it_has_begun_leaves_nothing_watched() {
        let feed = feed(service(|_| rejected()));
        assert!(feed.subscribe(person(), None).await.is_err(), "there is no state");
        assert!(*feed.is_watched.borrow());
        feed.stream_once().await;
        assert!(!feed.still_watched() && !*feed.is_watched.borrow());
    }

    #[tokio::test]
    async fn a_second_that_is_counted_while_two_streams_begin_reaches_both() {
        let (gate, entered) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (at_gate, count) = (gate.clone(), entered.clone());
        // The first command waits, so that the stream that registers first begins last.
        let feed = feed(service(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let gate = at_gate.clone();
                Box::pin(async move {
                    let _passed = gate.acquire().await;
                    AdminResponse::History(Vec::new())
                })
            }
            _ => Box::pin(async { AdminResponse::History(Vec::new()) }),
        }));
        let slow = tokio::spawn({
            let feed = feed.clone();
            async move { feed.subscribe(person(), None).await.map(Response::into_body) }
        });
        while entered.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        *lock(&feed.series) = series(100..=102);
        let quick = feed.subscribe(person(), None).await.map(Response::into_body);
        feed.stream_once().await;
        gate.add_permits(1);
        let mut begun = [slow.await.unwrap().ok().unwrap(), quick.ok().unwrap()];
        let sent = begun.each_mut().map(|body| {
            let Body::Events(Some(_first), events) = body else { panic!("no stream") };
            String::from_utf8(events.try_recv().unwrap().to_vec()).unwrap()
        });
        assert!(sent.iter().all(|text| text.contains("id: 102\nevent: second\n")), "{sent:?}");
    }
}
