//! TPMT_PUBLIC (part 2, section 12.2.4) of an attestation key, and what it signed.

use super::{ECDSA, Malformed, NULL, Reader, SHA256};

/// TPM_ALG_ECC.
const ECC: u16 = 0x0023;
/// TPM_ECC_NIST_P256.
const P256: u16 = 0x0003;

/// TPMA_OBJECT (part 2, section 8.3).
mod attribute {
    pub const FIXED_TPM: u32 = 1 << 1;
    pub const FIXED_PARENT: u32 = 1 << 4;
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    pub const RESTRICTED: u32 = 1 << 16;
    pub const DECRYPT: u32 = 1 << 17;
    pub const SIGN: u32 = 1 << 18;
    /// What an attestation key must have.
    pub const NEEDED: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN;
}

/// Why a key cannot attest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// Not a TPMT_PUBLIC of an ECDSA key on P-256 with SHA-256.
    Kind,
    /// It signs what others made, or was not made in the TPM, or can leave it.
    Attributes,
}

impl From<Malformed> for KeyProblem {
    fn from(_: Malformed) -> Self {
        Self::Kind
    }
}

/// An attestation key's public point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Big-endian coordinates.
    pub x: [u8; 32],
    /// As `x`.
    pub y: [u8; 32],
}

impl Key {
    /// Reads a TPMT_PUBLIC.
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyProblem> {
        let mut reader = Reader(bytes);
        if reader.half()? != ECC || reader.half()? != SHA256 {
            return Err(KeyProblem::Kind);
        }
        let attributes = reader.word()?;
        let _policy = reader.sized()?;
        // TPMS_ECC_PARMS: a signing key has no symmetric algorithm and no KDF.
        let parameters = [(); 5].map(|()| reader.half());
        if parameters != [NULL, ECDSA, SHA256, P256, NULL].map(Ok) {
            return Err(KeyProblem::Kind);
        }
        let key = Self {
            x: coordinate(reader.sized()?)?,
            y: coordinate(reader.sized()?)?,
        };
        reader.end()?;
        let right = attributes & attribute::NEEDED == attribute::NEEDED
            && attributes & attribute::DECRYPT == 0;
        if right {
            Ok(key)
        } else {
            Err(KeyProblem::Attributes)
        }
    }

    /// Whether this key signed `message`; `signature` is a TPMT_SIGNATURE.
    #[cfg(feature = "verify")]
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        use p256::ecdsa::signature::Verifier;
        use p256::ecdsa::{Signature, VerifyingKey};

        let point = p256::Sec1Point::from_affine_coordinates(&self.x.into(), &self.y.into(), false);
        let (Ok(key), Ok([r, s])) = (
            VerifyingKey::from_sec1_point(&point),
            read_signature(signature),
        ) else {
            return false;
        };
        Signature::from_scalars(r, s).is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }
}

/// A number of at most 32 bytes; a TPM may leave zeros in front out.
fn coordinate(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    let mut whole = [0; 32];
    let place = whole.iter_mut().rev();
    if bytes.len() > 32 {
        return Err(Malformed);
    }
    place
        .zip(bytes.iter().rev())
        .for_each(|(to, from)| *to = *from);
    Ok(whole)
}

#[cfg(feature = "verify")]
fn read_signature(bytes: &[u8]) -> Result<[[u8; 32]; 2], Malformed> {
    let mut reader = Reader(bytes);
    if reader.half()? != ECDSA || reader.half()? != SHA256 {
        return Err(Malformed);
    }
    let both = [coordinate(reader.sized()?)?, coordinate(reader.sized()?)?];
    reader.end()?;
    Ok(both)
}
