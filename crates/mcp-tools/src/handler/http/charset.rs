//! Bytes as text, in the few charsets that REST services use.
//!
//! Another charset, and bytes that are not of the declared one, are errors: a wrong letter would be an error that nothing
//! shows. Must not know media types.

/// What Windows-1252 has in place of the control characters 0x80 to 0x9F; browsers read ISO-8859-1 the same way.
const WINDOWS_1252: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2c6}',
    '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}', '\u{90}', '\u{2018}',
    '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}',
    '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

/// The text, or the name of the charset that it is not in. Without a name it is UTF-8.
pub(super) fn decode(bytes: &[u8], charset: Option<&str>) -> Result<String, String> {
    let lacking = |charset: &str| charset.to_owned();
    match charset {
        None | Some("utf-8" | "utf8" | "us-ascii" | "ascii") => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            String::from_utf8(bytes.to_vec()).map_err(|_| lacking("UTF-8"))
        }
        Some("iso-8859-1" | "iso8859-1" | "latin1" | "windows-1252" | "cp1252") => {
            Ok(bytes.iter().map(|byte| windows_1252(*byte)).collect())
        }
        Some(name @ ("utf-16" | "utf-16le" | "utf-16be")) => utf_16(bytes, name).ok_or_else(|| lacking(name)),
        Some(other) => Err(lacking(other)),
    }
}

fn windows_1252(byte: u8) -> char {
    let special = byte.checked_sub(0x80).and_then(|place| WINDOWS_1252.get(usize::from(place)));
    special.copied().unwrap_or_else(|| char::from(byte))
}

fn utf_16(bytes: &[u8], name: &str) -> Option<String> {
    let (bytes, little) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, true),
        [0xfe, 0xff, rest @ ..] => (rest, false),
        all => (all, name == "utf-16le"),
    };
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let units = pairs.filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
    let units = units.map(|pair| if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) });
    char::decode_utf16(units).collect::<Result<_, _>>().ok()
}
