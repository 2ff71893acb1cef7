//! Every way in which a token can be wrong, each refused for its own reason; and the tokens that hold.

use std::sync::{Arc, OnceLock};

use mcp_testkit::TokenKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::auth::{ClientConfig, Clients};
use super::super::token_fault::TokenFault;
use super::jws::{Jws, TOKEN_BYTES_MAX};
use super::keys::{KeySet, KeySetError};
use super::rules::{Algorithm, ClaimValue, Grant, Rules};
use super::verify::{Refused, UnknownKey, Verified};

const NOW: u64 = 1_800_000_000;
const RESOURCE: &str = "https://mcp.example.org/mcp";
const ISSUER: &str = "https://login.example.org";

struct Keys {
    es256: TokenKey,
    es384: TokenKey,
    ed: TokenKey,
    rs256: TokenKey,
    ps256: TokenKey,
    /// Of no issuer that is configured.
    strange: TokenKey,
    set: Arc<KeySet>,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let (es256, es384, ed) = (TokenKey::es256("e"), TokenKey::es384("e3"), TokenKey::ed25519("d"));
        let (rs256, ps256) = (TokenKey::rsa("r", "RS256"), TokenKey::rsa("p", "PS256"));
        let text = TokenKey::set(&[&es256, &es384, &ed, &rs256, &ps256]);
        let set = Arc::new(KeySet::parse(text.as_bytes(), None).unwrap());
        Keys { es256, es384, ed, rs256, ps256, strange: TokenKey::es256("e"), set }
    })
}

fn clients() -> Clients {
    let grant = |name| ClientConfig { is_grant: true, ..ClientConfig::new(name, Vec::new()) };
    Clients::new(vec![grant("writers"), grant("staff"), grant("readers")]).unwrap()
}

