//! One pass over a JSON-RPC body: strict, no tree, byte ranges only.
//!
//! Judges the envelope and finds the few members that policy decides on. It must not know who is calling or what an
//! HTTP header says.

use std::borrow::Cow;

use super::error::ScanError;
use super::fold::folds_to_any;
use super::lexer::{Lexer, Text};
use crate::wire::method::{Method, NameSource};

/// What kind of JSON-RPC message a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id.
    Request,
    /// Has a method in `notifications/` and no id (an `id` of null is refused).
    Notification,
    /// Has an id and a result or error: the client's response to a server's request.
    Response,
}

/// What the guard needs to know of a body. Borrows from it.
#[derive(Debug, Clone)]
pub struct Message<'b> {
    /// Request, notification or response.
    pub kind: Kind,
    /// Raw JSON of `id`: a string or a number.
    pub id: Option<&'b [u8]>,
    /// The method, if it is a known one.
    pub method: Method,
    /// The method as written, decoded; empty for a response. Never for a label.
    pub method_name: Cow<'b, str>,
    /// `params.name`, `params.uri` or `params.taskId`, whichever the method's `Mcp-Name` mirrors; decoded. `None` also
    /// when it is not a string.
    pub name: Option<Cow<'b, str>>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`, decoded.
    pub meta_version: Option<Cow<'b, str>>,
    /// `params.protocolVersion` of an `initialize`, decoded.
    pub initialize_version: Option<Cow<'b, str>>,
}

/// Scans `body`, which must be exactly one JSON-RPC 2.0 message.
///
/// A body that is not JSON is a [`ScanError::Syntax`] even when its envelope is wrong too. On error the raw `id`
/// is not reported: a response to a refused body carries `id: null`.
pub fn scan(body: &[u8]) -> Result<Message<'_>, ScanError> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| ScanError::Utf8)?;
    let mut lexer = Lexer::new(text);
    match lexer.peek() {
        None => return Err(ScanError::Empty),
        Some(b'[') => return Err(ScanError::Batch),
        Some(b'{') => {}
        Some(_) => {
            lexer.skip_value(0)?;
            lexer.end()?;
            return Err(ScanError::Envelope);
        }
    }
    let mut envelope = Envelope::default();
    lexer.members(|lexer, key| envelope.value(lexer, key.find(Path::in_message), 1))?;
    lexer.end()?;
    envelope.message()
}

/// What the method of every notification starts with.
const NOTIFICATIONS: &str = "notifications/";
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

const NAMES_IN_MESSAGE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const NAMES_IN_PARAMS: &[&str] = &["name", "uri", "taskId", "protocolVersion", "arguments", "_meta"];

/// The paths that must not occur twice: those read here, and `arguments`, which a tool acts on.
#[derive(Debug, Clone, Copy)]
enum Path {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Name,
    Uri,
    TaskId,
    ProtocolVersion,
    Arguments,
    Meta,
    MetaVersion,
    /// A key that only a careless decoder takes for one of these. It stands for none of them.
    Folded,
}

impl Path {
    fn in_message(key: &[u8]) -> Option<Path> {
        Some(match key {
            b"jsonrpc" => Path::Jsonrpc,
            b"id" => Path::Id,
            b"method" => Path::Method,
            b"params" => Path::Params,
            b"result" => Path::Result,
            b"error" => Path::Error,
            _ => return Path::folded(key, NAMES_IN_MESSAGE),
        })
    }

    fn in_params(key: &[u8]) -> Option<Path> {
        Some(match key {
            b"name" => Path::Name,
            b"uri" => Path::Uri,
            b"taskId" => Path::TaskId,
            b"protocolVersion" => Path::ProtocolVersion,
            b"arguments" => Path::Arguments,
            b"_meta" => Path::Meta,
            _ => return Path::folded(key, NAMES_IN_PARAMS),
        })
    }

    fn in_meta(key: &[u8]) -> Option<Path> {
        if key == META_VERSION.as_bytes() {
            Some(Path::MetaVersion)
        } else {
            Path::folded(key, &[META_VERSION])
        }
    }

    fn folded(key: &[u8], names: &[&str]) -> Option<Path> {
        folds_to_any(key, names).then_some(Path::Folded)
    }
}

