//! Whom a signed token is for: one of the many that a grant stands for.
//!
//! Must not know issuers, nor grants.

/// One of the many that a client of signed tokens stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Printable ASCII, at most [`Subject::TEXT_BYTES_MAX`]: for the log, and the key of the split.
    text: Box<str>,
    /// What tells users apart: a hash of the issuer and of its name for the user.
    user: [u8; 16],
}

impl Subject {
    /// Most bytes of the text.
    pub const TEXT_BYTES_MAX: usize = 128;

    /// A subject; what is not printable ASCII is replaced, and what is too long is cut.
    pub fn new(text: &str, user: [u8; 16]) -> Subject {
        let printable = |character: char| if matches!(character, ' '..='~') { character } else { '?' };
        Subject { text: text.chars().take(Subject::TEXT_BYTES_MAX).map(printable).collect(), user }
    }

    /// The name in the log.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The user whose limits hold.
    pub fn user(&self) -> &[u8; 16] {
        &self.user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // "the log has [..] `subject` (the claim, printable ASCII, at most 128 bytes)"
    #[test]
    fn the_text_of_a_subject_is_printable_and_bounded() {
        let text = |name: &str| Subject::new(name, [0; 16]).text().to_owned();
        assert_eq!(text("alice@example.org"), "alice@example.org");
        assert_eq!(text("a\nb\u{e9}\u{7f}c d"), "a?b??c d");
        assert_eq!(text(&"\u{1f600}".repeat(500)).len(), Subject::TEXT_BYTES_MAX);
    }
}
