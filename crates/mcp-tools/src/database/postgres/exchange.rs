//! A whole transaction in one exchange: what begins it, its settings and statements, and for a read its COMMIT.
//!
//! Only for statements whose form is known, because they have run before. What they promise is what the driver's way promises:
//! the same statements in the same order. Must not know how rows are used.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::super::batch::{Access, Batch, BatchOutcome, ROW_BYTES_MAX};
use super::super::error::DatabaseError;
use super::super::statement_times::StatementTimes;
use super::execute::{Executor, Plan, Preparing};
use super::fault;
use super::lease::Lease;
use super::parameter::Parameter;
use super::pipeline::{Ended, Receiver, Step};
use super::rows::{Collector, unreadable};
use super::statement::RowForm;
use super::transaction::{self, Begin};

/// What an exchange yielded.
pub(super) struct Exchanged {
    pub(super) outcome: Result<BatchOutcome, DatabaseError>,
    /// Whether its transaction is still open.
    pub(super) open: bool,
}

/// The plans of a batch that one exchange can run.
pub(super) struct Exchangeable(Vec<Arc<Plan>>);

impl Exchangeable {
    pub(super) fn of(batch: &Batch, executor: &Executor) -> Option<Exchangeable> {
        // In a write, what follows a statement that must yield a row would have run before its rows are seen.
        let (_, before_last) = batch.statements.split_last()?;
        let waits = batch.access == Access::Write && before_last.iter().any(|statement| statement.required);
        if batch.dry_run || waits {
            return None;
        }
        let plans = batch.statements.iter().map(|statement| {
            let plan = executor.plan(statement, batch.access)?;
            let fits = plan.sent.rows == RowForm::Object && plan.types.len() == statement.binds.len();
            fits.then_some(plan)
        });
        plans.collect::<Option<Vec<_>>>().map(Exchangeable)
    }
}

/// Runs a batch. `None` when the connection or the values do not allow it, and nothing was sent.
pub(super) async fn run(
    lease: &mut Lease,
    batch: &Batch,
    plans: &Exchangeable,
    preparing: Preparing,
    lock_timeout: Option<Duration>,
    deadline: Instant,
) -> Option<Exchanged> {
    let (client, pipeline) = lease.pipeline()?;
    let left = deadline.saturating_duration_since(Instant::now());
    let begin = transaction::begin(batch.access, batch.isolation, batch.statements.len(), left, lock_timeout);
    let steps = steps(batch, plans, preparing, &begin);
    let first = steps.before.len();
    let mut found = Found::new(batch, plans, first);
    let all: Vec<Step<'_>> = steps.before.into_iter().chain(steps.statements).chain(steps.commit).collect();
    let ended = match pipeline.run(&all, &mut found).await? {
        Ok(ended) => ended,
        Err(error) => {
            let outcome = found.refusal(batch).unwrap_or_else(|| Err(fault::broken(&error)));
            return Some(Exchanged { outcome, open: true });
        }
    };
    let Ended { failure, in_transaction } = ended;
    let mut has_other_statements = false;
    let outcome = match failure {
        None => found.outcome(batch),
        Some(failure) => {
            let (step, compiling) = (failure.step, failure.compiling);
            match pipeline.error(client, failure).await {
                Some(error) => {
                    // The server has not what this side believes it has, or has more.
                    let other = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
                    has_other_statements = error.code().is_some_and(|code| other.contains(code));
                    found.failed(batch, step, compiling, &error)
                }
                None => Err(unreadable()),
            }
        }
    };
    if has_other_statements {
        lease.condemn();
    }
    Some(Exchanged { outcome, open: in_transaction })
}

struct Steps<'a> {
    before: Vec<Step<'a>>,
    statements: Vec<Step<'a>>,
    commit: Option<Step<'a>>,
}

fn steps<'a>(batch: &'a Batch, plans: &'a Exchangeable, preparing: Preparing, begin: &'a Begin) -> Steps<'a> {
    let kept = |number| (preparing == Preparing::Kept).then_some(number);
    let fixed = |text, number: Option<u64>| Step {
        text,
        types: &[],
        number: number.and_then(kept),
        values: Vec::new(),
    };
    let mut before: Vec<Step<'_>> = begin.statements().map(|(text, number)| fixed(text, number)).collect();
    before.extend(batch.settings.iter().map(|(name, value)| Step {
        text: transaction::SET,
        types: &transaction::SET_TYPES,
        number: kept(transaction::SET_NUMBER),
        values: vec![Parameter::of_text(name), Parameter::of_text(value)],
    }));
    let statements = batch.statements.iter().zip(&plans.0).map(|(statement, plan)| Step {
        text: &plan.sent.text,
        types: &plan.types,
        number: kept(plan.number),
        values: statement.binds.iter().map(Parameter::of).collect(),
    });
    let commits = batch.access == Access::Read;
    let commit = commits.then(|| fixed("COMMIT", Some(transaction::COMMIT_NUMBER)));
    Steps { before, statements: statements.collect(), commit }
}

