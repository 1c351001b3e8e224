//! An enclave's signer.

use adyton_sgx::structures::Sigstruct;
use std::collections::BTreeMap;
use std::sync::Mutex;

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

use super::keys;

pub struct Signer {
    modulus: BigUint,
    private: BigUint,
}

impl Signer {
    pub fn first() -> Self {
        Self::of(keys::FIRST)
    }

    pub fn second() -> Self {
        Self::of(keys::SECOND)
    }

    fn of(key: [&str; 2]) -> Self {
        let [modulus, private] =
            key.map(|digits| BigUint::parse_bytes(digits.as_bytes(), 16).expect("hexadecimal"));
        Self { modulus, private }
    }

    /// What MRSIGNER will be.
    pub fn identity(&self) -> [u8; 32] {
        Sha256::digest(little(&self.modulus)).into()
    }

    /// Fills in everything that does not describe the enclave, and signs.
    pub fn sign(&self, signature: &mut Sigstruct) {
        signature.set_header(&Sigstruct::HEADER);
        signature.set_header2(&Sigstruct::HEADER2);
        signature.set_date(0x2026_0101);
        signature.set_exponent(3);
        signature.set_modulus(&little(&self.modulus));
        let mut hash = Sha256::new();
        for part in signature.signed() {
            hash.update(part);
        }
        let mut message = vec![0, 1];
        message.resize(332, 0xFF);
        message.push(0);
        let prefix = [
            0x30, 0x31, 0x30, 0x0D, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20,
        ];
        message.extend(prefix);
        message.extend(hash.finalize());
        let root = self.root(&message);
        let square = &root * &root;
        let first = &square / &self.modulus;
        let second = &root * (&square % &self.modulus) / &self.modulus;
        signature.set_signature(&little(&root));
        signature.set_q1(&little(&first));
        signature.set_q2(&little(&second));
    }
}

/// Signatures that were made already, by modulus and message: the same enclaves are signed often.
static MADE: Mutex<BTreeMap<(BigUint, Vec<u8>), BigUint>> = Mutex::new(BTreeMap::new());

impl Signer {
    fn root(&self, message: &[u8]) -> BigUint {
        let key = (self.modulus.clone(), message.to_vec());
        if let Some(root) = MADE.lock().expect("whole").get(&key) {
            return root.clone();
        }
        let root = BigUint::from_bytes_be(message).modpow(&self.private, &self.modulus);
        MADE.lock().expect("whole").insert(key, root.clone());
        root
    }
}

fn little(number: &BigUint) -> [u8; 384] {
    let mut bytes = number.to_bytes_le();
    bytes.resize(384, 0);
    bytes.try_into().expect("384 bytes")
}
