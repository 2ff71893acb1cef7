//! Keys that sign tokens as an authorization server does, and whatever a forger would make with them.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use serde_json::{Value, json};

/// A private key with an id.
pub struct TokenKey {
    pub id: String,
    kind: Kind,
}

enum Kind {
    Ec { algorithm: &'static str, curve: &'static str, pair: EcdsaKeyPair },
    Ed(Ed25519KeyPair),
    Rsa { algorithm: &'static str, pair: Box<RsaKeyPair> },
}

impl TokenKey {
    pub fn es256(id: &str) -> TokenKey {
        TokenKey::ec(id, "ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub fn es384(id: &str) -> TokenKey {
        TokenKey::ec(id, "ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ec(
        id: &str,
        algorithm: &'static str,
        curve: &'static str,
        signing: &'static EcdsaSigningAlgorithm,
    ) -> TokenKey {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(signing, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(signing, document.as_ref(), &random).expect("a key");
        TokenKey { id: id.to_owned(), kind: Kind::Ec { algorithm, curve, pair } }
    }

    pub fn ed25519(id: &str) -> TokenKey {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        TokenKey { id: id.to_owned(), kind: Kind::Ed(pair) }
    }

    /// A key of 2048 bits for `RS256` or `PS256`. The `openssl` program makes it: `ring` makes none.
    pub fn rsa(id: &str, algorithm: &'static str) -> TokenKey {
        let made = Command::new("openssl")
            .args([
                "genpkey",
                "-quiet",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
                "-outform",
                "DER",
            ])
            .output()
            .expect("the openssl program");
        // Versions of the program differ in the form.
        let pair = RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout));
        let pair = pair.expect("a key");
        TokenKey { id: id.to_owned(), kind: Kind::Rsa { algorithm, pair: Box::new(pair) } }
    }

    pub fn algorithm(&self) -> &'static str {
        match &self.kind {
            Kind::Ec { algorithm, .. } | Kind::Rsa { algorithm, .. } => algorithm,
            Kind::Ed(_) => "EdDSA",
        }
    }

    /// The public key as an entry of a JWK set.
    pub fn jwk(&self) -> Value {
        let (id, alg) = (&self.id, self.algorithm());
        match &self.kind {
            Kind::Ec { curve, pair, .. } => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "kid": id, "alg": alg, "use": "sig", "x": encode(x), "y": encode(y)})
            }
            Kind::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "alg": alg, "use": "sig", "x": x})
            }
            Kind::Rsa { pair, .. } => {
                let PublicKeyComponents { n, e }: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "kid": id, "alg": alg, "use": "sig", "n": encode(&n), "e": encode(&e)})
            }
        }
    }

    /// A set of these keys.
    pub fn set(keys: &[&TokenKey]) -> String {
        json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
    }

    /// A token with these claims, as an authorization server signs it.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "at+jwt", "kid": self.id});
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token whose header and claims are these texts, whatever they say.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Ec { pair, .. } => pair.sign(&random, signed).expect("a signature").as_ref().to_vec(),
            Kind::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
            Kind::Rsa { algorithm, pair } => {
                let encoding: &dyn RsaEncoding =
                    if *algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, signed, &mut signature).expect("a signature");
                signature
            }
        }
    }

    /// What a forger makes of a public key: a token whose HMAC has the public key's text for a secret.
    pub fn forge_hmac(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.jwk().to_string().as_bytes());
        format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes()).as_ref()))
    }
}

/// Base64url without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
