//! What an exchange takes the real server, by the members of a fleet and the size of their windows.

use super::server::Server;
use crate::request::{Request, ShareRequest};
use crate::store::Store;

/// Microseconds of the server for an exchange, the mean of 4,000 of so many members with records of so many bytes.
async fn micros(members: usize, bytes: usize) -> f64 {
    let server = Server::start();
    let (store, mut since) = (server.store(), 0);
    // So many that a server that is stopped for a moment does not change the mean.
    for round in 1..=(4_000 / members as u64) {
        for member in 0..members {
            let share = ShareRequest { limit: "calls".to_owned(), rate: 1_000_000, demand: 10_000, holds: 0 };
            let mut request = Request::bare(&format!("n{member}"), round, vec![share]);
            request.record = (round % 5 == 1).then(|| vec![b'r'; bytes]);
            request.records_since = (member == 0).then_some(since);
            let reply = store.exchange(request).await.expect("the store responds");
            if member == 0 {
                since = reply.records_until;
            }
        }
    }
    let statistics = server.statistics();
    let value = statistics.split("usec_per_call=").nth(1).and_then(|rest| rest.split(',').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{statistics}"))
}

#[tokio::test]
async fn an_exchange_takes_the_store_little_time_with_many_members_and_large_windows() {
    for (members, bytes) in [(5, 3_000), (5, 24_000), (200, 3_000), (200, 24_000)] {
        let micros = micros(members, bytes).await;
        println!("{members} members, {bytes} bytes: {micros:.0} us an exchange");
        // Ten times what it takes on a machine that does nothing else.
        assert!(micros < 1_000.0, "{members} members, {bytes} bytes: {micros} us");
    }
}
