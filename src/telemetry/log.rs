//! The log: operational lines (through the `log` crate) and request lines share one bounded queue and one writer thread.
//!
//! The queue has a part for each worker, in whose buffer a line is written at once. A slow or full stderr never slows a request: what
//! does not fit is dropped and counted. Must not know HTTP.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::access_log::{self, Record, SecondText};
use crate::config::{self, LogFormat};
use crate::worker::PerWorker;

/// Bytes that may wait for the writer, of all workers together, where a part is not smaller than it may be; lines beyond are
/// dropped.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// Bytes that may wait in the part of one worker, however many there are: what one busy connection writes while the writer
/// rests.
const PART_BYTES_MIN: usize = 128 << 10;
/// The writer rests this long between rounds, so that a busy guard writes some hundred times a second, not thousands: each time
/// it takes the core away from calls.
const REST: Duration = Duration::from_millis(10);
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(1);
/// A buffer that grew beyond this in a burst is given back.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The service manager's journal, which takes a priority off the front of each line.
    Journal,
    Other,
}

/// syslog(3)
const REQUEST_PRIORITY: u8 = 6;

/// A handle on the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Log {
    queue: Arc<Queue>,
    /// Whether lines are text, for people.
    is_text: Arc<AtomicBool>,
    reader: Reader,
}

impl Log {
    /// Starts the writer thread on stderr and installs it as the process's logger. Once per process.
    pub(crate) fn start(config: config::Log, workers: usize, reader: Reader) -> io::Result<Log> {
        let log = Log { reader, ..Log::to(config.format, workers, io::stderr())? };
        let logger = Logger { log: log.clone() };
        // A second logger is refused by the `log` crate; the first one then keeps the operational lines.
        if ::log::set_boxed_logger(Box::new(logger)).is_ok() {
            ::log::set_max_level(config.level);
        }
        Ok(log)
    }

    /// Starts a writer thread on `sink`, for request lines only.
    pub(crate) fn to(
        format: LogFormat,
        workers: usize,
        sink: impl Write + Send + 'static,
    ) -> io::Result<Log> {
        let queue = Arc::new(Queue::new(workers));
        let writer = queue.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.drain_into(sink))?;
        let is_text = Arc::new(AtomicBool::new(format == LogFormat::Text));
        Ok(Log { queue, is_text, reader: Reader::Other })
    }

    /// From the next line on, this format and level hold.
    pub(crate) fn configure(&self, config: config::Log) {
        self.is_text.store(config.format == LogFormat::Text, Ordering::Relaxed);
        ::log::set_max_level(config.level);
    }

    fn format(&self) -> LogFormat {
        if self.is_text.load(Ordering::Relaxed) { LogFormat::Text } else { LogFormat::Json }
    }

    /// The beginning of a line: its priority, where that is read.
    fn begin(&self, priority: u8, out: &mut Vec<u8>) {
        match self.reader {
            Reader::Journal => out.extend([b'<', b'0' + priority, b'>']),
            Reader::Other => {}
        }
    }

    /// Queues the line of one request that ended at this time of day.
    pub(crate) fn request(&self, record: &Record<'_>, ended: SystemTime) {
        let ended = jiff::Timestamp::try_from(ended).unwrap_or_default();
        let format = self.format();
        self.queue.push(|out, second| {
            self.begin(REQUEST_PRIORITY, out);
            match format {
                LogFormat::Json => access_log::json(record, second, ended, out),
                LogFormat::Text => access_log::text(record, ended, out),
            }
        });
    }

    /// Lines dropped so far because the writer could not keep up.
    pub(crate) fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is queued and returns when it is written (or a second has passed). The last thing before exit.
    pub(crate) fn flush(&self) {
        self.queue.flush();
    }
}

/// The `log` crate's side of the queue.
struct Logger {
    log: Log,
}

impl ::log::Log for Logger {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        // Pingora narrates its start and stop at `info`; to an operator that is detail.
        let narration = metadata.level() == ::log::Level::Info && metadata.target().starts_with("pingora");
        let level = if narration { ::log::Level::Debug } else { metadata.level() };
        level <= ::log::max_level()
    }

    fn log(&self, record: &::log::Record<'_>) {
        if self.enabled(record.metadata()) {
            // Before the lock: what a line is about may log a line itself.
            let mut line = Vec::with_capacity(256);
            self.log.begin(priority(record.level()), &mut line);
            let now = jiff::Timestamp::now();
            match self.log.format() {
                LogFormat::Json => access_log::operational_json(record, now, &mut line),
                LogFormat::Text => access_log::operational_text(record, now, &mut line),
            }
            self.log.queue.push(|out, _second| out.extend_from_slice(&line));
        }
    }

    fn flush(&self) {
        self.log.flush();
    }
}

fn priority(level: ::log::Level) -> u8 {
    match level {
        ::log::Level::Error => 3,
        ::log::Level::Warn => 4,
        ::log::Level::Info => 6,
        ::log::Level::Debug | ::log::Level::Trace => 7,
    }
}

struct Queue {
    parts: PerWorker<Mutex<Part>>,
    /// Bytes that may wait in one part.
    pending_max: usize,
    /// The writer sleeps, or is about to: who adds a line wakes it.
    sleeps: AtomicBool,
    writer: Mutex<Writer>,
    /// Wakes the writer.
    filled: Condvar,
    /// Wakes who waits in `flush`.
    written: Condvar,
    dropped: AtomicU64,
}

/// The lines of one worker, and the text of the second in which the last of them was written.
struct Part {
    pending: Vec<u8>,
    second: SecondText,
}

