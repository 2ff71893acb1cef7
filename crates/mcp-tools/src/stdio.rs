//! The server of one local client: JSON-RPC messages on standard input and output, one a line.
//!
//! Nothing else may reach standard output, so the log stays on standard error. Ends with its input, after the calls in
//! progress. Must not know what a message means.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Stdout};
use tokio::sync::{Mutex, Semaphore};

use hyper::HeaderMap;
use rmcp::model::ErrorData;

use crate::protocol::message::{self, Message};
use crate::protocol::reply::{Reply, refusal};
use crate::service::{self, Carrier, Shared};

/// The longest message, as over HTTP.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls in progress; further lines wait in the pipe.
const CALLS_MAX: u32 = 64;

/// Serves until the input ends, or until the client no longer reads.
pub(crate) async fn serve(shared: &Arc<Shared>) -> io::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let output = Arc::new(Mutex::new(tokio::io::stdout()));
    let calls = Arc::new(Semaphore::new(CALLS_MAX as usize));
    while let Some(line) = next_line(&mut input).await? {
        let Ok(permit) = Arc::clone(&calls).acquire_owned().await else { break };
        let (shared, output) = (Arc::clone(shared), Arc::clone(&output));
        tokio::spawn(async move {
            if let Some(reply) = respond(&shared, line).await {
                // A client that no longer reads ends its side of the input as well.
                let _ = write(&output, reply).await;
            }
            drop(permit);
        });
    }
    let _ = calls.acquire_many(CALLS_MAX).await;
    Ok(())
}

/// One line of the input.
enum Line {
    Message(Vec<u8>),
    TooLong,
}

/// The next line that is not empty; `None` at the end of the input.
async fn next_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Line>> {
    loop {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        if (&mut *input).take(limit).read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let is_whole = line.ends_with(b"\n");
        if !is_whole && line.len() > LINE_BYTES_MAX {
            skip_line(input).await?;
            return Ok(Some(Line::TooLong));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Line::Message(line)));
        }
    }
}

/// Drops the rest of a line, in bounded memory.
async fn skip_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    loop {
        let held = input.fill_buf().await?;
        let end = held.iter().position(|byte| *byte == b'\n');
        let (length, is_done) = (end.map_or(held.len(), |end| end + 1), end.is_some() || held.is_empty());
        input.consume(length);
        if is_done {
            return Ok(());
        }
    }
}

/// The response to a line; none to a notification.
async fn respond(shared: &Shared, line: Line) -> Option<Reply> {
    let status = hyper::StatusCode::BAD_REQUEST;
    let line = match line {
        Line::Message(line) => line,
        Line::TooLong => {
            let reason = format!("the message is larger than {LINE_BYTES_MAX} bytes");
            return Some(refusal(
                status,
                &serde_json::Value::Null,
                &ErrorData::invalid_request(reason, None),
            ));
        }
    };
    match message::read(&line) {
        Ok(message @ Message::Request(_)) => {
            let view = shared.view(Carrier::Stdio);
            Some(service::respond(&view, &HeaderMap::new(), message).await)
        }
        Ok(Message::Notification(_) | Message::Response(_)) => None,
        Err(invalid) => Some(refusal(status, &invalid.id, &invalid.error)),
    }
}

/// Writes one message as one line.
async fn write(output: &Mutex<Stdout>, reply: Reply) -> io::Result<()> {
    let mut line = reply.into_body().into_pieces().concat();
    // Between the tokens of JSON a line break is a blank; in a text it is always escaped.
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    let mut output = output.lock().await;
    output.write_all(&line).await?;
    output.flush().await
}
