//! One hostile connection: some requests in one go, in pieces, or cut anywhere, and the judgement of what comes back.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::answers::{self, Answer, Read};
use crate::bodies;
use crate::dice::Dice;
use crate::grammar::{Grammar, Request, Want};
use crate::ledger::{Ledger, may_be_forwarded};
use crate::wire::{Target, Wire};

/// Most requests of a connection.
pub(crate) const REQUESTS_MAX: u64 = 5;

const CUT: &str = "an answer that is cut";

/// What is judged, and against what.
#[derive(Clone)]
pub(crate) struct Attack {
    pub(crate) target: Target,
    pub(crate) grammar: Grammar,
    pub(crate) ledger: Arc<Ledger>,
    /// Whether the answers are judged by the guard's contract. If not, only what a backend gets is.
    pub(crate) judges_answers: bool,
    /// Whether what is sent is shown.
    pub(crate) is_shown: bool,
}

/// How the client ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// After all answers.
    Polite,
    /// Says that it has sent all, and goes on reading.
    HalfClose,
    /// Resets it as soon as all is sent.
    Abort,
}

/// One connection's plan.
struct Plan {
    requests: Vec<Request>,
    bytes: Vec<u8>,
    /// Where each request ends.
    ends: Vec<usize>,
    /// How many bytes are sent.
    sent: usize,
    end: End,
    /// The first request that ends the connection, if any.
    last: Option<usize>,
}

impl Attack {
    /// The connection of this number, with the run's seed.
    pub(crate) fn run(&self, seed: u64, connection: u64) {
        let mut dice = Dice::new(crate::dice::mix(seed ^ crate::dice::mix(connection)));
        let plan = self.plan(&mut dice, connection);
        let place = format!("seed {seed} connection {connection}");
        if self.is_shown {
            eprintln!("{}", plan.bytes[..plan.sent].escape_ascii());
        }
        self.ledger.count("connections", 1);
        let Ok(mut wire) = Wire::open(&self.target) else {
            return self.ledger.violate("connection refused", &place);
        };
        send(&mut wire, &plan, &mut dice);
        if plan.end == End::Abort {
            return wire.abort();
        }
        if plan.end == End::HalfClose {
            wire.half_close();
        }
        let mut reader = Reader { wire, bytes: Vec::new(), is_ended: false, last: String::new() };
        if let (Err(problem), true) = (self.judge(&plan, &mut reader), self.judges_answers) {
            let told: Vec<_> = plan.requests.iter().map(|r| format!("{}/{}", r.kind, r.name)).collect();
            let heard = &reader.last;
            let detail = format!(
                "{place}, {:?}, sent {} of {}: {told:?}; heard {heard:?}",
                plan.end,
                plan.sent,
                plan.bytes.len()
            );
            self.ledger.violate(&problem, &detail);
        }
    }

    fn plan(&self, dice: &mut Dice, connection: u64) -> Plan {
        let count = 1 + dice.number() % REQUESTS_MAX;
        let mut requests: Vec<Request> = Vec::new();
        for index in 0..count {
            requests.push(self.grammar.draw(dice, connection * REQUESTS_MAX + index));
            // What stands behind bytes that were changed at random may be a part of them.
            if requests.last().is_some_and(|request| request.want == Want::Unclear) {
                break;
            }
        }
        let is_unclear = requests.last().is_some_and(|request| request.want == Want::Unclear);
        let last = requests.iter().position(|request| request.closes || request.want == Want::Fatal);
        let mut plan =
            Plan { bytes: Vec::new(), ends: Vec::new(), sent: 0, end: End::Polite, last, requests };
        for request in &plan.requests {
            plan.bytes.extend_from_slice(&request.bytes);
            plan.ends.push(plan.bytes.len());
        }
        plan.sent = plan.bytes.len();
        let way = dice.below(100);
        if way < 12 {
            plan.sent = dice.below(plan.bytes.len());
        }
        plan.end = match way {
            0..6 | 12..24 => End::HalfClose,
            6..12 | 24..30 => End::Abort,
            _ if is_unclear => End::HalfClose,
            _ => End::Polite,
        };
        for (index, request) in plan.requests.iter().enumerate() {
            let is_whole = plan.ends[index] <= plan.sent;
            let is_before_the_end = plan.last.is_none_or(|last| index <= last);
            self.ledger.plan(request, is_whole && is_before_the_end && may_be_forwarded(request));
        }
        plan
    }

    /// Every answer in its place.
    fn judge(&self, plan: &Plan, reader: &mut Reader) -> Result<(), String> {
        for (index, request) in plan.requests.iter().enumerate() {
            if plan.ends[index] > plan.sent {
                return self.cut(request, reader);
            }
            if request.want == Want::Unclear {
                while reader.next()?.is_some() {}
                return Ok(());
            }
            let is_cancelled = request.is_modern && plan.end == End::HalfClose;
            let next = match reader.next() {
                Err(problem) if is_cancelled && problem == CUT => None,
                next => next?,
            };
            let Some(answer) = next else {
                let is_excused = !self.judges_answers || is_cancelled;
                return if is_excused { Ok(()) } else { Err(format!("no answer: {}", request.kind)) };
            };
            self.ledger.count("answers", 1);
            if self.judges_answers {
                self.answered(request, &answer)?;
            }
            let must_end = plan.last == Some(index);
            if must_end || answer.closes {
                return self.ended(plan, index, must_end, &answer, reader);
            }
        }
        if plan.end == End::HalfClose && reader.next()?.is_some() {
            return Err("a response to no request".to_owned());
        }
        Ok(())
    }

