//! A scripted authorization server: its metadata and its keys, and every way in which they can be wrong or late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::message::{Kind, read};
use crate::{TokenKey, ok};

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum IssuerAnswer {
    /// These bytes.
    Bytes(String),
    /// Nothing, for as long as the connection is open.
    Silence,
    /// The connection is closed.
    Close,
}

/// A running server.
pub struct Issuer {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<String, IssuerAnswer>>,
    /// The path of every request.
    requests: Mutex<Vec<String>>,
}

/// A server on a port of the system's choice, whose metadata names `/jwks`, where these keys are.
pub async fn issuer(keys: &[&TokenKey]) -> Issuer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let shared = Arc::new(Shared::default());
    let task = tokio::spawn(serve(listener, shared.clone()));
    let issuer = Issuer { url, shared, task };
    let metadata = format!(r#"{{"issuer":"{0}","jwks_uri":"{0}/jwks"}}"#, issuer.url);
    issuer.set("/.well-known/oauth-authorization-server", IssuerAnswer::Bytes(ok(&metadata)));
    issuer.set_keys(keys);
    issuer
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let shared = shared.clone();
        connections.spawn(async move {
            let mut buffer = Vec::new();
            while let Ok(request) = read(&mut stream, &mut buffer, Kind::Request).await {
                let path = request.start.split(' ').nth(1).unwrap_or_default().to_owned();
                shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
                let answer =
                    shared.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
                match answer {
                    Some(IssuerAnswer::Bytes(bytes)) => {
                        if stream.write_all(bytes.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    Some(IssuerAnswer::Silence) => std::future::pending().await,
                    Some(IssuerAnswer::Close) => return,
                    None => {
                        let _ =
                            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
                    }
                }
            }
        });
    }
}

impl Issuer {
    /// Its identifier.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets what it answers at a path.
    pub fn set(&self, path: &str, answer: IssuerAnswer) {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), answer);
    }

    /// Replaces its keys.
    pub fn set_keys(&self, keys: &[&TokenKey]) {
        self.set("/jwks", IssuerAnswer::Bytes(ok(&TokenKey::set(keys))));
    }

    /// How often this path was asked for.
    pub fn requests(&self, path: &str) -> usize {
        let requests = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|asked| *asked == path).count()
    }

    /// Every path that was asked for.
    pub fn all_requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
