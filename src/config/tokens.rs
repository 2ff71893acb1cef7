//! Who may call: the token in the environment, and the named clients of `tokens.toml`.
//!
//! A token exists in clear only in the environment; it becomes a hash here and nothing on the way quotes it, nor a
//! hash (the operator may have pasted the token in its place). Must not know how a token is compared.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::env_file::{CREDENTIALS, PACKAGED, is_folder};
use super::environment::Environment;
use super::table::Table;
use super::{source, tools};
use crate::config::diagnostics::{DiagnosticSink, InvalidValue};
use crate::policy::CredentialFields;
use crate::policy::auth::{AuthRules, ClientConfig, TokenHash};
use crate::policy::certificate::CertificateName;
use crate::policy::tools::{ListView, ToolPatterns, ToolPolicy};
use mcp_host::diagnostics::Diagnostics;

/// `[auth]`: the policy for wrong tokens, and the names of the variable and the file that hold tokens.
pub(super) struct AuthTable {
    pub(super) config: AuthRules,
    pub(super) token_env: String,
    pub(super) tokens_file: Option<PathBuf>,
    pub(super) credentials: CredentialFields,
    /// Whether tokens of issuers are taken as well.
    pub(super) has_oauth: bool,
}

/// The client whose token is in the environment.
pub(crate) const DEFAULT_CLIENT: &str = "default";
/// Names with a meaning of their own in metrics and logs.
const RESERVED: &[&str] = &[DEFAULT_CLIENT, "other"];
/// A client costs some 2 KiB while the file is read, and a reload has two files in memory: this many fit the shipped unit.
const CLIENTS_MAX: usize = 200_000;
const TOKENS_FILE_BYTES_MAX: u64 = 64 << 20;
const STRONG_TOKEN_BYTES: usize = 16;
/// In the package's folder, and among systemd's credentials.
pub(super) const FILE_NAME: &str = "tokens.toml";

/// Every client, in the order of metrics: `default` first, then as the file has them.
pub(super) fn clients(
    auth: &AuthTable,
    folder: &Path,
    sink: &DiagnosticSink,
    environment: &Environment<'_>,
    more: &mut Diagnostics,
) -> Vec<ClientConfig> {
    let mut clients: Vec<ClientConfig> = from_environment(auth, sink, environment).into_iter().collect();
    if let Some(path) = tokens_file(auth, folder, sink, environment) {
        match source::read(&path, TOKENS_FILE_BYTES_MAX) {
            Ok(text) => {
                let (read, diagnostics) = from_file(&path, &text, environment, clients.first());
                clients.extend(read);
                more.extend(diagnostics);
                warn_of_permissions(&path, sink);
            }
            Err(unreadable) => {
                let hint = "chgrp mcp-guard and chmod 0640: the guard reads it with its own rights";
                let invalid = InvalidValue::new(unreadable.to_string());
                let invalid = if unreadable.is_forbidden() { invalid.hint(hint) } else { invalid };
                sink.error("auth.tokens_file", None, invalid);
            }
        }
    }
    if clients.is_empty() && !auth.has_oauth {
        let reason =
            format!("no token is configured: every call is answered 503 until {} is set", auth.token_env);
        let hint = "mcp-guard token new NAME makes a token and its tokens.toml entry";
        sink.warn("auth", InvalidValue::new(reason).hint(hint));
    }
    clients
}

/// What may name a client: it becomes a metric label, a log field and a header value.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let first = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if !first || name.len() > 64 || !name.bytes().all(plain) {
        return Err("a client's name is 1 to 64 letters, digits, - _ . and starts with a letter or digit");
    }
    if RESERVED.contains(&name) {
        return Err("this name is reserved");
    }
    Ok(())
}

