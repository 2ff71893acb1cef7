//! Clients that call all the time, and keep every response that is not a result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{Guard, Message, post};

/// A client keeps its connection for this many calls: some live long, none for ever.
const CALLS_A_CONNECTION: u64 = 50;

/// Calls under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    clients: JoinSet<Vec<FailedCall>>,
}

/// A response that was not a result.
#[derive(Debug, Clone)]
pub struct FailedCall {
    pub id: u64,
    pub method: &'static str,
    pub status: u16,
    pub body: Value,
}

impl FailedCall {
    /// `no` or `unknown`, as the guard's own errors say.
    pub fn executed(&self) -> &str {
        self.body["error"]["data"]["executed"].as_str().unwrap_or("(not said)")
    }
}

impl Load {
    /// This many clients, each of which lists and calls tools in turn, one call after the other.
    pub fn start(guard: &Arc<Guard>, clients: u64) -> Load {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut set = JoinSet::new();
        for client in 0..clients {
            let (guard, stop, made) = (guard.clone(), stop.clone(), made.clone());
            set.spawn(async move {
                let mut told = Vec::new();
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    let mut connection = guard.connect().await;
                    for _ in 0..CALLS_A_CONNECTION {
                        number += 1;
                        let id = client * 1_000_000 + number;
                        let method = if number.is_multiple_of(2) { "tools/list" } else { "tools/call" };
                        let params = r#"{"name":"tool_1","arguments":{}}"#;
                        let body =
                            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
                        let answer = connection.exchange(post(guard.token(), "", &body)).await;
                        made.fetch_add(1, Ordering::SeqCst);
                        told.extend(judge(id, method, &answer));
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                }
                told
            });
        }
        Load { stop, made, clients: set }
    }

    /// Calls with a response so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Ends the load: how many calls were made, and everything that was not a result.
    pub async fn stop(mut self) -> (u64, Vec<FailedCall>) {
        self.stop.store(true, Ordering::SeqCst);
        let mut told = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            told.extend(client.expect("a client that does not panic"));
        }
        (self.made(), told)
    }
}

fn judge(id: u64, method: &'static str, answer: &Message) -> Option<FailedCall> {
    let (status, body) = (answer.status(), answer.json());
    assert_eq!(body["id"], id, "the response to another call");
    (status != 200 || body.get("result").is_none()).then_some(FailedCall { id, method, status, body })
}
