//! Connections to PostgreSQL as `sslmode` asks for them: encrypted or not, verified or not, with a certificate of our own.
//!
//! Must not know what is done on a connection.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::ClientWrapper;
use mcp_host::tls::system_roots;
use tokio::net::UnixStream;
use tokio_postgres::config::{Host, SslMode as DriverMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, NoTls};
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use super::super::postgres_url::{RootFile, SslMode, TlsOptions, goes_over_network};
use super::pipeline::Pipeline;
use super::stream::SharedStream;
use super::tap::{Canceller, Tap};
use crate::call_log;

/// One connection.
pub(super) struct Connection {
    pub(super) client: ClientWrapper,
    pub(super) canceller: Canceller,
    /// `None` where the driver keeps the stream to itself.
    pub(super) pipeline: Option<Pipeline>,
}

/// Opens connections for the pool.
pub(super) struct Connector {
    mode: SslMode,
    tls: MakeRustlsConnect,
    warned: AtomicBool,
}

impl Connector {
    pub(super) fn new(options: &TlsOptions) -> Result<Connector, String> {
        let config = client_config(options)?;
        let tls = MakeRustlsConnect::new(config);
        Ok(Connector { mode: options.mode, tls, warned: AtomicBool::new(false) })
    }

    pub(super) async fn open(&self, config: &Config) -> Result<Connection, Error> {
        // libpq ignores the mode on a Unix socket.
        let local = !goes_over_network(config);
        let connected = match self.mode {
            _ if local => self.local(config).await,
            SslMode::Disable => self.once(config, DriverMode::Disable).await,
            SslMode::Allow => match self.once(config, DriverMode::Disable).await {
                Err(error) if is_refused(&error) => self.once(config, DriverMode::Require).await,
                connected => connected,
            },
            SslMode::Prefer => match self.once(config, DriverMode::Prefer).await {
                Err(error) if is_refused(&error) || is_tls(&error) => {
                    self.once(config, DriverMode::Disable).await
                }
                // The server has no TLS. A second connection costs less than all calls without the pipeline.
                Ok(connection) if connection.pipeline.is_none() => {
                    Ok(self.once(config, DriverMode::Disable).await.unwrap_or(connection))
                }
                connected => connected,
            },
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                self.once(config, DriverMode::Require).await
            }
        };
        if connected.is_ok() {
            self.warn(config);
        }
        connected
    }

    async fn once(&self, config: &Config, mode: DriverMode) -> Result<Connection, Error> {
        let mut config = config.clone();
        let hosts = config.get_hosts();
        let named = !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Tcp(_)));
        let tap = if mode == DriverMode::Disable && named {
            Tap::without_tls(&mut config)
        } else {
            config.ssl_mode(mode);
            Tap::new(Some(self.tls.clone()))
        };
        let (client, connection) = config.connect(tap.clone()).await?;
        Ok(made(client, connection, tap.stream(), Canceller::Network(tap)))
    }

    /// A connection to a Unix socket.
    async fn local(&self, config: &Config) -> Result<Connection, Error> {
        let ([Host::Unix(folder)], TargetSessionAttrs::Any) =
            (config.get_hosts(), config.get_target_session_attrs())
        else {
            return self.once(config, DriverMode::Disable).await;
        };
        let path = folder.join(format!(".s.PGSQL.{}", config.get_ports().first().unwrap_or(&5432)));
        let Ok(stream) = UnixStream::connect(&path).await else {
            // The driver reports it.
            return self.once(config, DriverMode::Disable).await;
        };
        let mut config = config.clone();
        config.ssl_mode(DriverMode::Disable);
        let (shared, stream) = SharedStream::new(Box::new(stream), ChannelBinding::none());
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        Ok(made(client, connection, Some(shared), Canceller::Local(path)))
    }

    /// Says once that a connection over a network could be another server's.
    fn warn(&self, config: &Config) {
        let verified = matches!(self.mode, SslMode::VerifyCa | SslMode::VerifyFull);
        let remote = config.get_hosts().iter().find_map(|host| match host {
            Host::Tcp(name) if !is_loopback(name) => Some(name),
            Host::Tcp(_) | Host::Unix(_) => None,
        });
        if let (false, Some(host)) = (verified, remote)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            let text = format!(
                "the connection to PostgreSQL on {host} is not verified, so another server could take its place (hint: sslmode=verify-full, with sslrootcert=FILE where the authority is not one of this machine's)"
            );
            call_log::event("database_unverified", &text);
        }
    }
}

fn made<S, T>(
    client: Client,
    connection: tokio_postgres::Connection<S, T>,
    stream: Option<SharedStream>,
    canceller: Canceller,
) -> Connection
where
    tokio_postgres::Connection<S, T>: Future<Output = Result<(), Error>> + Send + 'static,
{
    // Its errors reach the queries of the connection as well.
    let task = tokio::spawn(async move { drop(connection.await) });
    let client = ClientWrapper::new(client, task);
    Connection { client, canceller, pipeline: stream.map(Pipeline::new) }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The server does not take this user this way; perhaps it does the other way.
fn is_refused(error: &Error) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

fn is_tls(error: &Error) -> bool {
    error.as_db_error().is_none() && error.to_string().contains("TLS")
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match options.mode {
        SslMode::VerifyFull | SslMode::VerifyCa => {
            let (roots, given) = roots(options)?;
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            let inner = verifier.build().map_err(|error| error.to_string())?;
            let any_name = options.mode == SslMode::VerifyCa;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Known { inner, given, any_name }))
        }
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        }
    };
    let Some((certificate, key)) = &options.client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("{}: {error}", certificate.display()))
}

/// The authorities, and the certificates of `sslrootcert` themselves.
fn roots(options: &TlsOptions) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let Some(RootFile::File(path)) = &options.root else { return Ok((system_roots().0, Vec::new())) };
    let mut roots = RootCertStore::empty();
    let given = certificates(path)?;
    for certificate in &given {
        roots.add(certificate.clone()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok((roots, given))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: tokio_rustls::rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let read = read.map_err(failed)?;
    if read.is_empty() {
        return Err(format!("{} holds no certificate (hint: PEM, BEGIN CERTIFICATE)", path.display()));
    }
    Ok(read)
}

/// `verify-full`, and `verify-ca`, which accepts any name: an authority has signed the certificate, or it is one of
/// `sslrootcert` itself.
#[derive(Debug)]
struct Known {
    inner: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl Known {
    /// Whether a valid certificate was refused only because it may sign others, as `openssl req -x509` makes them. What
    /// `sslrootcert` holds needs no signature.
    fn is_given(&self, certificate: &CertificateDer<'_>, error: &TlsError) -> bool {
        // The check of its dates comes first, so one that has expired has another error.
        let TlsError::InvalidCertificate(CertificateError::Other(reason)) = error else { return false };
        reason.0.to_string() == "CaUsedAsEndEntity" && self.given.iter().any(|given| given == certificate)
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        // The name is what is checked last.
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            Err(error) if self.is_given(end_entity, &error) => {
                if !self.any_name {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `prefer` and `require`: encrypted, by any certificate, even one that cannot be read.
struct AnyCertificate(Arc<CryptoProvider>);

impl fmt::Debug for AnyCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AnyCertificate")
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