fn from_environment(
    auth: &AuthTable,
    sink: &DiagnosticSink,
    environment: &Environment<'_>,
) -> Option<ClientConfig> {
    let token = (environment.variable)(&auth.token_env)?;
    let token = token.as_encoded_bytes();
    let name = &auth.token_env;
    if token.is_empty() {
        return None;
    }
    if let Some(bad) = token.iter().find(|byte| !byte.is_ascii_graphic()) {
        let what = if bad.is_ascii_whitespace() { "white space" } else { "a byte that is not visible ASCII" };
        let invalid =
            InvalidValue::new(format!("the token in {name} holds {what}, so no client can send it"))
                .hint("mcp-guard token new default prints a good one");
        sink.error("auth.token_env", None, invalid);
        return None;
    }
    if token.len() < STRONG_TOKEN_BYTES {
        let reason =
            format!("the token in {name} is shorter than {STRONG_TOKEN_BYTES} bytes and can be guessed");
        sink.warn(
            "auth.token_env",
            InvalidValue::new(reason).hint("mcp-guard token new default prints a good one"),
        );
    }
    if let Some(reason) = copied_with_more(token, name) {
        sink.warn("auth.token_env", InvalidValue::new(reason).hint(CLEAN));
    }
    Some(ClientConfig::new(DEFAULT_CLIENT, vec![TokenHash::of(token)]))
}

/// What to do about a value that has more in it than a token.
pub(super) const CLEAN: &str =
    "the value is the token alone: docker --env-file and most programs strip no quotes";

/// Why a token's value looks as if a part of the line around it was copied, too.
pub(super) fn copied_with_more(token: &[u8], name: &str) -> Option<String> {
    let edges = [token.first(), token.last()];
    if edges.into_iter().flatten().any(|byte| matches!(byte, b'"' | b'\'' | b'`')) {
        return Some(format!(
            "the token in {name} has a quotation mark at its edge, which clients would have to send"
        ));
    }
    let equals = token.iter().position(|byte| *byte == b'=')?;
    let before = token.get(..equals)?;
    let upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    // A token of base64 may end with `=`; one that begins with the name of a variable is a line of a file.
    let is_name =
        !before.is_empty() && before.iter().all(upper) && before.contains(&b'_') && equals + 1 < token.len();
    (is_name || before == name.as_bytes()).then(|| {
        format!(
            "the token in {name} begins with the name of a variable and =, which clients would have to send"
        )
    })
}

/// The file named in the configuration, else the package's, else the one systemd hands over.
fn tokens_file(
    auth: &AuthTable,
    folder: &Path,
    sink: &DiagnosticSink,
    environment: &Environment<'_>,
) -> Option<PathBuf> {
    let credential = (environment.variable)(CREDENTIALS)
        .map(|folder| Path::new(&folder).join(FILE_NAME))
        .filter(|path| path.exists());
    let packaged = || {
        Some(folder.join(FILE_NAME)).filter(|path| is_folder(folder, Path::new(PACKAGED)) && is_there(path))
    };
    match (auth.tokens_file.clone().or_else(packaged), credential) {
        (Some(file), Some(_)) => {
            let reason =
                format!("{} is read; the tokens.toml among systemd's credentials is ignored", file.display());
            sink.warn("auth.tokens_file", InvalidValue::new(reason).hint("remove one of the two"));
            Some(file)
        }
        (Some(file), None) => Some(file),
        (None, Some(credential)) => {
            let reason =
                "the clients are in systemd's copy of their file, which it makes when the unit starts";
            let hint = "a change takes systemctl restart; name the file here, and a reload will do";
            sink.warn("auth.tokens_file", InvalidValue::new(reason).hint(hint));
            Some(credential)
        }
        (None, None) => None,
    }
}

/// Whether there is a file of this name, readable or not.
fn is_there(path: &Path) -> bool {
    !std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn warn_of_permissions(path: &Path, sink: &DiagnosticSink) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o026 != 0 {
        let reason = format!("{} has mode {mode:04o}: others can read or change it", path.display());
        sink.warn("auth.tokens_file", InvalidValue::new(reason).hint("chmod 0640"));
    }
}

/// Judges the text of a token file.
pub(crate) fn from_file(
    path: &Path,
    text: &str,
    environment: &Environment<'_>,
    default: Option<&ClientConfig>,
) -> (Vec<ClientConfig>, Diagnostics) {
    let sink = DiagnosticSink::new(path, text);
    // Before the text is parsed: each client has this key, and a tree of too many is what must not be built.
    if let Some(beyond) = memchr::memmem::find_iter(text.as_bytes(), "sha256").nth(CLIENTS_MAX) {
        sink.record_span("clients", beyond);
        sink.error("clients", None, too_many_clients());
        return (Vec::new(), sink.finish());
    }
    let clients = source::parse(text, &sink)
        .map(|file| table_of_clients(Table::root(file.get_ref(), &sink), environment, default))
        .unwrap_or_default();
    (clients, sink.finish())
}

