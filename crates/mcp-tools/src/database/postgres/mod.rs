//! PostgreSQL: a bounded pool, every batch in one transaction with a statement timeout.
//!
//! The server turns rows into JSON, and every value is sent as text, so no type of a column or parameter needs code here.
//! Must not know which database it is.

mod connect;
mod exchange;
mod execute;
mod fault;
mod lease;
mod message;
mod parameter;
mod pipeline;
mod pool;
mod rows;
mod statement;
mod stream;
mod tap;
mod transaction;

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::connect::Connector;
use self::exchange::{Exchangeable, Exchanged};
use self::execute::{Executor, Preparing};
use self::lease::Lease;
use self::pool::{CONNECT_MAX, Pool};
use super::address::AddressError;
use super::batch::{Access, Batch, BatchOutcome, Bind, BindType, ROW_BYTES_MAX};
use super::error::DatabaseError;
use super::postgres_url::PostgresAddress;
use super::settings::{PoolStatus, Prepared, Settings};
use crate::metrics::PoolWait;

/// The server enforces the statement timeout; the client waits this much longer before it gives up.
const GRACE: Duration = Duration::from_secs(1);
/// The pause before a transaction is repeated is random, and twice as long each time, up to this many times.
const PAUSE_MS: u64 = 5;
const PAUSE_DOUBLED_MAX: u32 = 5;
/// Compiling a statement takes no longer.
const CHECK_MAX: Duration = Duration::from_secs(10);

/// A PostgreSQL database.
pub(crate) struct Postgres {
    pool: Pool,
    executor: Executor,
    lock_timeout: Option<Duration>,
    wait: PoolWait,
}

pub(crate) fn open(address: &PostgresAddress, settings: &Settings) -> Result<Postgres, AddressError> {
    let mut config = address.config.clone();
    config.connect_timeout(CONNECT_MAX);
    if config.get_application_name().is_none() {
        config.application_name("mcp-tools");
    }
    let connector = Connector::new(&address.tls).map_err(AddressError::Tls)?;
    let pool = Pool::new(connector, config, settings.pool, settings.pool_wait);
    let preparing = match settings.prepared {
        Prepared::Kept => Preparing::Kept,
        Prepared::Never => Preparing::Never,
    };
    let (executor, wait) = (Executor::new(preparing), PoolWait::default());
    Ok(Postgres { pool, executor, lock_timeout: settings.lock_timeout, wait })
}

impl Postgres {
    /// Runs a batch, and again while other changes are in its way and there is time.
    pub(crate) async fn run(&self, batch: Batch) -> Result<BatchOutcome, DatabaseError> {
        let mut lease = self.lease().await?;
        let deadline = Instant::now() + batch.time_max;
        let mut repeats = 0;
        loop {
            let error = match self.attempt(&mut lease, &batch, deadline).await {
                Err(error @ DatabaseError::Conflict { .. }) => error,
                // The time ran out in a repetition: the reason is the conflict before it.
                Err(DatabaseError::Timeout(_)) if repeats > 0 => {
                    let detail = format!("the time ended after {repeats} repetitions");
                    return Err(DatabaseError::Conflict { detail });
                }
                ended => return ended,
            };
            let pause = pause(repeats);
            if lease.client().is_none_or(|client| client.is_closed()) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
            repeats += 1;
        }
    }

    pub(crate) async fn check(
        &self,
        text: &str,
        types: &[BindType],
        access: Access,
    ) -> Result<Vec<String>, DatabaseError> {
        let mut lease = self.lease().await?;
        let checked = {
            let Some(client) = lease.client() else { return Err(DatabaseError::Busy) };
            let begin = transaction::begin(access, None, 1, CHECK_MAX, self.lock_timeout);
            client
                .batch_execute(&begin.text())
                .await
                .map_err(|error| fault::of_statement(&error, CHECK_MAX))?;
            self.executor.check(client, text, types, access).await
        };
        roll_back(&mut lease).await;
        checked
    }

    pub(crate) fn pool_status(&self) -> PoolStatus {
        self.pool.status()
    }

    pub(crate) fn pool_wait(&self) -> &PoolWait {
        &self.wait
    }

    async fn lease(&self) -> Result<Lease, DatabaseError> {
        let _timer = self.wait.timer();
        self.pool.take().await.map(Lease::new).map_err(|error| fault::pool_error(&error))
    }

    /// Runs a batch in one transaction.
    async fn attempt(
        &self,
        lease: &mut Lease,
        batch: &Batch,
        deadline: Instant,
    ) -> Result<BatchOutcome, DatabaseError> {
        lease.unsettle();
        if let Some(plans) = Exchangeable::of(batch, &self.executor) {
            let (preparing, lock) = (self.executor.preparing(), self.lock_timeout);
            let run = exchange::run(lease, batch, &plans, preparing, lock, deadline);
            let exchanged = timeout_at(deadline + GRACE, run).await;
            // Dropped in its middle, the exchange has closed the connection, and the lease cancels the query.
            if let Some(Exchanged { outcome, open }) =
                exchanged.map_err(|_| DatabaseError::Timeout(batch.time_max))?
            {
                return match open {
                    true => end(lease, batch, outcome, deadline).await,
                    false => {
                        lease.settle();
                        outcome
                    }
                };
            }
        }
        let performed = {
            let Some(client) = lease.client() else { return Err(DatabaseError::Busy) };
            timeout_at(deadline + GRACE, self.perform(client, batch, deadline)).await
        };
        // The connection is dropped with its query still running, which is cancelled.
        let performed = performed.map_err(|_| DatabaseError::Timeout(batch.time_max))?;
        end(lease, batch, performed, deadline).await
    }

