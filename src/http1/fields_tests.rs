//! Tests of `fields`.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 16384, fields_max: 100 };

#[track_caller]
fn check(lines: &str, expect: Result<&[(&str, &str)], FramingError>) {
    let block = format!("{lines}\r\n");
    let mut spans = FieldSpans::default();
    let read = spans.read(block.as_bytes(), 0, &LIMITS);
    let fields = Fields::new(block.as_bytes(), &spans);
    let found: Vec<_> = fields.iter().map(|field| (field.name, field.value)).collect();
    let expect = expect.map(|fields| fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect());
    assert_eq!(read.map(|()| found), expect, "{lines:?}");
}

// RFC 9112, 5: `field-line = field-name ":" OWS field-value OWS`
#[test]
fn names_are_kept_and_values_trimmed_of_space_and_tab_only() {
    check("", Ok(&[]));
    check("A: b\r\n", Ok(&[("A", "b")]));
    check("A:b\r\nc: \t d e \t \r\n", Ok(&[("A", "b"), ("c", "d e")]));
    check("A:\r\nB:   \r\n", Ok(&[("A", ""), ("B", "")]));
    check("A: caf\u{e9}\r\n", Ok(&[("A", "caf\u{e9}")]));
    check("!#$%&'*+-.^_`|~09azAZ: b\r\n", Ok(&[("!#$%&'*+-.^_`|~09azAZ", "b")]));
}

#[test]
fn lines_are_copied_as_they_would_be_written() {
    let block = b"A: b\r\nDrop: x\r\nC:d\r\nE: f \r\nG: h\r\nI: j\r\nDrop: y\r\nK: \r\nL:\r\n\r\n";
    let mut spans = FieldSpans::default();
    spans.read(block, 0, &LIMITS).unwrap();
    let mut out = Vec::new();
    Fields::new(block, &spans).append_lines(&mut out, |field| field.name != b"Drop");
    let expect = "A: b\r\nC: d\r\nE: f\r\nG: h\r\nI: j\r\nK: \r\nL: \r\n";
    assert_eq!(std::str::from_utf8(&out).unwrap(), expect);
}

#[test]
fn every_malformed_line_is_refused_for_its_reason() {
    for (lines, error) in [
        ("A : b\r\n", FramingError::SpaceBeforeColon),
        ("A\t: b\r\n", FramingError::SpaceBeforeColon),
        (" A: b\r\n", FramingError::SpaceBeforeColon),
        ("A: b\r\n c\r\n", FramingError::ObsFold),
        ("A: b\r\n\tc: d\r\n", FramingError::ObsFold),
        (": b\r\n", FramingError::FieldName),
        ("A\r\n", FramingError::FieldName),
        ("(A): b\r\n", FramingError::FieldName),
        ("A\u{e9}: b\r\n", FramingError::FieldName),
        ("A\0: b\r\n", FramingError::ControlByte),
        ("A\u{b}: b\r\n", FramingError::ControlByte),
        ("A: b\0c\r\n", FramingError::ControlByte),
        ("A: b\u{1b}c\r\n", FramingError::ControlByte),
        ("A: b\u{7f}\r\n", FramingError::ControlByte),
        ("A: b\rC: d\r\n", FramingError::BareCr),
        ("A\r: b\r\n", FramingError::BareCr),
        ("A: b\nC: d\r\n", FramingError::BareLf),
        ("\nA: b\r\n", FramingError::BareLf),
    ] {
        check(lines, Err(error));
    }
}

/// The same by the rules, one byte at a time: where the name and the value are in a line without its CRLF.
fn oracle(content: &[u8]) -> Result<[usize; 4], FramingError> {
    let name_length = content.iter().position(|&byte| !is_token_byte(byte)).ok_or(FramingError::FieldName)?;
    match content[name_length] {
        b':' if name_length > 0 => {}
        b' ' | b'\t' if name_length == 0 => return Err(FramingError::ObsFold),
        b' ' | b'\t' => return Err(FramingError::SpaceBeforeColon),
        b'\r' => return Err(FramingError::BareCr),
        byte if byte < b' ' || byte == 0x7f => return Err(FramingError::ControlByte),
        _ => return Err(FramingError::FieldName),
    }
    let raw = &content[name_length + 1..];
    if raw.iter().any(|&byte| byte == 0x7f || byte < b' ' && byte != b'\t') {
        return Err(if raw.contains(&b'\r') { FramingError::BareCr } else { FramingError::ControlByte });
    }
    let lead = raw.iter().position(|&byte| !is_space(byte)).unwrap_or(raw.len());
    let start = name_length + 1 + lead;
    Ok([0, name_length, start, start + trim(raw).len()])
}