fn table_of_clients(
    mut root: Table<'_>,
    environment: &Environment<'_>,
    default: Option<&ClientConfig>,
) -> Vec<ClientConfig> {
    let mut table = root.table("clients");
    root.finish();
    if table.names().len() > CLIENTS_MAX {
        table.error("", None, too_many_clients());
    }
    let mut owners: HashMap<TokenHash, String> = HashMap::new();
    if let Some(client) = default {
        owners.extend(client.hashes.iter().map(|hash| (*hash, client.name.clone())));
    }
    let mut certified: HashMap<CertificateName, String> = HashMap::new();
    let mut clients = Vec::new();
    for (name, entry) in table.tables() {
        if let Err(reason) = check_name(&name) {
            table.error(&name, None, InvalidValue::new(reason));
        }
        let client = client(name, entry, environment);
        for name in &client.certificates {
            if let Some(owner) = certified.insert(name.clone(), client.name.clone())
                && owner != client.name
            {
                let reason = format!("has the same certificate as {owner}: it could not be told who calls");
                table.error(&format!("{}.certificates", client.name), None, InvalidValue::new(reason));
            }
        }
        for hash in &client.hashes {
            if let Some(owner) = owners.insert(*hash, client.name.clone()) {
                let reason = format!("has the same token as {owner}: it could not be told who calls");
                table.error(&format!("{}.sha256", client.name), None, InvalidValue::new(reason));
            }
        }
        clients.push(client);
    }
    table.finish();
    clients
}

fn too_many_clients() -> InvalidValue {
    InvalidValue::new(format!("at most {CLIENTS_MAX} clients are allowed"))
        .hint("remove those that are no longer used")
}

fn client(name: String, mut table: Table<'_>, environment: &Environment<'_>) -> ClientConfig {
    let certificates = certificates(&mut table);
    let hashes = hashes(&mut table);
    let not_after = not_after(&mut table);
    if not_after.is_some_and(|end| end <= environment.now) {
        table.warn("not_after", InvalidValue::new("has passed: this client is refused"));
    }
    let tools = tool_policy(&mut table);
    let quota = tools::quota(&mut table);
    let cohort = cohort(&mut table);
    table.finish();
    ClientConfig { name, hashes, certificates, not_after, tools, quota, cohort, is_grant: false }
}

/// What a client is split by instead of its name.
pub(super) fn cohort(table: &mut Table<'_>) -> Option<String> {
    table.text("cohort", |text| {
        check_name(text).map_err(InvalidValue::new)?;
        Ok(text.to_owned())
    })
}

/// What a client may do with tools.
pub(super) fn tool_policy(table: &mut Table<'_>) -> ToolPolicy {
    let allow = table.list("tools", tools::PATTERNS_MAX, tools::pattern);
    let deny = table.list("deny_tools", tools::PATTERNS_MAX, tools::pattern);
    let methods = table.list("methods", tools::PATTERNS_MAX, tools::method_pattern);
    let views = [("filtered", ListView::Filtered), ("full", ListView::Full)];
    let policy = ToolPolicy {
        allow: allow.map(ToolPatterns::of).unwrap_or_default(),
        deny: deny.unwrap_or_default(),
        read_only: table.flag("read_only", false),
        list: table.choice("tools_list", &views, ListView::default()),
        methods: methods.unwrap_or_default(),
    };
    if table.has("tools_list") && policy.is_unbounded() {
        let hint = "tools, deny_tools or read_only bound a client";
        table.warn(
            "tools_list",
            InvalidValue::new("says nothing: this client may call every tool").hint(hint),
        );
    }
    if table.has("methods") && policy.is_unbounded() {
        let hint = "tools, deny_tools or read_only bound a client";
        table
            .warn("methods", InvalidValue::new("says nothing: this client may call every method").hint(hint));
    }
    policy
}

