//! Keys of enclaves: what each depends on (SDM, EGETKEY), and how it is derived from that.
//!
//! Derivation is NIST SP 800-108 in counter mode with AES-CMAC, one block: CMAC(root, counter 1, label, 0, [`Dependencies`], 128).
//! The SDM leaves it open. Its PADDING, the same constant for every signature that EINIT accepts, is left out.

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};

use crate::secrets::Secrets;
use crate::structures::structure;

/// A key, or a MAC.
pub type Key = [u8; 16];

/// KEYNAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "the SDM's names")]
pub enum KeyName {
    Einittoken = 0,
    Provision = 1,
    ProvisionSeal = 2,
    Report = 3,
    Seal = 4,
}

impl KeyName {
    /// The key that a number names.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Einittoken,
            1 => Self::Provision,
            2 => Self::ProvisionSeal,
            3 => Self::Report,
            4 => Self::Seal,
            _ => return None,
        })
    }
}

structure! {
    /// What a key depends on: the SDM's KEYDEPENDENCIES, zero where a key does not depend on a field.
    Dependencies [304] {
        /// KEYNAME.
        keyname set_keyname @ 0: u16,
        /// ISVPRODID.
        isvprodid set_isvprodid @ 2: u16,
        /// ISVSVN.
        isvsvn set_isvsvn @ 4: u16,
        /// CONFIGSVN.
        configsvn set_configsvn @ 6: u16,
        /// KEYPOLICY.
        keypolicy set_keypolicy @ 8: u16,
        reserved @ 10: 6,
        /// MISCSELECT.
        miscselect set_miscselect @ 16: u32,
        /// MISCMASK.
        miscmask set_miscmask @ 20: u32,
        reserved @ 24: 8,
        /// ATTRIBUTES.
        attributes set_attributes @ 32: [16],
        /// ATTRIBUTESMASK.
        attributesmask set_attributesmask @ 48: [16],
        /// MRENCLAVE.
        mrenclave set_mrenclave @ 64: [32],
        /// MRSIGNER.
        mrsigner set_mrsigner @ 96: [32],
        /// KEYID.
        keyid set_keyid @ 128: [32],
        /// CONFIGID.
        configid set_configid @ 160: [64],
        /// ISVFAMILYID.
        isvfamilyid set_isvfamilyid @ 224: [16],
        /// ISVEXTPRODID.
        isvextprodid set_isvextprodid @ 240: [16],
        /// SGXOWNEREPOCH.
        ownerepoch set_ownerepoch @ 256: [16],
        /// SEAL_KEY_FUSES.
        sealfuses set_sealfuses @ 272: [16],
        /// CPUSVN.
        cpusvn set_cpusvn @ 288: [16],
    }
}

/// Counter, label and separator before the dependencies.
const PREFIX: &[u8; 16] = b"\x01adyton sgx key\0";
/// Bits of the key, after them.
const LENGTH: [u8; 4] = 128_u32.to_be_bytes();

impl Dependencies {
    /// Of a key with this name, bound to this machine and its owner.
    #[must_use]
    pub fn of(name: KeyName, secrets: &Secrets) -> Self {
        let mut dependencies = Self::zeroed();
        dependencies.set_keyname(name as u16);
        dependencies.set_ownerepoch(&secrets.owner_epoch);
        dependencies.set_sealfuses(&secrets.seal_fuses);
        dependencies
    }

    /// The key.
    #[must_use]
    pub fn derive(&self, secrets: &Secrets) -> Key {
        mac(&secrets.root, &[PREFIX, &self.0, &LENGTH])
    }
}

/// AES-CMAC (RFC 4493).
#[must_use]
pub(crate) fn mac(key: &Key, parts: &[&[u8]]) -> Key {
    let mut mac = Cmac::<Aes128>::new(&(*key).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whether two MACs are equal, in a time that does not depend on where they differ.
#[must_use]
pub(crate) fn is_equal(left: &Key, right: &Key) -> bool {
    let pairs = left.iter().zip(right);
    let differences = pairs.fold(0, |differences, (left, right)| differences | (left ^ right));
    core::hint::black_box(differences) == 0
}

/// Whether a requested CPUSVN is of a later state than this processor's: any component is higher.
#[must_use]
pub(crate) fn is_beyond(requested: &[u8; 16], current: &[u8; 16]) -> bool {
    requested
        .iter()
        .zip(current)
        .any(|(requested, current)| requested > current)
}

#[cfg(test)]
mod tests {
    use super::{Dependencies, KeyName, is_beyond, is_equal, mac};
    use crate::secrets::Secrets;

    /// RFC 4493, section 4.
    const KEY: [u8; 16] = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();

    #[test]
    fn macs_are_those_of_rfc_4493() {
        let nothing = 0xbb1d_6929_e959_3728_7fa3_7d12_9b75_6746_u128;
        assert_eq!(mac(&KEY, &[]), nothing.to_be_bytes());
        let block = 0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128.to_be_bytes();
        let one = 0x070a_16b4_6b4d_4144_f79b_dd9d_d04a_287c_u128;
        assert_eq!(mac(&KEY, &[&block[..5], &block[5..]]), one.to_be_bytes());
    }

    #[test]
    fn a_key_is_derived_as_documented() {
        let secrets = Secrets {
            root: KEY,
            seal_fuses: [1; 16],
            owner_epoch: [2; 16],
            cpusvn: [3; 16],
            report_key_id: [4; 32],
            page_key: [5; 16],
        };
        let dependencies = Dependencies::of(KeyName::Seal, &secrets);
        let mut written = [0; 304];
        written[0] = 4;
        written[256..272].fill(2);
        written[272..288].fill(1);
        assert_eq!(dependencies.0, written);
        let expected = mac(&KEY, &[b"\x01adyton sgx key\0", &written, &[0, 0, 0, 128]]);
        assert_eq!(dependencies.derive(&secrets), expected);
    }

    #[test]
    fn every_component_and_every_byte_counts() {
        let current = [5; 16];
        assert!(!is_beyond(&current, &current) && !is_beyond(&[0; 16], &current));
        for place in 0..16 {
            let mut other = current;
            other[place] = 6;
            assert!(is_beyond(&other, &current));
            assert!(!is_equal(&other, &current));
        }
        assert!(is_equal(&current, &current));
    }
}
