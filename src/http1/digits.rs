//! Numbers and addresses in digits, as heads and log lines carry them, without the machinery of formatting.

use std::io::Write;
use std::net::IpAddr;

/// A number's decimal digits.
pub(crate) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(crate) fn new(mut number: u64) -> Decimal {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Decimal { digits, start };
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// The last `N` decimal digits of a number.
pub(crate) fn last_digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Appends a number.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    // Most numbers of a head or a log line are short.
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&last_digits::<2>(number)),
        100..1000 => out.extend_from_slice(&last_digits::<3>(number)),
        _ => out.extend_from_slice(Decimal::new(number).as_bytes()),
    }
}

/// An address as it is usually written: made once for a connection, used for each of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressText {
    bytes: [u8; AddressText::LENGTH_MAX],
    length: u8,
}

impl AddressText {
    /// The longest is an IPv6 address that ends in an IPv4 one.
    const LENGTH_MAX: usize = 45;

    pub(crate) fn new(address: IpAddr) -> AddressText {
        let mut bytes = [0; AddressText::LENGTH_MAX];
        let mut rest = bytes.as_mut_slice();
        // Writing cannot fail: there is room for the longest.
        let _ = write!(rest, "{address}");
        let left = rest.len();
        AddressText { bytes, length: (AddressText::LENGTH_MAX - left) as u8 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_written_as_usual() {
        for number in [0, 7, 9, 10, 99, 100, 999, 1000, 4_194_304, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(Decimal::new(number).as_bytes(), out);
        }
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        for address in ["127.0.0.1", "10.200.30.4", "255.255.255.255", "::1", "2001:db8::7", longest] {
            assert_eq!(AddressText::new(address.parse().unwrap()).as_bytes(), address.as_bytes());
        }
    }
}
