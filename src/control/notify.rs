//! Notifies receivers: apart from calls and from the controller, with retries, and within bounds.
//!
//! Each receiver has a queue and a worker of its own, so that one that is down delays no other, and each gets notifications
//! in their order. Must not know what a notification means: `body` renders it.

mod body;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::client::{Client, Limits, Request, Target};
use crate::config::notify::{Channel, Program, Receiver, Secret};
use crate::control::notification::Notification;
use crate::dependency::prepare;
use crate::telemetry::metrics::{Notified, RolloutMetrics};

/// Notifications that may wait for a receiver. When the queue is full, the new one is dropped and counted.
const WAITING_MAX: usize = 256;
const TRIES_MAX: u32 = 8;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// All receivers.
pub(super) struct Notifier {
    receivers: Vec<(Receiver, mpsc::Sender<Arc<Notification>>)>,
    metrics: RolloutMetrics,
}

impl Notifier {
    /// Starts a worker for each receiver. Must be called inside the control plane's runtime.
    pub(super) fn start(receivers: Vec<Receiver>, metrics: &RolloutMetrics) -> Notifier {
        let start = |receiver: Receiver| {
            let (sender, queue) = mpsc::channel(WAITING_MAX);
            metrics.receiver(&receiver.name);
            tokio::spawn(work(receiver.clone(), queue, metrics.clone(), PAUSE_FIRST));
            (receiver, sender)
        };
        Notifier { receivers: receivers.into_iter().map(start).collect(), metrics: metrics.clone() }
    }

    /// How many notifications wait for their receivers.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.receivers.iter().map(|(_, queue)| WAITING_MAX - queue.capacity()).sum()
    }

    /// Queues a notification for every receiver of its kind, and returns their names. Never waits.
    pub(super) fn notify(&self, notification: Notification) -> Vec<String> {
        let (event, notification) = (notification.event(), Arc::new(notification));
        let mut queued = Vec::new();
        for (receiver, queue) in &self.receivers {
            if !receiver.events.is_empty() && !receiver.events.contains(&event) {
                continue;
            }
            if queue.try_send(notification.clone()).is_ok() {
                queued.push(receiver.name.clone());
                continue;
            }
            self.metrics.notified(&receiver.name, Notified::Dropped);
            log::error!("notification `{}`: {WAITING_MAX} are waiting; one more is dropped", receiver.name);
        }
        queued
    }
}

async fn work(
    receiver: Receiver,
    mut queue: mpsc::Receiver<Arc<Notification>>,
    metrics: RolloutMetrics,
    pause_first: Duration,
) {
    while let Some(notification) = queue.recv().await {
        let mut pause = pause_first;
        for number in 1..=TRIES_MAX {
            let name = &receiver.name;
            match send(&receiver, &notification).await {
                Ok(()) => {
                    metrics.notified(name, Notified::Sent);
                    break;
                }
                Err(why) if number == TRIES_MAX => {
                    metrics.notified(name, Notified::GivenUp);
                    log::error!("notification `{name}`: given up after {number} tries: {why}");
                }
                Err(why) => {
                    metrics.notified(name, Notified::Failed);
                    log::warn!("notification `{name}`: {why}; next try in {} s", pause.as_secs_f32());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

async fn send(receiver: &Receiver, notification: &Notification) -> Result<(), String> {
    match &receiver.channel {
        Channel::Generic { url } => post(url, body::generic(notification)).await,
        Channel::Slack { url } => post(url, body::slack(notification)).await,
        Channel::PagerDuty { url, routing_key } => {
            post(url, body::pagerduty(notification, &routing_key.0)).await
        }
        Channel::Exec(command) => run(command, body::generic(notification)).await,
    }
}

/// The address may be a secret, so it is in no error.
async fn post(url: &Secret, body: serde_json::Value) -> Result<(), String> {
    let target = Target::parse(&url.0).map_err(|error| error.to_string())?;
    let client =
        Client::new(target, Limits { connect: TIMEOUT, total: TIMEOUT, body_bytes: RESPONSE_BYTES_MAX });
    let reply = client.raw(Request::post(Bytes::from(body.to_string()))).await;
    match reply {
        Ok(reply) if (200..300).contains(&reply.status) => Ok(()),
        Ok(reply) => Err(format!("it answered HTTP {}", reply.status)),
        Err(error) if error.is_silence() => Err("it cannot be reached, or does not answer".to_owned()),
        Err(_) => Err("it did not answer as HTTP asks".to_owned()),
    }
}

async fn run(command: &Program, body: serde_json::Value) -> Result<(), String> {
    let named = command.program.display();
    let running = async {
        let mut child = prepare(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run {named}: {error}"))?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read its input may still do its work.
            let _ = input.write_all(format!("{body}\n").as_bytes()).await;
        }
        let status = child.wait().await.map_err(|error| format!("cannot wait for {named}: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("{named} ended with {status}")) }
    };
    tokio::time::timeout(TIMEOUT, running)
        .await
        .unwrap_or_else(|_elapsed| Err(format!("{named} did not end within {} s", TIMEOUT.as_secs())))
}

#[cfg(test)]
mod tests;
