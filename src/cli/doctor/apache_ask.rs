//! Apache's own responses: one request for each slash form of the public URL, without a token.
//!
//! The guard refuses a call without a token before it judges the path. So the refusal shows that the guard was reached, and
//! `PATH/health`, which the guard answers under its own prefixes only, shows that the path is one of them. Where Apache maps
//! no more than the path, its files or the path itself must tell. Sends no token: the URL is public.

use std::time::Duration;

use super::diagnosis::{Diagnosis, State};
use crate::client::{Client, Limits, Method, Request, Target};
use crate::policy::Local;

const PATIENCE: Duration = Duration::from_secs(5);
const REFUSAL: &[u8] = b"{\"error\": \"Authorization required\"}";

/// What reading says of the public path.
pub(super) enum Read {
    /// The files map it to an endpoint, or the path is itself a prefix of the guard and no file says otherwise.
    Endpoint,
    /// The files map it to this path of the guard, which is none of its prefixes.
    NoEndpoint(String),
    Unknown,
}

/// What came of the requests.
pub(super) struct Asked {
    pub(super) findings: Vec<Diagnosis>,
    /// The public path without a slash at its end, if both forms reach the endpoint.
    pub(super) arrives: Option<String>,
}

/// Requests both slash forms.
pub(super) fn ask(through: &Target, read: &Read) -> Asked {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Asked { findings: Vec::new(), arrives: None };
    };
    let limits = Limits { connect: PATIENCE, total: PATIENCE, ..Limits::default() };
    let client = Client::new(through.clone(), limits);
    let post = |path: &str| runtime.block_on(client.raw(Request::bare(Method::POST, Some(path))));
    let bare = through.path().trim_end_matches('/');
    let is_a_prefix = || {
        let health = post(&format!("{bare}/health"));
        health.is_ok_and(|reply| reply.status == 200 && reply.body == Local::HEALTH_BODY)
    };
    let one = |path: &String| {
        let what = format!("POST {path} through Apache");
        let finding = |state, found: String| Diagnosis::new(state, "apache", found);
        match post(path) {
            Ok(reply) if reply.status == 401 && reply.body.starts_with(REFUSAL) => match read {
                Read::Endpoint => finding(State::Ok, format!("{what}: the guard answers")),
                _ if is_a_prefix() => finding(State::Ok, format!("{what}: the guard answers")),
                Read::NoEndpoint(to) => {
                    let found = format!(
                        "{what}: it reaches the guard as {to}, which is none of its [paths] prefixes: a call gets 404"
                    );
                    finding(State::Bad, found)
                        .advise("map it to one of the prefixes, or add it to [paths] prefixes")
                }
                Read::Unknown => {
                    let found = format!(
                        "{what}: the guard answers; whether a call with a token gets 404 was not seen, as the path is none \
                         of [paths] prefixes"
                    );
                    finding(State::Warn, found)
                        .advise("name the files that map it with --apache, or make one call with a token")
                }
            },
            Ok(reply) => {
                finding(State::Bad, format!("{what}: HTTP {}, and not from the guard", reply.status)).advise(
                    "map the path to the guard before everything else, as conf/apache/mcp-guard.conf does",
                )
            }
            Err(error) => finding(State::Bad, format!("{what}: {error}"))
                .advise("give --apache-url the public URL of the MCP endpoint"),
        }
    };
    let forms = [bare.to_owned(), format!("{bare}/")];
    let findings: Vec<Diagnosis> = forms.iter().filter(|path| !path.is_empty()).map(one).collect();
    let all = findings.iter().all(|finding| finding.state == State::Ok);
    Asked { findings, arrives: all.then(|| bare.to_owned()) }
}
