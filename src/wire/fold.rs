//! Keys that some decoders take for a name although they are spelled differently.
//!
//! Go's `encoding/json` matches keys without regard to case, by Unicode's simple folding, and the last one wins; cJSON, Jackson
//! and .NET ignore case, too, Java with four letters i. A decoder in C ends a key at a zero byte. Must not know which names
//! are read.

/// The characters that fold to an ASCII letter: U+017F (long s), U+212A (Kelvin sign), and, for Java's `equalsIgnoreCase` and
/// Turkish programs, U+0130 and U+0131 (i with and without its dot).
const LONG_S: &[u8] = "\u{17f}".as_bytes();
const KELVIN: &[u8] = "\u{212a}".as_bytes();
const DOTTED_I: &[u8] = "\u{130}".as_bytes();
const DOTLESS_I: &[u8] = "\u{131}".as_bytes();

/// Whether careless programs drop the character from a name: white space and controls when they trim, what has no width
/// when they clean.
pub fn is_dropped(character: char) -> bool {
    let has_no_width =
        matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    has_no_width || character.is_whitespace() || character.is_control()
}

/// Whether some decoder takes `key` for one of the ASCII `names`. A key that is spelled exactly like a name equals it, too.
pub(super) fn folds_to_any(key: &[u8], names: &[&str]) -> bool {
    let folds = |key: &[u8]| names.iter().any(|name| folds_to(key, name.as_bytes()));
    folds(key)
        || !key.iter().all(u8::is_ascii_graphic) && cleaned(key).iter().any(|key| folds(key.as_bytes()))
}

/// The key as programs see it that drop what cannot be seen, and as those that end it at a zero byte or where it is no text.
#[cold]
fn cleaned(key: &[u8]) -> [String; 2] {
    let is_no_text = |character| character == char::REPLACEMENT_CHARACTER;
    let clean = |text: &str| text.chars().filter(|one| !is_dropped(*one) && !is_no_text(*one)).collect();
    let text = String::from_utf8_lossy(key);
    let end = text.find(|one| one == '\0' || is_no_text(one)).unwrap_or(text.len());
    [clean(&text), clean(&text[..end])]
}

fn folds_to(key: &[u8], name: &[u8]) -> bool {
    if key.len() == name.len() {
        return key.eq_ignore_ascii_case(name);
    }
    // Only the longer spellings of a letter make a key longer, and each by at most two bytes.
    if key.len() < name.len() || key.len() > name.len() * KELVIN.len() || key.is_ascii() {
        return false;
    }
    let mut rest = key;
    for letter in name {
        let longer: &[&[u8]] = match letter.to_ascii_lowercase() {
            b'i' => &[DOTTED_I, DOTLESS_I],
            b'k' => &[KELVIN],
            b's' => &[LONG_S],
            _ => &[],
        };
        let behind = match rest.split_first() {
            Some((first, behind)) if first.eq_ignore_ascii_case(letter) => Some(behind),
            _ => longer.iter().find_map(|longer| rest.strip_prefix(*longer)),
        };
        let Some(behind) = behind else { return false };
        rest = behind;
    }
    rest.is_empty()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Go's `foldRune`, the smallest rune of a simple-folding orbit, and Java's letters i. Only orbits with an ASCII letter
    /// matter here.
    pub(in crate::wire) fn folded(key: &str) -> String {
        key.chars()
            .map(|character| match character {
                '\u{130}' | '\u{131}' => 'I',
                '\u{17f}' => 'S',
                '\u{212a}' => 'K',
                other => other.to_ascii_uppercase(),
            })
            .collect()
    }

    #[track_caller]
    fn check(key: &str, name: &str, expect: bool) {
        assert_eq!(folds_to_any(key.as_bytes(), &[name]), expect, "{key} {name}");
        assert_eq!(folded(key) == folded(name), expect, "{key} {name}: both sides folded");
    }

    #[test]
    fn a_key_equals_a_name_as_go_folds_it() {
        for key in ["name", "Name", "NAME", "nAmE"] {
            check(key, "name", true);
        }
        for key in ["", "nam", "names", "nàme", "n\u{17f}me", "xname", "\u{ff2e}ame"] {
            check(key, "name", false);
        }
        for key in ["param\u{17f}", "PARAM\u{17f}", "params"] {
            check(key, "params", true);
        }
        for key in ["param\u{17f}\u{17f}", "param\u{212a}", "param\u{df}", "\u{17f}params"] {
            check(key, "params", false);
        }
        check("ta\u{17f}\u{212a}ID", "taskId", true);
        check("ta\u{212a}\u{17f}Id", "taskId", false);
        check("_META", "_meta", true);
        check("@", "`", false);
        for key in ["\u{130}d", "\u{131}d", "ID", "\u{131}D"] {
            check(key, "id", true);
        }
        check("task\u{131}\u{130}d", "taskId", false);
    }

    // cJSON compares keys as texts of C; others trim or clean them.
    #[test]
    fn a_key_equals_a_name_when_what_is_not_seen_is_dropped() {
        for key in [
            "name\0",
            "name\0x",
            "Name\0\0name",
            "name ",
            "\tname",
            "na\u{200b}me",
            "\u{feff}NAME",
            "name\u{fffd}",
        ] {
            assert!(folds_to_any(key.as_bytes(), &["name"]), "{key:?}");
        }
        assert!(folds_to_any(format!("name\0{}", "x".repeat(10_000)).as_bytes(), &["name"]));
        for key in ["x\0name", "names\0", "na me s", "nam\0e?", ""] {
            assert!(!folds_to_any(key.as_bytes(), &["name"]), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_folding_both_sides(key in "[a-dikIKsS_\u{130}\u{131}\u{17f}\u{212a}é/.]{0,8}", name in "[a-dikIKsS_/.]{1,6}") {
            let expect = folded(&key) == folded(&name);
            prop_assert_eq!(folds_to_any(key.as_bytes(), &[&name]), expect);
        }
    }
}
