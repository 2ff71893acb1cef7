//! The client of the admin socket: sends a command to a running guard and waits for the response, within bounds.
//!
//! Must not know how a response is shown.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::protocol::{self, AdminCommand, AdminRefusal, AdminResponse, RESPONSE_BYTES_MAX};

const TIMEOUT: Duration = Duration::from_secs(10);
/// For commands that wait: an upgrade ends when the new process serves, a rollout starts after both backends are compared.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("no guard is running: nobody answers on {path}")]
    NotRunning { path: PathBuf },
    #[error("cannot ask the guard on {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the guard on {path} did not answer within {seconds} s")]
    Timeout { path: PathBuf, seconds: u64 },
    #[error("the guard on {path} answered something this program does not understand (is it newer?)")]
    InvalidResponse { path: PathBuf },
    #[error(
        "{path:?} is a socket of user {uid}, who is neither root nor known as the guard's user: not asked"
    )]
    UntrustedUser { path: PathBuf, uid: u32 },
    #[error("the guard refused: {0}")]
    Refused(AdminRefusal),
}

/// Sends one command and returns the response. Blocks; for use outside a runtime.
pub(crate) fn send_command(path: &Path, command: &AdminCommand) -> Result<AdminResponse, AdminError> {
    send_command_to(path, command, &|_anyone| true)
}

/// Sends a command only if the listening process belongs to a user that `trusts` accepts. No byte goes to another process.
pub(crate) fn send_command_to(
    path: &Path,
    command: &AdminCommand,
    trusts: &dyn Fn(u32) -> bool,
) -> Result<AdminResponse, AdminError> {
    let failed = |source| AdminError::Io { path: path.to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let timeout = match command {
        AdminCommand::Control(_) | AdminCommand::Upgrade | AdminCommand::Reload => COMMAND_TIMEOUT,
        AdminCommand::Status
        | AdminCommand::Rollout
        | AdminCommand::History
        | AdminCommand::Shadow { .. }
        | AdminCommand::Tokens
        | AdminCommand::OperationEnded(_)
        | AdminCommand::Fleet
        | AdminCommand::LeaveFleet
        | AdminCommand::Features
        | AdminCommand::Feature { .. }
        | AdminCommand::Explain(_) => TIMEOUT,
        #[cfg(feature = "console")]
        AdminCommand::Overview { .. } => TIMEOUT,
    };
    let exchange = exchange(path, command, trusts);
    let response = runtime.block_on(async { tokio::time::timeout(timeout, exchange).await });
    let response =
        response.map_err(|_| AdminError::Timeout { path: path.to_owned(), seconds: timeout.as_secs() })?;
    let exchanged = response.map_err(|error| {
        let absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        if absent { AdminError::NotRunning { path: path.to_owned() } } else { failed(error) }
    })?;
    let line = match exchanged {
        Exchanged::Line(line) => line,
        Exchanged::Nothing { uid } => return Err(AdminError::UntrustedUser { path: path.to_owned(), uid }),
    };
    match protocol::decode_response(&line) {
        Ok(AdminResponse::Refused(refusal)) => Err(AdminError::Refused(refusal)),
        Ok(response) => Ok(response),
        Err(_) => Err(AdminError::InvalidResponse { path: path.to_owned() }),
    }
}

enum Exchanged {
    Line(Vec<u8>),
    /// This user is not trusted.
    Nothing {
        uid: u32,
    },
}

async fn exchange(
    path: &Path,
    command: &AdminCommand,
    trusts: &dyn Fn(u32) -> bool,
) -> io::Result<Exchanged> {
    let mut stream = UnixStream::connect(path).await?;
    // The user of this connection: the next connection to the same path may lead elsewhere.
    let uid = stream.peer_cred()?.uid();
    if !trusts(uid) {
        return Ok(Exchanged::Nothing { uid });
    }
    // A guard that refuses without reading still responds, so a failed write is no error yet.
    let _ = stream.write_all(&protocol::encode_request(command)).await;
    let mut line = Vec::new();
    stream.take(RESPONSE_BYTES_MAX as u64).read_to_end(&mut line).await?;
    Ok(Exchanged::Line(line))
}
