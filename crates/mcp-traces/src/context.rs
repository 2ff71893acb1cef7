//! `traceparent` of W3C Trace Context: read strictly, written as version 00.
//!
//! Pure. Must not know where the header comes from, nor whether the caller is believed.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;
/// The rightmost 56 bits of the trace id are random (Trace Context, level 2).
const RANDOM: u8 = 2;

/// The id of a trace: never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// The id of a span: never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

/// Whether the spans of a trace are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    /// They are.
    Recorded,
    /// The trace has an id, and no spans.
    Unrecorded,
}

/// What a caller says of the trace that its request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: TraceId,
    /// The caller's span.
    pub parent: SpanId,
    pub sampled: Sampled,
    is_random: bool,
}

/// The place of one request in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    /// The span of the request.
    pub span: SpanId,
    /// The caller's span; none where the trace begins here.
    pub parent: Option<SpanId>,
    pub sampled: Sampled,
    is_random: bool,
}

impl TraceId {
    pub fn new(number: u128) -> Option<TraceId> {
        NonZeroU128::new(number).map(TraceId)
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The 56 bits that decide whether a trace is sampled by a ratio.
    pub(crate) fn randomness(self) -> u64 {
        // The lower half, and of it the lower seven bytes.
        (self.0.get() as u64) & (u64::MAX >> 8)
    }

    /// As it stands in headers and logs.
    pub fn hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        let (high, low) = text.split_at_mut(16);
        high.copy_from_slice(&hex_digits((self.0.get() >> 64) as u64));
        low.copy_from_slice(&hex_digits(self.0.get() as u64));
        text
    }
}

impl SpanId {
    pub fn new(number: u64) -> Option<SpanId> {
        NonZeroU64::new(number).map(SpanId)
    }

    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TraceParent {
    /// Trace Context, 3.2: `version "-" trace-id "-" parent-id "-" trace-flags` in lower-case hex, ids not all zero. A later
    /// version may carry more parts; version 00 has exactly four, and ff is forbidden.
    pub fn parse(value: &[u8]) -> Option<TraceParent> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
        if [known[2], known[35], known[52]] != [b'-'; 3] {
            return None;
        }
        let complete = match version {
            b"00" => more.is_empty(),
            b"ff" => false,
            _ => more.first().is_none_or(|byte| *byte == b'-'),
        };
        hex(version).filter(|_| complete)?;
        let flags = u8::try_from(hex(flags)?).ok()?;
        Some(TraceParent {
            trace_id: TraceId::new(hex(trace)?)?,
            parent: SpanId::new(u64::try_from(hex(parent)?).ok()?)?,
            sampled: if flags & SAMPLED == 0 { Sampled::Unrecorded } else { Sampled::Recorded },
            is_random: flags & RANDOM != 0,
        })
    }
}

impl TraceContext {
    /// The first span of a trace.
    pub fn begin(trace_id: TraceId, span: SpanId, sampled: Sampled) -> TraceContext {
        TraceContext { trace_id, span, parent: None, sampled, is_random: true }
    }

    /// A span below the caller's.
    pub fn continued(caller: &TraceParent, span: SpanId, sampled: Sampled) -> TraceContext {
        let TraceParent { trace_id, parent, is_random, .. } = *caller;
        TraceContext { trace_id, span, parent: Some(parent), sampled, is_random }
    }

    pub fn is_recorded(&self) -> bool {
        self.sampled == Sampled::Recorded
    }

    /// The header of a request that is sent on as this span.
    pub fn traceparent(&self, span: SpanId) -> [u8; LENGTH] {
        let mut text = [b'-'; LENGTH];
        let sampled = if self.is_recorded() { SAMPLED } else { 0 };
        let flags = sampled | if self.is_random { RANDOM } else { 0 };
        text[..2].copy_from_slice(b"00");
        text[3..35].copy_from_slice(&self.trace_id.hex());
        text[36..52].copy_from_slice(&hex_digits(span.0.get()));
        text[53..].copy_from_slice(&[b'0', b'0' + flags]);
        text
    }
}

