//! What the doctor found: a state, and what to do about it.

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    /// It serves, but an operator should know.
    Warn,
    Bad,
    /// There was nothing to look at.
    Skip,
}

impl State {
    pub(super) fn tag(self) -> &'static str {
        match self {
            State::Ok => "[OK]  ",
            State::Warn => "[WARN]",
            State::Bad => "[BAD] ",
            State::Skip => "[SKIP]",
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Bad => "bad",
            State::Skip => "skip",
        }
    }
}

/// One thing that was looked at, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) state: State,
    pub(super) what: String,
    pub(super) found: String,
    pub(super) todo: Option<String>,
}

impl Diagnosis {
    pub(super) fn new(state: State, what: impl Into<String>, found: impl Into<String>) -> Diagnosis {
        Diagnosis { state, what: what.into(), found: found.into(), todo: None }
    }

    pub(super) fn advise(mut self, todo: impl Into<String>) -> Diagnosis {
        self.todo = Some(todo.into());
        self
    }
}
