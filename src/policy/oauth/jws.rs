//! A signed token as text: the compact form of RFC 7515, read strictly before any key is looked at.
//!
//! What this file accepts is still unproved: nothing in it may be believed before the signature is verified. Must not know keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::super::token_fault::TokenFault;
use super::json;
use super::rules::Algorithm;

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
const KEY_ID_BYTES_MAX: usize = 256;
/// Header members that name a key by value or by address. The guard's keys come from the configured issuers only.
const KEY_SOURCES: [&str; 3] = ["jwk", "jku", "x5u"];
/// Header members of an encrypted or compressed token.
const ENCRYPTED: [&str; 2] = ["enc", "zip"];

/// A token, taken apart.
#[derive(Debug)]
pub struct Jws<'t> {
    /// What the signature covers.
    pub signed: &'t [u8],
    /// The signature, in base64url.
    pub signature: &'t str,
    /// The algorithm that the header names.
    pub algorithm: Algorithm,
    /// The key that the header names, if it names one.
    pub key_id: Option<String>,
    /// What the token says.
    pub claims: Map<String, Value>,
}

impl<'t> Jws<'t> {
    /// Takes a token apart, or says what is wrong with it.
    pub fn parse(token: &'t [u8]) -> Result<Jws<'t>, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::TooLong);
        }
        let text = std::str::from_utf8(token).map_err(|_| TokenFault::Malformed)?;
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(TokenFault::Malformed);
        };
        if parts.next().is_some() {
            // Five parts are an encrypted token.
            return Err(if parts.count() == 1 { TokenFault::Nested } else { TokenFault::Malformed });
        }
        let signed = &token[..header.len() + 1 + claims.len()];
        let (header, claims) = (decode(header)?, decode(claims)?);
        if decode(signature)?.is_empty() {
            return Err(TokenFault::Signature);
        }
        let (algorithm, key_id) = read_header(&json::object(&header)?)?;
        Ok(Jws { signed, signature, algorithm, key_id, claims: json::object(&claims)? })
    }
}

/// Unpadded base64url whose unused bits are zero: one value has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), TokenFault> {
    // RFC 7515, 4.1.11: extensions that are not understood make the token invalid, and this guard understands none.
    if header.contains_key("crit") {
        return Err(TokenFault::Critical);
    }
    if KEY_SOURCES.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenFault::KeySource);
    }
    if ENCRYPTED.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenFault::Nested);
    }
    match media_type(header.get("cty")) {
        None => {}
        Some(kind) if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("jwt")) => {
            return Err(TokenFault::Nested);
        }
        Some(_) => return Err(TokenFault::Type),
    }
    match media_type(header.get("typ")) {
        None => {}
        // RFC 8725, 3.11: a token that was made for something else says so.
        Some(Some(kind)) if kind.eq_ignore_ascii_case("jwt") || kind.eq_ignore_ascii_case("at+jwt") => {}
        Some(_) => return Err(TokenFault::Type),
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
    let algorithm = algorithm.ok_or(TokenFault::Algorithm)?;
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) if id.len() <= KEY_ID_BYTES_MAX => Some(id.clone()),
        Some(_) => return Err(TokenFault::Key),
    };
    Ok((algorithm, key_id))
}

/// The media type without `application/`, which may be left out (RFC 7515, 4.1.9); an inner `None` is no text.
fn media_type(member: Option<&Value>) -> Option<Option<&str>> {
    const APPLICATION: &str = "application/";
    let text = member?.as_str();
    Some(text.map(|text| match text.split_at_checked(APPLICATION.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(APPLICATION) => rest,
        Some(_) | None => text,
    }))
}
