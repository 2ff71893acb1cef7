//! What a backend was given, or this process holds, and must not be repeated: searched for in whatever a backend sends before
//! anything of it is quoted.
//!
//! A backend repeats a header in the forms that its framework prints: as it is, inside JSON, HTML or a URL, in Base64 or in
//! hexadecimal. One that means to hide a secret in its response can: that is no defence against that. Must not know who quotes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// What stands in a secret's place.
pub const REMOVED: &str = "[secret]";
/// The signs that begin an escape in JSON, in a URL and in HTML.
const ESCAPES: [u8; 3] = *b"\\%&";
/// Shorter texts are not searched for: they are parts of ordinary words.
pub const SECRET_BYTES_MIN: usize = 6;

/// The secrets of this process. Cheap to clone. `Debug` shows none.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Inner>);

#[derive(Default)]
struct Inner {
    values: BTreeSet<String>,
    /// By their first byte, the longest first.
    needles: BTreeMap<u8, Vec<Vec<u8>>>,
    /// The bytes at which one may begin, a bit each: their first bytes, and the signs that begin an escape.
    starts: [u64; 4],
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.values.len())
    }
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Secrets) -> bool {
        self.0.values == other.0.values
    }
}

impl Secrets {
    /// Searches for these. Each may carry a scheme (`Bearer …`), which is no secret.
    pub fn new<'s>(values: impl IntoIterator<Item = &'s str>) -> Secrets {
        let bare = values.into_iter().map(|value| match value.split_once(' ') {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => rest.trim(),
            Some(_) | None => value.trim(),
        });
        let values: BTreeSet<String> = bare
            .map(|value| value.trim_matches('"'))
            .filter(|value| value.len() >= SECRET_BYTES_MIN)
            .map(str::to_owned)
            .collect();
        let mut needles: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
        for needle in values.iter().flat_map(|value| forms(value)) {
            if let Some(first) = needle.first() {
                needles.entry(*first).or_default().push(needle);
            }
        }
        for group in needles.values_mut() {
            // A longer one may contain a shorter one.
            group.sort_by(|one, two| two.len().cmp(&one.len()).then_with(|| one.cmp(two)));
            group.dedup();
        }
        let mut starts = [0; 4];
        for first in needles.keys().chain(&ESCAPES).filter(|_| !needles.is_empty()) {
            starts[usize::from(*first) / 64] |= 1 << (first % 64);
        }
        Secrets(Arc::new(Inner { values, needles, starts }))
    }

    /// These and those.
    pub fn and(&self, other: &Secrets) -> Secrets {
        if other.0.values.is_subset(&self.0.values) {
            return self.clone();
        }
        Secrets::new(self.0.values.iter().chain(&other.0.values).map(String::as_str))
    }

    /// The same bytes without any of the secrets. Copies only where there is one.
    pub fn clean<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let (mut out, mut kept, mut at) = (Vec::new(), 0, 0);
        while let Some(skipped) = bytes[at..].iter().position(|byte| self.0.may_begin(*byte)) {
            at += skipped;
            match self.0.begins(&bytes[at..]) {
                Some(length) => {
                    out.extend_from_slice(&bytes[kept..at]);
                    out.extend_from_slice(REMOVED.as_bytes());
                    at += length;
                    kept = at;
                }
                None => at += 1,
            }
        }
        if kept == 0 {
            return Cow::Borrowed(bytes);
        }
        out.extend_from_slice(&bytes[kept..]);
        Cow::Owned(out)
    }

    /// The same for a text.
    pub fn clean_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.clean(text.as_bytes())).into_owned()
    }
}

impl Inner {
    fn may_begin(&self, byte: u8) -> bool {
        self.starts[usize::from(byte) / 64] >> (byte % 64) & 1 == 1
    }

    /// How many bytes at the start of `text` spell a secret. However many secrets there are, only those are compared whose
    /// first byte stands there.
    fn begins(&self, text: &[u8]) -> Option<usize> {
        let first = text.first()?;
        if !ESCAPES.contains(first) {
            return spelled(text, self.needles.get(first)?).map(|(_, length)| length);
        }
        let may = self.needles.iter().filter(|(first, _)| sign(text, **first).is_some());
        may.filter_map(|(_, group)| spelled(text, group)).max().map(|(_, length)| length)
    }
}

