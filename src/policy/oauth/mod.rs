//! OAuth 2.1 as a resource server: what an issuer's token must say, and which client of the guard it then is.
//!
//! Pure: keys and time are passed in. `rules` is what is configured and `resource` what clients are told of it, in every build;
//! what verifies a token is behind the feature `oauth`. Must not know where keys come from, nor remember a token.

#[cfg(feature = "oauth")]
mod json;
#[cfg(feature = "oauth")]
pub mod jws;
#[cfg(feature = "oauth")]
pub mod keys;
#[cfg(feature = "oauth")]
mod provider;
pub mod resource;
pub mod rules;
pub(crate) mod url;
#[cfg(feature = "oauth")]
pub mod verify;

#[cfg(test)]
#[cfg(feature = "oauth")]
mod tests;
