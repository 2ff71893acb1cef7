//! Sends one statement in the form and with the types that the server accepts.
//!
//! Which types those are is tried once for each statement, behind a savepoint, and remembered. Must not begin or end a
//! transaction.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use futures_util::TryStreamExt;
use tokio_postgres::RowStream;
use tokio_postgres::types::Type;

use super::super::batch::{Access, Bind, BindType, LogDetail, Rows, Statement};
use super::super::error::{DatabaseError, WRITES};
use super::super::row::twice;
use super::fault;
use super::parameter::{Parameter, TypeSearch};
use super::rows::Collector;
use super::statement::{RowForm, Sent, Shape};
use super::transaction::FIRST_FREE_NUMBER;

/// Statements whose types are remembered; a catalogue that is read again and again brings new ones.
const PLANS_KEPT: usize = 4096;

/// Whether statements stay prepared on their connection. A pooler that gives each transaction another one forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preparing {
    Kept,
    Never,
}

/// A statement's text, what its values are declared as, whether it writes, and its row limit: what the form depends on.
type Key = (Arc<str>, Arc<[BindType]>, Access, usize);

/// Runs statements of one database.
pub(super) struct Executor {
    preparing: Preparing,
    plans: Mutex<HashMap<Key, Arc<Plan>>>,
    next_number: AtomicU64,
}

/// How a statement is sent.
pub(super) struct Plan {
    pub(super) sent: Sent,
    pub(super) types: Vec<Type>,
    /// No other plan of this executor has it.
    pub(super) number: u64,
}

/// Why a statement yielded nothing.
enum StartError {
    Compile(tokio_postgres::Error),
    Run(tokio_postgres::Error),
}

impl StartError {
    fn inner(&self) -> &tokio_postgres::Error {
        match self {
            StartError::Compile(error) | StartError::Run(error) => error,
        }
    }
}

impl Executor {
    pub(super) fn new(preparing: Preparing) -> Executor {
        Executor { preparing, plans: Mutex::default(), next_number: AtomicU64::new(FIRST_FREE_NUMBER) }
    }

    pub(super) fn preparing(&self) -> Preparing {
        self.preparing
    }

    /// How a statement is sent, once it has run.
    pub(super) fn plan(&self, statement: &Statement, access: Access) -> Option<Arc<Plan>> {
        let key = (Arc::clone(&statement.text), Arc::clone(&statement.types), access, statement.rows_max);
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(&key).map(Arc::clone)
    }

    /// Runs one statement and subtracts the size of its rows from `bytes_left`.
    pub(super) async fn run(
        &self,
        client: &ClientWrapper,
        statement: &Statement,
        access: Access,
        time_max: Duration,
        log: LogDetail,
        bytes_left: &mut usize,
    ) -> Result<Rows, DatabaseError> {
        let failed = |error: tokio_postgres::Error| fault::of_values(&error, time_max, &statement.binds, log);
        let refusal = |error: &StartError| match error {
            // No value was bound yet, so the log may have the whole text.
            StartError::Compile(error) => fault::of_statement(error, time_max),
            StartError::Run(error) => fault::of_values(error, time_max, &statement.binds, log),
        };
        if let Some(plan) = self.plan(statement, access) {
            let stream = self.start(client, &plan, statement).await.map_err(|error| refusal(&error))?;
            return read(stream, plan.sent.rows, statement, access, failed, bytes_left).await;
        }
        let sent = Shape::of(&statement.text)
            .sent(access, statement.rows_max)
            .map_err(|detail| DatabaseError::Failed { detail })?;
        client.batch_execute("SAVEPOINT before_types").await.map_err(failed)?;
        let declared = declared(statement);
        let mut search = TypeSearch::new(&declared);
        let mut refused = None;
        loop {
            let number = self.next_number.fetch_add(1, Ordering::Relaxed);
            let plan = Plan { sent: sent.clone(), types: search.types(), number };
            let error = match self.start(client, &plan, statement).await {
                Ok(stream) => {
                    let form = plan.sent.rows;
                    let rows = read(stream, form, statement, access, failed, bytes_left).await?;
                    client.batch_execute("RELEASE before_types").await.map_err(failed)?;
                    self.remember(statement, access, plan);
                    return Ok(rows);
                }
                Err(error) => error,
            };
            if !fault::depends_on_types(error.inner()) {
                return Err(refusal(&error));
            }
            let again = search.advance(fault::unclear_value(error.inner()));
            let first = refused.get_or_insert(error);
            if !again {
                return Err(refusal(first));
            }
            client.batch_execute("ROLLBACK TO before_types").await.map_err(failed)?;
        }
    }

