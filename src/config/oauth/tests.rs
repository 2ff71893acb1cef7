//! `[auth.oauth]` as an operator may write it, and what is said of the mistakes.

use std::path::Path;

use super::*;
use crate::config::{Config, Environment, build};
use crate::policy::CredentialFields;

const NOTHING: Environment<'static> = Environment { variable: &|_| None, now: 0, shown_pairs: None };

fn load(tables: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    let text = format!("[slots.blue]\naddress = \"127.0.0.1:1\"\n{tables}");
    match build(Path::new("g.toml"), &text, &NOTHING) {
        Ok(loaded) => {
            let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
            Ok((loaded.config, warnings))
        }
        Err(found) => Err(found.problems.iter().map(ToString::to_string).collect()),
    }
}

/// `[auth.oauth]` with these lines, and one grant.
fn table(lines: &str) -> String {
    format!("[auth.oauth]\n{lines}\n[[auth.oauth.grant]]\nname = \"g\"\nscopes = [\"mcp\"]\n")
}

const RESOURCE: &str = "resource = \"https://mcp.example.org/mcp\"\n";
const ISSUERS: &str = "issuers = [\"https://a.example\"]\n";

fn valid(more: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    load(&table(&format!("{RESOURCE}{ISSUERS}{more}")))
}

/// Exactly one problem, that says `why`.
#[track_caller]
fn refuses(tables: &str, why: &str) {
    let problems = load(tables).err().unwrap();
    assert!(problems.len() == 1 && problems[0].contains(why), "{problems:?} does not say {why:?}");
}

#[test]
fn an_authorization_has_the_defaults_of_the_contract() {
    let (config, warnings) = valid("").unwrap();
    let oauth = config.oauth.unwrap();
    assert_eq!(oauth.rules.algorithms, Algorithm::DEFAULT);
    assert_eq!(oauth.rules.client_claim, ["client_id", "azp", "sub"]);
    assert_eq!((oauth.rules.leeway, oauth.keep), (30, HOUR * 24));
    let issuer = Issuer { url: "https://a.example".to_owned(), keys: KeySource::Discovered };
    assert_eq!(oauth.issuers, [issuer]);
    let grant = config.clients.named("g").unwrap();
    assert_eq!(oauth.rules.grants[0].client, grant);
    assert!(config.clients.is_empty() && config.clients.are_several());
    assert!(!warnings.iter().any(|line| line.contains("no token is configured")), "{warnings:?}");
    assert!(config.verifier.is_none());
}

#[test]
fn issuers_say_where_their_keys_are() {
    let of = |issuers: &str| load(&table(&format!("{RESOURCE}issuers = {issuers}\n")));
    let (config, _) = of("[{ url = \"https://a.example/x/\", jwks = \"http://127.0.0.1:9/jwks\" }]").unwrap();
    let issuer = &config.oauth.unwrap().issuers[0];
    assert_eq!(issuer.url, "https://a.example/x/");
    assert_eq!(issuer.keys, KeySource::Url("http://127.0.0.1:9/jwks".to_owned()));
    for (issuers, why) in [
        ("[]", "needs at least one issuer"),
        ("[\"http://a.example\"]", "must be an https URL"),
        ("[\"https://a.example?x\"]", "must be an https URL"),
        ("[\"https://user@a.example\"]", "must be an https URL"),
        ("[\"https://\"]", "must be an https URL"),
        ("[\"https://a.example/\\\"\"]", "must be an https URL"),
        ("[\"a.example\"]", "must be an https URL"),
        ("[\"https://a.example\", \"https://a.example\"]", "is listed twice"),
        ("[{ jwks = \"https://a.example\" }]", "missing"),
        ("[{ url = \"https://a.example\", jwks = \"none.json\" }]", "none.json"),
        ("[{ url = \"https://a.example\", keys = \"x\" }]", "no such key"),
        ("\"https://a.example\"", "must be a list"),
        ("[\"https://a.example:70000\"]", "must be an https URL"),
        ("[\"https://a.example:0443\"]", "must be an https URL"),
        ("[\"https://a.example:\"]", "must be an https URL"),
        ("[\"http://[::1]:x\"]", "must be an https URL"),
        ("[{ url = \"https://a.example\", jwks = \"https://a.example/k?a#b\" }]", "must be an https URL"),
        ("[{ url = \"https://a.example\", jwks = \"https://u@a.example/k?a\" }]", "must be an https URL"),
    ] {
        let problems = of(issuers).err().unwrap();
        assert!(problems[0].contains(why), "{issuers}: {problems:?}");
    }
    assert!(of("[\"http://127.0.0.1:9000\", \"http://[::1]:9000/x\"]").is_ok());
    // Some issuers name the application or the policy of a set of keys in its query.
    let keys = "https://a.example:8443/keys?p=b2c_1&x=a/b";
    let (config, _) = of(&format!("[{{ url = \"https://a.example\", jwks = \"{keys}\" }}]")).unwrap();
    assert_eq!(config.oauth.unwrap().issuers[0].keys, KeySource::Url(keys.to_owned()));
}

