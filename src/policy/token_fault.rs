//! What is wrong with a token that an issuer is said to have signed. Told to the operator, never to the client.

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenFault {
    /// More bytes than are looked at.
    TooLong,
    /// Not three parts of unpadded base64url.
    Malformed,
    /// Header or claims are no JSON object.
    Json,
    /// A member of the header or of the claims is repeated.
    RepeatedMember,
    /// `alg` is not allowed: `none`, HMAC, or one that is not configured.
    Algorithm,
    /// `crit` names extensions.
    Critical,
    /// `typ` or `cty` says that it is another kind of token.
    Type,
    /// The header brings a key of its own, or says where to fetch one.
    KeySource,
    /// An encrypted token, or one within another.
    Nested,
    /// `iss` is not exactly a configured issuer.
    Issuer,
    /// `aud` does not contain this resource.
    Audience,
    /// There is no `exp` that can be read.
    NoExpiry,
    /// `nbf` is in the future, or cannot be read.
    NotYetValid,
    /// The issuer has no such key.
    UnknownKey,
    /// `kid` is no text, or without one several keys fit.
    Key,
    /// The signature is not of the issuer's key.
    Signature,
    /// None of the claims that name a subject is there.
    Subject,
}

impl TokenFault {
    /// Every fault.
    pub const ALL: [TokenFault; 17] = [
        TokenFault::TooLong,
        TokenFault::Malformed,
        TokenFault::Json,
        TokenFault::RepeatedMember,
        TokenFault::Algorithm,
        TokenFault::Critical,
        TokenFault::Type,
        TokenFault::KeySource,
        TokenFault::Nested,
        TokenFault::Issuer,
        TokenFault::Audience,
        TokenFault::NoExpiry,
        TokenFault::NotYetValid,
        TokenFault::UnknownKey,
        TokenFault::Key,
        TokenFault::Signature,
        TokenFault::Subject,
    ];

    /// What the log says under `detail`.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenFault::TooLong => "longer than 8 KiB",
            TokenFault::Malformed => "not three parts of base64url",
            TokenFault::Json => "header or claims are no JSON object",
            TokenFault::RepeatedMember => "a repeated member",
            TokenFault::Algorithm => "an algorithm that is not allowed",
            TokenFault::Critical => "crit names an extension",
            TokenFault::Type => "another kind of token",
            TokenFault::KeySource => "it names its own key",
            TokenFault::Nested => "encrypted or nested",
            TokenFault::Issuer => "iss is not a configured issuer",
            TokenFault::Audience => "aud is another resource",
            TokenFault::NoExpiry => "no exp",
            TokenFault::NotYetValid => "nbf is in the future",
            TokenFault::UnknownKey => "the issuer has no such key",
            TokenFault::Key => "no single key fits",
            TokenFault::Signature => "the signature does not verify",
            TokenFault::Subject => "no claim names a subject",
        }
    }
}
