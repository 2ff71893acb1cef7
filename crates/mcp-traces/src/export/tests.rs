//! The exporter against a scripted collector.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;

use super::*;
use crate::{Ids, Sampled, TraceContext};

const DEADLINE: Duration = Duration::from_secs(20);
const QUICK: Timing = Timing {
    batch: Duration::from_millis(20),
    attempt: DEADLINE,
    pause_first: Duration::from_millis(5),
    pause_max: Duration::from_millis(20),
    give_up: DEADLINE,
};
const SOON: Duration = Duration::from_millis(200);

/// What a collector gets: the head, and the decoded message.
type Received = (String, ExportTraceServiceRequest);

/// A collector that responds with each of these texts in turn, and with the last one from then on.
fn collector(responses: Vec<Vec<u8>>) -> (Settings, Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        let mut responses = responses.into_iter().peekable();
        let mut response = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some(request) = request(&mut stream) {
                response = responses.next().unwrap_or(response);
                if sender.send(request).is_err() || stream.write_all(&response).is_err() {
                    return;
                }
            }
        }
    });
    let headers = Headers::parse("authorization=Bearer%20t0p").unwrap();
    (Settings { endpoint, headers }, received)
}

fn request(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length =
                head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
            if bytes.len() >= end + 4 + length {
                let body = &bytes[end + 4..end + 4 + length];
                return Some((head, ExportTraceServiceRequest::decode(body).unwrap()));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

fn http(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn start(settings: Settings, timing: Timing) -> (Exporter, Receiver<Report>) {
    let (sender, reports) = channel();
    let service = Service { name: "test", version: "1", instance: "one".to_owned() };
    let report = move |report| drop(sender.send(report));
    (Exporter::start_with(service, settings, timing, report).unwrap(), reports)
}

fn spans(count: usize) -> Vec<Span<'static>> {
    let ids = Ids::new().unwrap();
    let context = |_| TraceContext::begin(ids.trace(), ids.span(), Sampled::Recorded);
    let span = |context| Span::server(&context, "a span", SystemTime::now(), Duration::from_millis(3));
    (0..count).map(context).map(span).collect()
}

fn names(received: &Received) -> Vec<&str> {
    let spans = &received.1.resource_spans[0].scope_spans[0].spans;
    spans.iter().map(|span| span.name.as_str()).collect()
}

#[test]
fn a_batch_arrives_whole_with_its_headers_and_the_connection_is_kept() {
    let (settings, received) = collector(vec![http("200 OK", b"")]);
    let (exporter, reports) = start(settings, QUICK);
    for _ in 0..2 {
        exporter.send(&spans(3));
        let batch = received.recv_timeout(DEADLINE).unwrap();
        assert!(batch.0.starts_with("post /v1/traces http/1.1"), "{}", batch.0);
        assert!(batch.0.contains("content-type: application/x-protobuf"), "{}", batch.0);
        assert!(batch.0.contains("authorization: bearer t0p"), "{}", batch.0);
        assert_eq!(names(&batch), ["a span"; 3]);
        let span = &batch.1.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 3_000_000);
        assert_eq!((span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (16, 8, 0));
    }
    exporter.close(DEADLINE);
    assert_eq!(exporter.counts(), Counts { exported: 6, ..Counts::default() });
    assert_eq!(reports.iter().collect::<Vec<_>>(), [Report::Arriving]);
}

#[test]
fn a_full_queue_drops_whole_requests_counts_them_and_never_waits() {
    // A port that nothing listens on.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    let (exporter, reports) = start(Settings { endpoint, headers: Headers::default() }, QUICK);
    for _ in 0..3000 {
        exporter.send(&spans(2));
    }
    let Counts { exported, dropped, failed } = exporter.counts();
    // What waits, and one batch on its way.
    let kept = 6000 - dropped as usize;
    assert!((WAITING_MAX..=WAITING_MAX + BATCH_MAX).contains(&kept), "{kept} kept");
    assert_eq!((exported, failed, dropped % 2), (0, 0, 0));
    assert!(
        matches!(reports.recv_timeout(DEADLINE).unwrap(), Report::Failing(why) if why.contains("cannot be reached"))
    );
    // The end is no reason to wait for a collector that is away.
    let begun = std::time::Instant::now();
    exporter.close(DEADLINE);
    assert!(begun.elapsed() < DEADLINE / 2);
    assert_eq!(exporter.counts().failed as usize, kept);
}

#[test]
fn a_batch_is_sent_again_when_the_collector_is_busy_and_given_up_when_it_refuses() {
    let (settings, received) =
        collector(vec![http("503 Busy", b"later"), http("200 OK", b""), http("400 Bad Request", b"no")]);
    let (exporter, reports) = start(settings, QUICK);
    exporter.send(&spans(1));
    assert_eq!(names(&received.recv_timeout(DEADLINE).unwrap()), ["a span"]);
    assert_eq!(names(&received.recv_timeout(DEADLINE).unwrap()), ["a span"]);
    exporter.send(&spans(2));
    received.recv_timeout(DEADLINE).unwrap();
    exporter.close(DEADLINE);
    assert_eq!(exporter.counts(), Counts { exported: 1, failed: 2, dropped: 0 });
    let failing = |why: &str| Report::Failing(why.to_owned());
    let reported = [
        failing("the collector is busy"),
        Report::Arriving,
        failing("the collector responded with HTTP 400"),
    ];
    assert_eq!(reports.iter().collect::<Vec<_>>(), reported);
}

#[test]
fn spans_that_a_collector_refuses_are_counted_apart() {
    let refused = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too\nlong".to_owned() };
    let response = ExportTraceServiceResponse { partial_success: Some(refused) };
    let (settings, _received) = collector(vec![http("200 OK", &response.encode_to_vec())]);
    let (exporter, reports) = start(settings, QUICK);
    exporter.send(&spans(3));
    exporter.close(DEADLINE);
    assert_eq!(exporter.counts(), Counts { exported: 1, failed: 2, dropped: 0 });
    let why = "the collector refused 2 of 3 spans: too long".to_owned();
    assert_eq!(reports.iter().collect::<Vec<_>>(), [Report::Failing(why)]);
}

#[test]
fn a_collector_that_does_not_answer_costs_its_spans_and_no_more() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let timing = Timing { attempt: Duration::from_millis(30), give_up: SOON, ..QUICK };
    let (exporter, reports) = start(Settings { endpoint, headers: Headers::default() }, timing);
    exporter.send(&spans(1));
    assert!(
        matches!(reports.recv_timeout(DEADLINE).unwrap(), Report::Failing(why) if why.contains("did not answer"))
    );
    let (settings, received) = collector(vec![http("200 OK", b"")]);
    exporter.configure(settings);
    exporter.send(&spans(1));
    received.recv_timeout(DEADLINE).unwrap();
    assert_eq!(reports.recv_timeout(DEADLINE), Ok(Report::Arriving));
}

#[test]
fn a_collector_that_is_busy_without_a_pause_is_asked_again_with_one() {
    let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (settings, received) = collector(vec![busy.clone(), busy.clone(), busy, http("200 OK", b"")]);
    let timing = Timing { pause_first: Duration::from_millis(50), ..QUICK };
    let (exporter, _reports) = start(settings, timing);
    let begun = std::time::Instant::now();
    exporter.send(&spans(1));
    for _ in 0..4 {
        received.recv_timeout(DEADLINE).unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    exporter.close(DEADLINE);
    assert_eq!(exporter.counts(), Counts { exported: 1, ..Counts::default() });
}

#[test]
fn a_collector_that_stays_busy_costs_its_spans_and_the_next_ones_arrive() {
    let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (settings, _received) = collector(vec![busy]);
    let pause = Duration::from_micros(1);
    let timing = Timing { pause_first: pause, pause_max: pause, give_up: SOON, ..QUICK };
    let (exporter, _reports) = start(settings, timing);
    exporter.send(&spans(1));
    while exporter.counts().failed == 0 {
        std::thread::yield_now();
    }
    let (settings, received) = collector(vec![http("200 OK", b"")]);
    exporter.configure(settings);
    exporter.send(&spans(2));
    received.recv_timeout(DEADLINE).unwrap();
    exporter.close(DEADLINE);
    assert_eq!(exporter.counts(), Counts { exported: 2, failed: 1, dropped: 0 });
}

#[test]
fn the_status_decides_whatever_becomes_of_the_body() {
    let cut = b"HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n".to_vec();
    let (settings, received) = collector(vec![[cut, vec![b'x'; 100_000]].concat(), http("200 OK", b"")]);
    let (exporter, reports) = start(settings, QUICK);
    exporter.send(&spans(1));
    received.recv_timeout(DEADLINE).unwrap();
    let refused = Report::Failing("the collector responded with HTTP 404".to_owned());
    assert_eq!(reports.recv_timeout(DEADLINE), Ok(refused));
    exporter.close(DEADLINE);
    assert_eq!(exporter.counts(), Counts { failed: 1, ..Counts::default() });
}

#[test]
fn what_is_discarded_is_not_sent() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    let patient = Timing { pause_first: DEADLINE, pause_max: DEADLINE, ..QUICK };
    let (exporter, reports) = start(Settings { endpoint, headers: Headers::default() }, patient);
    exporter.send(&spans(1));
    assert!(matches!(reports.recv_timeout(DEADLINE).unwrap(), Report::Failing(_)));
    exporter.send(&spans(3));
    exporter.discard();
    assert_eq!(exporter.counts().dropped, 3);
    exporter.close(DEADLINE);
    assert_eq!(exporter.counts(), Counts { failed: 1, dropped: 3, exported: 0 });
}
