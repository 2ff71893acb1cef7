//! What handlers use of the process. It outlives every registry.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mcp_host::tls::{client_config, system_roots};
use tokio_rustls::rustls::{ClientConfig, Error as TlsError};

use crate::call_log::CallLog;
use crate::database::Databases;
use crate::metrics::Metrics;

pub(crate) struct Context {
    pub(crate) started: Instant,
    pub(crate) databases: Databases,
    pub(crate) call_log: Arc<CallLog>,
    /// `None` where nothing reads them.
    pub(crate) metrics: Option<Arc<Metrics>>,
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Context {
    pub(crate) fn new(databases: Databases) -> Context {
        let call_log = Arc::new(CallLog::on_standard_error());
        Context { started: Instant::now(), databases, call_log, metrics: None, tls: OnceLock::new() }
    }

    /// A context whose calls write no log line.
    pub(crate) fn without_log(databases: Databases) -> Context {
        Context { call_log: Arc::new(CallLog::off()), ..Context::new(databases) }
    }

    /// The same context, whose calls are counted.
    pub(crate) fn with_metrics(self, metrics: Option<Arc<Metrics>>) -> Context {
        Context { metrics, ..self }
    }

    /// TLS settings, loaded on first use.
    pub(crate) fn tls(&self) -> Result<&Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.tls.get() {
            return Ok(config);
        }
        let config = Arc::new(client_config(system_roots().0)?);
        Ok(self.tls.get_or_init(|| config))
    }
}
