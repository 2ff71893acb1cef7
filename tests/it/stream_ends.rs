//! Contract, section 8: "an event stream that is cut, silent, ended early or drained gets one last event with the error, if
//! its last event is whole".

use std::time::Duration;

use serde_json::Value;

use mcp_testkit::{Client, Guard, Peer, backend, call, post};

use crate::guard;
use crate::streams::{EVENTS, chunk, streaming, streaming_with};

const NOTE: &str =
    "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
const DONE: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[]}}\n\n";
const MODERN: &str = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: x\r\n";

fn tool_call() -> String {
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x"}}"#.to_owned()
}

fn modern_call() -> String {
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#.to_owned()
}

/// What the backend does to its stream.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The connection closes.
    Closes,
    /// The body ends as it should.
    Ends,
    /// The coding breaks.
    Breaks,
}

/// What a backend sent in its events, the guard's own last event, and whether the body ended properly.
async fn ended(events: &str, end: End) -> (String, Option<Value>, bool, Guard) {
    let (guard, mut client, mut peer) = streaming("", &tool_call()).await;
    if !events.is_empty() {
        peer.send(chunk(events)).await;
    }
    // The head arrives before the events do, and events that arrive together with a break are lost with it.
    client.receives(if events.is_empty() { "\r\n\r\n" } else { events }).await;
    match end {
        End::Closes => {}
        End::Ends => peer.send("0\r\n\r\n").await,
        End::Breaks => peer.send("zz\r\n").await,
    }
    drop(peer);
    let (text, own, whole) = told(&mut client, events).await;
    (text, own, whole, guard)
}

async fn told(client: &mut Client, events: &str) -> (String, Option<Value>, bool) {
    match client.try_response().await {
        Ok(answer) => {
            let text = answer.text().to_owned();
            let rest = text.strip_prefix(events);
            let rest = rest.unwrap_or_else(|| panic!("{events:?} do not come first: {text:?}")).to_owned();
            let own = rest
                .trim_start_matches('\n')
                .strip_prefix("data: ")
                .map(|own| own.strip_suffix("\n\n").expect("a whole event"));
            (rest.clone(), own.map(|own| serde_json::from_str(own).expect("JSON")), true)
        }
        Err(_) => (String::new(), None, false),
    }
}

#[track_caller]
fn assert_error(own: Option<&Value>, code: i64, reason: &str, context: &str) {
    let own = own.unwrap_or_else(|| panic!("no last event: {context}"));
    assert_eq!((&own["jsonrpc"], &own["id"]), (&"2.0".into(), &7.into()), "{context}");
    assert_eq!(own["error"]["code"], code, "{context}");
    assert_eq!(own["error"]["data"]["reason"], reason, "{context}");
    assert_eq!(own["error"]["data"]["executed"], "unknown", "{context}");
    assert!(own["error"]["data"]["requestId"].is_string(), "{context}");
}

#[tokio::test]
async fn a_stream_that_ends_without_the_response_ends_with_the_error() {
    let server_request =
        "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"sampling/createMessage\",\"params\":{}}\n\n";
    let other_answer = "data: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"x7\",\"result\":{}}\n\n";
    let polling = "id: 1\nretry: 100\ndata: \n\n";
    let mixed = format!(": hello\r\n\r\n{NOTE}{server_request}");
    for events in [
        "",
        NOTE,
        server_request,
        other_answer,
        polling,
        &mixed,
        "\u{feff}: x\r\r",
        "event: ping\ndata: {}\n\n",
    ] {
        for (end, code, reason) in [
            (End::Closes, -31502, "backend_reset"),
            (End::Ends, -31502, "backend_invalid"),
            (End::Breaks, -31502, "backend_invalid"),
        ] {
            if events.is_empty() && matches!(end, End::Ends) {
                continue;
            }
            let context = format!("{events:?} {end:?}");
            let (rest, own, whole, guard) = ended(events, end).await;
            assert!(whole && rest.starts_with("data: "), "{context}: {rest:?}");
            assert_error(own.as_ref(), code, reason, &context);
            let line = guard.log_line(|_| true).await;
            assert_eq!(
                (&line["outcome"], &line["denial"], &line["status"]),
                (&"upstream".into(), &reason.into(), &200.into()),
                "{context}"
            );
        }
    }
}

// "Never when the answer was seen": what follows it is nothing the client waits for.
#[tokio::test]
async fn a_stream_that_carried_the_response_gets_no_error_event() {
    for events in [
        DONE.to_owned(),
        format!("{NOTE}{DONE}"),
        format!("{DONE}: bye\n\n"),
        DONE.replace('\n', "\r"),
        DONE.replace(":7,", ":7.0,"),
    ] {
        let (rest, own, whole, guard) = ended(&events, End::Ends).await;
        assert_eq!((rest.as_str(), own, whole), ("", None, true), "{events:?}");
        assert_eq!(guard.log_line(|_| true).await["outcome"], "ok");
        let (_, own, whole, _guard) = ended(&events, End::Closes).await;
        assert_eq!((own, whole), (None, false), "a cut looks cut: {events:?}");
    }
}

// Contract, section 6: "never a clean-looking truncated answer": the backend's proper end does not make half an event whole.
#[tokio::test]
async fn a_stream_that_ends_inside_an_event_looks_cut() {
    for unfinished in ["data: {\"jso", DONE.trim_end(), "data: {\"jsonrpc\":\n"] {
        let events = format!("{NOTE}{unfinished}");
        let (_, own, whole, guard) = ended(&events, End::Ends).await;
        assert_eq!((own, whole), (None, false), "{unfinished:?}");
        assert_eq!(guard.log_line(|_| true).await["outcome"], "upstream", "{unfinished:?}");
    }
}

