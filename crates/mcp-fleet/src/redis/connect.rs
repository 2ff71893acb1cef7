//! Connections to one server, to the primary that Sentinel names, or to a cluster; with TLS, in bounded time.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    TlsCertificates, TlsMode,
};

/// How the servers stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// The addresses are those of Sentinels, and this is the name of what they watch.
    Sentinel {
        /// The name in their configuration.
        primary: String,
    },
    /// The addresses are those of some nodes of a cluster.
    Cluster,
}

/// Where the store is.
#[derive(Clone)]
pub struct StoreAddress {
    /// `redis://`, `rediss://` (TLS) or `unix://`, with user and password; several for Sentinel and cluster.
    pub urls: Vec<String>,
    /// How the servers stand to each other.
    pub topology: Topology,
    /// Certificates, in PEM, that prove the servers; none for the machine's own.
    pub ca: Option<Vec<u8>>,
    /// Bounds a connection's beginning.
    pub connect_timeout: Duration,
    /// Bounds one exchange.
    pub response_timeout: Duration,
}

/// An open connection.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl StoreAddress {
    /// Checks the addresses without connecting.
    pub(super) fn check(&self) -> Result<(), RedisError> {
        if self.urls.is_empty() {
            return Err((redis::ErrorKind::InvalidClientConfig, "there is no address").into());
        }
        self.infos().map(drop)
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        match &self.topology {
            Topology::Single => {
                let mut infos = self.infos()?;
                let client = self.client(infos.swap_remove(0))?;
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Server)
            }
            Topology::Sentinel { primary } => {
                let mut client = self.sentinel(primary)?.build()?;
                client.get_async_connection_with_config(&config).await.map(Connection::Server)
            }
            Topology::Cluster => {
                let mut builder = ClusterClientBuilder::new(self.infos()?)
                    .connection_timeout(self.connect_timeout)
                    .response_timeout(self.response_timeout)
                    .retries(2);
                if let Some(certificates) = self.certificates() {
                    builder = builder.certs(certificates);
                }
                builder.build()?.get_async_connection().await.map(Connection::Cluster)
            }
        }
    }

    fn infos(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        self.urls.iter().map(|url| url.as_str().into_connection_info()).collect()
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        match self.certificates() {
            Some(certificates) if is_tls(info.addr()) => Client::build_with_tls(info, certificates),
            Some(_) | None => Client::open(info),
        }
    }

    /// Name and password are the servers' and the Sentinels' alike.
    fn sentinel(&self, primary: &str) -> Result<SentinelClientBuilder, RedisError> {
        let infos = self.infos()?;
        let tls = infos.iter().any(|info| is_tls(info.addr()));
        let first = infos.first().map(|info| info.redis_settings().clone());
        let addresses = infos.into_iter().map(|info| info.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?;
        if tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            builder = builder.set_client_to_sentinel_tls_mode(TlsMode::Secure);
            if let Some(certificates) = self.certificates() {
                builder = builder.set_client_to_redis_certificates(certificates.clone());
                builder = builder.set_client_to_sentinel_certificates(certificates);
            }
        }
        if let Some(settings) = first {
            if let Some(username) = settings.username() {
                builder = builder.set_client_to_redis_username(username);
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
                builder = builder.set_client_to_sentinel_password(password);
            }
            builder = builder.set_client_to_redis_db(settings.db());
        }
        Ok(builder)
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        self.ca.clone().map(|root| TlsCertificates { client_tls: None, root_cert: Some(root) })
    }
}

impl std::fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A URL may hold a password.
        f.debug_struct("StoreAddress").field("topology", &self.topology).finish_non_exhaustive()
    }
}

fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}
