//! Which paths a route may carry: compared byte for byte, and passed on only if every program reads them alike.
//!
//! Judges raw bytes and never decodes them. A path that a backend could take for another one belongs to no route, so
//! that what is open under one prefix never leads to what lies beside it.

/// Whether `path` names one place to every reader: no empty or dot segment in any spelling, no escaped separator.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let Some(segments) = path.strip_prefix(b"/") else { return false };
    // One final slash is an empty last segment.
    let segments = segments.strip_suffix(b"/").unwrap_or(segments);
    !path.contains(&b'\\')
        && segments.split(|&byte| byte == b'/').all(is_plain_segment)
        && escapes_are_plain(path)
}

/// Some servers cut a segment at `;` before they look for dots.
fn is_plain_segment(segment: &[u8]) -> bool {
    let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
    !matches!(name, b"" | b"." | b"..")
}

/// No escape stands for a separator, a dot, a percent sign, a parameter's beginning or a control character, and what is
/// escaped is UTF-8: an overlong form is one of these to an old decoder.
fn escapes_are_plain(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        rest = &rest[at..];
        match unescaped(rest) {
            None | Some(b'/' | b'\\' | b'.' | b'%' | b';' | b'?' | b'#' | 0..=31 | 127) => return false,
            Some(0..=127) => rest = &rest[ESCAPE..],
            Some(lead) => match escaped_character(rest, lead) {
                // C1 controls are to terminals and some parsers what C0 controls are.
                Some('\u{80}'..='\u{9f}') | None => return false,
                Some(character) => rest = &rest[ESCAPE * character.len_utf8()..],
            },
        }
    }
    true
}

/// The length of `%XX`.
const ESCAPE: usize = 3;

/// The byte that the escape at the beginning of `text` stands for.
fn unescaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// The character of more than one byte that the escapes at the beginning of `text` stand for, of which `lead` is the first.
fn escaped_character(text: &[u8], lead: u8) -> Option<char> {
    let length = usize::try_from(lead.leading_ones()).ok().filter(|length| (2..=4).contains(length))?;
    let mut bytes = [0; 4];
    for (index, byte) in bytes.iter_mut().take(length).enumerate() {
        *byte = unescaped(text.get(index * ESCAPE..)?)?;
    }
    std::str::from_utf8(&bytes[..length]).ok()?.chars().next()
}

/// Whether `path` is `prefix`, with or without a final slash, or lies below it.
pub(super) fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Whether `path` is `prefix`, with or without a final slash.
pub(super) fn is_exactly(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest, b"" | b"/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_that_could_lead_elsewhere_is_not_plain() {
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "//a",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/a/..;/b",
            "/a/.;x/b",
            "/;x/a",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a/%252e",
            "/a%00",
            "/a%0a",
            "/a%3bx",
            "/a%3Fx",
            "/a%2",
            "/a%zz",
            // Overlong forms, a surrogate, beyond the last character, cut, alone, mixed with raw bytes.
            "/a/%c0%ae%c0%ae/b",
            "/a%C0%AF",
            "/a%e0%80%af",
            "/a%f0%80%80%ae",
            "/a%ed%a0%80",
            "/a%f4%90%80%80",
            "/a%f8%80%80%80%ae",
            "/a%c3",
            "/a%c3/b",
            "/a%c3a9",
            "/a%e2%82",
            "/a%e2%82x%ac",
            "/a%a9",
            "/caf%e9",
            "/a%ff",
            "/a%c2%85",
        ] {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
        for path in [
            "/a",
            "/a/",
            "/a/b.c",
            "/a/..b",
            "/a/...",
            "/a/b;v=1",
            "/a%20b",
            "/caf%C3%A9",
            "/%e2%82%ac%F0%9F%98%80%20x",
            "/a:b@c,d",
        ] {
            assert!(is_plain(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_ends() {
        for (path, below, exactly) in [
            ("/a/b", true, true),
            ("/a/b/", true, true),
            ("/a/b/c", true, false),
            ("/a/bc", false, false),
            ("/a", false, false),
            ("/a/B", false, false),
        ] {
            assert_eq!(is_below(path.as_bytes(), b"/a/b"), below, "{path}");
            assert_eq!(is_exactly(path.as_bytes(), b"/a/b"), exactly, "{path}");
        }
    }

    /// What an old decoder makes of escaped bytes: it takes the bits of each sequence together and never checks whether it
    /// is the shortest.
    fn fold_overlong(bytes: &[u8]) -> String {
        let mut text = String::new();
        let mut rest = bytes;
        while let [lead, tail @ ..] = rest {
            let more = (lead.leading_ones() as usize).clamp(1, 4) - 1;
            let start = if more == 0 { u32::from(*lead) } else { u32::from(*lead) & (0x3f >> more) };
            let more = more.min(tail.len());
            let code = tail[..more].iter().fold(start, |code, byte| code << 6 | u32::from(byte & 0x3f));
            text.push(char::from_u32(code).unwrap_or('?'));
            rest = &tail[more..];
        }
        text
    }

    /// What a careless backend makes of a path: unescaped twice, overlong forms folded, parameters cut off, dots resolved.
    fn careless(path: &str) -> String {
        let unescape =
            |text: &str| fold_overlong(&percent_encoding::percent_decode_str(text).collect::<Vec<_>>());
        let path = unescape(&unescape(path)).replace('\\', "/");
        let mut segments = Vec::new();
        for segment in path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                name => segments.push(name.to_owned()),
            }
        }
        format!("/{}", segments.join("/"))
    }

    proptest! {
        #[test]
        fn a_plain_path_below_a_prefix_stays_there_for_a_careless_backend(tail in "(/|[.]|;|%|25|2e|2F|5C|a|\\\\|%c0%ae|%c0%af|%e0%80%af|%c1%9c|%[cef][0-9a-f]|%[8ab][0-9a-f]){0,8}") {
            let path = format!("/a/b/{tail}");
            if is_plain(path.as_bytes()) {
                prop_assert!(is_below(careless(&path).as_bytes(), b"/a/b"), "{} is read as {}", path, careless(&path));
            }
        }

        #[test]
        fn judging_any_bytes_never_panics(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            is_plain(&path);
        }
    }
}
