//! The event stream: the state twice a second, each second of the series, each transition; it resumes after a number.
//!
//! The number of an event is its second since the epoch. A stream whose client does not read, or may no longer look, ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::body::Body;
use super::drawing;
use super::problem::Problem;
use super::service::{Service, value_of};
use super::who::People;
use crate::admin::{AdminCommand, AdminResponse};
use crate::config::console::Person;
use crate::rollout::Transition;
use crate::series::{Latest, Picture, Recent, Series, View};

/// Twice a second, so that no second is passed over.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
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
    /// The number of the transition that subscribers know of; none without subscribers.
    told: Mutex<Option<u64>>,
}

struct Subscriber {
    person: Person,
    events: mpsc::Sender<Bytes>,
}

impl Feed {
    pub(super) fn new(service: Service, people: Arc<People>, series: Arc<Mutex<Series>>) -> Feed {
        let (subscribers, told) = Default::default();
        Feed { service, people, series, subscribers, told }
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

    /// Counts the seconds and tells those who watch, until another process has taken over.
    pub(super) async fn sample(&self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut second = 0;
        while !(self.service.is_over)() {
            ticks.tick().await;
            let now = now();
            let mut text = String::new();
            if now != second {
                second = now;
                let totals = (self.service.totals)();
                let mut series = lock(&self.series);
                series.push(now, totals);
                if let Some(latest) = series.latest() {
                    append(&mut text, now, "second", &latest);
                }
            }
            if lock(&self.subscribers).is_empty() {
                *lock(&self.told) = None;
                continue;
            }
            match self.state().await {
                Ok((state, last)) => {
                    append(&mut text, now, "state", &state);
                    let told = lock(&self.told).replace(last);
                    if let Some(told) = told.filter(|told| *told < last) {
                        self.append_transitions(&mut text, now, |one| one.seq > told).await;
                    }
                }
                Err(problem) => log::debug!("console: no state for the stream: {}", problem.detail()),
            }
            self.publish(Bytes::from(text));
        }
    }

    /// The state, and the number of the latest transition in it.
    async fn state(&self) -> Result<(serde_json::Value, u64), Problem> {
        let status = value_of(self.service.ask(AdminCommand::Status, ITSELF).await?)?;
        let rollout = self.service.ask(AdminCommand::Rollout, ITSELF).await?;
        let last = if let AdminResponse::Rollout(report) = &rollout { report.last.as_ref() } else { None };
        let last = last.map_or(0, |transition| transition.seq);
        let releases = (self.service.releases)();
        Ok((json!({ "status": status, "rollout": value_of(rollout)?, "releases": releases }), last))
    }

    async fn append_transitions(&self, text: &mut String, id: u64, wanted: impl Fn(&Transition) -> bool) {
        if let Ok(AdminResponse::History(history)) = self.service.ask(AdminCommand::History, ITSELF).await {
            for transition in history.iter().filter(|transition| wanted(transition)) {
                append(text, id, "transition", transition);
            }
        }
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
        let id = now();
        let mut first = format!("retry: {}\n\n", INTERVAL.as_millis() * 2);
        if let Some(after) = after {
            let missed = lock(&self.series).since(after);
            append(&mut first, id, "seconds", &missed);
            self.append_transitions(&mut first, id, |one| one.at.millis() / 1_000 > after).await;
        }
        let (state, last) = self.state().await?;
        append(&mut first, id, "state", &state);
        let (events, stream) = mpsc::channel(BEHIND_MAX);
        // The channel is empty: the first events fit.
        let _ = events.try_send(Bytes::from(first));
        let mut subscribers = lock(&self.subscribers);
        subscribers.retain(|subscriber| !subscriber.events.is_closed());
        if subscribers.len() >= SUBSCRIBERS_MAX {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open"));
        }
        // One that comes between two ticks knows of no later transition than this.
        lock(&self.told).get_or_insert(last);
        subscribers.push(Subscriber { person, events });
        let mut response = Response::new(Body::Events(stream));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }
}

/// JSON has no line ends of its own, so an event is one `data` line.
fn append(text: &mut String, id: u64, name: &str, data: &impl Serialize) {
    let data = serde_json::to_string(data).unwrap_or_default();
    text.push_str(&format!("id: {id}\nevent: {name}\ndata: {data}\n\n"));
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
