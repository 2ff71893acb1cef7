//! Sixty-four bytes at a time: which of them equal a given byte, as one bit each.
//!
//! Written in plain loops that the compiler turns into vector instructions on every target; intrinsics would need
//! `unsafe`, which has no place in the core.

pub(super) const BLOCK: usize = 64;

const WORD: usize = size_of::<u64>();

/// The bit that stands for byte `n` of the block: that of its word.
const WORD_BITS: [u8; BLOCK] = {
    let mut bits = [0; BLOCK];
    let mut byte = 0;
    while byte < BLOCK {
        bits[byte] = 1 << (byte / WORD);
        byte += 1;
    }
    bits
};

/// A block of bytes.
#[derive(Clone, Copy)]
pub(super) struct Block([u8; BLOCK]);

/// Some bytes of a block.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    /// Bit `w` of byte `b`: byte `b` of word `w`.
    columns: u64,
}

impl Block {
    #[inline]
    pub(super) fn new(bytes: &[u8; BLOCK]) -> Block {
        Block(*bytes)
    }

    /// Every byte with these bits set.
    #[inline]
    pub(super) fn with_bits(self, bits: u8) -> Block {
        Block(self.0.map(|byte| byte | bits))
    }

    /// Which bytes equal `byte`.
    #[inline]
    pub(super) fn equal(&self, byte: u8) -> Marks {
        let mut marks = [0; BLOCK];
        for ((mark, candidate), bit) in marks.iter_mut().zip(self.0).zip(WORD_BITS) {
            *mark = if candidate == byte { bit } else { 0 };
        }
        // The words' bits differ, so none is lost.
        let (words, _) = marks.as_chunks::<WORD>();
        Marks { columns: words.iter().fold(0, |columns, word| columns | u64::from_le_bytes(*word)) }
    }
}

impl Marks {
    /// No byte is marked: cheaper to tell than which ones are.
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.columns == 0
    }

    /// Bit `n` of the result: byte `n` is marked.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        transpose(self.columns)
    }
}

/// The 8 by 8 bits of `matrix`, rows as bytes, with rows and columns exchanged: in squares of 1, 2 and 4.
#[inline]
fn transpose(matrix: u64) -> u64 {
    let exchange = |matrix: u64, distance: u32, upper: u64| {
        let change = (matrix ^ matrix >> distance) & upper;
        matrix ^ change ^ change << distance
    };
    let matrix = exchange(matrix, 7, 0x00AA_00AA_00AA_00AA);
    let matrix = exchange(matrix, 14, 0x0000_CCCC_0000_CCCC);
    exchange(matrix, 28, 0x0000_0000_F0F0_F0F0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_exactly_the_equal_bytes(low: [u8; 32], high: [u8; 32], wanted: u8, bits: u8) {
            let mut bytes = [0; BLOCK];
            bytes[..32].copy_from_slice(&low);
            bytes[32..].copy_from_slice(&high);
            for wanted in [wanted, low[0], low[7], high[31], wanted ^ 0x80] {
                for bits in [0, bits] {
                    let block = Block::new(&bytes).with_bits(bits);
                    let expect = (0..BLOCK).fold(0, |all, n| all | u64::from(bytes[n] | bits == wanted) << n);
                    let marks = block.equal(wanted);
                    prop_assert_eq!((marks.bits(), marks.is_empty()), (expect, expect == 0));
                }
            }
        }
    }
}
