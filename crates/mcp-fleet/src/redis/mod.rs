//! The store on Redis or Valkey, version 7 or later: one script, on one server, behind Sentinel, or in a cluster.

mod arguments;
mod connect;
mod probe;
mod reply;

use std::time::{Duration, SystemTime};

use redis::{ErrorKind, RedisError, Script, ScriptInvocation, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::crypto::ring;

pub use connect::{StoreAddress, Topology};
pub use probe::Probed;

use crate::names::FleetName;
use crate::request::{Reply, Request, StoreError};
use crate::store::Store;
use connect::Connection;

/// The pause after a failed connection; it doubles up to the second.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// After so many exchanges without a response, another connection is tried: the server may be another one by now.
const TIMEOUTS_MAX: u32 = 3;

/// A store that speaks to Redis or Valkey.
pub struct RedisStore {
    fleet: FleetName,
    address: StoreAddress,
    script: Script,
    link: Mutex<Link>,
}

struct Link {
    connection: Option<Connection>,
    timeouts: u32,
    pause: Duration,
    connect_from: Instant,
}

impl RedisStore {
    /// A store at this address. Connects with the first exchange.
    ///
    /// # Errors
    /// Names the address that is none.
    pub fn new(fleet: FleetName, address: StoreAddress) -> Result<RedisStore, StoreError> {
        // One provider a process: the second one that is installed is an error that says so, and no harm.
        drop(ring::default_provider().install_default());
        address.check().map_err(|error| StoreError::Unreachable(error.to_string()))?;
        let script = Script::new(include_str!("exchange.lua"));
        let link = Link { connection: None, timeouts: 0, pause: PAUSE_FIRST, connect_from: Instant::now() };
        Ok(RedisStore { fleet, address, script, link: Mutex::new(link) })
    }

    /// Runs every command that an exchange needs, without touching what the fleet keeps.
    ///
    /// # Errors
    /// Why the store cannot be reached, or what it does not allow.
    pub async fn probe(&self) -> Result<Probed, StoreError> {
        let (script, keys) = probe::script(&self.fleet);
        let mut invocation = script.prepare_invoke();
        for key in &keys {
            invocation.key(key);
        }
        let connection = self.connection().await?;
        let (sent, clock) = (Instant::now(), SystemTime::now());
        let value = self.run(connection, &invocation).await?;
        probe::probed(value, clock, sent.elapsed()).ok_or(StoreError::Invalid("the probe's reply"))
    }

    async fn connection(&self) -> Result<Connection, StoreError> {
        let mut link = self.link.lock().await;
        if let Some(connection) = &link.connection {
            return Ok(connection.clone());
        }
        if Instant::now() < link.connect_from {
            return Err(StoreError::Unreachable("the next attempt is due later".to_owned()));
        }
        // Sentinel may have to be asked for the primary first.
        match timeout(self.address.connect_timeout * 2, self.address.connect()).await {
            Ok(Ok(connection)) => {
                link.connection = Some(connection.clone());
                (link.timeouts, link.pause) = (0, PAUSE_FIRST);
                Ok(connection)
            }
            Ok(Err(error)) => Err(link.failed(error.to_string())),
            Err(_) => Err(link.failed("no connection in time".to_owned())),
        }
    }

    /// Has a script carried out, in bounded time.
    async fn run(
        &self,
        connection: Connection,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<Value, StoreError> {
        let run = async {
            match connection {
                Connection::Server(mut server) => invocation.invoke_async::<Value>(&mut server).await,
                Connection::Cluster(mut cluster) => invocation.invoke_async::<Value>(&mut cluster).await,
            }
        };
        match timeout(self.address.response_timeout, run).await {
            Ok(Ok(value)) => {
                self.link.lock().await.timeouts = 0;
                Ok(value)
            }
            Ok(Err(error)) => Err(self.failure(error).await),
            Err(_) => {
                Err(self.failure(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))).await)
            }
        }
    }

    /// Whether a failure ends the connection, and what it was.
    async fn failure(&self, error: RedisError) -> StoreError {
        let mut link = self.link.lock().await;
        if error.is_timeout() {
            link.timeouts += 1;
            if link.timeouts >= TIMEOUTS_MAX {
                link.connection = None;
            }
            return StoreError::Timeout;
        }
        let is_replica = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
        let loads = error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading);
        if error.is_io_error() || error.is_connection_dropped() || is_replica || loads {
            link.connection = None;
            return link.failed(error.to_string());
        }
        StoreError::Refused(error.to_string())
    }
}

impl Link {
    fn failed(&mut self, why: String) -> StoreError {
        self.connect_from = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        StoreError::Unreachable(why)
    }
}

impl Store for RedisStore {
    async fn exchange(&self, request: Request) -> Result<Reply, StoreError> {
        let connection = self.connection().await?;
        let arguments = arguments::arguments(&self.fleet, &request);
        let mut invocation = self.script.prepare_invoke();
        for key in &arguments.keys {
            invocation.key(key);
        }
        for value in &arguments.values {
            invocation.arg(&value[..]);
        }
        let value = self.run(connection, &invocation).await?;
        reply::reply(value, request.shares.len())
    }
}

#[cfg(test)]
pub(crate) use arguments::request_bytes;