    /// What was cut is refused, or nothing comes of it.
    fn cut(&self, request: &Request, reader: &mut Reader) -> Result<(), String> {
        let answer = reader.next()?;
        let is_served = answer.is_some_and(|answer| answers::body(request.number) == answer.body);
        if is_served && self.judges_answers {
            return Err(format!("a request that was cut is served: {}", request.kind));
        }
        Ok(())
    }

    fn answered(&self, request: &Request, answer: &Answer) -> Result<(), String> {
        let name = || format!("{} ({}) with {}", request.kind, request.name, answer.status);
        let is_json = answer.status == 204 || answer.field("content-type") == Some("application/json");
        // "never `*`", and a page that is not allowed is never named.
        if answer.field("access-control-allow-origin").is_some_and(|origin| origin != "http://localhost:3000")
        {
            return Err(format!("opened to a page: {}", name()));
        }
        let has_id = answer.field("x-request-id").is_some();
        let is_guards = self.grammar.is_behind_apache || (is_json && has_id);
        match &request.want {
            Want::Served if request.is_notification => {
                let is_right = answer.status == 202 && answer.body.is_empty();
                if is_right { Ok(()) } else { Err(format!("not served: {}", name())) }
            }
            Want::Served if answer.body == answers::body(request.number) => Ok(()),
            Want::Served if memchr::memmem::find(&answer.body, b"answer-").is_some() => {
                Err(format!("wrong or changed answer: {}", name()))
            }
            Want::Served => Err(format!("not served: {}", name())),
            Want::Refused(statuses) => {
                let is_right = statuses.contains(&answer.status) && is_guards;
                if is_right { Ok(()) } else { Err(format!("answered otherwise: {}", name())) }
            }
            Want::RpcError => {
                let has_error = memchr::memmem::find(&answer.body, b"\"error\"").is_some();
                let own = format!("\"id\":{}", bodies::id(request.number));
                let is_own = memchr::memmem::find(&answer.body, own.as_bytes()).is_some();
                let is_right =
                    has_error && is_guards && (answer.status == 400 || answer.status == 200 && is_own);
                if is_right { Ok(()) } else { Err(format!("answered otherwise: {}", name())) }
            }
            Want::Fatal => {
                let is_right = [400, 408, 413, 414, 417, 431, 501, 505].contains(&answer.status);
                if is_right || self.grammar.is_behind_apache && answer.status >= 400 {
                    Ok(())
                } else {
                    Err(format!("not refused: {}", name()))
                }
            }
            Want::Unclear => Ok(()),
        }
    }

    /// Nothing comes of what stands behind the last answer.
    fn ended(
        &self,
        plan: &Plan,
        index: usize,
        must_end: bool,
        answer: &Answer,
        reader: &mut Reader,
    ) -> Result<(), String> {
        if !self.judges_answers {
            return Ok(());
        }
        let request = &plan.requests[index];
        let is_said = answer.closes || self.grammar.is_behind_apache;
        if must_end && !is_said {
            return Err(format!("not closed: {} ({})", request.kind, request.name));
        }
        if reader.next()?.is_some() {
            return Err(format!("an answer behind the last one: {} ({})", request.kind, request.name));
        }
        let behind = plan.requests.iter().skip(index + 1);
        match behind.into_iter().find(|request| self.ledger.seen(request.number) > 0) {
            Some(late) => Err(format!("forwarded behind the end: {} ({})", late.kind, late.name)),
            None => Ok(()),
        }
    }
}

/// Sends the bytes, in up to four pieces. What is refused early may not be taken whole.
fn send(wire: &mut Wire, plan: &Plan, dice: &mut Dice) {
    let mut cuts: Vec<usize> = (0..dice.below(4)).map(|_| dice.below(plan.sent + 1)).collect();
    cuts.extend([0, plan.sent]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        if wire.send(&plan.bytes[pair[0]..pair[1]]).is_err() {
            return;
        }
        if dice.chance(20) {
            std::thread::yield_now();
        }
    }
}

/// Reads answers one after the other.
struct Reader {
    wire: Wire,
    bytes: Vec<u8>,
    is_ended: bool,
    /// The last answer, for the report.
    last: String,
}

impl Reader {
    /// The next final answer; `None` where the connection ends.
    fn next(&mut self) -> Result<Option<Answer>, String> {
        let mut piece = vec![0; 16 * 1024];
        loop {
            match answers::read(&self.bytes, self.is_ended) {
                Read::Whole(answer, length) => {
                    let told = &self.bytes[..length.min(600)];
                    self.last = String::from_utf8_lossy(told).into_owned();
                    self.bytes.drain(..length);
                    return Ok(Some(answer));
                }
                Read::Malformed(problem) => return Err(format!("malformed answer: {problem}")),
                Read::Nothing => return Ok(None),
                Read::Part if self.is_ended => return Err(CUT.to_owned()),
                Read::Part => {}
            }
            match self.wire.receive(&mut piece) {
                Ok(0) => self.is_ended = true,
                Ok(read) => self.bytes.extend_from_slice(&piece[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err("silence".to_owned());
                }
                // Reset: a refused request may not be read whole.
                Err(_) => self.is_ended = true,
            }
        }
    }
}
