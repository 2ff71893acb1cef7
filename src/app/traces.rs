//! The export of spans, in a program that can do it; nothing in one that cannot.

use crate::config::traces::Traces as Settings;
use crate::proxy::Handle;

#[cfg(feature = "traces")]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "traces")]
use std::time::Duration;

/// How long the end of the process waits for the collector.
#[cfg(feature = "traces")]
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// What exports spans. Copies share it.
#[derive(Clone, Default)]
pub(super) struct Traces {
    #[cfg(feature = "traces")]
    spans: Arc<Mutex<Option<Arc<crate::traces::Spans>>>>,
}

#[cfg(feature = "traces")]
impl Traces {
    /// Exports by this configuration. Where a configuration takes traces away, requests make no more spans, and what
    /// waits is dropped.
    pub(super) fn configure(&self, settings: Option<&Settings>, handle: &Handle) {
        let mut running = self.lock();
        let Some(Settings { collector, .. }) = settings else {
            return running.iter().for_each(|spans| spans.discard());
        };
        if let Some(spans) = &*running {
            return spans.configure(collector.clone());
        }
        match crate::traces::Spans::start(collector.clone()) {
            Ok(spans) => {
                let spans = Arc::new(spans);
                handle.set_span_sink(spans.clone());
                *running = Some(spans);
            }
            Err(error) => log::error!("traces: no spans are exported: {error}"),
        }
    }

    /// Exports what is left. The last thing before the end of the process.
    pub(super) fn close(&self) {
        if let Some(spans) = &*self.lock() {
            spans.close(CLOSE_TIME);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<crate::traces::Spans>>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(feature = "traces"))]
impl Traces {
    pub(super) fn configure(&self, _settings: Option<&Settings>, _handle: &Handle) {}

    pub(super) fn close(&self) {}
}
