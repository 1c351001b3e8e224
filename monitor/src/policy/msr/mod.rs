//! Which model-specific registers a domain may read and write. What no table names is denied: reading or writing it
//! raises #GP, as a register does that does not exist.
//!
//! What must hold: nothing that carries a physical address, routes memory, I/O or interrupts, reaches into SMM or
//! virtualization, or observes other domains is ever passed through.

mod child;
mod domain0;

#[cfg(test)]
mod tests;

use adyton_x86::svm::MSR_MAP_SIZE;

/// What happens to an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The domain does it itself, without an exit. The hardware raises #GP where it has no such register.
    PassThrough,
    /// The monitor looks at it.
    Filter(Filter),
    /// #GP.
    Deny,
}

/// How the monitor answers an access that it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The register as the domain set it, without the virtualization bit; reserved bits raise #GP.
    Efer,
    /// Reads as it is; a write may not move, rename or switch off the local APIC.
    ApicBase,
    /// INIT is swallowed, SIPI starts a vCPU of the domain, SMI is dropped, NMI goes through the monitor; else passed on.
    InterruptCommand,
    /// A local vector may not deliver SMI or INIT.
    LocalVector,
    /// Locked, with the bits of enclaves set; #GP where there are none.
    FeatureControl,
    /// The monitor's own copy, if there are enclaves.
    LaunchKey,
    /// A write of zero is accepted, any other raises #GP.
    OnlyZero,
    /// A write is accepted and has no effect.
    Ignored,
}

/// Registers with one verdict, and why.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The first register.
    pub first: u32,
    /// The last register.
    pub last: u32,
    /// The manuals' name.
    pub name: &'static str,
    /// What happens to RDMSR.
    pub read: Verdict,
    /// What happens to WRMSR.
    pub write: Verdict,
    /// Why.
    pub reason: &'static str,
}

/// Whose registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The first domain, which owns the machine's devices.
    Zero,
    /// Any other.
    Child,
}

impl Domain {
    /// The entries of its policy, in ascending order, none overlapping.
    #[must_use]
    pub const fn table(self) -> &'static [Entry] {
        match self {
            Self::Zero => domain0::TABLE,
            Self::Child => child::TABLE,
        }
    }
}

/// What happens if `domain` reads, or with `write` writes, `register`.
#[must_use]
pub fn verdict(domain: Domain, register: u32, write: bool) -> Verdict {
    let table = domain.table();
    let following = table.partition_point(|entry| entry.first <= register);
    let entry = following
        .checked_sub(1)
        .and_then(|number| table.get(number))
        .filter(|entry| register <= entry.last);
    match entry {
        Some(entry) if write => entry.write,
        Some(entry) => entry.read,
        None => Verdict::Deny,
    }
}

/// Fills an SVM permission map (APM volume 2, section 15.11) so that exactly the accesses of `domain` that pass
/// through do not exit.
pub fn fill_permission_map(map: &mut [u8; MSR_MAP_SIZE], domain: Domain) {
    map.fill(0xff);
    for entry in domain.table() {
        for register in entry.first..=entry.last {
            for (write, verdict) in [(0, entry.read), (1, entry.write)] {
                if verdict == Verdict::PassThrough
                    && let Some(first_bit) = map_bit(register)
                    && let Some(byte) = map.get_mut((first_bit + write) / 8)
                {
                    *byte &= !(1 << ((first_bit + write) % 8));
                }
            }
        }
    }
}

/// The bit for reads of a register (the next one is for writes), if the map covers it; what it does not always exits.
fn map_bit(register: u32) -> Option<usize> {
    const COVERED: u32 = 0x2000;
    [0, 0xc000_0000, 0xc001_0000]
        .iter()
        .zip([0usize, 0x800, 0x1000])
        .find_map(|(first, offset)| {
            let number = register
                .checked_sub(*first)
                .filter(|number| *number < COVERED)?;
            Some(offset * 8 + number as usize * 2)
        })
}
