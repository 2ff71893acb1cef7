//! Messages of PostgreSQL's protocol (version 3): those of the extended query that the pipeline sends, and the frames of responses.
//!
//! Must not know what they mean together.

use tokio_postgres::types::Type;

/// Requests in the order in which they are sent.
pub(super) struct Requests(pub(super) Vec<u8>);

/// A request that the protocol cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Requests {
    pub(super) fn with_capacity(bytes: usize) -> Requests {
        Requests(Vec::with_capacity(bytes))
    }

    /// Parse: compiles `text` under a name; the empty one is replaced by the next.
    pub(super) fn parse(&mut self, name: &str, text: &str, types: &[Type]) -> Result<(), TooLong> {
        self.message(b'P', |requests| {
            requests.text(name);
            requests.text(text);
            requests.count(types.len())?;
            for type_ in types {
                requests.0.extend_from_slice(&type_.oid().to_be_bytes());
            }
            Ok(())
        })
    }

    /// Bind and Execute: runs a compiled statement with values in text form; all rows are sent, in text form.
    pub(super) fn run<'v>(
        &mut self,
        name: &str,
        values: impl ExactSizeIterator<Item = Option<&'v str>>,
    ) -> Result<(), TooLong> {
        self.message(b'B', |requests| {
            requests.text("");
            requests.text(name);
            requests.count(0)?;
            requests.count(values.len())?;
            for value in values {
                match value {
                    Some(value) => {
                        let length = i32::try_from(value.len()).map_err(|_| TooLong)?;
                        requests.0.extend_from_slice(&length.to_be_bytes());
                        requests.0.extend_from_slice(value.as_bytes());
                    }
                    None => requests.0.extend_from_slice(&(-1_i32).to_be_bytes()),
                }
            }
            requests.count(0)
        })?;
        self.message(b'E', |requests| {
            requests.text("");
            requests.0.extend_from_slice(&0_i32.to_be_bytes());
            Ok(())
        })
    }

    /// Sync: the end. After an error the server skips all up to here.
    pub(super) fn sync(&mut self) {
        self.0.extend_from_slice(b"S\0\0\0\x04");
    }

    fn message(
        &mut self,
        tag: u8,
        body: impl FnOnce(&mut Requests) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        self.0.push(tag);
        let begun = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        body(self)?;
        let length = i32::try_from(self.0.len() - begun).map_err(|_| TooLong)?;
        self.0[begun..begun + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn count(&mut self, count: usize) -> Result<(), TooLong> {
        let count = u16::try_from(count).map_err(|_| TooLong)?;
        self.0.extend_from_slice(&count.to_be_bytes());
        Ok(())
    }
}

/// The head of a response's frame: its tag, and how many bytes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) tag: u8,
    pub(super) length: usize,
}

impl Head {
    pub(super) const BYTES: usize = 5;

    /// `None` while the head is not complete; the error is a length that no frame has.
    pub(super) fn of(bytes: &[u8]) -> Result<Option<Head>, TooLong> {
        let [tag, a, b, c, d, ..] = *bytes else { return Ok(None) };
        // The length counts itself.
        let length = i32::from_be_bytes([a, b, c, d]).checked_sub(4).ok_or(TooLong)?;
        Ok(Some(Head { tag, length: usize::try_from(length).map_err(|_| TooLong)? }))
    }
}

/// The only column of a DataRow; `None` for a row of another form.
pub(super) fn only_column(body: &[u8]) -> Option<&[u8]> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    let (length, value) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    (u16::from_be_bytes(*count) == 1 && length == value.len()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    // PostgreSQL, 55.7: "Length of message contents in bytes, including self."
    #[test]
    fn requests_have_the_bytes_of_the_protocol() {
        let mut requests = Requests::with_capacity(0);
        requests.parse("q1", "SELECT $1", &[Type::INT8]).unwrap();
        requests.run("q1", [Some("7"), None].into_iter()).unwrap();
        requests.sync();
        let expected: &[u8] = b"P\0\0\0\x17q1\0SELECT $1\0\0\x01\0\0\0\x14\
            B\0\0\0\x17\0q1\0\0\0\0\x02\0\0\0\x017\xff\xff\xff\xff\0\0\
            E\0\0\0\x09\0\0\0\0\0\
            S\0\0\0\x04";
        assert_eq!(requests.0, expected);
    }

    #[test]
    fn a_frame_is_read_by_its_head() {
        assert_eq!(Head::of(b"Z\0\0\0"), Ok(None));
        assert_eq!(Head::of(b"Z\0\0\0\x05I"), Ok(Some(Head { tag: b'Z', length: 1 })));
        assert_eq!(Head::of(b"Z\0\0\0\x03"), Err(TooLong));
        assert_eq!(Head::of(b"Z\x80\0\0\x00"), Err(TooLong));
    }

    #[test]
    fn a_row_has_one_column_that_is_not_null() {
        assert_eq!(only_column(b"\0\x01\0\0\0\x02{}"), Some(&b"{}"[..]));
        for other in
            [&b"\0\x01\xff\xff\xff\xff"[..], b"\0\x02\0\0\0\x01a\0\0\0\x01b", b"\0\x01\0\0\0\x02{", b""]
        {
            assert_eq!(only_column(other), None);
        }
    }
}
