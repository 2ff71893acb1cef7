//! The operator's end of the admin socket: asks a running guard and waits for the answer, within bounds.
//!
//! Must not know what the answer is shown as.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::protocol::{self, ANSWER_BYTES_MAX, Answer, Command, Refusal};

const PATIENCE: Duration = Duration::from_secs(10);
/// An upgrade is over when the new process serves; a rollout starts once both backends have been compared.
const PATIENCE_WITH_ORDERS: Duration = Duration::from_secs(90);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("no guard is running: nobody answers on {path}")]
    NotRunning { path: PathBuf },
    #[error("cannot ask the guard on {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the guard on {path} did not answer within {seconds} s")]
    Silent { path: PathBuf, seconds: u64 },
    #[error("the guard on {path} answered something this program does not understand (is it newer?)")]
    Garbled { path: PathBuf },
    #[error(
        "{path:?} is a socket of user {uid}, who is neither root nor known as the guard's user: not asked"
    )]
    Stranger { path: PathBuf, uid: u32 },
    #[error("the guard refused: {0}")]
    Refused(Refusal),
}

/// Sends one command and returns its answer. Blocks; for use outside a runtime.
pub(crate) fn ask(path: &Path, command: &Command) -> Result<Answer, AskError> {
    ask_user(path, command, &|_anyone| true)
}

/// The same, if a process of a user that `trusts` accepts listens there. No byte goes to another process.
pub(crate) fn ask_user(
    path: &Path,
    command: &Command,
    trusts: &dyn Fn(u32) -> bool,
) -> Result<Answer, AskError> {
    let failed = |source| AskError::Io { path: path.to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let patience = match command {
        Command::Order(_) | Command::Upgrade | Command::Reload => PATIENCE_WITH_ORDERS,
        Command::Status | Command::Rollout | Command::History | Command::Shadow { .. } | Command::Tokens => {
            PATIENCE
        }
    };
    let exchange = exchange(path, command, trusts);
    let answer = runtime.block_on(async { tokio::time::timeout(patience, exchange).await });
    let answer =
        answer.map_err(|_| AskError::Silent { path: path.to_owned(), seconds: patience.as_secs() })?;
    let exchanged = answer.map_err(|error| {
        let absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        if absent { AskError::NotRunning { path: path.to_owned() } } else { failed(error) }
    })?;
    let line = match exchanged {
        Exchanged::Line(line) => line,
        Exchanged::Nothing { uid } => return Err(AskError::Stranger { path: path.to_owned(), uid }),
    };
    match protocol::decode_answer(&line) {
        Ok(Answer::Refused(refusal)) => Err(AskError::Refused(refusal)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(AskError::Garbled { path: path.to_owned() }),
    }
}

enum Exchanged {
    Line(Vec<u8>),
    /// This user is not trusted.
    Nothing {
        uid: u32,
    },
}

async fn exchange(path: &Path, command: &Command, trusts: &dyn Fn(u32) -> bool) -> io::Result<Exchanged> {
    let mut stream = UnixStream::connect(path).await?;
    // Of this connection: the next one to the same path may lead elsewhere.
    let uid = stream.peer_cred()?.uid();
    if !trusts(uid) {
        return Ok(Exchanged::Nothing { uid });
    }
    // A guard that refuses without reading answers all the same: what matters is what comes back.
    let _ = stream.write_all(&protocol::encode_request(command)).await;
    let mut line = Vec::new();
    stream.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut line).await?;
    Ok(Exchanged::Line(line))
}
