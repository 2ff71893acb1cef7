//! One POST to a collector, on a connection that is kept, and what its response means (OTLP over HTTP).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_host::tls::{client_config, system_roots};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::settings::Settings;

/// Of a response: it says how many spans were refused, and why.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// For the body to arrive, after the status.
const BODY_TIME_MAX: Duration = Duration::from_secs(2);
const REASON_CHARACTERS_MAX: usize = 200;
const AGENT: &str = concat!("OTel-OTLP-Exporter-mcp-traces/", env!("CARGO_PKG_VERSION"));

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it but so many spans.
    Accepted { refused: u64, why: String },
    /// The collector will not take it later, either.
    Refused(StatusCode),
    /// The collector is busy, and may say for how long.
    Later(Option<Duration>),
    /// No response.
    Unreachable(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Accepted { .. } => f.write_str("the collector accepted the spans"),
            Outcome::Refused(status) => write!(f, "the collector responded with HTTP {}", status.as_u16()),
            Outcome::Later(_) => f.write_str("the collector is busy"),
            Outcome::Unreachable(why) => write!(f, "the collector cannot be reached: {why}"),
        }
    }
}

/// A collector and the connection to it, if one is open.
pub(super) struct Collector {
    settings: Arc<Settings>,
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Collector {
    pub(super) fn new(settings: Arc<Settings>) -> Collector {
        Collector { settings, connection: None }
    }

    pub(super) fn is_for(&self, settings: &Arc<Settings>) -> bool {
        Arc::ptr_eq(&self.settings, settings)
    }

    /// Sends a batch. The caller bounds the time, and drops the collector when it is over.
    pub(super) async fn post(&mut self, body: Bytes) -> Outcome {
        let kept = self.connection.take();
        let was_kept = kept.is_some();
        match self.exchange(kept, body.clone()).await {
            // The collector closes idle connections: that says nothing about a new one.
            Err(_) if was_kept => self.exchange(None, body).await.unwrap_or_else(Outcome::Unreachable),
            outcome => outcome.unwrap_or_else(Outcome::Unreachable),
        }
    }

    async fn exchange(&mut self, kept: Option<Connection>, body: Bytes) -> Result<Outcome, String> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.sender.ready().await.map_err(said)?;
        let request = self.request(body)?;
        let response = connection.sender.send_request(request).await.map_err(said)?;
        let (outcome, reusable) = read(response).await;
        self.connection = reusable.then_some(connection);
        Ok(outcome)
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let Settings { endpoint, headers } = &*self.settings;
        let mut request = Request::post(&endpoint.path)
            .header(HOST, &endpoint.authority)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &headers.0 {
            request = request.header(name, value);
        }
        request.body(Full::new(body)).map_err(said)
    }

    async fn connect(&self) -> Result<Connection, String> {
        let endpoint = &self.settings.endpoint;
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(said)?;
        if !endpoint.tls {
            return open(stream).await;
        }
        let name = ServerName::try_from(endpoint.host.clone()).map_err(said)?;
        let connector = TlsConnector::from(Arc::clone(tls()?));
        open(connector.connect(name, stream).await.map_err(said)?).await
    }
}

/// Trusts the authorities of this machine, which are read on first use.
fn tls() -> Result<&'static Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config);
    }
    let config = Arc::new(client_config(system_roots().0).map_err(said)?);
    Ok(CONFIG.get_or_init(|| config))
}

async fn open<S>(stream: S) -> Result<Connection, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    Ok(Connection { sender, driver: tokio::spawn(connection) })
}

/// The outcome, and whether the connection can be used again: its response was read to its end. The status alone decides what became
/// of the batch.
async fn read(response: Response<Incoming>) -> (Outcome, bool) {
    let (head, body) = response.into_parts();
    let wait = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = timeout(BODY_TIME_MAX, Limited::new(body, RESPONSE_BYTES_MAX).collect()).await;
    let body = body.ok().and_then(Result::ok).map(Collected::to_bytes);
    let outcome = match head.status.as_u16() {
        200..=299 => accepted(body.as_deref().unwrap_or_default()),
        429 | 502 | 503 | 504 => Outcome::Later(wait.map(Duration::from_secs)),
        _ => Outcome::Refused(head.status),
    };
    (outcome, body.is_some())
}

fn accepted(body: &[u8]) -> Outcome {
    // A collector that accepts and says something else, in JSON or not at all, has accepted.
    let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|response| response.partial_success);
    let (refused, why) = partial.map_or((0, String::new()), |partial| {
        (u64::try_from(partial.rejected_spans).unwrap_or(0), shown(&partial.error_message))
    });
    Outcome::Accepted { refused, why }
}

/// A collector's words, for one line of a log.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    plain.take(REASON_CHARACTERS_MAX).collect()
}

fn said(error: impl fmt::Display) -> String {
    shown(&error.to_string())
}