/// The number that lower-case hexadecimal digits write.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// Sixteen lower-case hexadecimal digits.
fn hex_digits(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&eight_hex_digits((number >> 32) as u32));
    low.copy_from_slice(&eight_hex_digits(number as u32));
    digits
}

/// Eight of them at once: each gets a byte of a word.
#[inline]
fn eight_hex_digits(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 0xff;
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & (ONES * 0x0f);
    // Six more than nine reaches the next bit.
    let letters = ((digits + ONES * 6) >> 4) & ONES;
    (digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_written_as_rust_writes_hexadecimal(trace in 1..=u128::MAX, span in 1..=u64::MAX) {
            let context = TraceContext::begin(TraceId::new(trace).unwrap(), SpanId::new(1).unwrap(), Sampled::Recorded);
            let written = context.traceparent(SpanId::new(span).unwrap());
            prop_assert_eq!(String::from_utf8_lossy(&written), format!("00-{trace:032x}-{span:016x}-03"));
        }
    }

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    // Trace Context, 3.2.2: what a receiver must take for invalid.
    #[test]
    fn a_traceparent_is_refused_unless_it_is_plainly_valid() {
        let refused = [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
        ];
        for text in refused {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_traceparent_of_a_later_version_may_have_more_parts() {
        for text in [
            VALID.to_owned(),
            VALID.replacen("00", "01", 1),
            VALID.replacen("00", "cc", 1) + "-what-the-future-brings",
        ] {
            let parent = TraceParent::parse(text.as_bytes()).unwrap();
            assert_eq!(parent.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(parent.parent.to_string(), "b7ad6b7169203331");
            assert_eq!(parent.sampled, Sampled::Recorded);
        }
    }

    #[test]
    fn flags_are_read_by_their_bits_and_the_random_one_is_passed_on() {
        let span = SpanId::new(7).unwrap();
        for (given, sampled, written) in [
            ("00", Sampled::Unrecorded, "00"),
            ("01", Sampled::Recorded, "01"),
            ("02", Sampled::Unrecorded, "02"),
            ("03", Sampled::Recorded, "03"),
            ("fd", Sampled::Recorded, "01"),
        ] {
            let text = VALID[..53].to_owned() + given;
            let parent = TraceParent::parse(text.as_bytes()).unwrap();
            assert_eq!(parent.sampled, sampled, "{given}");
            let context = TraceContext::continued(&parent, span, parent.sampled);
            let header = String::from_utf8(context.traceparent(span).to_vec()).unwrap();
            assert_eq!(header, format!("{}-0000000000000007-{written}", &VALID[..35]));
        }
    }

    proptest! {
        #[test]
        fn a_traceparent_that_is_written_is_read_as_it_was(
            trace in 1..=u128::MAX, span in 1..=u64::MAX, recorded: bool,
        ) {
            let sampled = if recorded { Sampled::Recorded } else { Sampled::Unrecorded };
            let (trace, span) = (TraceId::new(trace).unwrap(), SpanId::new(span).unwrap());
            let header = TraceContext::begin(trace, span, sampled).traceparent(span);
            let parent = TraceParent::parse(&header).unwrap();
            prop_assert_eq!((parent.trace_id, parent.parent, parent.sampled), (trace, span, sampled));
            prop_assert_eq!(trace.hex().to_vec(), trace.to_string().into_bytes());
        }

        #[test]
        fn no_bytes_panic_and_whatever_is_read_has_the_form(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(TraceParent::parse(&value).is_none_or(|_| value.len() >= LENGTH));
        }

        // One byte changed: either it is refused, or the change shows in what was read.
        #[test]
        fn a_changed_byte_of_a_traceparent_is_refused_or_shows(place in 0..LENGTH, byte: u8) {
            let mut value = VALID.as_bytes().to_vec();
            value[place] = byte;
            if let Some(parent) = TraceParent::parse(&value) {
                let version_or_flags = !(2..=52).contains(&place);
                let span = parent.parent;
                let written = TraceContext::continued(&parent, span, parent.sampled).traceparent(span);
                prop_assert!(version_or_flags || written[..] == value[..]);
            }
        }
    }
}
