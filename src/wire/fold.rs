//! Keys that some decoders take for a name although they are spelled differently.
//!
//! Go's `encoding/json` matches keys without regard to case, by Unicode's simple folding, and the last one wins; Jackson
//! and .NET do so on request. Must not know which names are read.

/// The non-ASCII characters that fold to an ASCII letter: U+017F (long s) and U+212A (Kelvin sign).
const LONG_S: &[u8] = "\u{17f}".as_bytes();
const KELVIN: &[u8] = "\u{212a}".as_bytes();

/// Whether `key` equals one of the ASCII `names` under folding. A key that is spelled exactly like a name equals it, too.
pub(super) fn folds_to_any(key: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| folds_to(key, name.as_bytes()))
}

fn folds_to(key: &[u8], name: &[u8]) -> bool {
    if key.len() == name.len() {
        return key.eq_ignore_ascii_case(name);
    }
    // Only the two longer spellings of a letter make a key longer, and each by at most two bytes.
    if key.len() < name.len() || key.len() > name.len() * KELVIN.len() || key.is_ascii() {
        return false;
    }
    let mut rest = key;
    for letter in name {
        let longer = match letter.to_ascii_lowercase() {
            b's' => LONG_S,
            b'k' => KELVIN,
            _ => &[],
        };
        rest = match rest.split_first() {
            Some((first, behind)) if first.eq_ignore_ascii_case(letter) => behind,
            _ if !longer.is_empty() => match rest.strip_prefix(longer) {
                Some(behind) => behind,
                None => return false,
            },
            _ => return false,
        };
    }
    rest.is_empty()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Go's `foldRune`: the smallest rune of a simple-folding orbit. Only orbits with an ASCII letter matter here.
    pub(in crate::wire) fn fold_as_go(key: &str) -> String {
        key.chars()
            .map(|character| match character {
                '\u{17f}' => 'S',
                '\u{212a}' => 'K',
                other => other.to_ascii_uppercase(),
            })
            .collect()
    }

    #[track_caller]
    fn check(key: &str, name: &str, expect: bool) {
        assert_eq!(folds_to_any(key.as_bytes(), &[name]), expect, "{key} {name}");
        assert_eq!(fold_as_go(key) == fold_as_go(name), expect, "{key} {name}: by Go's rules");
    }

    #[test]
    fn a_key_equals_a_name_as_go_folds_it() {
        for key in ["name", "Name", "NAME", "nAmE"] {
            check(key, "name", true);
        }
        for key in ["", "nam", "names", "nàme", "n\u{17f}me", "name ", "\u{ff2e}ame"] {
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
        check("\u{1f}META", "_meta", false);
        check("@", "`", false);
    }

    proptest! {
        #[test]
        fn agrees_with_folding_both_sides(key in "[a-dkKsS_\u{17f}\u{212a}é/.]{0,8}", name in "[a-dkKsS_/.]{1,6}") {
            let expect = fold_as_go(&key) == fold_as_go(&name);
            prop_assert_eq!(folds_to_any(key.as_bytes(), &[&name]), expect);
        }
    }
}