/// Client certificates of one client, some of them by the URI that several have.
const CERTIFICATES_MAX: usize = 16;

fn certificates(table: &mut Table<'_>) -> Vec<CertificateName> {
    let names = table.list("certificates", CERTIFICATES_MAX, certificate_name).unwrap_or_default();
    if table.entry("certificates").and_then(|value| value.as_array()).is_some_and(|list| list.is_empty()) {
        table.error("certificates", None, InvalidValue::new("needs at least one certificate"));
    }
    names
}

/// `sha256:HEX`, with or without the colons of openssl, or a URI as it stands among the names of a certificate.
fn certificate_name(text: &str) -> Result<CertificateName, InvalidValue> {
    let invalid = |reason: &str| {
        let hint =
            "as in \"sha256:HEX\" (openssl x509 -noout -fingerprint -sha256) or \"spiffe://example.org/bot\"";
        InvalidValue::new(reason).hint(hint)
    };
    if let Some(digits) = text.strip_prefix("sha256:") {
        let digits = digits.replace(':', "");
        let digest =
            sha256(&digits).ok_or_else(|| invalid("must be 64 hexadecimal digits behind sha256:"))?;
        return Ok(CertificateName::Sha256(digest));
    }
    let is_uri = text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    if is_uri && text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(CertificateName::Uri(text.to_owned()));
    }
    Err(invalid("must be the SHA-256 of a certificate, or a URI among its names"))
}

fn hashes(table: &mut Table<'_>) -> Vec<TokenHash> {
    let hashes = match table.entry("sha256") {
        // A certificate is enough.
        None if table.has("certificates") => return Vec::new(),
        None => {
            table.error_missing("sha256", "mcp-guard token new NAME prints the lines to paste");
            return Vec::new();
        }
        Some(DeValue::String(_)) => table.text("sha256", token_hash).map(|hash| vec![hash]),
        Some(DeValue::Array(list)) if list.is_empty() => {
            table.error("sha256", None, InvalidValue::new("needs at least one hash"));
            None
        }
        Some(_) => table.list("sha256", 2, token_hash),
    };
    let hashes = hashes.unwrap_or_default();
    if let [first, second] = hashes.as_slice()
        && first == second
    {
        table.error("sha256", None, InvalidValue::new("lists the same hash twice"));
        return vec![*first];
    }
    hashes
}

pub(super) fn token_hash(text: &str) -> Result<TokenHash, InvalidValue> {
    let invalid = |reason| {
        InvalidValue::new(reason).hint("mcp-guard token hash reads a token and prints its hash").secret()
    };
    let bytes = sha256(text);
    let parsed =
        TokenHash(bytes.ok_or_else(|| invalid("must be 64 hexadecimal digits, the SHA-256 of the token"))?);
    if parsed == TokenHash::of(b"") || parsed == TokenHash::of(b"\n") {
        return Err(invalid("is the hash of an empty token"));
    }
    Ok(parsed)
}

/// 64 hexadecimal digits.
fn sha256(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        let pair = Some(pair).filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
        *byte = u8::from_str_radix(pair?, 16).ok()?;
    }
    Some(bytes)
}

/// Seconds since the epoch of a date (its last second, UTC) or of a date with time and offset.
fn not_after(table: &mut Table<'_>) -> Option<u64> {
    let value = table.entry("not_after")?;
    let text = match (value.as_str(), value.as_datetime()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(date)) => date.to_string(),
        (None, None) => return table.wrong_type("not_after", value, "a date"),
    };
    let instant = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => Some(instant),
        Err(_) => text
            .parse::<jiff::civil::Date>()
            .ok()
            .filter(|_| text.len() == "2027-01-31".len())
            .and_then(|date| date.at(23, 59, 59, 0).to_zoned_datetime(jiff::tz::TimeZone::UTC).ok())
            .map(|end| end.timestamp()),
    };
    let seconds = instant.and_then(|instant| u64::try_from(instant.as_second()).ok());
    if seconds.is_none() {
        let invalid = InvalidValue::new("must be a date, or a date with time and offset");
        table.error("not_after", None, invalid.hint("as in 2027-01-31 or 2027-01-31T12:00:00Z"));
    }
    seconds
}

#[cfg(test)]
mod tests;
