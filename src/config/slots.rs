//! `[slots.NAME]`: where a backend listens and what it receives.
//!
//! Fields that the guard sets itself, or that belong to one connection, cannot be set here: that would be a second
//! opinion on framing or on identity. Must not know which slot is stable.

use std::io;
use std::path::Path;
use std::time::Duration;

use mcp_host::diagnostics::Diagnostics;

use super::backend_address::{BackendAddress, Scheme};
use super::environment::Environment;
use super::table::Table;
use super::{backend_address, source, tls, tokens, value};
use crate::config::diagnostics::{DiagnosticSink, InvalidValue};
use crate::upstream::{Accept, Address, Backend, Slot, UpstreamAuthorization};

pub(super) const SET_HEADERS_MAX: usize = 32;
const HEADER_VALUE_BYTES_MAX: usize = 4096;
const INCLUDE_BYTES_MAX: u64 = 64 << 10;

/// Fields the guard writes itself, with the key to use instead where there is one.
const OWN_FIELDS: &[(&str, &str)] = &[
    ("host", "use the key host"),
    ("accept", "use the key accept"),
    ("authorization", "use the key authorization"),
    ("x-mcp-client", "use the key client_header"),
    ("x-mcp-subject", "use the key client_header"),
    ("cookie", "cookies never reach a backend"),
    ("origin", "the guard judges Origin; it never reaches a backend"),
    ("content-length", "it follows from the body"),
    ("content-type", "it is always application/json"),
    ("via", "the guard sets it"),
    ("x-request-id", "the guard sets it"),
    ("x-forwarded-for", "the guard sets it"),
    ("x-forwarded-proto", "the guard sets it"),
    ("x-forwarded-host", "the guard sets it"),
    ("x-real-ip", "the guard sets it"),
    ("traceparent", "it passes from the client"),
];

/// Fields that belong to one connection (RFC 9110, section 7.6.1), and `Proxy`, which CGI backends mistake for a setting.
const CONNECTION_FIELDS: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Reads one slot, and the file that its `include` names, whose keys count. `None` when it has no usable address, which is
/// reported.
pub(super) fn read_with_include(
    mut table: Table<'_>,
    folder: &Path,
    environment: &Environment<'_>,
    more: &mut Diagnostics,
) -> Option<Backend> {
    let include = table.text("include", |text| {
        let path = value::path(text, folder)?;
        let text = text_of_include(&path).map_err(|error| InvalidValue::new(error.to_string()))?;
        Ok(text.map(|text| (path, text)))
    });
    let backend = read(table, folder, environment);
    let (Some(base), Some((path, text))) = (&backend, include.flatten()) else { return backend };
    let (included, found) = included(&path, &text, environment, base);
    more.extend(found);
    included.or(backend)
}