/// The rows of a batch's statements, as they arrive.
struct Found {
    /// The step of the first statement.
    first: usize,
    collectors: Vec<Collector>,
    bytes_left: usize,
    /// The first statement whose rows cannot be returned, and why.
    refused: Option<(usize, DatabaseError)>,
    times: Option<StatementTimes>,
}

impl Found {
    fn new(batch: &Batch, plans: &Exchangeable, first: usize) -> Found {
        let collectors = batch.statements.iter().zip(&plans.0);
        let collectors = collectors.map(|(statement, plan)| Collector::new(plan.sent.rows, statement));
        let (collectors, times) = (collectors.collect(), batch.times.clone());
        Found { first, collectors, bytes_left: ROW_BYTES_MAX, refused: None, times }
    }

    fn collector(&mut self, step: usize) -> Option<&mut Collector> {
        self.collectors.get_mut(step.checked_sub(self.first)?)
    }

    fn refuse(&mut self, step: usize, error: DatabaseError) {
        self.refused.get_or_insert((step.saturating_sub(self.first), error));
    }

    /// What a batch is whose rows are not read to their end; `None` where they could be.
    fn refusal(&mut self, batch: &Batch) -> Option<Result<BatchOutcome, DatabaseError>> {
        let (place, error) = self.refused.take()?;
        // Without an exchange the batch would have ended at the first statement that must have a row.
        let mut before = batch.statements.iter().zip(&self.collectors).take(place);
        let unmet = before.position(|(statement, found)| statement.required && found.is_empty());
        Some(unmet.map_or(Err(error), |unmet| Ok(BatchOutcome::Unmet(unmet))))
    }

    fn outcome(self, batch: &Batch) -> Result<BatchOutcome, DatabaseError> {
        let unmet = |(statement, collector): (&super::super::batch::Statement, &Collector)| {
            statement.required && collector.is_empty()
        };
        match batch.statements.iter().zip(&self.collectors).position(unmet) {
            Some(place) => Ok(BatchOutcome::Unmet(place)),
            None => Ok(BatchOutcome::Rows(self.collectors.into_iter().map(Collector::into_rows).collect())),
        }
    }

    /// What the error of a step means for the batch.
    fn failed(
        &self,
        batch: &Batch,
        step: usize,
        compiling: bool,
        error: &tokio_postgres::Error,
    ) -> Result<BatchOutcome, DatabaseError> {
        let place = step.checked_sub(self.first).filter(|place| *place < batch.statements.len());
        let Some(place) = place else {
            return Err(fault::of_values(error, batch.time_max, &[], batch.log));
        };
        // Without an exchange the batch would have ended there.
        let before = batch.statements.iter().zip(&self.collectors).take(place);
        let unmet = before.clone().position(|(statement, found)| statement.required && found.is_empty());
        if let Some(unmet) = unmet {
            return Ok(BatchOutcome::Unmet(unmet));
        }
        let error = if compiling {
            fault::of_statement(error, batch.time_max)
        } else {
            fault::of_values(error, batch.time_max, &batch.statements[place].binds, batch.log)
        };
        Err(error.in_statement(place))
    }
}

impl Receiver for Found {
    fn room(&self) -> usize {
        self.bytes_left
    }

    fn row(&mut self, step: usize, column: Option<&[u8]>) {
        let mut bytes_left = self.bytes_left;
        let Some(collector) = self.collector(step) else { return };
        let added = match column {
            _ if collector.is_full() => {
                collector.cut();
                Ok(())
            }
            Some(object) => collector.add_object(object, &mut bytes_left),
            None => Err(unreadable()),
        };
        self.bytes_left = bytes_left;
        if let Err(error) = added {
            self.refuse(step, error);
        }
    }

    fn done(&mut self, step: usize) {
        match &self.times {
            Some(times) if step + 1 == self.first => times.start(),
            Some(times) if self.collectors.get(step.wrapping_sub(self.first)).is_some() => times.next(),
            Some(_) | None => {}
        }
    }

    fn dropped(&mut self, step: usize) {
        match self.collector(step) {
            Some(collector) if collector.is_full() => collector.cut(),
            Some(_) => self.refuse(step, DatabaseError::TooLarge),
            None => {}
        }
    }

    fn has_given_up(&self) -> bool {
        self.refused.is_some()
    }
}
