//! What handlers use of the process. It outlives every registry.

use std::sync::Arc;
use std::time::Instant;

use crate::call_log::CallLog;
use crate::database::Databases;
use crate::http_client::TlsSettings;
use crate::metrics::Metrics;
use crate::traces::Traces;

pub(crate) struct Context {
    pub(crate) started: Instant,
    pub(crate) databases: Databases,
    pub(crate) call_log: Arc<CallLog>,
    /// `None` where nothing reads them.
    pub(crate) metrics: Option<Arc<Metrics>>,
    pub(crate) tls: TlsSettings,
    /// `None` where traces are off.
    pub(crate) traces: Option<Arc<Traces>>,
}

impl Context {
    pub(crate) fn new(databases: Databases) -> Context {
        let call_log = Arc::new(CallLog::on_standard_error());
        let (started, tls) = (Instant::now(), TlsSettings::default());
        Context { started, databases, call_log, metrics: None, tls, traces: None }
    }

    /// A context whose calls write no log line.
    pub(crate) fn without_log(databases: Databases) -> Context {
        Context { call_log: Arc::new(CallLog::off()), ..Context::new(databases) }
    }

    /// The same context, whose calls are counted.
    pub(crate) fn with_metrics(self, metrics: Option<Arc<Metrics>>) -> Context {
        Context { metrics, ..self }
    }

    /// The same context, whose calls are traced.
    pub(crate) fn with_traces(self, traces: Option<Arc<Traces>>) -> Context {
        Context { traces, ..self }
    }
}
