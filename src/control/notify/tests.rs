//! Notifications against a local receiver.

use std::collections::VecDeque;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::config::notify::NotifyEvent;
use crate::rollout::Transition;
use crate::rollout::plan::Plan;
use crate::rollout::transition::TransitionKind;
use crate::rollout::{self, Event, Health, Rollout, State, Timestamp};
use crate::upstream::Slot;

/// A rollback by the health trigger, out of a canary.
pub(super) fn transition() -> Transition {
    let at = |millis: u64| Timestamp::from_millis(1_700_000_000_000 + millis);
    let mut rollout = Rollout::new(State::new(Slot::Blue), &Slot::ALL, &Plan::default(), at(0));
    let health =
        |health: Health| Event::Health { slot: Slot::Green, answered: health == Health::Healthy, health };
    rollout.handle(health(Health::Healthy), at(1));
    let operator = |command| Event::Command { command, who: "tests".to_owned() };
    let plan = Box::new(Plan::default());
    let id = "r1".to_owned();
    rollout.handle(operator(rollout::Command::Start { id, plan, force: false }), at(2)).unwrap();
    rollout.handle(health(Health::Unhealthy("refused".to_owned())), at(7)).unwrap()
}

/// The same with its record.
pub(super) fn notification() -> Notification {
    let transition = transition();
    let record = crate::control::rollout_record::id_of(&transition);
    Notification::Transition { transition, record }
}

/// A receiver that responds with these statuses, the last one for ever, and passes on what it is sent.
async fn receiver(statuses: &[u16]) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/T0/B0/secret", listener.local_addr().unwrap());
    let mut statuses: VecDeque<u16> = statuses.iter().copied().collect();
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            // The sender keeps the connection open: the body ends with the JSON's last brace.
            while !text.ends_with(b"}") {
                if stream.read_buf(&mut text).await.unwrap() == 0 {
                    break;
                }
            }
            let status = if statuses.len() > 1 { statuses.pop_front() } else { statuses.front().copied() };
            let answer = format!("HTTP/1.1 {} X\r\nContent-Length: 2\r\n\r\nok", status.unwrap());
            let _ = stream.write_all(answer.as_bytes()).await;
            if sender.send(String::from_utf8(text).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, received)
}

async fn next(received: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap()
}

fn metrics() -> RolloutMetrics {
    crate::telemetry::Metrics::new(1).unwrap().rollout()
}

/// A worker that hardly pauses.
fn quick(name: &str, channel: Channel, metrics: &RolloutMetrics) -> mpsc::Sender<Arc<Notification>> {
    let (sender, queue) = mpsc::channel(WAITING_MAX);
    let receiver = Receiver { name: name.to_owned(), events: Vec::new(), channel };
    tokio::spawn(work(receiver, queue, metrics.clone(), Duration::from_millis(1)));
    sender
}

#[tokio::test]
async fn each_kind_of_receiver_gets_its_body() {
    let metrics = metrics();
    let (url, mut received) = receiver(&[200]).await;
    let url = Secret(url);
    let key = Secret("key".to_owned());
    for (channel, mark) in [
        (Channel::Generic { url: url.clone() }, "\"event\":\"mcp_guard.rollout\""),
        (Channel::Slack { url: url.clone() }, "{\"text\":\"*mcp-guard* rollout r1: rolled_back"),
        (Channel::PagerDuty { url: url.clone(), routing_key: key }, "\"routing_key\":\"key\""),
    ] {
        let worker = quick("ops", channel, &metrics);
        worker.send(Arc::new(notification())).await.unwrap();
        let text = next(&mut received).await;
        assert!(text.starts_with("POST /services/T0/B0/secret HTTP/1.1\r\n"), "{text}");
        assert!(text.to_lowercase().contains("content-type: application/json"), "{text}");
        assert!(text.contains(mark), "{text}");
    }
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_then_gets_the_next_in_order() {
    let metrics = metrics();
    let (url, mut received) = receiver(&[500, 429, 200]).await;
    let worker = quick("ops", Channel::Generic { url: Secret(url) }, &metrics);
    let numbered = |seq| {
        let transition = Transition { seq, ..transition() };
        Arc::new(Notification::Transition { transition, record: None })
    };
    worker.send(numbered(1)).await.unwrap();
    worker.send(numbered(2)).await.unwrap();
    for seq in [1, 1, 1, 2] {
        let text = next(&mut received).await;
        assert!(text.contains(&format!("\"seq\":{seq},")), "{text}");
    }
}

#[tokio::test]
async fn notifications_to_a_receiver_that_is_down_delay_nothing_and_are_given_up_in_the_end() {
    let metrics = metrics();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let down = quick("down", Channel::Generic { url: Secret(format!("http://{gone}/")) }, &metrics);
    let (url, mut received) = receiver(&[204]).await;
    let up = quick("up", Channel::Generic { url: Secret(url) }, &metrics);
    down.send(Arc::new(notification())).await.unwrap();
    up.send(Arc::new(notification())).await.unwrap();
    next(&mut received).await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while metrics.notifications("down", Notified::GivenUp) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(metrics.notifications("down", Notified::Failed), u64::from(TRIES_MAX) - 1);
}

#[tokio::test]
async fn notifying_never_waits_and_reaches_only_receivers_of_the_event() {
    let metrics = metrics();
    let (url, mut received) = receiver(&[200]).await;
    let want = |name: &str, events: Vec<NotifyEvent>| Receiver {
        name: name.to_owned(),
        events,
        channel: Channel::Generic { url: Secret(url.clone()) },
    };
    let notifier = Notifier::start(
        vec![
            want("all", Vec::new()),
            want(
                "completions",
                vec![NotifyEvent::Transition(TransitionKind::Completed), NotifyEvent::Release],
            ),
        ],
        &metrics,
    );
    for _ in 0..WAITING_MAX + 50 {
        let queued = notifier.notify(notification());
        assert!(queued.iter().all(|name| name == "all"), "{queued:?}");
    }
    assert!(metrics.notifications("all", Notified::Dropped) >= 49, "the queue is bounded");
    assert_eq!(metrics.notifications("completions", Notified::Dropped), 0);
    next(&mut received).await;
}

#[tokio::test]
async fn a_hook_reads_the_transition_from_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told");
    let script = format!("cat > {0}.part && mv {0}.part {0}", file.display());
    let hook = Program { program: "sh".into(), arguments: vec!["-c".to_owned(), script] };
    send(
        &Receiver { name: "hook".to_owned(), events: Vec::new(), channel: Channel::Exec(hook) },
        &notification(),
    )
    .await
    .unwrap();
    let describe: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(describe["transition"]["kind"], "rolled_back");
}

#[tokio::test]
async fn an_address_is_a_secret_and_stands_in_no_error() {
    let secret = "http://127.0.0.1:1/services/T0/B0/secret".to_owned();
    let why = post(&Secret(secret), serde_json::json!({})).await.unwrap_err();
    assert!(!why.contains("secret"), "{why}");
}
