//! `tracestate` of W3C Trace Context: passed on as it is, or not at all.
//!
//! Pure. Must not know what a vendor writes into it.

/// The list that a `tracestate` may be, which Trace Context asks every system to pass on at least.
pub const STATE_BYTES_MAX: usize = 512;
const MEMBERS_MAX: usize = 32;
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;

/// Trace Context, 3.3: at most 32 members `key=value`, no key twice. Empty members are allowed.
pub fn is_tracestate(value: &[u8]) -> bool {
    let mut keys: Vec<&[u8]> = Vec::new();
    value.len() <= STATE_BYTES_MAX
        && value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty()).all(|member| {
            let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
            let (key, value) = (&member[..equals], &member[equals + 1..]);
            let new = !keys.contains(&key) && keys.len() < MEMBERS_MAX;
            keys.push(key);
            new && is_key(key) && is_value(value)
        })
}

fn trim(member: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = member.iter().position(|byte| !blank(byte)).unwrap_or(member.len());
    let end = member.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    &member[begin..end]
}

/// `simple-key` or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    let plain = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let begins = key.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let systems = key.iter().filter(|byte| **byte == b'@').count();
    begins && key.len() <= KEY_BYTES_MAX && key.iter().all(plain) && systems <= 1 && !key.ends_with(b"@")
}

/// Printable ASCII but `,` and `=`.
fn is_value(value: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.iter().all(printable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tracestate_is_a_list_of_keys_and_values() {
        let longest = format!("a={}", "x".repeat(256));
        let many: Vec<String> = (0..32).map(|number| format!("k{number}=v")).collect();
        for good in [
            "",
            "a=1",
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "a=1 , b=2",
            "t@s=x",
            "1a=b c",
            "a=1,,b=2,",
            &longest,
        ] {
            assert!(is_tracestate(good.as_bytes()), "{good}");
        }
        assert!(is_tracestate(many.join(",").as_bytes()));
        let (too_many, too_long) = (many.join(",") + ",one=more", format!("a={}", "x".repeat(257)));
        for bad in [
            "a",
            "=1",
            "a=",
            "A=1",
            "a=1,a=2",
            "a=b=c",
            "_a=1",
            "a=\u{7f}",
            "a=\t",
            "@s=1",
            "t@=1",
            "a@b@c=1",
            "a =1",
            &too_many,
            &too_long,
            &"a=1,".repeat(200),
        ] {
            assert!(!is_tracestate(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_as_a_tracestate_is_printable_ascii_or_blanks(
            value in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let printable = value.iter().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'));
            prop_assert!(!is_tracestate(&value) || printable);
        }
    }
}
