//! What a difference means for a client, and the difference itself.

use sha2::Digest;

/// What a difference means for the clients of the live server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A call that works on the live server may fail or mean something else on the candidate.
    Break,
    /// The candidate does all that the live server does, and more.
    Compatible,
    /// Worth knowing; no call changes.
    Note,
    /// A break that a person has reviewed and accepted, with a reason.
    Accepted,
}

impl Severity {
    /// The stable name, for reports and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Severity::Break => "break",
            Severity::Compatible => "compatible",
            Severity::Note => "note",
            Severity::Accepted => "accepted",
        }
    }
}

/// One difference, in words and values that an operator can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// The tool, client or question that it is about, if one.
    pub subject: Option<String>,
    /// Where in it: a parameter, a path in a response.
    pub path: String,
    /// What happened, in a few words: `required parameter added`.
    pub change: String,
    /// What the live server has.
    pub live: Option<String>,
    /// What the candidate has.
    pub candidate: Option<String>,
}

impl Finding {
    /// A finding about the whole: no subject, no path, no values yet.
    pub fn new(severity: Severity, change: impl Into<String>) -> Finding {
        Finding {
            severity,
            subject: None,
            path: String::new(),
            change: change.into(),
            live: None,
            candidate: None,
        }
    }

    /// The same, about this tool, client or question.
    pub fn about(mut self, subject: impl Into<String>) -> Finding {
        self.subject = Some(subject.into());
        self
    }

    /// The same, at this path.
    pub fn at(mut self, path: impl Into<String>) -> Finding {
        self.path = path.into();
        self
    }

    /// The same, with what each side has.
    pub fn values(mut self, live: Option<String>, candidate: Option<String>) -> Finding {
        (self.live, self.candidate) = (live, candidate);
        self
    }
}

/// The most bytes of a value that a finding keeps. A report may have thousands of findings.
const VALUE_BYTES_MAX: usize = 4_096;

/// A value as a finding keeps it: whole, or its beginning with a digest, so that two long ones still differ.
pub fn value_text(text: &str) -> String {
    if text.len() <= VALUE_BYTES_MAX {
        return text.to_owned();
    }
    let digest = sha2::Sha256::digest(text.as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let beginning = &text[..text.floor_char_boundary(VALUE_BYTES_MAX)];
    format!("{beginning}… ({} bytes, sha256 {digest})", text.len())
}