proptest! {
    #[test]
    fn a_field_line_is_what_single_bytes_say(content in field_like()) {
        let block = [content.as_slice(), b"\r\n"].concat();
        let found = field_line(&block, 0);
        let Ok((end, next)) = line(&block, 0) else {
            prop_assert_eq!(found, None);
            return Ok(());
        };
        let content = &block[..end];
        let places = |span: Span| [span.name.0, span.name.1, span.value.0, span.value.1].map(|at| at as usize);
        let read = found.map(|(span, _)| places(span)).ok_or_else(|| fault(content));
        prop_assert_eq!(read, oracle(content));
        if let Some((span, after)) = found {
            prop_assert_eq!((after, span.known), (next, KnownField::recognise(&content[..span.name.1 as usize])));
        }
    }
}

fn field_like() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"Content-Type".to_vec()),
        Just(b": ".to_vec()),
        Just(b"value and more of the value".to_vec()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
        proptest::collection::vec(proptest::sample::select(b"\r\n\t :a\x7f\x80".to_vec()), 0..4),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

#[test]
fn too_many_fields_are_refused() {
    let lines = "A: b\r\n".repeat(100);
    let hundred = vec![("A", "b"); 100];
    check(&lines, Ok(&hundred));
    check(&format!("{lines}A: b\r\n"), Err(FramingError::TooManyFields));
}

#[test]
fn known_fields_are_counted_whatever_their_case() {
    let block = b"HOST: a\r\nX-A: 1\r\naccept: b\r\nAccept: c\r\n\r\n";
    let mut spans = FieldSpans::default();
    spans.read(block, 0, &LIMITS).unwrap();
    let fields = Fields::new(block, &spans);
    assert_eq!(fields.occurs(KnownField::Host), Occurs::Once(b"a"));
    assert_eq!(fields.occurs(KnownField::Accept), Occurs::Repeated);
    assert_eq!(fields.occurs(KnownField::Cookie), Occurs::Never);
    assert_eq!(fields.occurs(KnownField::Other), Occurs::Never);
    spans.read(b"\r\n", 0, &LIMITS).unwrap();
    assert_eq!(
        Fields::new(b"\r\n", &spans).occurs(KnownField::Host),
        Occurs::Never,
        "storage is reused, not its content"
    );
}

#[track_caller]
fn check_connection(lines: &str, expect: Result<(bool, bool, bool, &[&str]), FramingError>) {
    let block = format!("{lines}Te: a\r\nX-A: b\r\nAuthorization: c\r\n\r\n");
    let mut spans = FieldSpans::default();
    let read = spans.read(block.as_bytes(), 0, &LIMITS);
    let ConnectionOptions { close, keep_alive, nominates_relied } = spans.connection();
    let nominated: Vec<_> = Fields::new(block.as_bytes(), &spans)
        .iter()
        .filter(|field| field.nominated)
        .map(|field| std::str::from_utf8(field.name).unwrap())
        .collect();
    let found = read.map(|()| (close, keep_alive, nominates_relied, nominated.as_slice()));
    assert_eq!(found, expect, "{lines:?}");
}

// RFC 9110, 7.6.1: "Intermediaries MUST parse a received Connection header field before a message is forwarded".
#[test]
fn connection_options_are_read_from_every_line() {
    check_connection("", Ok((false, false, false, &[])));
    check_connection("Connection: close\r\n", Ok((true, false, false, &[])));
    check_connection("Connection: Keep-Alive, x-a\r\n", Ok((false, true, false, &["X-A"])));
    check_connection("Connection: TE\r\nConnection: , ,Close\r\n", Ok((true, false, false, &["Te"])));
    check_connection("Connection: authorization\r\n", Ok((false, false, true, &["Authorization"])));
    check_connection("Connection: Content_Length\r\n", Ok((false, false, true, &[])));
    for lines in ["Connection: \"close\", @\r\n", "Connection: a b\r\n", "Connection: close;q=1\r\n"] {
        check_connection(lines, Err(FramingError::Nomination));
    }
    let many = format!("Connection: close{}\r\n", ",x".repeat(32));
    check_connection(&many, Err(FramingError::Nomination));
}

#[test]
fn no_value_is_shown_for_debugging() {
    let block = b"Authorization: Bearer s3cret\r\n\r\n";
    let mut spans = FieldSpans::default();
    spans.read(block, 0, &LIMITS).unwrap();
    let fields = Fields::new(block, &spans);
    let shown = format!("{fields:?} {:?} {spans:?}", fields.occurs(KnownField::Authorization));
    assert!(!shown.contains("s3cret") && shown.contains("Authorization: 13 bytes"), "{shown}");
}
