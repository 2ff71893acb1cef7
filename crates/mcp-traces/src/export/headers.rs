//! Headers that a collector asks for, in the form of `OTEL_EXPORTER_OTLP_HEADERS`. Their values are secrets: none is shown.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

const HEADERS_MAX: usize = 32;

/// Names and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub(super) Vec<(HeaderName, HeaderValue)>);

/// Why a text is not a list of headers. Quotes no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    #[error("must be key=value, and more of them behind commas")]
    Form,
    #[error("must hold at most {HEADERS_MAX} headers")]
    Many,
    #[error("sets a header that the exporter sets itself")]
    Own,
}

impl Headers {
    /// Reads `key=value,key=value`; values are percent-encoded where they hold a comma, a blank or the like.
    pub fn parse(text: &str) -> Result<Headers, HeadersError> {
        let mut headers = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(HeadersError::Form)?;
            let name = HeaderName::try_from(name.trim()).map_err(|_| HeadersError::Form)?;
            let value: Vec<u8> = percent_decode_str(value.trim()).collect();
            let mut value = HeaderValue::try_from(value).map_err(|_| HeadersError::Form)?;
            value.set_sensitive(true);
            if ["host", "content-type", "content-length", "transfer-encoding", "connection"]
                .contains(&name.as_str())
            {
                return Err(HeadersError::Own);
            }
            headers.push((name, value));
        }
        if headers.len() > HEADERS_MAX {
            return Err(HeadersError::Many);
        }
        Ok(Headers(headers))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name.as_str())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them_and_no_value_is_shown() {
        let headers = Headers::parse("Authorization=Bearer%20t0p, x-tenant=a=b,").unwrap();
        let shown: Vec<_> =
            headers.0.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(shown, [("authorization", "Bearer t0p"), ("x-tenant", "a=b")]);
        assert_eq!(format!("{headers:?}"), r#"{"authorization", "x-tenant"}"#);
        assert_eq!(Headers::parse("  "), Ok(Headers::default()));
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused() {
        for bad in ["secret", "=x", "a b=c", "a=b%0d%0ax: y", "\u{e4}=b"] {
            assert_eq!(Headers::parse(bad), Err(HeadersError::Form), "{bad}");
        }
        assert_eq!(Headers::parse("Host=x"), Err(HeadersError::Own));
        let many: Vec<String> = (0..33).map(|number| format!("x{number}=1")).collect();
        assert_eq!(Headers::parse(&many.join(",")), Err(HeadersError::Many));
    }
}
