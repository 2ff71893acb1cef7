//! Errors as RFC 9457 problems.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::Body;
use crate::telemetry::metrics::ConsoleRefusal;

/// An error that a program and a person can read.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    detail: String,
}

impl From<ConsoleRefusal> for Problem {
    fn from(refusal: ConsoleRefusal) -> Problem {
        let (status, detail) = match refusal {
            ConsoleRefusal::NoToken => (StatusCode::UNAUTHORIZED, "send one Authorization: Bearer field"),
            ConsoleRefusal::UnknownToken => (StatusCode::UNAUTHORIZED, "this token is not known here"),
            ConsoleRefusal::Role => (StatusCode::FORBIDDEN, "this token may look, not give orders"),
        };
        Problem::new(status, detail)
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into() }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The guard has understood the order and does not carry it out.
    pub(super) fn refused(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    pub(super) fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({"type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail});
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"mcp-guard console\"");
            fields.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
