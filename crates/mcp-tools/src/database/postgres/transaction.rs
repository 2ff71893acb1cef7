//! The statements that begin a transaction. Nothing of them outlives it: behind a pooler the connection is another's afterwards.
//!
//! Must not know what runs in it.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::super::batch::{Access, Isolation};

/// Sets one setting until the end of the transaction.
pub(super) const SET: &str = "SELECT set_config($1, $2, true)";
/// Of its name and its value.
pub(super) const SET_TYPES: [Type; 2] = [Type::TEXT, Type::TEXT];

/// Numbers of texts that stay prepared; those of tools' statements follow.
pub(super) const COMMIT_NUMBER: u64 = 0;
pub(super) const SET_NUMBER: u64 = 1;
const ZONE_NUMBER: u64 = 2;
const DATE_NUMBER: u64 = 3;
const LOCK_NUMBER: u64 = 4;
const BEGIN_NUMBER: u64 = 5;
pub(super) const FIRST_FREE_NUMBER: u64 = BEGIN_NUMBER + 6;

const ZONE: &str = "SET LOCAL TimeZone = 'UTC'";
const DATE: &str = "SET LOCAL DateStyle = 'ISO'";

/// How a transaction begins.
pub(super) struct Begin {
    begin: &'static str,
    number: u64,
    time: String,
    lock: Option<String>,
}

pub(super) fn begin(
    access: Access,
    isolation: Option<Isolation>,
    statements: usize,
    time: Duration,
    lock: Option<Duration>,
) -> Begin {
    let level = match (isolation, access, statements) {
        (Some(isolation), _, _) => isolation,
        // Several reads see one state of the database; one statement does in any case.
        (None, Access::Read, 2..) => Isolation::RepeatableRead,
        (None, Access::Read | Access::Write, _) => Isolation::ReadCommitted,
    };
    let (begin, place) = match (level, access) {
        (Isolation::ReadCommitted, Access::Read) => ("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", 0),
        (Isolation::ReadCommitted, Access::Write) => ("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", 1),
        (Isolation::RepeatableRead, Access::Read) => ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 2),
        (Isolation::RepeatableRead, Access::Write) => ("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE", 3),
        (Isolation::Serializable, Access::Read) => ("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", 4),
        (Isolation::Serializable, Access::Write) => ("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE", 5),
    };
    Begin {
        begin,
        number: BEGIN_NUMBER + place,
        time: format!("SET LOCAL statement_timeout = {}", time.as_millis().max(1)),
        lock: lock.map(|time| format!("SET LOCAL lock_timeout = {}", time.as_millis())),
    }
}

impl Begin {
    /// Its statements, with the number of each whose text is always the same.
    pub(super) fn statements(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        let fixed = [(self.begin, Some(self.number)), (&self.time, None), (ZONE, Some(ZONE_NUMBER))];
        let lock = self.lock.as_deref().map(|lock| (lock, Some(LOCK_NUMBER)));
        fixed.into_iter().chain([(DATE, Some(DATE_NUMBER))]).chain(lock)
    }

    /// The same as one text.
    pub(super) fn text(&self) -> String {
        self.statements().map(|(text, _)| text).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_reads_see_one_state_and_a_declared_isolation_wins() {
        let word = |access, isolation, statements| {
            let begin = begin(access, isolation, statements, Duration::from_millis(250), None);
            begin.text().split(';').next().unwrap().to_owned()
        };
        assert_eq!(word(Access::Read, None, 1), "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY");
        assert_eq!(word(Access::Read, None, 2), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        assert_eq!(word(Access::Write, None, 2), "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
        let serializable = Some(Isolation::Serializable);
        assert_eq!(word(Access::Write, serializable, 1), "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE");
    }

    #[test]
    fn a_time_of_nothing_is_a_millisecond_because_zero_is_no_limit() {
        let begin = begin(Access::Read, None, 1, Duration::ZERO, Some(Duration::from_secs(3)));
        let expected = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL statement_timeout = 1; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL lock_timeout = 3000";
        assert_eq!(begin.text(), expected);
    }
}
