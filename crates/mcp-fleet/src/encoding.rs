//! Bytes of what members exchange: fixed-width numbers and length-prefixed texts, nothing else.
//!
//! A reader returns none for whatever is cut short or too long; it never panics and never allocates more than it was given.

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

/// Takes values from the front of a buffer.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl Writer {
    /// A number of 8 bytes.
    pub fn number(&mut self, value: u64) -> &mut Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Writer {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A flag, and bytes if there are some.
    pub fn optional(&mut self, value: Option<&[u8]>) -> &mut Writer {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            self.bytes(value);
        }
        self
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl<'a> Reader<'a> {
    /// Begins at the front.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// A number of 8 bytes.
    pub fn number(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*head))
    }

    /// Bytes behind their length, at most `max` of them.
    pub fn bytes(&mut self, max: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= max)?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    /// A text behind its length, at most `max` bytes.
    pub fn text(&mut self, max: usize) -> Option<String> {
        Some(str::from_utf8(self.bytes(max)?).ok()?.to_owned())
    }

    /// A flag, and bytes if there are some.
    pub fn optional(&mut self, max: usize) -> Option<Option<&'a [u8]>> {
        match self.number()? {
            0 => Some(None),
            1 => self.bytes(max).map(Some),
            _ => None,
        }
    }

    /// `Some` if nothing is left.
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