    async fn perform(
        &self,
        client: &ClientWrapper,
        batch: &Batch,
        deadline: Instant,
    ) -> Result<BatchOutcome, DatabaseError> {
        let failed = |error: tokio_postgres::Error| fault::of_values(&error, batch.time_max, &[], batch.log);
        let left = deadline.saturating_duration_since(Instant::now());
        let (access, isolation) = (batch.access, batch.isolation);
        let begin = transaction::begin(access, isolation, batch.statements.len(), left, self.lock_timeout);
        client.batch_execute(&begin.text()).await.map_err(failed)?;
        for (name, value) in &batch.settings {
            let [of_name, of_value] = transaction::SET_TYPES;
            client
                .query_typed(transaction::SET, &[(&name.as_str(), of_name), (&value.as_str(), of_value)])
                .await
                .map_err(failed)?;
        }
        let mut bytes_left = ROW_BYTES_MAX;
        let mut rows = Vec::with_capacity(batch.statements.len());
        batch.start();
        for (index, statement) in batch.statements.iter().enumerate() {
            let (access, time_max) = (batch.access, batch.time_max);
            let run = self.executor.run(client, statement, access, time_max, batch.log, &mut bytes_left);
            let found = run.await.map_err(|error| error.in_statement(index))?;
            batch.next();
            if statement.required && found.is_empty() {
                return Ok(BatchOutcome::Unmet(index));
            }
            rows.push(found);
        }
        if batch.dry_run {
            // What COMMIT would check.
            client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await.map_err(failed)?;
        }
        Ok(BatchOutcome::Rows(rows))
    }
}

/// Ends the transaction of a batch: with its changes if it may keep them.
async fn end(
    lease: &mut Lease,
    batch: &Batch,
    performed: Result<BatchOutcome, DatabaseError>,
    deadline: Instant,
) -> Result<BatchOutcome, DatabaseError> {
    if batch.dry_run || !matches!(performed, Ok(BatchOutcome::Rows(_))) {
        roll_back(lease).await;
        return performed;
    }
    commit(lease, batch, deadline).await?;
    performed
}

/// Ends the transaction without its changes. A connection that does not confirm it is not used again.
async fn roll_back(lease: &mut Lease) {
    let Some(client) = lease.client() else { return };
    if client.is_closed() {
        return;
    }
    if let Ok(Ok(())) = timeout(GRACE, client.batch_execute("ROLLBACK")).await {
        lease.settle();
    }
}

/// Ends the transaction with its changes. Once COMMIT is sent, only its response tells whether they are there.
async fn commit(lease: &mut Lease, batch: &Batch, deadline: Instant) -> Result<(), DatabaseError> {
    let mut cancelled = false;
    let committed = {
        let Some(client) = lease.client() else { return Err(DatabaseError::Busy) };
        let mut committing = std::pin::pin!(client.batch_execute("COMMIT"));
        match timeout_at(deadline + GRACE, &mut committing).await {
            Ok(committed) => Some(committed),
            Err(_) => {
                lease.cancel().await;
                cancelled = true;
                timeout(GRACE, committing).await.ok()
            }
        }
    };
    if cancelled {
        // The cancellation may arrive late: it must not meet the next call.
        lease.condemn();
    }
    match committed {
        Some(Ok(())) => {
            lease.settle();
            Ok(())
        }
        Some(Err(error)) => {
            // An error in response to COMMIT ends the transaction.
            // The driver returns at the error itself, before the end of the exchange: that of ROLLBACK comes after it.
            if error.as_db_error().is_some() {
                roll_back(lease).await;
            }
            if batch.access == Access::Read {
                return Err(fault::of_values(&error, batch.time_max, &[], batch.log));
            }
            let binds: Vec<Bind> = batch.statements.iter().flat_map(|one| one.binds.clone()).collect();
            Err(fault::of_commit(&error, batch.time_max, &binds, batch.log))
        }
        None if batch.access == Access::Read => Err(DatabaseError::Timeout(batch.time_max)),
        None => Err(DatabaseError::Unknown { detail: "no response to COMMIT within the time".to_owned() }),
    }
}

fn pause(repeats: u32) -> Duration {
    let longest = PAUSE_MS << repeats.min(PAUSE_DOUBLED_MAX);
    let random = getrandom::u64().unwrap_or_default() % longest;
    Duration::from_millis(1 + random)
}