    fn remember(&self, statement: &Statement, access: Access, plan: Plan) {
        let key = (Arc::clone(&statement.text), Arc::clone(&statement.types), access, statement.rows_max);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_KEPT {
            plans.clear();
        }
        plans.insert(key, Arc::new(plan));
    }

    async fn start(
        &self,
        client: &ClientWrapper,
        plan: &Plan,
        statement: &Statement,
    ) -> Result<RowStream, StartError> {
        let values = statement.binds.iter().map(Parameter::of);
        match self.preparing {
            Preparing::Kept => {
                let prepared = client.prepare_typed_cached(&plan.sent.text, &plan.types).await;
                let prepared = prepared.map_err(StartError::Compile)?;
                client.query_raw(&prepared, values).await.map_err(StartError::Run)
            }
            Preparing::Never => {
                let typed = values.zip(plan.types.iter().cloned());
                client.query_typed_raw(&plan.sent.text, typed).await.map_err(StartError::Run)
            }
        }
    }

    /// Whether a statement could run. It is compiled within a transaction that ends with it.
    pub(super) async fn check(
        &self,
        client: &ClientWrapper,
        text: &str,
        declared: &[BindType],
        access: Access,
    ) -> Result<Vec<String>, DatabaseError> {
        let shape = Shape::of(text);
        let writes = || DatabaseError::Failed { detail: WRITES.to_owned() };
        if access == Access::Read && shape.writes {
            return Err(writes());
        }
        let sent = shape.sent(access, 1).map_err(|detail| DatabaseError::Failed { detail })?;
        let failed = |error: tokio_postgres::Error| fault::of_statement(&error, Duration::ZERO);
        let mut search = TypeSearch::new(declared);
        let mut refused = None;
        client.batch_execute("SAVEPOINT before_types").await.map_err(failed)?;
        loop {
            let error = match self.compile(client, text, &sent, &search.types()).await {
                Ok(names) => {
                    return match twice(&names) {
                        Some(name) => Err(DatabaseError::same_name(name)),
                        None => Ok(names),
                    };
                }
                Err(error) => error,
            };
            if !fault::depends_on_types(&error) {
                return Err(failed(error));
            }
            let again = search.advance(fault::unclear_value(&error));
            let first = refused.get_or_insert(error);
            if !again {
                return Err(fault::of_statement(first, Duration::ZERO));
            }
            client.batch_execute("ROLLBACK TO before_types").await.map_err(failed)?;
        }
    }

    /// Compiles a statement as it is sent, and as it was written: the names of its columns.
    async fn compile(
        &self,
        client: &ClientWrapper,
        text: &str,
        sent: &Sent,
        types: &[Type],
    ) -> Result<Vec<String>, tokio_postgres::Error> {
        match (self.preparing, sent.rows) {
            (Preparing::Kept, _) => {
                client.prepare_typed(&sent.text, types).await?;
                let written = client.prepare_typed(text, types).await?;
                Ok(written.columns().iter().map(|column| column.name().to_owned()).collect())
            }
            (Preparing::Never, RowForm::Object) => {
                let nothing = types.iter().map(|type_| (Parameter::of(&Bind::Null), type_.clone()));
                let stream = client.query_typed_raw(&format!("EXPLAIN {}", sent.text), nothing).await?;
                let plan: Vec<tokio_postgres::Row> = stream.try_collect().await?;
                drop(plan);
                Ok(Vec::new())
            }
            // Only running it would tell.
            (Preparing::Never, RowForm::Columns) => Ok(Vec::new()),
        }
    }
}

/// The types of a statement's values: declared, or cast by the statement itself.
fn declared(statement: &Statement) -> Vec<BindType> {
    let mut types = statement.types.to_vec();
    types.resize(statement.binds.len(), BindType::Cast);
    types
}

async fn read(
    stream: RowStream,
    form: RowForm,
    statement: &Statement,
    access: Access,
    failed: impl Fn(tokio_postgres::Error) -> DatabaseError,
    bytes_left: &mut usize,
) -> Result<Rows, DatabaseError> {
    let mut stream = pin!(stream);
    let mut collector = Collector::new(form, statement);
    let mut columns = false;
    while let Some(row) = stream.try_next().await.map_err(&failed)? {
        columns = true;
        if collector.is_full() {
            collector.cut();
            if access == Access::Read && form == RowForm::Object {
                break;
            }
            // What writes runs to its end, so further rows are read and dropped.
            continue;
        }
        collector.add(&row, bytes_left)?;
    }
    let mut found = collector.into_rows();
    if form == RowForm::Columns && !columns {
        found.affected = stream.rows_affected();
    }
    Ok(found)
}
