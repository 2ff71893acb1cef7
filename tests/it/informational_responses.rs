//! Contract, section 6: "An interim response while the body goes out changes nothing: the rest is sent."

use mcp_testkit::{Backend, Client, Guard, Peer, backend, backend_on_tcp, ok, post, result};

use crate::guard;

/// A body that no socket takes at once.
fn large_call() -> String {
    let text = "x".repeat(3_000_000);
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{{"t":"{text}"}}}}}}"#
    )
}

/// A large request is on its way to the backend, which has read nothing yet.
async fn sending(backend: &Backend) -> (Guard, Client, Peer) {
    let guard = guard().token("t").upstream(backend).start().await;
    let mut client = guard.connect().await;
    client.send(post("t", "", &large_call())).await;
    let peer = backend.accept().await;
    (guard, client, peer)
}

#[tokio::test]
async fn an_interim_response_does_not_end_the_sending() {
    let several = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n";
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 \r\nX: y\r\n\r\n", several] {
        for backend in [backend().await, backend_on_tcp().await] {
            let (_guard, mut client, mut peer) = sending(&backend).await;
            peer.send(interim).await;
            assert_eq!(peer.request().await.text(), large_call(), "{interim:?}");
            peer.send(ok(&result(1))).await;
            let answer = client.response().await;
            assert_eq!((answer.status(), answer.text()), (200, result(1).as_str()), "{interim:?}");
        }
    }
}

#[tokio::test]
async fn an_interim_response_in_pieces_does_not_end_the_sending() {
    let backend = backend().await;
    let (_guard, mut client, mut peer) = sending(&backend).await;
    for (at, piece) in
        ["HTTP/1.1 1", "02 Processing\r", "\n\r", "\nHTTP/1.1 100 C", "ontinue\r\n\r\nHTT"].iter().enumerate()
    {
        peer.send(piece).await;
        peer.takes(500_000 * (at + 1)).await;
    }
    peer.request().await;
    // The beginning of the final head came while the request was still being sent.
    let answer = ok(&result(1));
    peer.send(&answer["HTT".len()..]).await;
    assert_eq!(client.response().await.text(), result(1));
    // What was read whole and answered whole leaves a connection that serves again.
    client.send(post("t", "", &mcp_testkit::call(2, "ping"))).await;
    peer.request().await;
}

#[tokio::test]
async fn a_final_response_behind_interim_ones_ends_the_sending() {
    let backend = backend().await;
    let (_guard, mut client, mut peer) = sending(&backend).await;
    peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 10").await;
    peer.takes(500_000).await;
    let early = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"too large"}}"#;
    peer.send("3 Hints\r\n\r\n").await;
    peer.send(ok(early).replacen("200 OK", "413 Content Too Large", 1)).await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (413, early));
    // Half a request leaves a connection of no further use.
    client.send(post("t", "", &mcp_testkit::call(2, "ping"))).await;
    backend.accept().await.request().await;
}

#[tokio::test]
async fn interim_responses_without_end_are_refused_while_the_request_is_sent() {
    let backend = backend().await;
    let (_guard, mut client, mut peer) = sending(&backend).await;
    peer.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(100)).await;
    assert_eq!(client.response().await.json()["error"]["code"], -31502);
}