#[test]
fn a_file_of_keys_is_judged_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let of = || {
        let issuers =
            format!("issuers = [{{ url = \"https://a.example\", jwks = \"{}\" }}]\n", file.display());
        load(&table(&format!("{RESOURCE}{issuers}")))
    };
    for (text, why) in [
        ("<html>", "is no set of keys"),
        (r#"{"keys": []}"#, "has no key that can verify"),
        (r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#, "has no key that can verify"),
    ] {
        std::fs::write(&file, text).unwrap();
        assert!(of().err().unwrap()[0].contains(why), "{text}");
    }
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    std::fs::write(&file, format!(r#"{{"keys": [{key}]}}"#)).unwrap();
    let warns_of_secrets = || of().unwrap().1.iter().any(|line| line.contains("private keys"));
    assert!(!warns_of_secrets());
    let private = key.replace('}', r#","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#);
    std::fs::write(&file, format!(r#"{{"keys": [{private}]}}"#)).unwrap();
    assert!(warns_of_secrets());
}

// A backup of the configuration is whole.
#[cfg(feature = "release")]
#[test]
fn the_files_of_a_configuration_include_the_keys_of_issuers() {
    let folder = tempfile::tempdir().unwrap();
    let (file, keys) = (folder.path().join("guard.toml"), folder.path().join("keys.json"));
    std::fs::write(&keys, "{}").unwrap();
    let issuers = "issuers = [{ url = \"https://a.example\", jwks = \"keys.json\" }, { url = \"https://b.example\" }]\n";
    std::fs::write(&file, table(&format!("{RESOURCE}{issuers}"))).unwrap();
    assert_eq!(crate::config::files_of(&file), [file.clone(), keys]);
    std::fs::write(&file, table(&format!("{RESOURCE}{ISSUERS}"))).unwrap();
    assert_eq!(crate::config::files_of(&file), [file]);
}

// "`none` and HMAC cannot be configured"
#[test]
fn algorithms_that_prove_nothing_cannot_be_configured() {
    for name in ["none", "HS256", "HS512", "es256", "ES512", ""] {
        let problems = valid(&format!("algorithms = [\"{name}\"]")).err().unwrap();
        assert!(problems[0].contains("must be one of ES256, ES384"), "{name}: {problems:?}");
    }
    assert!(valid("algorithms = []").is_err());
    let (config, _) = valid("algorithms = [\"ES384\"]\nclient_claim = \"sub\"\nleeway = \"0s\"").unwrap();
    let rules = &config.oauth.unwrap().rules;
    assert_eq!((rules.algorithms.as_slice(), rules.leeway), ([Algorithm::Es384].as_slice(), 0));
    assert_eq!(rules.client_claim, ["sub"]);
}

#[test]
fn a_grant_is_a_client_with_scopes_and_claims() {
    let more = "[[auth.oauth.grant]]\nname = \"staff\"\nclaims = { groups = \"staff\", level = 3, ok = true }\n\
                deny_tools = [\"panda_*\"]\nconcurrency = 2\ncohort = \"people\"\n";
    let (config, _) = load(&(table(&format!("{RESOURCE}{ISSUERS}")) + more)).unwrap();
    let grant = &config.oauth.unwrap().rules.grants[1];
    assert_eq!(config.clients.name(grant.client), "staff");
    assert_eq!(grant.claims.len(), 3);
    let client = config.clients.iter().nth(1).unwrap();
    assert!(client.is_grant && client.quota.concurrency.is_some() && client.tools.deny.len() == 1);
    assert_eq!(client.cohort.as_deref(), Some("people"));
    let grants = |lines: &str| format!("[auth.oauth]\n{RESOURCE}{ISSUERS}[[auth.oauth.grant]]\n{lines}\n");
    refuses(&grants("name = \"default\"\nscopes = [\"a\"]"), "reserved");
    refuses(&grants("scopes = [\"a\"]"), "missing");
    refuses(&grants("name = \"g\"\nscopes = [\"a b\"]"), "must be one scope");
    refuses(&grants("name = \"g\"\nscopes = [\"a\\\"\"]"), "must be one scope");
    refuses(&grants("name = \"g\"\nclaims = { a = [1] }"), "must be a text, a whole number");
    refuses(&grants("name = \"g\"\nscopes = [\"a\"]\nsha256 = \"x\""), "no such key");
    refuses(
        &(grants("name = \"g\"\nscopes = [\"a\"]") + "[[auth.oauth.grant]]\nname = \"g\"\n"),
        "declared twice",
    );
    let (_, warnings) = load(&grants("name = \"g\"")).unwrap();
    assert!(warnings.iter().any(|line| line.contains("every token of every issuer")), "{warnings:?}");
}

#[test]
fn a_grant_may_be_of_one_issuer() {
    let with = |issuers: &str, line: &str| {
        load(&format!("{}{line}\n", table(&format!("{RESOURCE}issuers = [{issuers}]\n"))))
    };
    let two = "\"https://a.example\", \"https://b.example\"";
    let warns = |warnings: &[String]| warnings.iter().any(|line| line.contains("tokens of every issuer"));
    let (config, warnings) = with(two, "issuer = \"https://b.example\"").unwrap();
    assert_eq!((config.oauth.unwrap().rules.grants[0].issuer, warns(&warnings)), (Some(1), false));
    let (config, warnings) = with(two, "").unwrap();
    assert_eq!((config.oauth.unwrap().rules.grants[0].issuer, warns(&warnings)), (None, true));
    assert!(!warns(&with("\"https://a.example\"", "").unwrap().1));
    let problems = with(two, "issuer = \"https://b.example/\"").err().unwrap();
    assert!(problems[0].contains("is none of auth.oauth.issuers"), "{problems:?}");
}

#[test]
fn what_an_authorization_lacks_is_named() {
    for (lines, why) in [(RESOURCE, "auth.oauth.issuers: missing"), (ISSUERS, "auth.oauth.resource: missing")]
    {
        refuses(&table(lines), why);
    }
    refuses(&format!("[auth.oauth]\n{RESOURCE}{ISSUERS}"), "without a grant no token has a right");
    refuses(
        &format!("[auth.oauth]\n{RESOURCE}{ISSUERS}grant = []\n"),
        "without a grant no token has a right",
    );
    let problems = valid("keep = \"1m\"").err().unwrap();
    assert!(problems[0].contains("is shorter than auth.oauth.refresh"), "{problems:?}");
    let (_, warnings) =
        load(&format!("[auth]\nwrong_token_status = 403\n{}", table(&format!("{RESOURCE}{ISSUERS}"))))
            .unwrap();
    assert!(warnings.iter().any(|line| line.contains("has no effect beside")), "{warnings:?}");
}

#[test]
fn a_credential_is_read_from_the_configured_fields() {
    let of =
        |header: &str| load(&format!("[auth]\nheader = {header}\n")).map(|(config, _)| config.credentials);
    assert_eq!(of("\"authorization\""), Ok(CredentialFields::Authorization));
    assert_eq!(of("[\"authorization\"]"), Ok(CredentialFields::Authorization));
    assert_eq!(of("[\"authorization\", \"x-api-key\"]"), Ok(CredentialFields::AuthorizationOrApiKey));
    for (header, why) in [
        ("\"x-api-key\"", "must name \"authorization\" as well"),
        ("[\"x-api-key\"]", "must name \"authorization\" as well"),
        ("\"cookie\"", "must be one of"),
        ("5", "must be a text"),
    ] {
        assert!(of(header).err().unwrap()[0].contains(why), "{header}");
    }
}
