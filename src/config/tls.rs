//! `[listen.tls]`, `[console.tls]`, and `tls` of a slot or a route: files of certificates and keys become settings.
//!
//! Every file is read and judged here, so that `check` and a reload refuse what could not serve. Nothing quotes a file. Must not
//! know who uses the settings.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::backend_address::{BackendAddress, Scheme};
use super::table::Table;
use super::{Environment, source, value};
use crate::config::diagnostics::{InvalidValue, quote};
use crate::tls::{ClientAuth, ClientTls, Expired, Pair, PairError, ServerTls, date};

/// More than any chain or bundle of authorities.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Further pairs of a listener.
const MORE_MAX: usize = 64;
/// A certificate that expires sooner is a warning: what renews it has not done so.
const EXPIRES_SOON_SECONDS: u64 = 14 * 24 * 3600;

/// A signature with a longer RSA key holds up a thread for milliseconds.
const RSA_BITS_ADVISED: usize = 2048;

/// Where a file is that a key names, and what it holds.
struct FileText {
    path: PathBuf,
    text: String,
}

/// `[listen.tls]`; nothing without the table.
pub(super) fn listen(
    parent: &mut Table<'_>,
    folder: &Path,
    environment: &Environment<'_>,
) -> Option<ServerTls> {
    let given = parent.has("tls");
    let mut table = parent.table("tls");
    let expired =
        |digest: &[u8; 32]| taken_if(environment.shown_pairs.is_some_and(|all| all.contains(digest)));
    let pair = |table: &mut Table<'_>, required| pair(table, folder, environment.now, required, expired);
    let default = pair(&mut table, given);
    let clients = file(&mut table, "client_ca", folder);
    let auths = [("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
    let auth = table.choice("client_auth", &auths, ClientAuth::Optional);
    if table.has("client_auth") && !table.has("client_ca") {
        let hint = "client_ca names the authorities that sign clients' certificates";
        table.error("client_auth", None, InvalidValue::new("says nothing without client_ca").hint(hint));
    }
    let mut more = Vec::new();
    for mut entry in table.list_of_tables("more", MORE_MAX) {
        if let Some(pair) = pair(&mut entry, true) {
            if pair.facts.hosts.is_empty() {
                let reason = "names no host, so no client can ask for it";
                entry.error("certificate", None, InvalidValue::new(reason).hint("it needs a subjectAltName"));
            }
            more.push(pair);
        }
        entry.finish();
    }
    let settings = default.and_then(|default| {
        let asked = clients.as_ref().map(|file| (file.text.as_str(), auth));
        let settings = ServerTls::new(&default, &more, asked);
        let key = if clients.is_some() { "client_ca" } else { "certificate" };
        let shown = clients.as_ref().map(|file| quote(&file.path.display().to_string()));
        settings.map_err(|reason| table.error(key, shown, InvalidValue::new(reason))).ok()
    });
    table.finish();
    settings
}

/// `[console.tls]`; nothing without the table.
pub(super) fn console(
    parent: &mut Table<'_>,
    folder: &Path,
    environment: &Environment<'_>,
) -> Option<ServerTls> {
    let given = parent.has("tls");
    let mut table = parent.table("tls");
    // An expired certificate of the console is no reason for the guard not to start.
    let expired =
        |digest: &[u8; 32]| taken_if(environment.shown_pairs.is_none_or(|all| all.contains(digest)));
    let settings = pair(&mut table, folder, environment.now, given, expired).and_then(|pair| {
        let settings = ServerTls::new(&pair, &[], None);
        settings.map_err(|reason| table.error("certificate", None, InvalidValue::new(reason))).ok()
    });
    table.finish();
    settings
}

/// `tls` of a slot or a route whose address is `https://...`; for any other address the table is a mistake.
pub(super) fn backend(
    parent: &mut Table<'_>,
    folder: &Path,
    now: u64,
    address: Option<&BackendAddress>,
) -> Option<ClientTls> {
    let given = parent.has("tls");
    let mut table = parent.table("tls");
    let trusted = file(&mut table, "ca", folder);
    let name = table.text("server_name", |text| {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if bare.parse::<std::net::IpAddr>().is_ok() { Ok(bare.to_owned()) } else { value::host_name(text) }
    });
    let shows = table.has("certificate") || table.has("key");
    // The backend judges it, and no other part of the configuration must wait for a new one.
    let shown = pair(&mut table, folder, now, shows, |_| Expired::Taken);
    let address = address?;
    if address.scheme == Scheme::Http {
        if given {
            let hint = format!("address = \"https://{}\" is an address with TLS", address.address);
            table.error_whole(
                InvalidValue::new("is only for an address that begins with https://").hint(hint),
            );
        }
        table.finish();
        return None;
    }
    let name = name.unwrap_or_else(|| address.server_name());
    let settings = ClientTls::new(&name, trusted.as_ref().map(|file| file.text.as_str()), shown.as_ref());
    let settings = settings.map_err(|reason| {
        let key = if trusted.is_some() { "ca" } else { "server_name" };
        table.error(
            key,
            None,
            InvalidValue::new(reason).hint("tls.ca names a file of certificate authorities"),
        );
    });
    table.finish();
    // A file that is refused is a problem of its own.
    settings.ok()
}

/// The text of a file of authorities.
pub(super) fn authorities(table: &mut Table<'_>, key: &str, folder: &Path) -> Option<String> {
    let FileText { path, text } = file(table, key, folder)?;
    // The settings are made for their judgement alone: they take any name.
    match ClientTls::new("localhost", Some(&text), None) {
        Ok(_) => Some(text),
        Err(reason) => {
            table.error(key, Some(quote(&path.display().to_string())), InvalidValue::new(reason));
            None
        }
    }
}

/// A pair that is shown already serves as before, expired or not; a new one must be valid.
fn taken_if(is_shown_already: bool) -> Expired {
    if is_shown_already { Expired::Taken } else { Expired::Refused }
}

/// `certificate` and `key`.
fn pair(
    table: &mut Table<'_>,
    folder: &Path,
    now: u64,
    required: bool,
    expired: impl Fn(&[u8; 32]) -> Expired,
) -> Option<Pair> {
    let (certificate, key) = (file(table, "certificate", folder), file(table, "key", folder));
    for name in ["certificate", "key"].into_iter().filter(|name| required && !table.has(name)) {
        table.error_missing(name, "certificate = \"chain.pem\" and key = \"key.pem\" belong together");
    }
    let (certificate, key) = (certificate?, key?);
    let expired = expired(&Pair::digest(&certificate.text, &key.text));
    match Pair::new(&certificate.text, &key.text, now, expired) {
        Ok(pair) => {
            warn_of_readers(table, &key.path);
            let left = pair.facts.not_after.saturating_sub(now);
            if left < EXPIRES_SOON_SECONDS {
                let reason = match left {
                    0 => format!("expired on {}", date(pair.facts.not_after)),
                    _ => format!("expires in {} days", left / (24 * 3600)),
                };
                let hint = "renew it, then mcp-guard reload";
                table.warn("certificate", InvalidValue::new(reason).hint(hint));
            }
            if pair.facts.rsa_bits > RSA_BITS_ADVISED {
                let reason =
                    format!("has an RSA key of {} bits: each handshake takes long", pair.facts.rsa_bits);
                let hint = "an ECDSA key (P-256) takes a twentieth of the time; RSA with 2048 bits a fifth";
                table.warn("key", InvalidValue::new(reason).hint(hint));
            }
            Some(pair)
        }
        Err(error) => {
            let (name, path) = match &error {
                PairError::Certificate(_) => ("certificate", &certificate.path),
                PairError::Key(_) => ("key", &key.path),
            };
            table.error(name, Some(quote(&path.display().to_string())), InvalidValue::new(error.to_string()));
            None
        }
    }
}

/// The file that a key names.
fn file(table: &mut Table<'_>, key: &str, folder: &Path) -> Option<FileText> {
    table.text(key, |text| {
        if text.contains("-----BEGIN") {
            return Err(InvalidValue::new("is the path of a file, not what is in it").secret());
        }
        let path = value::path(text, folder)?;
        let hint = "the guard reads it with its own rights: chgrp mcp-guard and chmod 0640";
        let read = source::read(&path, FILE_BYTES_MAX).map_err(|error| {
            let invalid = InvalidValue::new(error.to_string());
            if error.is_forbidden() { invalid.hint(hint) } else { invalid }
        });
        Ok(FileText { text: read?, path })
    })
}

fn warn_of_readers(table: &Table<'_>, key: &Path) {
    let mode = std::fs::metadata(key).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o026 != 0 {
        let reason = format!("{} has mode {mode:04o}: others can read or change it", key.display());
        table.warn("key", InvalidValue::new(reason).hint("chmod 0640, and chgrp mcp-guard"));
    }
}

#[cfg(test)]
mod tests;
