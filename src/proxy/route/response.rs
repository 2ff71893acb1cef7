//! What a route's backend answers, on its way to the client: the same fields and the same framing as for calls, each
//! piece as it comes. An event stream has no end of its own; when the guard stops, it ends behind a whole event.

use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::super::io::{Parts, read_more};
use super::Passage;
use crate::http1::{BodyLength, FieldSpans, head_end};
use crate::proxy::backend::response_body::{Coding, Cut, Sending, Source, finish_head, write};
use crate::proxy::backend::response_head::{AnswerHead, Challenge, HEAD_LIMITS, Judged, Session, judge};
use crate::proxy::date::Clock;
use crate::proxy::downstream::local_reply::{KeepAlive, append_length};
use crate::proxy::downstream::record::RecordBuilder;
use crate::proxy::downstream::stream::Downstream;
use crate::proxy::route::pingora::bridge::{Handed, NoAnswer};
use crate::telemetry::Outcome;
use crate::wire::response_scan::Format;

/// Waits for the head of the answer, as long as the client does.
pub(crate) async fn wait(
    client: &mut Downstream,
    handed: &mut Handed,
) -> Result<(Vec<u8>, Vec<u8>), NoAnswer> {
    client.until(head(handed)).await.unwrap_or_else(|interrupt| Err(NoAnswer::Interrupted(interrupt)))
}

/// Reads the head of the answer, as Pingora passes it on. What comes behind it is returned, too.
async fn head(handed: &mut Handed) -> Result<(Vec<u8>, Vec<u8>), NoAnswer> {
    let mut raw = Vec::new();
    let mut scanned = 0;
    loop {
        match head_end(&raw, scanned, &HEAD_LIMITS).map_err(NoAnswer::Invalid)? {
            // A head that no backend sent is Pingora's own, and says less than we know.
            Some(_) if !handed.exchange.is_answered() => return Err(handed.exchange.failure()),
            Some(end) => {
                let rest = raw.split_off(end);
                return Ok((raw, rest));
            }
            None => scanned = raw.len(),
        }
        match read_more(&mut handed.pipe, &mut raw).await {
            Ok(0) | Err(_) => return Err(handed.exchange.failure()),
            Ok(_) => {}
        }
    }
}

/// Waits for the answer and passes it on.
pub(crate) async fn serve(
    passage: &Passage<'_>,
    client: &mut Downstream,
    mut handed: Handed,
    record: &mut RecordBuilder,
) -> KeepAlive {
    let since = Instant::now();
    let keep_alive = match wait(client, &mut handed).await {
        Ok((block, rest)) => pass_on(passage, client, &mut handed, &block, rest, record).await,
        Err(why) => passage.give_up(client, why, record).await,
    };
    record.upstream = Some(since.elapsed());
    keep_alive
}

/// Passes on an answer whose head has arrived.
pub(crate) async fn pass_on(
    passage: &Passage<'_>,
    client: &mut Downstream,
    handed: &mut Handed,
    block: &[u8],
    rest: Vec<u8>,
    record: &mut RecordBuilder,
) -> KeepAlive {
    let head_only = passage.request.head.method == b"HEAD";
    let judged = judge_answer(block, head_only, &passage.request.state.clock);
    let opened = judged.and_then(|head| {
        let body = if head_only { BodyLength::None } else { head.body };
        let bodiless = head_only || matches!(head.status, 204 | 304);
        let source = Source::new(&mut handed.pipe, body, rest, false).map_err(|cut| no_answer(&cut))?;
        Ok((source, head, bodiless))
    });
    let (mut source, head, bodiless) = match opened {
        Ok(opened) => opened,
        Err(why) => return passage.give_up(client, why, record).await,
    };
    if let Err(cut) = source.gather(client, head.format, |_| true).await {
        let why = no_answer(&cut);
        let why = if why == NoAnswer::Closed { handed.exchange.failure() } else { why };
        return passage.give_up(client, why, record).await;
    }
    passage.route.reached();
    record.status = Some(head.status);
    record.outcome = if head.status >= 500 { Outcome::Upstream } else { Outcome::Ok };
    record.streamed = head.format == Format::EventStream;
    let stream = (head.format == Format::EventStream).then(|| passage.visit.stream());
    let sending = Sending {
        rendered: head.rendered,
        request_id: passage.request.id,
        page: passage.request.page,
        keep_alive: passage.request.keep_alive(client),
        version: passage.request.head.version,
        stream: None,
        bodiless,
    };
    let flow = Flow { passage, tail: Tail::default(), is_events: stream.is_some() };
    flow.run(sending, &mut source, client, record).await
}

