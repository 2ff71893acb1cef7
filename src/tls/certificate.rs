//! What a certificate says of itself: names and time. Must not judge who signed it.

use sha2::{Digest, Sha256};
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::{Certificate, TbsCertificate};

/// RFC 8017: rsaEncryption.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The subject alternative names and the validity of a certificate. Times are seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// DNS names in lower case; one may begin with `*.`.
    pub(crate) hosts: Vec<String>,
    pub(crate) uris: Vec<String>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// The length of an RSA key; 0 for others.
    pub(crate) rsa_bits: usize,
}

impl Facts {
    /// Reads a certificate; none where it is no X.509 certificate, or its names cannot be read without doubt.
    pub(crate) fn of(der: &[u8]) -> Option<Facts> {
        let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
        let names = certificate.get::<SubjectAltName>().ok()?;
        let (mut hosts, mut uris) = (Vec::new(), Vec::new());
        for name in names.map(|(_critical, names)| names.0).unwrap_or_default() {
            if let GeneralName::DnsName(host) = name {
                hosts.push(host.as_str().to_ascii_lowercase());
            } else if let GeneralName::UniformResourceIdentifier(uri) = name {
                uris.push(uri.as_str().to_owned());
            }
        }
        let rsa_bits = rsa_bits(&certificate);
        let validity = certificate.validity;
        let (not_before, not_after) = (validity.not_before, validity.not_after);
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        Some(Facts { hosts, uris, not_before: seconds(not_before), not_after: seconds(not_after), rsa_bits })
    }
}

/// The length of the modulus of an RSA key.
fn rsa_bits(certificate: &TbsCertificate) -> usize {
    let key = &certificate.subject_public_key_info;
    let modulus = || {
        let bytes = key.subject_public_key.as_bytes()?;
        // RFC 8017, A.1.1: modulus and exponent.
        let mut reader = SliceReader::new(bytes).ok()?;
        let read = reader.sequence(|fields| {
            let modulus = UintRef::decode(fields)?.as_bytes().len();
            UintRef::decode(fields).map(|_exponent| modulus)
        });
        read.ok()
    };
    if key.algorithm.oid == RSA { modulus().unwrap_or(0) * 8 } else { 0 }
}

/// SHA-256 of a certificate as it is sent: what `openssl x509 -fingerprint -sha256` shows.
pub(crate) fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}
