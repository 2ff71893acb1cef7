//! An issuer for tests: its rules, with one grant, and its tokens.

use mcp_testkit::TokenKey;
use serde_json::json;

use crate::policy::Clients;
use crate::policy::auth::ClientConfig;
use crate::policy::oauth::rules::{Algorithm, Grant, Rules};

pub(super) const ISSUER: &str = "https://login.example.org";
const RESOURCE: &str = "https://mcp.example.org/mcp";

pub(super) fn rules() -> Rules {
    let grant = ClientConfig { is_grant: true, ..ClientConfig::new("readers", Vec::new()) };
    let clients = Clients::new(vec![grant]).unwrap();
    Rules {
        resource: RESOURCE.to_owned(),
        issuers: vec![ISSUER.to_owned()],
        algorithms: Algorithm::DEFAULT.to_vec(),
        leeway: 30,
        client_claim: vec!["sub".to_owned()],
        grants: vec![Grant {
            client: clients.named("readers").unwrap(),
            scopes: Vec::new(),
            claims: Vec::new(),
            issuer: None,
        }],
    }
}

pub(super) fn token(key: &TokenKey, expires: u64) -> String {
    key.token(&json!({ "iss": ISSUER, "aud": RESOURCE, "exp": expires, "sub": "user-1" }))
}