/// The head for the client. To HEAD it carries the length that a body would have.
fn judge_answer(block: &[u8], head_only: bool, clock: &Clock) -> Result<AnswerHead, NoAnswer> {
    match judge(block, &mut FieldSpans::default(), Session::Keep, Challenge::Pass, clock) {
        Ok(Judged::Final(mut head)) => {
            if let (true, BodyLength::Bytes(length)) = (head_only, head.body) {
                append_length(&mut head.rendered, length);
            }
            Ok(head)
        }
        // Interim answers do not come this far.
        Ok(Judged::Interim) => Err(NoAnswer::Closed),
        Err(error) => Err(NoAnswer::Invalid(error)),
    }
}

fn no_answer(cut: &Cut) -> NoAnswer {
    match cut {
        Cut::Closed | Cut::TooLong | Cut::Unreadable => NoAnswer::Closed,
        Cut::Malformed(error) => NoAnswer::Invalid(*error),
        Cut::Interrupted(interrupt) | Cut::Unwritten(interrupt) => NoAnswer::Interrupted(*interrupt),
    }
}

/// A body that is being passed on.
struct Flow<'f> {
    passage: &'f Passage<'f>,
    tail: Tail,
    is_events: bool,
}

/// How a body ended.
enum End {
    Whole,
    /// The guard stops, and the stream lies behind a whole event.
    Drained,
    Cut(Cut),
}

impl Flow<'_> {
    async fn run(
        mut self,
        mut sending: Sending<'_>,
        source: &mut Source<&mut DuplexStream>,
        client: &mut Downstream,
        record: &mut RecordBuilder,
    ) -> KeepAlive {
        let coding = source.coding(sending.version);
        let keep_alive = if coding == Coding::UntilClose { KeepAlive::Close } else { sending.keep_alive };
        finish_head(&mut sending, coding, keep_alive);
        let end = match self.pass(&sending.rendered, source, client, coding, record).await {
            Ok(end) => end,
            Err(cut) => End::Cut(cut),
        };
        match end {
            End::Whole => keep_alive,
            End::Drained => {
                if coding == Coding::Chunked {
                    client.set_timeout(self.passage.route.config.idle);
                    let _ = client.write(Parts::new([b"0\r\n\r\n".as_slice()])).await;
                }
                KeepAlive::Close
            }
            End::Cut(cut) => {
                record.outcome = match cut {
                    Cut::Interrupted(interrupt) | Cut::Unwritten(interrupt) => interrupt.outcome(),
                    Cut::Closed | Cut::Malformed(_) | Cut::TooLong | Cut::Unreadable => Outcome::Upstream,
                };
                KeepAlive::Close
            }
        }
    }

    async fn pass(
        &mut self,
        head: &[u8],
        source: &mut Source<&mut DuplexStream>,
        client: &mut Downstream,
        coding: Coding,
        record: &mut RecordBuilder,
    ) -> Result<End, Cut> {
        let mut head = head;
        loop {
            self.set_deadline(client);
            self.tail.see(&source.data);
            record.bytes_out += source.data.len() as u64;
            write(client, head, source, coding).await?;
            if source.is_complete() {
                return Ok(End::Whole);
            }
            head = &[];
            source.data.clear();
            if self.is_events && self.tail.ends_event() && !matches!(coding, Coding::Length(_)) {
                match client.until_drain(source.read()).await? {
                    Some(read) => read?,
                    None => return Ok(End::Drained),
                }
            } else {
                client.until(source.read()).await??;
            }
        }
    }

    /// Silence ends any answer; the total time ends those that have an end.
    fn set_deadline(&self, client: &mut Downstream) {
        let config = &self.passage.route.config;
        let idle = Instant::now() + config.idle;
        let whole = self.passage.request.started + config.total;
        client.set_deadline(if self.is_events { idle } else { idle.min(whole) });
    }
}

/// The last bytes of an event stream: what is needed to know whether an event is under way.
#[derive(Debug, Default)]
struct Tail {
    bytes: [u8; 4],
    seen: bool,
}

impl Tail {
    fn see(&mut self, bytes: &[u8]) {
        self.seen |= !bytes.is_empty();
        for &byte in bytes.iter().skip(bytes.len().saturating_sub(self.bytes.len())) {
            self.bytes.rotate_left(1);
            self.bytes[3] = byte;
        }
    }

    /// An event ends with an empty line, whose ends are CRLF, LF or CR.
    fn ends_event(&self) -> bool {
        let line = match self.bytes.as_slice() {
            [line @ .., b'\r', b'\n'] | [line @ .., b'\n' | b'\r'] => line,
            _ => return !self.seen,
        };
        matches!(line, [.., b'\n' | b'\r'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line_however_it_arrives() {
        for (text, expect) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\r", true),
            ("data: 1\n\r\n", true),
            ("data: 1\n", false),
            ("data: 1\r\n", false),
            ("data: 1", false),
            ("data: 1\n\ndata", false),
        ] {
            for piece in [1, 3, 100] {
                let mut tail = Tail::default();
                text.as_bytes().chunks(piece).for_each(|bytes| tail.see(bytes));
                assert_eq!(tail.ends_event(), expect, "{text:?} in pieces of {piece}");
            }
        }
    }
}