/// The members found so far.
#[derive(Default)]
struct Envelope<'b> {
    /// One bit for each [`Path`] seen.
    seen: u16,
    /// The first thing wrong with the message, as long as its JSON is right.
    fault: Option<ScanError>,
    id: Option<&'b [u8]>,
    method: Option<Text<'b>>,
    name: Option<Text<'b>>,
    uri: Option<Text<'b>>,
    task_id: Option<Text<'b>>,
    protocol_version: Option<Text<'b>>,
    meta_version: Option<Text<'b>>,
}

impl<'b> Envelope<'b> {
    /// The value behind `path`, in a container at `depth`.
    fn value(&mut self, lexer: &mut Lexer<'b>, path: Option<Path>, depth: u32) -> Result<(), ScanError> {
        let Some(path) = path else { return lexer.skip_value(depth) };
        self.enter(path);
        match path {
            Path::Folded => {
                self.fault.get_or_insert(ScanError::FoldedKey);
                lexer.skip_value(depth)?;
            }
            Path::Jsonrpc => {
                let version = lexer.string_value(depth)?;
                self.require(version.is_some_and(|version| version.is("2.0")));
            }
            Path::Id => {
                self.id = lexer.id_value(depth)?;
                self.require(self.id.is_some());
            }
            Path::Method => {
                self.method = lexer.string_value(depth)?;
                self.require(self.method.is_some());
            }
            Path::Params => {
                let first = lexer.peek();
                if first == Some(b'{') {
                    let inside = depth + 1;
                    return lexer.members(|lexer, key| self.value(lexer, key.find(Path::in_params), inside));
                }
                lexer.skip_value(depth)?;
                // MCP has no positional params. Careless clients send null for none, and backends take it.
                self.require(first == Some(b'n'));
            }
            Path::Meta if lexer.peek() == Some(b'{') => {
                let inside = depth + 1;
                return lexer.members(|lexer, key| self.value(lexer, key.find(Path::in_meta), inside));
            }
            Path::Meta | Path::Arguments | Path::Result | Path::Error => lexer.skip_value(depth)?,
            Path::Name => self.name = lexer.string_value(depth)?,
            Path::Uri => self.uri = lexer.string_value(depth)?,
            Path::TaskId => self.task_id = lexer.string_value(depth)?,
            Path::ProtocolVersion => self.protocol_version = lexer.string_value(depth)?,
            Path::MetaVersion => self.meta_version = lexer.string_value(depth)?,
        }
        Ok(())
    }

    /// Parsers disagree on which of two equal keys counts, so neither may.
    fn enter(&mut self, path: Path) {
        if self.has(path) && !matches!(path, Path::Folded) {
            self.fault.get_or_insert(ScanError::DuplicateKey);
        }
        self.seen |= 1 << path as u16;
    }

    fn has(&self, path: Path) -> bool {
        self.seen & 1 << path as u16 != 0
    }

    fn require(&mut self, holds: bool) {
        if !holds {
            self.fault.get_or_insert(ScanError::Envelope);
        }
    }

    fn message(mut self) -> Result<Message<'b>, ScanError> {
        self.require(self.has(Path::Jsonrpc));
        let answers = u8::from(self.has(Path::Result)) + u8::from(self.has(Path::Error));
        let kind = match (self.method, self.id, answers) {
            (Some(_), Some(_), 0) => Kind::Request,
            (Some(_), None, 0) => Kind::Notification,
            (None, Some(_), 1) => Kind::Response,
            // A method and a result at once: one parser sees a call where another sees a response.
            _ => return Err(self.fault.unwrap_or(ScanError::Envelope)),
        };
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let method_name = self.method.map_or(Cow::Borrowed(""), Text::decode);
        if kind == Kind::Notification && !method_name.starts_with(NOTIFICATIONS) {
            return Err(ScanError::MissingId);
        }
        let method = match kind {
            Kind::Response => Method::Response,
            Kind::Request | Kind::Notification => Method::from_name(&method_name),
        };
        let name = match method.name_source() {
            Some(NameSource::Name) => self.name,
            Some(NameSource::Uri) => self.uri,
            Some(NameSource::TaskId) => self.task_id,
            None => None,
        };
        let initialize_version = self.protocol_version.filter(|_| method == Method::Initialize);
        Ok(Message {
            kind,
            id: self.id,
            method,
            method_name,
            name: name.map(Text::decode),
            meta_version: self.meta_version.map(Text::decode),
            initialize_version: initialize_version.map(Text::decode),
        })
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
