//! Every key of TLS, what it takes and what it refuses.

use std::path::Path;

use mcp_testkit::Certificates;

use super::super::tests::{NOTHING, accepted, problems};
use crate::config::{Environment, build};
use crate::tls::Pair;
use crate::upstream::Slot;

fn certificates() -> Certificates {
    let certificates = Certificates::new();
    certificates.issue("a", "DNS:a.example", "ca");
    certificates.issue("b", "DNS:b.example,URI:spiffe://b", "ca");
    certificates.issue("nameless", "URI:spiffe://nameless", "ca");
    certificates.issue_expired("old", "DNS:a.example", "ca");
    std::fs::write(certificates.file("empty.pem"), "").unwrap();
    certificates
}

/// A configuration with these lines in a table, where `@name` is a file of the folder.
fn text(certificates: &Certificates, table: &str, lines: &str) -> String {
    let path = certificates.folder().display().to_string();
    let slot = if table.starts_with("slots.blue") { "https://a.example:1" } else { "127.0.0.1:1" };
    let lines = lines.replace('@', &format!("{path}/"));
    format!("[slots.blue]\naddress = \"{slot}\"\n[{table}]\n{lines}\n")
}

/// One problem, on this key, that says this.
#[track_caller]
fn refuses(certificates: &Certificates, table: &str, lines: &str, key: &str, why: &str) {
    let found = problems(&text(certificates, table, lines));
    assert_eq!(found.len(), 1, "{lines}: {found:#?}");
    assert!(found[0].contains(&format!(" {table}.{key}: ")) && found[0].contains(why), "{lines}: {found:#?}");
    assert!(!found[0].contains("BEGIN"), "no file is quoted: {found:?}");
}

const PAIR: &str = "certificate = \"@a.pem\"\nkey = \"@a.key\"\n";

#[test]
fn listen_tls_takes_pairs_and_authorities_and_refuses_what_could_not_serve() {
    let certificates = certificates();
    let good = format!(
        "{PAIR}client_ca = \"@ca.pem\"\nclient_auth = \"required\"\nmore = [{{ certificate = \"@b.pem\", key = \"@b.key\" }}]"
    );
    let listen = accepted(&text(&certificates, "listen.tls", &good)).listen;
    assert!(listen.tls.as_ref().is_some_and(|tls| tls.not_after() > 1_800_000_000));
    let again = accepted(&text(&certificates, "listen.tls", &good)).listen.tls;
    let other = accepted(&text(&certificates, "listen.tls", PAIR)).listen.tls;
    assert!(again == listen.tls && other != listen.tls, "equal where the files are");
    let refuses = |lines: &str, key: &str, why: &str| refuses(&certificates, "listen.tls", lines, key, why);
    refuses("certificate = \"@a.pem\"", "key", "missing");
    refuses("key = \"@a.key\"", "certificate", "missing");
    refuses("certificate = \"@a.pem\"\nkey = \"@b.key\"", "key", "is the key of another certificate");
    refuses("certificate = \"@old.pem\"\nkey = \"@old.key\"", "certificate", "expired on 2020-01-02");
    refuses("certificate = \"@empty.pem\"\nkey = \"@a.key\"", "certificate", "holds no certificate");
    refuses("certificate = \"@a.pem\"\nkey = \"@a.pem\"", "key", "no private key");
    refuses("certificate = \"@none.pem\"\nkey = \"@a.key\"", "certificate", "cannot read");
    refuses(&format!("{PAIR}client_ca = \"@empty.pem\""), "client_ca", "holds no certificate");
    refuses(&format!("{PAIR}client_auth = \"required\""), "client_auth", "says nothing without client_ca");
    refuses(
        &format!("{PAIR}client_ca = \"@ca.pem\"\nclient_auth = \"always\""),
        "client_auth",
        "must be one of",
    );
    let more = "more = [{ certificate = \"@nameless.pem\", key = \"@nameless.key\" }]";
    refuses(&format!("{PAIR}{more}"), "more[0].certificate", "names no host");
    refuses(&format!("{PAIR}more = [{{ certificate = \"@b.pem\" }}]"), "more[0].key", "missing");
    let pasted = "certificate = \"@a.pem\"\nkey = \"\"\"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END\"\"\"";
    let found = problems(&text(&certificates, "listen.tls", pasted));
    assert!(
        found.len() == 1 && found[0].contains("is the path of a file") && !found[0].contains("MIGH"),
        "{found:?}"
    );
}

#[test]
fn listen_tls_needs_a_tcp_address() {
    let certificates = certificates();
    let unix = text(&certificates, "listen.tls", PAIR) + "[listen]\naddress = \"unix:/run/g.sock\"\n";
    let found = problems(&unix);
    assert!(found.len() == 1 && found[0].contains("listen.tls: needs a TCP address"), "{found:?}");
}