/// The text of an included file; none where there is no file: what runs in the slot may have nothing to say about it.
fn text_of_include(path: &Path) -> Result<Option<String>, source::ReadError> {
    match source::read(path, INCLUDE_BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(source::ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads an included file over what the slot says itself.
fn included(
    path: &Path,
    text: &str,
    environment: &Environment<'_>,
    base: &Backend,
) -> (Option<Backend>, Diagnostics) {
    let sink = DiagnosticSink::new(path, text);
    let backend = source::parse(text, &sink).map(|entries| {
        let mut table = Table::root(entries.get_ref(), &sink);
        // A release must not send itself the guard's secrets, nor take another one's place.
        for key in ["address", "authorization", "tls"] {
            if table.entry(key).is_some() {
                let hint = "it stands in the configuration of the guard";
                table.error(key, None, InvalidValue::new("is not allowed in an included file").hint(hint));
            }
        }
        keys(table, environment, base.clone())
    });
    (backend, sink.finish())
}

/// The problems of a file that a slot would include; none where there is no file.
#[cfg(feature = "release")]
pub(super) fn problems_of_include(path: &Path) -> Result<(), String> {
    let Some(text) = text_of_include(path).map_err(|error| error.to_string())? else { return Ok(()) };
    let environment = Environment { variable: &|_| None, now: 0, shown_pairs: None };
    // Where the backend listens is not what the file says.
    let base = at(None);
    let (_backend, found) = included(path, &text, &environment, &base);
    if found.problems.is_empty() {
        return Ok(());
    }
    Err(found.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Reads a slot's table.
fn read(mut table: Table<'_>, folder: &Path, environment: &Environment<'_>) -> Option<Backend> {
    let given = table.has("address");
    let address = table.text("address", |text| backend_address::parse(text, folder));
    if !given {
        table.error_missing("address", "where the backend listens, as in \"unix:/run/mcp-tools/blue.sock\"");
    }
    // Without an address the other keys are judged all the same.
    let tls = tls::backend(&mut table, folder, environment.now, address.as_ref());
    let is_encrypted = address.as_ref().is_none_or(|address| address.scheme == Scheme::Http) || tls.is_some();
    let backend = keys(table, environment, Backend { tls, ..at(address.as_ref()) });
    // What is wrong with its settings is reported, and nothing may use it in clear.
    address.filter(|_| is_encrypted).map(|_| backend)
}

/// A backend of which only the address is known: everything else has its default.
fn at(address: Option<&BackendAddress>) -> Backend {
    Backend {
        address: address.map_or_else(|| Address::Unix("/".into()), |address| address.address.clone()),
        tls: None,
        path: "/mcp".to_owned(),
        host: address.map_or_else(|| "localhost:80".to_owned(), BackendAddress::host_field),
        accept: Accept::Both,
        authorization: UpstreamAuthorization::Strip,
        pool: 32,
        pool_idle: Duration::from_secs(4),
        strip_session: false,
        sessions: false,
        set_headers: Vec::new(),
        query: false,
        client_header: false,
    }
}

/// Reads the keys besides the address; one that is absent stays what it is in `base`.
fn keys(mut table: Table<'_>, environment: &Environment<'_>, base: Backend) -> Backend {
    let path = table.text("path", request_path).unwrap_or(base.path);
    let host = table.text("host", host_field).unwrap_or(base.host);
    if value::split_port(&host).1.is_none() {
        table.warn("host", InvalidValue::new("has no port; FastMCP answers 421 to such a Host"));
    }
    let accept = table.choice(
        "accept",
        &[("both", Accept::Both), ("json", Accept::Json), ("pass", Accept::Pass)],
        base.accept,
    );
    let authorization =
        table.text("authorization", |text| authorization(text, environment)).unwrap_or(base.authorization);
    if let UpstreamAuthorization::Bearer(token) = &authorization
        && let Some(reason) = tokens::copied_with_more(token.as_bytes(), "the variable")
    {
        table.warn("authorization", InvalidValue::new(reason).hint(tokens::CLEAN));
    }
    let pool = table.count("pool", 1..=10_000, base.pool as u64);
    let second = Duration::from_secs(1);
    let pool_idle = table.duration("pool_idle", second / 1000..=second * 3600, base.pool_idle);
    let strip_session = table.flag("strip_session", base.strip_session);
    let sessions = table.flag("sessions", base.sessions);
    if sessions && strip_session {
        let invalid = InvalidValue::new("contradicts strip_session, which removes the session's id");
        table.error(
            "sessions",
            Some("true".to_owned()),
            invalid.hint("a slot keeps sessions or strips them"),
        );
    }
    let query = table.flag("query", base.query);
    let client_header = table.flag("client_header", base.client_header);
    let given = table.has("set_headers");
    let own_headers = set_headers(table.table("set_headers"));
    let set_headers = if given { own_headers } else { base.set_headers };
    table.finish();
    Backend {
        address: base.address,
        tls: base.tls,
        path,
        host,
        accept,
        authorization,
        pool,
        pool_idle,
        strip_session,
        sessions,
        set_headers,
        query,
        client_header,
    }
}

/// The slot of this name.
pub(super) fn named(name: &str) -> Option<Slot> {
    Slot::ALL.into_iter().find(|slot| slot.as_str() == name)
}

fn request_path(text: &str) -> Result<String, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
    if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new("must be a path that starts with /, without a query").hint("as in \"/mcp\""))
}

pub(super) fn host_field(text: &str) -> Result<String, InvalidValue> {
    let (host, port) = value::split_port(text);
    if value::host_name(host).is_ok() && port.is_none_or(|port| port.parse::<u16>().is_ok()) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new("must be host:port").hint("as in \"localhost:80\""))
}

pub(super) fn authorization(
    text: &str,
    environment: &Environment<'_>,
) -> Result<UpstreamAuthorization, InvalidValue> {
    if text == "strip" {
        return Ok(UpstreamAuthorization::Strip);
    }
    let hint =
        "\"env:NAME\" sends the token in the environment variable NAME; a token never stands in this file";
    let Some(name) = text.strip_prefix("env:") else {
        return Err(InvalidValue::new("must be \"strip\" or \"env:NAME\"").hint(hint).secret());
    };
    let name = value::variable_name(name)?;
    let token = (environment.variable)(&name).and_then(|token| token.into_string().ok()).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason =
            format!("the environment variable {name} is not set to a token (visible ASCII, no spaces)");
        return Err(InvalidValue::new(reason).secret());
    }
    Ok(UpstreamAuthorization::Bearer(token))
}

pub(super) fn set_headers(mut table: Table<'_>) -> Vec<(String, String)> {
    let names = table.names();
    if names.len() > SET_HEADERS_MAX {
        table.error("", None, InvalidValue::new(format!("at most {SET_HEADERS_MAX} headers are allowed")));
    }
    let mut set: Vec<(String, String)> = Vec::new();
    for name in names {
        let value = table.text(&name, header_value);
        if let Err(invalid) = header_name(&name) {
            table.error(&name, None, invalid);
        } else if set.iter().any(|(other, _)| spelling(other) == spelling(&name)) {
            table.error(
                &name,
                None,
                InvalidValue::new("is set twice: - and _ and letter case make no difference"),
            );
        } else if let Some(value) = value {
            set.push((name, value));
        }
    }
    table.finish();
    set
}

/// One name for all spellings that some backend takes for the same field.
fn spelling(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

pub(super) fn header_name(name: &str) -> Result<(), InvalidValue> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
        return Err(InvalidValue::new("is not a header name"));
    }
    let spelling = spelling(name);
    if CONNECTION_FIELDS.contains(&spelling.as_str()) {
        return Err(InvalidValue::new("belongs to one connection and cannot be set"));
    }
    if let Some((_, hint)) = OWN_FIELDS.iter().find(|(own, _)| *own == spelling) {
        return Err(InvalidValue::new("is not free to set").hint(*hint));
    }
    if spelling.starts_with("mcp-") {
        return Err(InvalidValue::new("is not free to set")
            .hint("the fields of MCP pass from the client, as the body says"));
    }
    Ok(())
}

/// A fixed value: it may be a secret shared with the backend, so it is never quoted back.
fn header_value(text: &str) -> Result<String, InvalidValue> {
    let plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if text.is_empty() || text.len() > HEADER_VALUE_BYTES_MAX || !plain || text.trim() != text {
        let reason = "must be visible ASCII without spaces at its ends, at most 4096 bytes";
        return Err(InvalidValue::new(reason).secret());
    }
    Ok(text.to_owned())
}
