//! Servers that lie in the guard's place: the judge of answers must see each lie.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::session::Attack;
use crate::wire::Target;
use crate::{AT_THE_GUARD, answers, plain};

/// Says the same to every connection.
fn liar(words: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut piece = vec![0; 256 * 1024];
            let _ = stream.read(&mut piece);
            let _ = stream.write_all(&words);
        }
    });
    address
}

#[track_caller]
fn check(words: &[u8], seen: &str) {
    let ledger = Arc::new(Ledger::default());
    let target = Target { timeout: Duration::from_millis(500), ..plain(liar(words.to_vec())) };
    let attack = Attack {
        target,
        grammar: AT_THE_GUARD,
        ledger: ledger.clone(),
        judges_answers: true,
        is_shown: false,
    };
    (0..60).for_each(|connection| attack.run(1, connection));
    let violations = ledger.violations();
    assert!(violations.keys().any(|kind| kind.starts_with(seen)), "{seen}: not among {violations:#?}");
}

#[test]
fn the_oracle_finds_responses_that_are_wrong() {
    let (answer, _) = answers::whole(1_000_000, false);
    check(&answer, "wrong or changed answer: valid");
    check(&answer, "not refused: framing");
    check(&answer, "answered otherwise: no token");
    check(&answer, "answered otherwise: forbidden tool");
    check(&answer, "answered otherwise: bad JSON");
    check(&answer[..answer.len() - 1], "an answer that is cut");
    check(b"", "no answer: valid");
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "malformed answer: two lengths",
    );
    check(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "not closed: framing");
    check(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "not served: valid");
}