#[test]
fn slots_with_https_take_tls_keys_and_others_refuse_them() {
    let certificates = certificates();
    let good = format!("ca = \"@ca.pem\"\nserver_name = \"tools.example\"\n{PAIR}");
    let config = accepted(&text(&certificates, "slots.blue.tls", &good));
    let backend = config.backend(Slot::Blue).unwrap();
    assert_eq!((backend.place().as_str(), backend.host.as_str()), ("https://a.example:1", "a.example:1"));
    assert_eq!(format!("{:?}", backend.tls.as_ref().unwrap()), "ClientTls(tools.example)");
    let refuses =
        |lines: &str, key: &str, why: &str| refuses(&certificates, "slots.blue.tls", lines, key, why);
    refuses("ca = \"@empty.pem\"", "ca", "holds no certificate");
    refuses("ca = \"@none.pem\"", "ca", "cannot read");
    refuses("ca = \"@ca.pem\"\nserver_name = \"a b\"", "server_name", "must be a host name");
    refuses("ca = \"@ca.pem\"\ncertificate = \"@a.pem\"", "key", "missing");
    refuses("ca = \"@ca.pem\"\ncertificate = \"@a.pem\"\nkey = \"@b.key\"", "key", "of another certificate");
    let plain =
        text(&certificates, "slots.blue.tls", "ca = \"@ca.pem\"").replace("https://a.example", "127.0.0.1");
    let found = problems(&plain);
    assert!(found.len() == 1 && found[0].contains("slots.blue.tls: is only for an address"), "{found:?}");
}

/// The warnings of a configuration that a guard with these pairs reads.
#[track_caller]
fn warnings(text: &str, shown_pairs: Option<&[[u8; 32]]>) -> Vec<String> {
    let environment = Environment { shown_pairs, ..NOTHING };
    let loaded = build(Path::new("g.toml"), text, &environment).unwrap();
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    warnings.filter(|warning| warning.contains("tls")).collect()
}

#[test]
fn an_expired_pair_that_is_shown_already_is_a_warning_and_so_is_one_for_a_backend() {
    let certificates = certificates();
    let old = "certificate = \"@old.pem\"\nkey = \"@old.key\"";
    let shown = Pair::digest(&certificates.text("old.pem"), &certificates.text("old.key"));
    let listen = text(&certificates, "listen.tls", old);
    let told = warnings(&listen, Some(&[[7; 32], shown]));
    assert!(told.len() == 1 && told[0].contains("listen.tls.certificate: expired on 2020-01-02"), "{told:?}");
    assert!(problems(&listen)[0].contains("expired on 2020-01-02"), "another guard refuses it");
    let slot = text(&certificates, "slots.blue.tls", &format!("ca = \"@ca.pem\"\n{old}"));
    let told = warnings(&slot, None);
    assert!(told.len() == 1 && told[0].contains("blue.tls.certificate: expired on 2020-01-02"), "{told:?}");
}

// docs/tls.md: "An expired certificate of the console does not keep the guard from starting".
#[test]
fn an_expired_pair_of_the_console_is_refused_at_a_reload_only() {
    let certificates = certificates();
    let hash = "a".repeat(64);
    let console = format!("[console]\naddress = \"127.0.0.1:8009\"\nviewers = [\"sha256:{hash}\"]\n");
    let pair = "certificate = \"@old.pem\"\nkey = \"@old.key\"";
    let text =
        text(&certificates, "console.tls", pair).replace("[console.tls]", &format!("{console}[console.tls]"));
    let told = warnings(&text, None);
    assert!(
        told.len() == 1 && told[0].contains("console.tls.certificate: expired on 2020-01-02"),
        "{told:?}"
    );
    let shown = Pair::digest(&certificates.text("old.pem"), &certificates.text("old.key"));
    assert_eq!(warnings(&text, Some(&[shown])), told);
    let environment = Environment { shown_pairs: Some(&[[7; 32]]), ..NOTHING };
    let refused = build(Path::new("g.toml"), &text, &environment).err().unwrap().problems;
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert!(
        refused.concat().contains("console.tls.certificate") && refused.concat().contains("expired on"),
        "{refused:?}"
    );
}

#[test]
fn an_rsa_key_above_2048_bits_is_a_warning() {
    let certificates = certificates();
    for (bits, expected) in [(2048, 0), (3072, 1)] {
        certificates.issue_rsa("rsa", "DNS:a.example", "ca", bits);
        let lines = "certificate = \"@rsa.pem\"\nkey = \"@rsa.key\"";
        let told = warnings(&text(&certificates, "listen.tls", lines), None);
        assert_eq!(told.len(), expected, "{bits}: {told:?}");
        assert!(told.iter().all(|line| line.contains("has an RSA key of 3072 bits")), "{told:?}");
    }
}
