//! Who gets the platform secret, as the TPM understands it: TPM 2.0 Library, part 3, section 23 (enhanced authorization).
//!
//! ```text
//! counter of releases ≤ the release's number      PolicyNV
//! PCR 4 is the approved one, PCR 12 is zero       PolicyPCR
//! the maintainer has signed all above             PolicyAuthorize
//! PCRs 0, 2, 7 are what they were at first        PolicyPCR
//! ```
//!
//! The maintainer signs what is above; the last line is the machine's own. PCR 4 is the monitor and all that was started before it, PCR 12 what the monitor
//! has measured: it reads the secret before it measures anything. PCRs 0, 2 and 7 are the firmware, drivers and the state of Secure Boot: a driver
//! that runs beside the monitor could read the secret in its name.

use crate::index::Index;
use crate::maintainer::MaintainerKey;
use crate::{Hash, SHA256, hash};

/// Commands, as policies name them (part 2, section 6.5.2).
mod command {
    pub const POLICY_NV: u32 = 0x149;
    pub const POLICY_AUTHORIZE: u32 = 0x16a;
    pub const POLICY_PCR: u32 = 0x17f;
}

/// TPM_EO_UNSIGNED_LE: the counter is not greater.
pub const NOT_GREATER: u16 = 0x0009;

/// What a signature of the maintainer's is good for: monitors, and nothing else that the key may sign.
pub const REFERENCE: &[u8] = b"adyton:platform-secret";

/// What firmware started, and what the monitor has measured.
pub const MONITOR_REGISTERS: [u32; 2] = [4, 12];
/// The firmware, drivers, Secure Boot.
pub const MACHINE_REGISTERS: [u32; 3] = [0, 2, 7];

/// A policy's digest as it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy(pub Hash);

impl Policy {
    /// No condition yet.
    pub const EMPTY: Self = Self([0; 32]);

    /// And the 64-bit counter `index` is not greater than `limit`.
    #[must_use]
    pub fn and_not_greater(self, index: &Index, limit: u64) -> Self {
        // Offset 0.
        let arguments = hash(&[&limit.to_be_bytes(), &[0, 0], &NOT_GREATER.to_be_bytes()]);
        let command = command::POLICY_NV.to_be_bytes();
        Self(hash(&[&self.0, &command, &arguments, &index.name()]))
    }

    /// And these registers of the SHA-256 bank have these values, both by rising number.
    #[must_use]
    pub fn and_registers<const N: usize>(self, registers: [u32; N], values: &[Hash; N]) -> Self {
        let digest = hash(&[values.as_flattened()]);
        let command = command::POLICY_PCR.to_be_bytes();
        Self(hash(&[&self.0, &command, &selection(&registers), &digest]))
    }

    /// Whatever this key has signed for the monitor, instead of all conditions so far.
    #[must_use]
    pub fn authorized(key: &MaintainerKey) -> Self {
        let command = command::POLICY_AUTHORIZE.to_be_bytes();
        let named = hash(&[&Self::EMPTY.0, &command, &key.name()]);
        Self(hash(&[&named, REFERENCE]))
    }

    /// What the maintainer signs for a release: its number, and the value of PCR 4 when it starts.
    #[must_use]
    pub fn of_release(number: u64, started: Hash) -> Self {
        Self::EMPTY
            .and_not_greater(&Index::release().written(), number)
            .and_registers(MONITOR_REGISTERS, &[started, [0; 32]])
    }

    /// The digest that is signed (part 3, section 23.16: the approved policy and what it is good for).
    #[must_use]
    pub fn to_sign(self) -> Hash {
        hash(&[&self.0, REFERENCE])
    }

    /// The policy of the secret on a machine whose [`MACHINE_REGISTERS`] have these values.
    #[must_use]
    pub fn of_secret(key: &MaintainerKey, machine: &[Hash; 3]) -> Self {
        Self::authorized(key).and_registers(MACHINE_REGISTERS, machine)
    }
}

/// TPML_PCR_SELECTION of registers below 24 in the SHA-256 bank.
#[must_use]
pub fn selection(registers: &[u32]) -> [u8; 10] {
    let mut bits = 0_u32;
    for register in registers.iter().filter(|register| **register < 24) {
        bits |= 1 << register;
    }
    let [low, middle, high, _] = bits.to_le_bytes();
    let [first, second] = SHA256.to_be_bytes();
    [0, 0, 0, 1, first, second, 3, low, middle, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_counts() {
        let key = MaintainerKey([1; 64]);
        let base = Policy::of_release(3, [4; 32]);
        assert_ne!(base, Policy::of_release(4, [4; 32]));
        assert_ne!(base, Policy::of_release(3, [5; 32]));
        assert_ne!(base.to_sign(), base.0);
        let machine = [[0; 32], [2; 32], [7; 32]];
        let secret = Policy::of_secret(&key, &machine);
        assert_ne!(secret, Policy::of_secret(&MaintainerKey([2; 64]), &machine));
        for changed in 0..3 {
            let mut other = machine;
            other[changed] = [9; 32];
            assert_ne!(secret, Policy::of_secret(&key, &other));
        }
    }

    #[test]
    fn registers_are_selected_by_bits() {
        assert_eq!(
            selection(&MONITOR_REGISTERS),
            [0, 0, 0, 1, 0, 0xb, 3, 0x10, 0x10, 0]
        );
        assert_eq!(
            selection(&MACHINE_REGISTERS),
            [0, 0, 0, 1, 0, 0xb, 3, 0x85, 0, 0]
        );
    }
}
