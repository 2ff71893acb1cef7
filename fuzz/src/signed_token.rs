//! Any bytes as a token that an issuer is said to have signed.

use std::sync::{Arc, LazyLock};

use mcp_guard::policy::auth::{ClientConfig, Clients};
use mcp_guard::policy::oauth::jws::{Jws, TOKEN_BYTES_MAX};
use mcp_guard::policy::oauth::keys::KeySet;
use mcp_guard::policy::oauth::rules::{Algorithm, Grant, Rules};

const KEYS: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"Ollev8RRT68Ya4n2v7M13aJDEVTKhTJG_xf3LhBMyxM"}]}"#;
/// The one token that the key has signed. Its private key is not kept.
const TOKEN: &[u8] = b"eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZSIsImF1ZCI6Imh0dHBzOi8vZy5leGFtcGxlL21jcCIsImV4cCI6MTkwMDAwMDAwMCwic3ViIjoidSIsInNjb3BlIjoibWNwIn0.OUO3e-x1yAkbk1FqDV-FqCCimdHIZVkPBaPxCphuPv5Rmg8pl5H_uskvqZBzFucLIR4c_zNCmxC6YADoHuVCAA";
const NOW: u64 = 1_800_000_000;

/// Where mutation starts: the token, and texts of a header or of claims.
pub const SEEDS: &[&[u8]] = &[
    TOKEN,
    br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#,
    br#"{"alg":"none","crit":["exp"],"jwk":{},"jku":"https://a.example"}"#,
    br#"{"iss":"https://a.example","aud":["https://g.example/mcp"],"exp":1.9e9,"nbf":0,"x":{"a":[1,{"b":null}]}}"#,
    b"eyJhbGciOiJub25lIn0.e30.",
    b"a.b.c.d.e",
];

static RULES: LazyLock<(Rules, Arc<KeySet>)> = LazyLock::new(|| {
    let grant = ClientConfig { is_grant: true, ..ClientConfig::new("g", Vec::new()) };
    let clients = Clients::new(vec![grant]).expect("one client");
    let client = clients.named("g").expect("the client");
    let rules = Rules {
        resource: "https://g.example/mcp".to_owned(),
        issuers: vec!["https://a.example".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        leeway: 30,
        client_claim: vec!["sub".to_owned()],
        grants: vec![Grant { client, scopes: vec!["mcp".to_owned()], claims: Vec::new(), issuer: None }],
    };
    (rules, Arc::new(KeySet::parse(KEYS, None).expect("a set of keys")))
});

/// Only the token that was signed holds. What is accepted as a token is one text of three parts, and its claims are what any other
/// parser of JSON reads in them.
pub fn target(data: &[u8]) {
    let (rules, keys) = &*RULES;
    let holds = rules.verify(data, NOW, |_| Some(keys.clone())).is_ok();
    assert_eq!(holds, data == TOKEN, "a token that was not signed holds, or the signed one does not");
    check(data);
    // The same bytes as a text inside of a token, so that mutation reaches the texts.
    let text = encode(data);
    check(format!("eyJhbGciOiJFZERTQSJ9.{text}.AA").as_bytes());
    check(format!("{text}.e30.AA").as_bytes());
}

fn check(token: &[u8]) {
    let Ok(jws) = Jws::parse(token) else { return };
    assert!(token.len() <= TOKEN_BYTES_MAX);
    assert_eq!([jws.signed, b".", jws.signature.as_bytes()].concat(), token);
    let part = token.split(|byte| *byte == b'.').nth(1).unwrap_or_default();
    let other: serde_json::Value = serde_json::from_slice(&decode(part)).expect("claims are JSON");
    assert_eq!(other, serde_json::Value::Object(jws.claims));
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64url by the book, apart from the crate that the guard uses.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    out
}

fn decode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text {
        let value = ALPHABET.iter().position(|letter| letter == byte).expect("a letter of base64url");
        bits = bits << 6 | u32::try_from(value).expect("below 64");
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 255) as u8);
        }
    }
    out
}
