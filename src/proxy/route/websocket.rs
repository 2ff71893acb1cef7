//! Where the frames of a WebSocket begin and end (RFC 6455, 5.2): a close frame must not be sent inside another frame.
//!
//! Reads lengths only. Must not know what frames mean.

/// A close frame of a server: status 1001, "going away".
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// The position in a sequence of frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; 14],
    have: usize,
    payload: u64,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&first, behind)) = rest.split_first() {
            if self.payload > 0 {
                let length = usize::try_from(self.payload).unwrap_or(usize::MAX).min(rest.len());
                self.payload -= length as u64;
                rest = &rest[length..];
                continue;
            }
            self.head[self.have] = first;
            self.have += 1;
            rest = behind;
            if let Some(payload) = self.payload_of_head() {
                self.payload = payload;
                self.have = 0;
            }
        }
    }

    /// Whether no frame is incomplete.
    pub(crate) fn is_between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// The length of the payload, once the frame's head is complete.
    fn payload_of_head(&self) -> Option<u64> {
        let second = (self.have >= 2).then_some(self.head[1])?;
        let length = second & 0x7f;
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let number =
            || self.head[2..2 + extended].iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        let complete = self.have == 2 + extended + mask;
        complete.then(|| if extended == 0 { u64::from(length) } else { number() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask_bit | length as u8),
            126..65536 => {
                frame.push(mask_bit | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask_bit | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0xff; 4][..if masked { 4 } else { 0 }]);
        frame.resize(frame.len() + length, 0x7f);
        frame
    }

    #[test]
    fn frames_of_any_length_end_where_the_next_begins() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
            for masked in [false, true] {
                let frame = frame(length, masked);
                for piece in [1, 7, 100_000] {
                    let mut frames = Frames::default();
                    let mut seen = 0;
                    for bytes in frame.chunks(piece) {
                        frames.push(bytes);
                        seen += bytes.len();
                        assert_eq!(frames.is_between(), seen == frame.len(), "{length} {masked} at {seen}");
                    }
                }
            }
        }
    }

    #[test]
    fn several_frames_in_one_piece_are_separated() {
        let mut frames = Frames::default();
        frames.push(&[frame(3, false), frame(200, false), GOING_AWAY.to_vec()].concat());
        assert!(frames.is_between());
        frames.push(&frame(3, false)[..4]);
        assert!(!frames.is_between());
    }
}