#[derive(Default)]
struct Writer {
    /// Everything is written.
    is_asleep: bool,
    /// A line was added since it fell asleep.
    is_woken: bool,
    /// A caller waits in `flush`: the writer does not rest.
    is_hurried: bool,
}

impl Queue {
    fn new(workers: usize) -> Queue {
        let part = |_| Mutex::new(Part { pending: Vec::new(), second: SecondText::new() });
        Queue {
            parts: PerWorker::new(workers, part),
            pending_max: (PENDING_BYTES_MAX / workers.max(1)).max(PART_BYTES_MIN),
            sleeps: AtomicBool::new(false),
            writer: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Lets `write` append one line.
    fn push(&self, write: impl FnOnce(&mut Vec<u8>, &mut SecondText)) {
        {
            let mut part = lock(self.parts.own());
            let Part { pending, second } = &mut *part;
            let before = pending.len();
            write(pending, second);
            if pending.len() > self.pending_max {
                pending.truncate(before);
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        // After the line: a writer that did not see it has set this before it looked.
        if self.sleeps.load(Ordering::SeqCst) && self.sleeps.swap(false, Ordering::SeqCst) {
            lock(&self.writer).is_woken = true;
            self.filled.notify_one();
        }
    }

    fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WAIT_MAX;
        let mut writer = lock(&self.writer);
        writer.is_hurried = true;
        // Who has added a line may not have woken the writer yet.
        while !writer.is_asleep || writer.is_woken || !self.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            writer = self.written.wait_timeout(writer, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        writer.is_hurried = false;
    }

    fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| lock(part).pending.is_empty())
    }

    /// The writer thread: takes what is pending part by part and writes each in one go.
    fn drain_into(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.wait_for_lines();
            for part in self.parts.iter() {
                std::mem::swap(&mut batch, &mut lock(part).pending);
                if sink.write_all(&batch).is_err() {
                    let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                    self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
                }
                batch.clear();
                batch.shrink_to(BUFFER_BYTES_KEPT);
            }
            let _ = sink.flush();
            if !lock(&self.writer).is_hurried {
                std::thread::sleep(REST);
            }
        }
    }

    /// Returns when a part has lines.
    fn wait_for_lines(&self) {
        while self.is_empty() {
            self.sleeps.store(true, Ordering::SeqCst);
            if !self.is_empty() {
                self.sleeps.store(false, Ordering::SeqCst);
                return;
            }
            let mut writer = lock(&self.writer);
            writer.is_asleep = true;
            self.written.notify_all();
            while !writer.is_woken {
                writer = self.filled.wait(writer).unwrap_or_else(PoisonError::into_inner);
            }
            (writer.is_asleep, writer.is_woken) = (false, false);
        }
    }
}

/// What is locked is bytes and flags: a panic elsewhere cannot leave them half-changed in a way that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A sink that hands out what it is given, and stalls until released.
    struct Slow {
        written: mpsc::Sender<Vec<u8>>,
        go: mpsc::Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn drops_and_counts_lines_when_the_sink_stalls_and_never_blocks() {
        let (written, output) = mpsc::channel();
        let (go, stall) = mpsc::channel();
        let log = Log::to(LogFormat::Json, 1, Slow { written, go: stall }).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..4096 {
            log.queue.push(|out, _| out.extend_from_slice(&line));
        }
        let dropped = log.dropped();
        assert!((2000..4096).contains(&dropped), "{dropped} dropped: one or two buffers of 1 MiB fit");
        drop(go);
        log.flush();
        let kept: usize = output.try_iter().map(|bytes| bytes.len()).sum();
        assert_eq!(kept as u64, (4096 - dropped) * 1024);
    }

    #[test]
    fn a_line_of_any_thread_is_written_when_the_log_was_flushed() {
        let (written, output) = mpsc::channel();
        let (go, stall) = mpsc::channel();
        drop(go);
        let log = Log::to(LogFormat::Json, 4, Slow { written, go: stall }).unwrap();
        for round in 0..2_000 {
            let other = log.clone();
            let pushed = std::thread::spawn(move || {
                crate::worker::begin(round % 4);
                other.queue.push(|out, _| out.extend_from_slice(b"line\n"));
            });
            log.queue.push(|out, _| out.extend_from_slice(b"last\n"));
            log.flush();
            let lines: Vec<u8> = output.try_iter().flatten().collect();
            assert!(lines.windows(5).any(|line| line == b"last\n"), "round {round}");
            pushed.join().unwrap();
            log.flush();
            output.try_iter().for_each(drop);
        }
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority() {
        let begun = |log: &Log, priority| {
            let mut line = Vec::new();
            log.begin(priority, &mut line);
            line
        };
        let plain = Log::to(LogFormat::Json, 1, io::sink()).unwrap();
        assert_eq!(begun(&plain, priority(::log::Level::Error)), b"");
        let journal = Log { reader: Reader::Journal, ..plain };
        assert_eq!(begun(&journal, priority(::log::Level::Error)), b"<3>");
        assert_eq!(begun(&journal, REQUEST_PRIORITY), b"<6>");
    }

    #[test]
    fn flush_returns_when_all_is_written() {
        let (written, output) = mpsc::channel();
        let (go, stall) = mpsc::channel();
        drop(go);
        let log = Log::to(LogFormat::Json, 1, Slow { written, go: stall }).unwrap();
        log.queue.push(|out, _| out.extend_from_slice(b"one\n"));
        log.flush();
        assert_eq!(output.try_iter().flatten().collect::<Vec<_>>(), b"one\n");
        assert_eq!(log.dropped(), 0);
    }
}
