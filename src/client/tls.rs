//! TLS towards servers over HTTPS: the system's certificate authorities (or those of `SSL_CERT_FILE`), ring.

use std::sync::Arc;

use mcp_host::tls::{client_config, system_roots};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Reads the authorities (more than a hundred certificates: the caller keeps the result), or says why it cannot.
pub(super) fn load() -> Result<Arc<ClientConfig>, String> {
    let (roots, errors) = system_roots();
    if roots.is_empty() {
        return Err(format!("none found ({})", errors.join("; ")));
    }
    client_config(roots).map(Arc::new).map_err(|error| error.to_string())
}

/// Speaks TLS over `stream` with the server that must be `host`.
pub(super) async fn connect(
    config: Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, stream).await
}
