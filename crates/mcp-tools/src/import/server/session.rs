//! MCP as a client of either era: the identity of a server, and its whole list of tools.
//!
//! Everything is bounded: bytes, pages, tools, time. Must not know what the list is for.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::bounds::{BYTES_MAX, PAGES_MAX, TIME_MAX, TOOLS_MAX};
use super::error::ServerError;
use super::exchange::{Peer, ServerResponse};
use super::target::{Target, without_secrets};
use crate::http_client::TlsSettings;

/// The newest version with `initialize`; the server responds with the one it speaks.
const HANDSHAKE_VERSION: &str = "2025-11-25";
const STATELESS_VERSION: &str = "2026-07-28";

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// What a server says of itself, and its tools as it lists them.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// `name`, `title`, `version`.
    pub(super) server: Value,
    pub(super) instructions: Option<String>,
    pub(super) tools: Vec<Value>,
}

/// Reads identity and tools.
pub(super) async fn list(address: &str, token: Option<&str>) -> Result<Listed, ServerError> {
    let authorization = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
    let authorization = authorization.transpose().map_err(|_| ServerError::Token)?;
    let place = without_secrets(address);
    let (target, tls) = (Target::parse(address)?, TlsSettings::default());
    let peer = Peer { target, place: place.clone(), authorization, tls };
    match tokio::time::timeout(TIME_MAX, Session::new(&peer).list()).await {
        Ok(listed) => listed,
        Err(_) => Err(ServerError::Time { place }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Handshake,
    Stateless,
}

struct Session<'p> {
    peer: &'p Peer,
    era: Era,
    /// Sent with each request.
    headers: HeaderMap,
    next_id: u64,
    bytes_left: usize,
}

impl<'p> Session<'p> {
    fn new(peer: &'p Peer) -> Session<'p> {
        Session { peer, era: Era::Stateless, headers: HeaderMap::new(), next_id: 1, bytes_left: BYTES_MAX }
    }

    async fn list(mut self) -> Result<Listed, ServerError> {
        let mut listed = match self.discover().await {
            Err(error) if error.says_handshake() => self.initialize().await?,
            discovered => discovered?,
        };
        listed.tools = self.tools().await?;
        Ok(listed)
    }

    async fn discover(&mut self) -> Result<Listed, ServerError> {
        self.headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(STATELESS_VERSION));
        let (_, result) = self.ask("server/discover", json!({})).await?;
        if result.get("supportedVersions").is_none() {
            return Err(self.shape("server/discover", "supportedVersions"));
        }
        let server = result.get("_meta").and_then(|meta| meta.get("io.modelcontextprotocol/serverInfo"));
        Ok(identity(server.or_else(|| result.get("serverInfo")), &result))
    }

    async fn initialize(&mut self) -> Result<Listed, ServerError> {
        self.era = Era::Handshake;
        self.headers.clear();
        let params = json!({
            "protocolVersion": HANDSHAKE_VERSION,
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let (response, result) = self.ask("initialize", params).await?;
        let version = result.get("protocolVersion").and_then(Value::as_str);
        let version = version.and_then(|version| HeaderValue::from_str(version).ok());
        let Some(version) = version else { return Err(self.shape("initialize", "protocolVersion")) };
        self.headers.insert(PROTOCOL_VERSION, version);
        if let Some(session) = response.headers.get(SESSION_ID) {
            self.headers.insert(SESSION_ID, session.clone());
        }
        let method = "notifications/initialized";
        let body = json!({ "jsonrpc": "2.0", "method": method }).to_string();
        self.peer.post(method, &self.headers, body, None, &mut self.bytes_left).await?;
        Ok(identity(result.get("serverInfo"), &result))
    }

    async fn tools(&mut self) -> Result<Vec<Value>, ServerError> {
        let mut tools = Vec::new();
        let mut cursors: Vec<String> = Vec::new();
        loop {
            let params = cursors.last().map_or(json!({}), |cursor| json!({ "cursor": cursor }));
            let (_, mut result) = self.ask("tools/list", params).await?;
            let Some(Value::Array(page)) = result.get_mut("tools").map(Value::take) else {
                return Err(self.shape("tools/list", "tools"));
            };
            tools.extend(page);
            let next = result.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
            let is_known = next.as_ref().is_some_and(|next| cursors.contains(next));
            if tools.len() > TOOLS_MAX || cursors.len() >= PAGES_MAX || is_known {
                return Err(ServerError::TooMany { place: self.peer.place.clone() });
            }
            match next {
                Some(next) => cursors.push(next),
                None => return Ok(tools),
            }
        }
    }

    /// The result of a request.
    async fn ask(&mut self, method: &str, mut params: Value) -> Result<(ServerResponse, Value), ServerError> {
        let mut headers = self.headers.clone();
        if self.era == Era::Stateless {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS_VERSION,
                "io.modelcontextprotocol/clientInfo": client_info(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            headers.extend(HeaderValue::from_str(method).ok().map(|method| (MCP_METHOD, method)));
        }
        let id = self.next_id;
        self.next_id += 1;
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
        let mut response = self.peer.post(method, &headers, body, Some(id), &mut self.bytes_left).await?;
        let (place, method) = (self.peer.place.clone(), method.to_owned());
        let status = response.status;
        match response.message.take() {
            // A refused token is one, whatever the body says.
            message if matches!(status, 401 | 403) || (message.is_none() && status >= 300) => {
                Err(ServerError::Status { place, method, status, excerpt: response.excerpt })
            }
            None => Err(ServerError::NoResponse { place, method, excerpt: response.excerpt }),
            Some(mut message) => match message.get_mut("result").map(Value::take) {
                Some(result) => Ok((response, result)),
                None => Err(refused(place, method, &message)),
            },
        }
    }

    fn shape(&self, method: &str, lacks: &'static str) -> ServerError {
        ServerError::Shape { place: self.peer.place.clone(), method: method.to_owned(), lacks }
    }
}

fn refused(place: String, method: String, message: &Value) -> ServerError {
    let error = message.get("error");
    let code = error.and_then(|error| error.get("code")).and_then(Value::as_i64).unwrap_or_default();
    let text = error.and_then(|error| error.get("message")).and_then(Value::as_str).unwrap_or_default();
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    ServerError::Refused { place, method, code, message: text.chars().map(plain).take(200).collect() }
}

fn identity(server: Option<&Value>, result: &Value) -> Listed {
    let instructions = result.get("instructions").and_then(Value::as_str).map(str::to_owned);
    Listed { server: server.cloned().unwrap_or_default(), instructions, tools: Vec::new() }
}

fn client_info() -> Value {
    json!({ "name": "mcp-tools", "version": env!("CARGO_PKG_VERSION") })
}