// "Never in the middle of an event".
#[tokio::test]
async fn an_unfinished_event_is_ended_if_it_is_blank_and_cut_if_it_is_not() {
    for unfinished in [": pin", ": ping\n", "id: 5", "event: message\r\nretry: 1\r\n", "data:"] {
        let events = format!("{NOTE}{unfinished}");
        let (rest, own, whole, _guard) = ended(&events, End::Closes).await;
        assert!(whole && rest.starts_with("\n\ndata: "), "{unfinished:?}: {rest:?}");
        assert_error(own.as_ref(), -31502, "backend_reset", unfinished);
    }
    for unfinished in ["data: {\"jsonrpc\"", "data: {}\n", DONE.trim_end()] {
        let events = format!("{NOTE}{unfinished}");
        let (_, own, whole, guard) = ended(&events, End::Closes).await;
        assert_eq!((own, whole), (None, false), "{unfinished:?}");
        assert_eq!(guard.log_line(|_| true).await["outcome"], "upstream");
    }
}

#[tokio::test]
async fn a_silent_stream_and_a_drained_one_tell_the_error_last() {
    let backend = backend().await;
    let silence = "[timeouts]\nstream_idle = \"300ms\"";
    let guard = guard().token("t").upstream(&backend).config(silence).start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &tool_call())).await;
    let mut peer = backend.accept().await;
    peer.request().await;
    // In one piece: a pause between the head and the event would be the silence.
    peer.send(format!("{EVENTS}{}", chunk(NOTE))).await;
    let (_, own, _) = told(&mut client, NOTE).await;
    assert_error(own.as_ref(), -31504, "deadline", "silence");
    assert_eq!(guard.log_line(|_| true).await["outcome"], "timeout");
    peer.closed().await;
    // The connection to the client lives on.
    client.send(post("t", "", &call(8, "ping"))).await;

    let (mut guard, mut client, mut peer) = streaming("[timeouts]\ndrain = \"300ms\"", &tool_call()).await;
    peer.send(chunk(NOTE)).await;
    client.until("params\":{}}\n\n\r\n").await;
    guard.signal(rustix::process::Signal::TERM);
    let end = client.until("0\r\n\r\n").await;
    assert!(
        end.contains(r#""id":7,"error":{"code":-31503,"#) && end.contains(r#""reason":"draining""#),
        "{end}"
    );
    assert!(guard.ended().await.success());
}

/// The guard with a stream under way to a client of 2026, one event of which has arrived.
async fn streaming_to_modern(fields: &str, body: &str) -> (Guard, Client, Peer) {
    let (guard, client, mut peer) = streaming_with("", fields, body).await;
    peer.send(chunk(NOTE)).await;
    (guard, client, peer)
}

#[tokio::test]
async fn a_client_of_2026_gets_the_same_stream_end() {
    let (_guard, mut client, peer) = streaming_to_modern(MODERN, &modern_call()).await;
    drop(peer);
    let (_, own, _) = told(&mut client, NOTE).await;
    assert_error(own.as_ref(), -31502, "backend_reset", "modern");
}

/// The guard with a subscription under way.
async fn subscribed() -> (Guard, Client, Peer) {
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n";
    streaming_to_modern(fields, body).await
}

// A subscription is due no answer, so its end says all; one that is cut is lost, and the client subscribes anew.
#[tokio::test]
async fn a_subscription_ends_without_an_error_but_is_not_cut_without_one() {
    let (_guard, mut client, mut peer) = subscribed().await;
    peer.send("0\r\n\r\n").await;
    assert_eq!(told(&mut client, NOTE).await, (String::new(), None, true));

    let (_guard, mut client, peer) = subscribed().await;
    drop(peer);
    let (_, own, _) = told(&mut client, NOTE).await;
    assert_error(own.as_ref(), -31502, "backend_reset", "a cut subscription");
}

// A declared length cannot be kept once an event is added, and HTTP/1.0 has no chunks.
#[tokio::test]
async fn a_declared_length_or_an_old_client_is_no_obstacle() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    for (version, declared) in [
        ("HTTP/1.1", NOTE.len() + 9),
        ("HTTP/1.1", NOTE.len()),
        ("HTTP/1.0", NOTE.len() + 9),
        ("HTTP/1.0", 0),
    ] {
        let mut client = guard.connect().await;
        client.send(post("t", "", &tool_call()).replace("HTTP/1.1", version)).await;
        let mut peer = backend.accept().await;
        peer.request().await;
        let length = if declared == 0 { String::new() } else { format!("Content-Length: {declared}\r\n") };
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{length}\r\n{NOTE}")).await;
        drop(peer);
        let (_, own, whole) = told(&mut client, NOTE).await;
        assert!(whole, "{version} {declared}");
        assert_eq!(own.expect("an error")["error"]["code"], -31502, "{version} {declared}");
    }
}

// A stream that its backend ends after the answer lives on the same connection as before.
#[tokio::test]
async fn the_connection_to_the_client_outlives_a_stream_that_was_ended_for_it() {
    let backend = backend().await;
    let guard = guard().token("t").upstream(&backend).start().await;
    let mut client = guard.connect().await;
    for _ in 0..3 {
        client.send(post("t", "", &tool_call())).await;
        let mut peer = backend.accept().await;
        peer.request().await;
        peer.send(EVENTS).await;
        peer.send(chunk(NOTE)).await;
        drop(peer);
        let (_, own, _) = told(&mut client, NOTE).await;
        assert_error(own.as_ref(), -31502, "backend_reset", "again");
    }
    assert!(!client.receives_within(Duration::from_millis(1)).await);
}
