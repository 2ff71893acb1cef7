//! A response that is no success, as an error for the caller and a detail for the log.
//!
//! The caller learns the status and when to try again; the service's own words only where the tool opens them. Must not
//! know how a call is sent.

use hyper::header::{HeaderMap, LOCATION, RETRY_AFTER};
use hyper::{StatusCode, Uri};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::body::{self, Body};
use super::exchange::Response;
use super::reason;

/// Letters of a body in the log.
const LOGGED_LETTERS_MAX: usize = 1000;

/// Who may read what the service says of a call that it does not accept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Openness {
    pub(crate) tell_reason: bool,
    pub(crate) log_reason: bool,
}

/// The error for the caller; `doubt` is the warning that a write may have been carried out.
pub(super) fn told(
    service: &str,
    response: &Response,
    openness: Openness,
    secrets: &[&str],
    doubt: &str,
) -> String {
    let status = response.status.as_u16();
    let retry = match response.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            retry_after(&response.headers, Timestamp::now())
                .map(|seconds| format!("; try again in {seconds} s"))
        }
        _ => None,
    };
    let retry = retry.unwrap_or_default();
    // What the service says of this server's own credentials is the operator's.
    let opened = openness.tell_reason && response.status.is_client_error() && !matches!(status, 401 | 407);
    let reason = if opened { said(response, secrets).map(|reason| format!(": {reason}")) } else { None };
    match (status, reason) {
        (401 | 403 | 407, None) => format!("{service} refused this server's credentials"),
        // The usual response to a form that was accepted.
        (303, _) => format!("{service} redirected the call; redirects are not followed{doubt}"),
        (300..=399, _) => format!("{service} redirected the call; redirects are not followed"),
        (500..=599, _) => format!("{service} failed with status {status}{retry}{doubt}"),
        (_, reason) => {
            format!(
                "{service} did not accept the call (status {status}){}{retry}",
                reason.unwrap_or_default()
            )
        }
    }
}

/// The detail of the log line: no argument, and nothing of the body unless the tool opens it.
pub(super) fn logged(service: &str, response: &Response, openness: Openness, secrets: &[&str]) -> String {
    let mut detail = format!("{service} responded {}", response.status);
    if let Some(seconds) = retry_after(&response.headers, Timestamp::now()) {
        detail.push_str(&format!("; Retry-After: {seconds} s"));
    }
    // The path and the query of a target may repeat arguments.
    let target = response.headers.get(LOCATION).and_then(|target| target.to_str().ok()?.parse::<Uri>().ok());
    if let Some(host) = target.as_ref().and_then(Uri::authority).filter(|_| response.status.is_redirection())
    {
        detail.push_str(&format!("; to {}", host.as_str().rsplit('@').next().unwrap_or_default()));
    }
    if openness.log_reason {
        let body = String::from_utf8_lossy(&response.body);
        let body = reason::line(&body, LOGGED_LETTERS_MAX, secrets);
        detail.push_str(&format!("; body: {}", body.as_deref().unwrap_or("empty")));
    }
    detail
}

/// What the service says is wrong, if it says it in JSON or in a plain text.
fn said(response: &Response, secrets: &[&str]) -> Option<String> {
    match body::read(&response.headers, &response.body).ok()? {
        Body::Json(json) => reason::of_json(json.as_str(), secrets),
        Body::Text(text) => reason::line(&text, reason::LETTERS_MAX, secrets),
        Body::Empty => None,
    }
}

/// `Retry-After` in seconds from `now`; both forms of RFC 9110, section 10.2.3.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok();
    }
    let moment = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(u64::try_from(moment.as_second() - now.as_second()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now: Timestamp = "1999-12-31T23:59:00Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(59)),
            ("Fri, 31 Dec 1999 23:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now), expected, "{value}");
        }
    }
}
