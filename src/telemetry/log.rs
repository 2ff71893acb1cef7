//! The log: operational lines (through the `log` crate) and request lines share one bounded queue and one writer thread.
//!
//! A slow or full stderr never slows a request: what does not fit is dropped and counted. Must not know HTTP.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::access_log::{self, Record, SecondText};
use crate::config::{self, LogFormat};

/// Bytes that may wait for the writer; lines beyond are dropped.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// The writer rests this long between writes, so that a busy guard writes a hundred times a second, not thousands: each time
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
    second: Arc<SecondText>,
    reader: Reader,
}

impl Log {
    /// Starts the writer thread on stderr and installs it as the process's logger. Once per process.
    pub(crate) fn start(config: config::Log, reader: Reader) -> io::Result<Log> {
        let log = Log { reader, ..Log::to(config.format, io::stderr())? };
        let logger = Logger { log: log.clone() };
        // A second logger is refused by the `log` crate; the first one then keeps the operational lines.
        if ::log::set_boxed_logger(Box::new(logger)).is_ok() {
            ::log::set_max_level(config.level);
        }
        Ok(log)
    }

    /// Starts a writer thread on `sink`, for request lines only.
    pub(crate) fn to(format: LogFormat, sink: impl Write + Send + 'static) -> io::Result<Log> {
        let queue = Arc::new(Queue::default());
        let writer = queue.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.drain_into(sink))?;
        let is_text = Arc::new(AtomicBool::new(format == LogFormat::Text));
        Ok(Log { queue, is_text, second: Arc::new(SecondText::new()), reader: Reader::Other })
    }

    /// From the next line on, this format and level hold.
    pub(crate) fn configure(&self, config: config::Log) {
        self.is_text.store(config.format == LogFormat::Text, Ordering::Relaxed);
        ::log::set_max_level(config.level);
    }

    fn format(&self) -> LogFormat {
        if self.is_text.load(Ordering::Relaxed) { LogFormat::Text } else { LogFormat::Json }
    }

    /// An empty line, but for its priority where that is read.
    fn line(&self, bytes: usize, priority: u8) -> Vec<u8> {
        let mut line = Vec::with_capacity(bytes);
        match self.reader {
            Reader::Journal => line.extend([b'<', b'0' + priority, b'>']),
            Reader::Other => {}
        }
        line
    }

    /// Queues the line of one request that ended at this time of day.
    pub(crate) fn request(&self, record: &Record<'_>, ended: SystemTime) {
        let ended = jiff::Timestamp::try_from(ended).unwrap_or_default();
        let mut line = self.line(512, REQUEST_PRIORITY);
        match self.format() {
            LogFormat::Json => access_log::json(record, &self.second, ended, &mut line),
            LogFormat::Text => access_log::text(record, ended, &mut line),
        }
        self.queue.push(&line);
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
            let mut line = self.log.line(256, priority(record.level()));
            let now = jiff::Timestamp::now();
            match self.log.format() {
                LogFormat::Json => access_log::operational_json(record, now, &mut line),
                LogFormat::Text => access_log::operational_text(record, now, &mut line),
            }
            self.log.queue.push(&line);
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

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    filled: Condvar,
    /// Wakes who waits in `flush`.
    written: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    writer: Writer,
    /// A caller waits in `flush`: the writer does not sleep.
    hurried: bool,
}

#[derive(Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Busy,
    /// Waits on `filled`; must be woken.
    Asleep,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is bytes: a panic elsewhere cannot leave it half-changed in a way that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.pending.len() + line.len() > PENDING_BYTES_MAX {
            drop(state);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.pending.extend_from_slice(line);
        if state.writer == Writer::Asleep {
            state.writer = Writer::Busy;
            drop(state);
            self.filled.notify_one();
        }
    }

    fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WAIT_MAX;
        let mut state = self.lock();
        state.hurried = true;
        while !(state.pending.is_empty() && state.writer == Writer::Asleep) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.hurried = false;
    }

    /// The writer thread: takes all that is pending and writes it in one go.
    fn drain_into(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.lock();
            while state.pending.is_empty() {
                state.writer = Writer::Asleep;
                self.written.notify_all();
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.writer = Writer::Busy;
            std::mem::swap(&mut batch, &mut state.pending);
            let hurried = state.hurried;
            drop(state);

            if sink.write_all(&batch).and_then(|()| sink.flush()).is_err() {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
            }
            batch.clear();
            batch.shrink_to(BUFFER_BYTES_KEPT);
            if !hurried {
                std::thread::sleep(REST);
            }
        }
    }
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
        let log = Log::to(LogFormat::Json, Slow { written, go: stall }).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..4096 {
            log.queue.push(&line);
        }
        let dropped = log.dropped();
        assert!((2000..4096).contains(&dropped), "{dropped} dropped: one or two buffers of 1 MiB fit");
        drop(go);
        log.flush();
        let kept: usize = output.try_iter().map(|bytes| bytes.len()).sum();
        assert_eq!(kept as u64, (4096 - dropped) * 1024);
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority() {
        let plain = Log::to(LogFormat::Json, io::sink()).unwrap();
        assert_eq!(plain.line(8, priority(::log::Level::Error)), b"");
        let journal = Log { reader: Reader::Journal, ..plain };
        assert_eq!(journal.line(8, priority(::log::Level::Error)), b"<3>");
        assert_eq!(journal.line(8, REQUEST_PRIORITY), b"<6>");
    }

    #[test]
    fn flush_returns_when_all_is_written() {
        let (written, output) = mpsc::channel();
        let (go, stall) = mpsc::channel();
        drop(go);
        let log = Log::to(LogFormat::Json, Slow { written, go: stall }).unwrap();
        log.queue.push(b"one\n");
        log.flush();
        assert_eq!(output.try_iter().flatten().collect::<Vec<_>>(), b"one\n");
        assert_eq!(log.dropped(), 0);
    }
}
