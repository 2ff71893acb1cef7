//! `PING` to Redis, in its protocol (RESP), after `AUTH` where there is a password.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{self, Connection};
use crate::config::dependencies::Endpoint;
use crate::config::notify::Secret;

/// The replies that matter are one short line.
const LINE_BYTES_MAX: usize = 512;

/// Good where the reply is `PONG`. The caller bounds the time.
pub(super) async fn ping(
    endpoint: &Endpoint,
    username: Option<&str>,
    password: Option<&Secret>,
) -> Result<(), String> {
    let failed = |reason: String| format!("Redis at {endpoint}: {reason}");
    let mut connection = connect::to(endpoint).await.map_err(failed)?;
    if let Some(Secret(password)) = password {
        let words = ["AUTH"].into_iter().chain(username).chain([password.as_str()]);
        let reply = ask(&mut *connection, &words.collect::<Vec<_>>()).await.map_err(failed)?;
        if reply != "+OK" {
            return Err(failed(refusal(&reply)));
        }
    }
    let reply = ask(&mut *connection, &["PING"]).await.map_err(failed)?;
    if reply == "+PONG" { Ok(()) } else { Err(failed(refusal(&reply))) }
}

/// What a reply other than the good one means.
fn refusal(reply: &str) -> String {
    match reply.split(' ').next().unwrap_or_default() {
        "-NOAUTH" => "it wants a password (hint: add password = \"env:NAME\" to its table)".to_owned(),
        "-WRONGPASS" => {
            "it refuses the password (hint: compare the variable that password names with requirepass or the ACL)".to_owned()
        }
        word if word.starts_with('-') => format!("it replies `{}`", reply.trim_start_matches('-')),
        _ => format!("the reply is not that of Redis (hint: does something else listen there?): `{reply}`"),
    }
}

/// One command, as an array of strings, and the first line of its reply.
async fn ask(connection: &mut dyn Connection, words: &[&str]) -> Result<String, String> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    connection.write_all(command.as_bytes()).await.map_err(broken)?;
    let mut line = Vec::new();
    while line.len() < LINE_BYTES_MAX {
        match connection.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            Err(error) if line.is_empty() => return Err(broken(error)),
            Err(_) => break,
        }
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
