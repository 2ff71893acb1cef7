//! Why the guard cannot start.

/// A failure at the start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("listen on {address}")]
    Bind { address: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
    #[error("set up the metrics")]
    Metrics(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("get random numbers from the system")]
    Random(#[source] getrandom::Error),
}