/// The bytes of the first needle that `text` begins with, and how many bytes spell it there.
fn spelled(text: &[u8], needles: &[Vec<u8>]) -> Option<(usize, usize)> {
    needles.iter().find_map(|needle| Some((needle.len(), length(text, needle)?)))
}

/// How many bytes at the start of `text` spell the needle, in whatever mixture of escapes.
fn length(text: &[u8], needle: &[u8]) -> Option<usize> {
    if text.starts_with(needle) {
        return Some(needle.len());
    }
    let mut at = 0;
    let mut before = None;
    for char in needle {
        // Backslashes in a row cannot be distinguished from their own escapes: the first one has taken all that are not spelled out.
        let taken = (before, *char) == (Some(b'\\'), b'\\');
        match sign(text.get(at..)?, *char) {
            Some(length) => at += length,
            None if taken => {}
            None => return None,
        }
        before = Some(*char);
    }
    Some(at)
}

/// How many bytes at the start of `text` spell this sign: itself, or as JSON, a URL or HTML escape it.
fn sign(text: &[u8], char: u8) -> Option<usize> {
    let spelled = match text.first()? {
        b'&' => entity(text, char),
        b'%' => percent(text, char),
        b'\\' => backslash(text, char),
        _ => None,
    };
    spelled.or_else(|| (text.first() == Some(&char)).then_some(1))
}

fn entity(text: &[u8], char: u8) -> Option<usize> {
    const NAMES: [(&[u8], u8); 6] =
        [(b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"quot", b'"'), (b"apos", b'\''), (b"sol", b'/')];
    let end = text.iter().take(8).position(|byte| *byte == b';')?;
    let inner = text.get(1..end)?;
    let number = inner.strip_prefix(b"#").and_then(|number| {
        let number = std::str::from_utf8(number).ok()?;
        match number.strip_prefix(['x', 'X']) {
            Some(number) => u32::from_str_radix(number, 16).ok(),
            None => number.parse().ok(),
        }
    });
    let is = number == Some(u32::from(char)) || NAMES.contains(&(inner, char));
    is.then_some(end + 1)
}

fn percent(text: &[u8], char: u8) -> Option<usize> {
    let mut at = 1;
    // Encoded twice: the sign itself is `%25`.
    while text.get(at..at + 2) == Some(b"25")
        && text.get(at + 2).is_some_and(u8::is_ascii_hexdigit)
        && char != b'%'
    {
        at += 2;
    }
    (hexadecimal(text.get(at..at + 2)?) == Some(u32::from(char))).then_some(at + 2)
}

