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

/// No escape stands for a separator, a dot, a percent sign, a parameter's beginning or a control byte.
fn escapes_are_plain(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let byte = rest.get(at + 1..at + 3).and_then(|digits| {
            let digit = |index: usize| digits.get(index).and_then(|&digit| char::from(digit).to_digit(16));
            u8::try_from(digit(0)? * 16 + digit(1)?).ok()
        });
        match byte {
            None | Some(b'/' | b'\\' | b'.' | b'%' | b';' | b'?' | b'#' | 0..=31 | 127) => return false,
            Some(_) => rest = &rest[at + 3..],
        }
    }
    true
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
        ] {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
        for path in
            ["/a", "/a/", "/a/b.c", "/a/..b", "/a/...", "/a/b;v=1", "/a%20b", "/caf%C3%A9", "/a:b@c,d"]
        {
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

    /// What a careless backend makes of a path: unescaped twice, parameters cut off, dots resolved.
    fn careless(path: &str) -> String {
        let unescape =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
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
        fn a_plain_path_below_a_prefix_stays_there_for_a_careless_backend(tail in "[/.;%25eEfFcC\\\\a]{0,16}") {
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