fn rules() -> Rules {
    let clients = clients();
    let grant = |name: &str, scopes: &[&str], claims: Vec<(String, ClaimValue)>| Grant {
        client: clients.named(name).unwrap(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        claims,
        issuer: None,
    };
    let staff = vec![
        ("groups".to_owned(), ClaimValue::Text("staff".to_owned())),
        ("level".to_owned(), ClaimValue::Number(3)),
        ("verified".to_owned(), ClaimValue::Flag(true)),
    ];
    Rules {
        resource: RESOURCE.to_owned(),
        issuers: vec![ISSUER.to_owned(), "https://other.example.org/".to_owned()],
        algorithms: Algorithm::DEFAULT.to_vec(),
        leeway: 30,
        client_claim: ["client_id", "azp", "sub"].map(str::to_owned).to_vec(),
        grants: vec![
            grant("writers", &["mcp", "write"], Vec::new()),
            grant("staff", &[], staff),
            grant("readers", &["mcp"], Vec::new()),
        ],
    }
}

/// The claims of a token that holds, with these in place of its own; `null` takes one away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": RESOURCE, "exp": NOW + 600, "nbf": NOW - 10, "iat": NOW - 10,
        "sub": "user-1", "client_id": "desktop", "scope": "openid mcp",
    });
    let claims_mut = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims_mut.remove(name);
        } else {
            claims_mut.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn verify(token: &str) -> Result<Verified, Refused> {
    rules().verify(token.as_bytes(), NOW, |issuer| (issuer == 0).then(|| keys().set.clone()))
}

#[track_caller]
fn refused(what: &str, token: &str, expect: Refused) {
    assert_eq!(verify(token).err(), Some(expect), "{what}");
}

#[track_caller]
fn fault(what: &str, token: &str, expect: TokenFault) {
    let found = match verify(token).err() {
        Some(Refused::Fault(fault) | Refused::WrongKey { fault, .. }) => Some(fault),
        Some(Refused::Expired | Refused::NoGrant(_) | Refused::UnknownKey(_)) | None => None,
    };
    assert_eq!(found, Some(expect), "{what}");
}

fn with_header(header: &Value) -> String {
    keys().es256.sign(&header.to_string(), &claims(json!({})).to_string())
}

#[test]
fn a_token_of_every_allowed_algorithm_holds() {
    let keys = keys();
    for key in [&keys.es256, &keys.ed, &keys.rs256, &keys.ps256] {
        let verified = verify(&key.token(&claims(json!({})))).unwrap();
        assert_eq!(clients().name(verified.client), "readers", "{}", key.algorithm());
        assert_eq!((verified.subject.text(), verified.expires), ("desktop", NOW + 600));
    }
    fault("ES384 is not configured", &keys.es384.token(&claims(json!({}))), TokenFault::Algorithm);
    let all = Rules { algorithms: Algorithm::ALL.to_vec(), ..rules() };
    let token = keys.es384.token(&claims(json!({})));
    assert!(all.verify(token.as_bytes(), NOW, |_| Some(keys.set.clone())).is_ok());
}

// RFC 8725, 3.1 and 3.2: "Libraries MUST enable the caller to specify a supported set of algorithms".
#[test]
fn an_algorithm_that_is_not_allowed_is_refused_whatever_the_signature() {
    let keys = keys();
    let body = claims(json!({})).to_string();
    for alg in ["none", "None", "HS256", "hs256", "RS1", "es256", ""] {
        let header = json!({"alg": alg, "kid": "e"}).to_string();
        fault(alg, &keys.es256.sign(&header, &body), TokenFault::Algorithm);
        fault(alg, &keys.rs256.forge_hmac(&header, &body), TokenFault::Algorithm);
    }
    let unsigned = keys.es256.sign(&json!({"alg": "none"}).to_string(), &body);
    let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
    fault("none, unsigned", &format!("{unsigned}."), TokenFault::Signature);
    fault("no alg", &with_header(&json!({"kid": "e"})), TokenFault::Algorithm);
    fault("alg is a number", &with_header(&json!({"alg": 256, "kid": "e"})), TokenFault::Algorithm);
    // The right key for another algorithm: a key says what it is for.
    fault(
        "RS256 with a key of PS256",
        &keys.ps256.sign(r#"{"alg":"RS256","kid":"p"}"#, &body),
        TokenFault::Algorithm,
    );
    fault(
        "ES256 with a key of EdDSA",
        &keys.es256.sign(r#"{"alg":"ES256","kid":"d"}"#, &body),
        TokenFault::Algorithm,
    );
}

#[test]
fn a_signature_that_is_not_the_key_s_is_refused() {
    let keys = keys();
    let token = keys.es256.token(&claims(json!({})));
    fault("another key of the same id", &keys.strange.token(&claims(json!({}))), TokenFault::Signature);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (_, other) = keys
        .es256
        .token(&claims(json!({"sub": "admin"})))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    fault("the signature of another token", &format!("{signed}.{other}"), TokenFault::Signature);
    fault("half a signature", &format!("{signed}.{}", &signature[..40]), TokenFault::Signature);
    fault("no signature", &format!("{signed}."), TokenFault::Signature);
    let (header, _) = signed.split_once('.').unwrap();
    let forged = base64_of(&claims(json!({"scope": "mcp write"})).to_string());
    fault("other claims", &format!("{header}.{forged}.{signature}"), TokenFault::Signature);
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

// RFC 7515, 4.1: what the header may not do.
#[test]
fn a_header_that_brings_keys_or_extensions_is_refused() {
    for (name, value, expect) in [
        ("crit", json!(["exp"]), TokenFault::Critical),
        ("crit", json!([]), TokenFault::Critical),
        ("crit", json!(["b64"]), TokenFault::Critical),
        ("jwk", keys().strange.jwk(), TokenFault::KeySource),
        ("jku", json!("https://evil.example/keys"), TokenFault::KeySource),
        ("x5u", json!("https://evil.example/cert"), TokenFault::KeySource),
        ("cty", json!("JWT"), TokenFault::Nested),
        ("cty", json!("application/jwt"), TokenFault::Nested),
        ("cty", json!("text/plain"), TokenFault::Type),
        ("enc", json!("A256GCM"), TokenFault::Nested),
        ("zip", json!("DEF"), TokenFault::Nested),
        ("typ", json!("id_token"), TokenFault::Type),
        ("typ", json!("dpop+jwt"), TokenFault::Type),
        ("typ", json!(5), TokenFault::Type),
        ("kid", json!(5), TokenFault::Key),
        ("kid", json!("x".repeat(257)), TokenFault::Key),
    ] {
        let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": "e"});
        header[name] = value;
        fault(name, &with_header(&header), expect);
    }
    for typ in
        [json!("JWT"), json!("jwt"), json!("at+jwt"), json!("application/at+JWT"), json!("APPLICATION/jwt")]
    {
        assert!(verify(&with_header(&json!({"alg": "ES256", "kid": "e", "typ": typ}))).is_ok(), "{typ}");
    }
    // A chain of certificates is carried along by some issuers; it is no source of a key here.
    let with_chain = json!({"alg": "ES256", "kid": "e", "x5c": ["AAAA"], "x5t": "AAAA"});
    assert!(verify(&with_header(&with_chain)).is_ok());
}

#[test]
fn claims_that_are_not_for_this_server_are_refused() {
    for (what, changes, expect) in [
        ("iss with a slash", json!({"iss": "https://login.example.org/"}), TokenFault::Issuer),
        ("iss in capitals", json!({"iss": "https://LOGIN.example.org"}), TokenFault::Issuer),
        ("iss of a stranger", json!({"iss": "https://evil.example"}), TokenFault::Issuer),
        ("iss is a list", json!({"iss": [ISSUER]}), TokenFault::Issuer),
        ("no iss", json!({"iss": null}), TokenFault::Issuer),
        ("aud of another", json!({"aud": "https://mcp.example.org"}), TokenFault::Audience),
        ("aud with a slash", json!({"aud": "https://mcp.example.org/mcp/"}), TokenFault::Audience),
        ("aud is a list of others", json!({"aud": ["a", "b"]}), TokenFault::Audience),
        ("aud is an empty list", json!({"aud": []}), TokenFault::Audience),
        ("aud has a number", json!({"aud": [RESOURCE, 1]}), TokenFault::Audience),
        ("no aud", json!({"aud": null}), TokenFault::Audience),
        ("no exp", json!({"exp": null}), TokenFault::NoExpiry),
        ("exp is a text", json!({"exp": "1800000600"}), TokenFault::NoExpiry),
        ("exp is negative", json!({"exp": -1}), TokenFault::NoExpiry),
        ("exp in milliseconds", json!({"exp": (NOW + 600) * 1000}), TokenFault::NoExpiry),
        ("nbf later", json!({"nbf": NOW + 31}), TokenFault::NotYetValid),
        ("nbf is a text", json!({"nbf": "0"}), TokenFault::NotYetValid),
        ("no subject", json!({"sub": null, "client_id": null}), TokenFault::Subject),
        ("subject is empty", json!({"sub": "", "client_id": null}), TokenFault::Subject),
    ] {
        fault(what, &keys().es256.token(&claims(changes)), expect);
    }
    for changes in [
        json!({"aud": ["https://a.example", RESOURCE]}),
        json!({"exp": NOW + 1, "nbf": null}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"exp": NOW - 29}),
        json!({"nbf": NOW + 30}),
    ] {
        assert!(verify(&keys().es256.token(&claims(changes.clone()))).is_ok(), "{changes}");
    }
    refused("expired", &keys().es256.token(&claims(json!({"exp": NOW - 30}))), Refused::Expired);
    refused("long expired", &keys().es256.token(&claims(json!({"exp": 0}))), Refused::Expired);
}

#[test]
fn a_text_that_is_not_exactly_a_token_is_refused() {
    let token = keys().es256.token(&claims(json!({})));
    let (header, rest) = token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    for (what, text, expect) in [
        ("two parts", format!("{header}.{body}"), TokenFault::Malformed),
        ("four parts", format!("{token}.x"), TokenFault::Malformed),
        ("five parts", format!("{header}.{body}.{signature}.{body}.{signature}"), TokenFault::Nested),
        ("six parts", format!("{header}.....{signature}"), TokenFault::Malformed),
        ("padding", format!("{header}==.{body}.{signature}"), TokenFault::Malformed),
        ("plain base64", format!("{header}.{body}.{}+/", signature), TokenFault::Malformed),
        ("a space", format!("{header}. {body}.{signature}"), TokenFault::Malformed),
        ("not UTF-8 inside", format!("{header}.{}.{signature}", base64_of("\u{e9}")), TokenFault::Json),
        ("a list", format!("{header}.{}.{signature}", base64_of("[]")), TokenFault::Json),
        ("two objects", format!("{header}.{}.{signature}", base64_of("{}{}")), TokenFault::Json),
        ("an empty part", format!("{header}..{signature}"), TokenFault::Json),
        ("too long", format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX)), TokenFault::TooLong),
        ("dots", "...".to_owned(), TokenFault::Malformed),
    ] {
        fault(what, &text, expect);
    }
    // A token as long as may be is read to its end.
    let filler = "x".repeat(3 * (TOKEN_BYTES_MAX - token.len()) / 4 - 12);
    let long = keys().es256.token(&claims(json!({ "f": filler })));
    assert!((TOKEN_BYTES_MAX - 64..=TOKEN_BYTES_MAX).contains(&long.len()), "{}", long.len());
    assert!(verify(&long).is_ok());
}

// RFC 7519, 4: "JWT parsers MUST either reject JWTs with duplicate Claim Names or use [..] the lexically last".
#[test]
fn a_repeated_member_is_refused_at_any_depth() {
    let body = claims(json!({})).to_string();
    let start = &body[..body.len() - 1];
    for more in [
        format!(r#","iss":"{ISSUER}""#),
        r#","sub":"admin""#.to_owned(),
        r#","\u0073ub":"admin""#.to_owned(),
        r#","x":{"a":1,"a":1}"#.to_owned(),
        r#","x":[[{"b":1,"c":{"d":1,"d":2}}]]"#.to_owned(),
    ] {
        let token = keys().es256.sign(r#"{"alg":"ES256","kid":"e"}"#, &format!("{start}{more}}}"));
        fault(&more, &token, TokenFault::RepeatedMember);
    }
    fault(
        "header",
        &keys().es256.sign(r#"{"alg":"ES256","kid":"e","alg":"none"}"#, &body),
        TokenFault::RepeatedMember,
    );
}

#[test]
fn an_unknown_key_is_told_from_a_wrong_one() {
    let keys = keys();
    let body = claims(json!({})).to_string();
    let unknown = |issuer, issued| Refused::UnknownKey(UnknownKey { issuer, issued });
    let new = |body: &str| keys.es256.sign(r#"{"alg":"ES256","kid":"new"}"#, body);
    refused("unknown kid", &new(&body), unknown(0, Some(NOW - 10)));
    let undated = claims(json!({ "iat": null })).to_string();
    refused("unknown kid of no date", &new(&undated), unknown(0, None));
    let other = keys.es256.token(&claims(json!({"iss": "https://other.example.org/"})));
    refused("an issuer without keys", &other, unknown(1, Some(NOW - 10)));
    // Without an id, the only key that fits is taken; of several none is.
    assert!(verify(&keys.es256.sign(r#"{"alg":"ES256"}"#, &body)).is_ok());
    let two = TokenKey::set(&[&keys.es256, &keys.strange]);
    let two = Arc::new(KeySet::parse(two.as_bytes(), None).unwrap());
    let ask = |header: &str| {
        let token = keys.es256.sign(header, &body);
        rules().verify(token.as_bytes(), NOW, |_| Some(two.clone())).err()
    };
    let wrong = |fault| Some(Refused::WrongKey { issuer: 0, fault });
    assert_eq!(ask(r#"{"alg":"ES256"}"#), wrong(TokenFault::Key));
    // The issuer may have replaced its key under the same name.
    let replaced = TokenKey::es256("e").token(&claims(json!({})));
    assert_eq!(verify(&replaced).err(), wrong(TokenFault::Signature));
    let other_kind = keys.es256.sign(r#"{"alg":"ES256","kid":"d"}"#, &body);
    assert_eq!(verify(&other_kind).err(), wrong(TokenFault::Algorithm));
    assert_eq!(ask(r#"{"alg":"ES256","kid":"e"}"#), None, "two keys of one id are both tried");
}

#[test]
fn the_first_grant_that_matches_decides_and_the_nearest_is_named() {
    let clients = clients();
    let granted = |changes: Value| {
        verify(&keys().es256.token(&claims(changes))).map(|verified| clients.name(verified.client).to_owned())
    };
    for (changes, expect) in [
        (json!({"scope": "write mcp"}), "writers"),
        (json!({"scope": "mcp"}), "readers"),
        (json!({"scope": null, "scp": ["mcp", "write"]}), "writers"),
        (json!({"scope": null, "scp": "mcp"}), "readers"),
        (json!({"scope": "x", "groups": ["a", "staff"], "level": 3, "verified": true}), "staff"),
        (json!({"scope": "mcp", "groups": "staff", "level": 3, "verified": true}), "staff"),
        (json!({"scope": "mcp", "groups": "staff", "level": 4, "verified": true}), "readers"),
    ] {
        assert_eq!(granted(changes.clone()).as_deref(), Ok(expect), "{changes}");
    }
    // The one that lacks fewest scopes, of several the first; `staff` is out of reach by scopes.
    for (changes, nearest) in [
        (json!({"scope": null}), 2),
        (json!({"scope": "mcpx"}), 2),
        (json!({"scope": "MCP write"}), 0),
        (json!({"scope": ["mcp write"]}), 2),
        (json!({"scope": "write", "groups": "staff", "level": "3", "verified": true}), 0),
    ] {
        assert_eq!(granted(changes.clone()), Err(Refused::NoGrant(nearest)), "{changes}");
    }
    let staff_only = Rules { grants: rules().grants[1..2].to_vec(), ..rules() };
    let token = keys().es256.token(&claims(json!({})));
    assert_eq!(
        staff_only.verify(token.as_bytes(), NOW, |_| Some(keys().set.clone())).err(),
        Some(Refused::NoGrant(0))
    );
}

// The log has the claim that is configured; limits hold for each user of an issuer.
#[test]
fn a_subject_is_the_configured_claim_and_its_user_is_the_issuer_s() {
    let of = |changes: Value| verify(&keys().es256.token(&claims(changes))).unwrap().subject;
    let (one, other) = (of(json!({})), of(json!({"sub": "user-2"})));
    assert_eq!((one.text(), other.text()), ("desktop", "desktop"));
    assert_ne!(one.user(), other.user());
    assert_eq!(one.user(), of(json!({"client_id": "cli"})).user(), "one user by two programs is one");
    assert_eq!(of(json!({"client_id": null})).text(), "user-1");
    assert_eq!(of(json!({"client_id": null, "azp": "a\nb"})).text(), "a?b");
    // A program is no user, even if both are called the same.
    let program = of(json!({"sub": null, "client_id": "user-1"}));
    assert_ne!(program.user(), one.user());
    assert_eq!(program.user(), of(json!({"sub": null, "client_id": "user-1", "azp": "x"})).user());
}

// One issuer must not give what another one is trusted for.
#[test]
fn a_grant_of_one_issuer_is_not_given_by_another() {
    let key = &keys().es256;
    let granted = |issuer: &str, scope: &str| {
        let mut rules = rules();
        rules.grants[0].issuer = Some(1);
        let token = key.token(&claims(json!({ "iss": issuer, "scope": scope })));
        let verified = rules.verify(token.as_bytes(), NOW, |_| Some(keys().set.clone()))?;
        Ok::<_, Refused>(clients().name(verified.client).to_owned())
    };
    assert_eq!(granted("https://other.example.org/", "mcp write").as_deref(), Ok("writers"));
    assert_eq!(granted(ISSUER, "mcp write").as_deref(), Ok("readers"));
    assert_eq!(granted(ISSUER, "write"), Err(Refused::NoGrant(2)), "what is out of reach is not named");
}

#[test]
fn a_set_of_keys_has_only_keys_that_may_verify() {
    let keys = keys();
    let mut encryption = keys.rs256.jwk();
    encryption["use"] = json!("enc");
    let mut signing = keys.rs256.jwk();
    signing["key_ops"] = json!(["sign"]);
    let mut other_algorithm = keys.es256.jwk();
    other_algorithm["alg"] = json!("RS256");
    let mut short = keys.rs256.jwk();
    short["n"] = json!(base64_of(&"x".repeat(128)));
    let mut cut = keys.es256.jwk();
    cut["x"] = json!("AAAA");
    let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"});
    let curve = json!({"kty": "EC", "crv": "P-521", "kid": "c", "x": "AA", "y": "AA"});
    for (what, key) in [
        ("use", encryption),
        ("key_ops", signing),
        ("alg of another type", other_algorithm),
        ("1024 bits", short),
        ("half a point", cut),
        ("a shared secret", secret),
        ("a curve that is not known", curve),
        ("no key", json!({"kid": "n"})),
        ("no object", json!(5)),
    ] {
        let text = json!({"keys": [key, keys.es256.jwk()]}).to_string();
        let set = KeySet::parse(text.as_bytes(), None).unwrap();
        assert_eq!((set.len(), set.skipped()), (1, 1), "{what}");
    }
}

#[test]
fn a_set_of_keys_is_bounded_and_tells_of_private_and_repeated_ones() {
    let heavy = format!(r#"{{"keys":[{}0]}}"#, "{},".repeat(100_000));
    assert_eq!(KeySet::parse(heavy.as_bytes(), None).err(), Some(KeySetError::TooHeavy));
    let mut private = keys().es256.jwk();
    let public = private.clone();
    let of = |list: &[&Value]| KeySet::parse(json!({ "keys": list }).to_string().as_bytes(), None).unwrap();
    let once = of(&[&public]);
    assert!(!once.has_private_keys());
    let twice = of(&[&public, &public]);
    assert_eq!((twice.len(), twice.skipped()), (1, 1));
    private["d"] = json!("AAAA");
    assert!(of(&[&private]).has_private_keys());
}

#[test]
fn a_key_that_leaves_the_set_is_retired_and_one_that_stays_is_not() {
    let keys = keys();
    let parse = |set: &[&TokenKey], before: Option<&KeySet>| {
        KeySet::parse(TokenKey::set(set).as_bytes(), before).unwrap()
    };
    let first = Arc::new(parse(&[&keys.es256, &keys.ed], None));
    let token = keys.ed.token(&claims(json!({})));
    let verified = rules().verify(token.as_bytes(), NOW, |_| Some(first.clone())).unwrap();
    let second = parse(&[&keys.ed], Some(&first));
    first.retire_all_but(&second);
    assert!(!verified.key.is_retired());
    let third = parse(&[&keys.es256], Some(&second));
    second.retire_all_but(&third);
    assert!(verified.key.is_retired());
    // A key that comes back is another value: what remembered the old one must not hold again.
    assert!(parse(&[&keys.ed], Some(&third)).len() == 1 && verified.key.is_retired());
}

proptest! {
    #[test]
    fn the_parser_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Jws::parse(&bytes);
    }

    #[test]
    fn a_token_that_is_changed_anywhere_does_not_hold(at in 0..1000_usize, to in "[A-Za-z0-9_.=-]") {
        let token = keys().es256.token(&claims(json!({})));
        let at = at % token.len();
        prop_assume!(token[at..=at] != to);
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        prop_assert!(verify(&changed).is_err(), "{changed}");
    }

    #[test]
    fn what_the_parser_accepts_is_what_was_signed(name in "[a-z]{1,8}", value in "[ -~]{0,40}") {
        let token = keys().es256.sign(r#"{"alg":"ES256","kid":"e"}"#, &json!({ name.clone(): value.clone() }).to_string());
        let jws = Jws::parse(token.as_bytes()).unwrap();
        prop_assert_eq!(jws.claims.get(&name).and_then(Value::as_str), Some(value.as_str()));
        prop_assert_eq!([jws.signed, b".", jws.signature.as_bytes()].concat(), token.as_bytes());
    }
}
