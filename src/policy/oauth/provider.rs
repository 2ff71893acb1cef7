//! Signatures by `ring`, for `jsonwebtoken`: that crate has the formats of keys and algorithms, `ring` the arithmetic that TLS
//! uses as well. Verifies only; nothing here signs.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _: &EncodingKey| unsupported::<Box<dyn JwtSigner>>(),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier::new(*algorithm, key)?)),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| unsupported(),
        rsa_pub_components_from_public_key: |_| unsupported(),
        ec_pub_components_from_private_key: |_, _| unsupported::<(EllipticCurve, Vec<u8>, Vec<u8>)>(),
        ed_pub_components_from_private_key: |_, _| unsupported(),
        compute_digest: |_, _: ThumbprintHash| unsupported(),
    },
};

/// Makes this the process's provider. A second call changes nothing.
pub(super) fn install() {
    // The only error is that a provider is installed already, and no other one exists in this program.
    let _ = PROVIDER.install_default();
}

fn unsupported<T>() -> Result<T> {
    Err(Error::from(ErrorKind::UnsupportedAlgorithm))
}

/// How an algorithm verifies.
#[derive(Clone, Copy)]
enum Scheme {
    Rsa(&'static RsaParameters),
    Other(&'static dyn VerificationAlgorithm),
}

const SCHEMES: [(Algorithm, AlgorithmFamily, Scheme); 9] = {
    use AlgorithmFamily::{Ec, Ed, Rsa};
    [
        (Algorithm::ES256, Ec, Scheme::Other(&ECDSA_P256_SHA256_FIXED)),
        (Algorithm::ES384, Ec, Scheme::Other(&ECDSA_P384_SHA384_FIXED)),
        (Algorithm::RS256, Rsa, Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
        (Algorithm::RS384, Rsa, Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
        (Algorithm::RS512, Rsa, Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
        (Algorithm::PS256, Rsa, Scheme::Rsa(&RSA_PSS_2048_8192_SHA256)),
        (Algorithm::PS384, Rsa, Scheme::Rsa(&RSA_PSS_2048_8192_SHA384)),
        (Algorithm::PS512, Rsa, Scheme::Rsa(&RSA_PSS_2048_8192_SHA512)),
        (Algorithm::EdDSA, Ed, Scheme::Other(&ED25519)),
    ]
};

struct RingVerifier {
    algorithm: Algorithm,
    scheme: Scheme,
    key: DecodingKey,
}

impl RingVerifier {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<RingVerifier> {
        let known = SCHEMES.iter().find(|(known, ..)| *known == algorithm);
        let Some(&(_, family, scheme)) = known else { return unsupported() };
        if key.family() != family {
            return Err(Error::from(ErrorKind::InvalidKeyFormat));
        }
        Ok(RingVerifier { algorithm, scheme, key: key.clone() })
    }

    fn is_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match (self.scheme, self.key.kind()) {
            (Scheme::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            (Scheme::Other(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
            }
            (Scheme::Rsa(_) | Scheme::Other(_), _) => false,
        }
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        if self.is_signed(message, signature) { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