fn backslash(text: &[u8], char: u8) -> Option<usize> {
    let run = text.iter().take(16).take_while(|byte| **byte == b'\\').count();
    let unicode = match (text.get(run), text.get(run + 1..run + 5)) {
        (Some(b'u'), Some(digits)) => hexadecimal(digits) == Some(u32::from(char)),
        _ => false,
    };
    let raw = text.get(run) == Some(&char);
    match (char == b'\\', unicode, raw) {
        (true, false, _) => Some(run),
        (_, true, _) => Some(run + 5),
        (false, false, true) => Some(run + 1),
        (false, false, false) => None,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What a value is searched for as; how each is escaped is for the comparison.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let hexadecimal: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut found = vec![value.to_owned(), hexadecimal.to_uppercase(), hexadecimal];
    found.extend(base64_forms(value));
    found.into_iter().map(String::into_bytes).collect()
}

/// Base64 of any text that contains the value: three bytes become four signs, so its place among them makes three forms. The
/// signs at the ends depend on the neighbours and are left out.
fn base64_forms(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    for alphabet in [alphabet::STANDARD, alphabet::URL_SAFE] {
        let engine = GeneralPurpose::new(&alphabet, NO_PAD);
        for before in 0..3_usize {
            let encoded = engine.encode([vec![0; before], value.as_bytes().to_vec()].concat());
            let (first, last) = ((before * 8).div_ceil(6), (before + value.len()) * 8 / 6);
            let form = encoded.get(first..last).unwrap_or_default();
            if form.len() >= SECRET_BYTES_MIN {
                found.push(form.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "up/stream+S3cr3t<9>&\"x\\'y";

    #[track_caller]
    fn check(sent: &str, expect: &str) {
        assert_eq!(Secrets::new([SECRET]).clean_text(sent), expect, "{sent}");
    }

    #[test]
    fn a_secret_is_removed_in_every_form_that_a_framework_prints() {
        check(SECRET, "[secret]");
        check(&format!("invalid credentials: Bearer {SECRET}!"), "invalid credentials: Bearer [secret]!");
        check(&serde_json::json!({"got": SECRET}).to_string(), "{\"got\":\"[secret]\"}");
        let nested = serde_json::json!({"text": serde_json::json!({"got": SECRET}).to_string()}).to_string();
        check(&nested, "{\"text\":\"{\\\"got\\\":\\\"[secret]\\\"}\"}");
        check("up\\/stream+S3cr3t<9>&\\\"x\\\\'y", "[secret]");
        check("up/stream+S3cr3t\\u003c9\\u003e\\u0026\\\"x\\\\'y", "[secret]");
        check("?t=up%2Fstream%2BS3cr3t%3C9%3E%26%22x%5C%27y&z", "?t=[secret]&z");
        check("?t=up%2fstream%2bS3cr3t%3c9%3e%26%22x%5c%27y&z", "?t=[secret]&z");
        check("<pre>up/stream+S3cr3t&lt;9&gt;&amp;&quot;x\\&#x27;y</pre>", "<pre>[secret]</pre>");
        let hexadecimal: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        check(&hexadecimal, "[secret]");
        check(&hexadecimal.to_uppercase(), "[secret]");
    }

    #[test]
    fn a_secret_is_removed_from_base64_wherever_it_stands() {
        for user in ["", "u", "us", "use", "user-1:"] {
            for (encode, after) in [
                (STANDARD.encode(format!("{user}{SECRET}")), ""),
                (URL_SAFE_NO_PAD.encode(format!("{user}{SECRET}ab")), "ab"),
            ] {
                let clean = Secrets::new([SECRET]).clean_text(&format!("Basic {encode}."));
                assert!(clean.contains(REMOVED), "{user} {after}: {clean}");
                assert!(clean.len() < "Basic .".len() + REMOVED.len() + 12 + user.len() * 2, "{clean}");
            }
        }
    }

    #[test]
    fn what_is_too_short_is_part_of_words_and_what_repeats_is_removed_each_time() {
        assert_eq!(Secrets::new(["ok"]).clean_text("ok, tool ok_a"), "ok, tool ok_a");
        assert_eq!(Secrets::new(["Bearer abcdef"]).clean_text("abcdefabcdef x"), "[secret][secret] x");
        let two = Secrets::new(["abcdef"]).and(&Secrets::new(["abcdefgh"]));
        assert_eq!(two.clean_text("abcdefgh abcdef"), "[secret] [secret]");
        assert_eq!(format!("{two:?}"), "Secrets(2)");
    }

    proptest! {
        #[test]
        fn no_visible_secret_survives_its_simple_forms(secret in "[!-~]{6,40}", before in ".{0,5}", after in ".{0,5}") {
            let secrets = Secrets::new([secret.as_str()]);
            let bare = secret.trim_matches('"');
            if bare.len() >= SECRET_BYTES_MIN {
                let json = serde_json::Value::from(bare).to_string();
                let all: String = bare.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
                let percent: String = bare.bytes().map(|byte| format!("%{byte:02x}")).collect();
                let twice = serde_json::Value::from(json.as_str()).to_string();
                let html: String = bare.bytes().map(|byte| format!("&#{byte};")).collect();
                for form in [bare, &json[1..json.len() - 1], &twice[3..twice.len() - 3], &all, &percent, &html] {
                    let clean = secrets.clean_text(&format!("{before}{form}{after}"));
                    prop_assert!(clean.contains(REMOVED), "{form}: {clean}");
                    prop_assert!(!clean.contains(form), "{form}: {clean}");
                }
            }
        }
    }
}
