//! How fast two servers respond to the same requests. Requests alternate between them, so that a busy machine slows both alike.

use crate::client::Client;
use crate::client::Session;
use crate::parity::expectations::RecordedCall;
use crate::parity::facts::Timings;

/// The most recorded calls that are timed: the table is read by a person.
const CALLS_TIMED_MAX: usize = 10;

/// The times of both servers (live first), each request sent `samples` times. A request without a response leaves
/// no sample: the reason is reported elsewhere.
pub(crate) async fn time_both(
    live: &Client,
    candidate: &Client,
    calls: &[RecordedCall],
    samples: usize,
) -> (Vec<Timings>, Vec<Timings>) {
    let calls = &calls[..calls.len().min(CALLS_TIMED_MAX)];
    let (mut was, mut is) = (questions(calls), questions(calls));
    for _ in 0..samples {
        once(live, calls, &mut was).await;
        once(candidate, calls, &mut is).await;
    }
    (was, is)
}

fn questions(calls: &[RecordedCall]) -> Vec<Timings> {
    let names = ["open".to_owned(), "tools/list".to_owned()].into_iter();
    let calls =
        calls.iter().enumerate().map(|(position, call)| format!("call {} {}", position + 1, call.tool));
    names.chain(calls).map(|question| Timings { question, samples: Vec::new() }).collect()
}

async fn once(client: &Client, calls: &[RecordedCall], timings: &mut [Timings]) {
    let Ok(session) = Session::open(client).await else { return };
    let mut took = vec![Some(session.opened_in)];
    took.push(session.list_tools().await.ok().map(|(_, elapsed)| elapsed));
    for call in calls {
        took.push(session.call_tool(&call.tool, &call.arguments).await.ok().map(|answered| answered.elapsed));
    }
    session.close().await;
    for (timing, elapsed) in timings.iter_mut().zip(took) {
        timing.samples.extend(elapsed);
    }
}
