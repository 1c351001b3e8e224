//! A guest's own page tables: from a linear address to a guest-physical one, or to the fault that the CPU would raise.
//!
//! [`Regime`] holds what the control registers say, [`Access`] what is attempted, and [`Regime::translate`] does what
//! the CPU's table walker does in long mode with four or five levels (APM volume 2, section 5.3; Intel SDM volume 3,
//! sections 4.5 to 4.8), accessed and dirty bits included. Other modes have no regime: whoever calls from there is
//! refused before.
//!
//! Every table entry is fetched through [`GuestMemory`], which allows no more than the guest's own nested rights do.
//! So the walk gives nobody a right that it did not have.
//!
//! Two things of real CPUs are left out on purpose: ignored upper address bits (LAM, UAI) are not canonical here, as no
//! guest is offered them; and the AMD rule that bit 8 of a top-level entry is reserved, which Intel does not have.

use adyton_x86::paging::{Entry, cr0, cr4, efer, fault, index, span};

use crate::address::{GuestPhysical, GuestVirtual};

/// A guest's memory, as far as its nested rights reach.
pub trait GuestMemory {
    /// The 8-byte word at an aligned address.
    ///
    /// # Errors
    /// If the guest itself may not read there.
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied>;

    /// Replaces `old` by `new` in one atomic step; `Ok(false)` if something else stood there.
    ///
    /// # Errors
    /// If the guest itself may not write there.
    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied>;
}

/// The guest's nested rights do not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

/// What is attempted at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// An access and in whose name it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What is attempted.
    pub kind: Kind,
    /// Made at privilege level 3.
    pub user: bool,
    /// RFLAGS.AC: the supervisor means to touch user pages.
    pub alignment_check: bool,
}

/// A page fault as the CPU would raise it: CR2 and the error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// What goes into CR2.
    pub address: GuestVirtual,
    /// The bits of [`fault`].
    pub error_code: u32,
}

/// Why there is no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The address is not canonical: #GP(0), or #SS(0) for a stack access.
    NotCanonical,
    /// #PF.
    Page(PageFault),
    /// The guest may not read, or with `write` not update, one of its own tables, at this place: a nested fault.
    Table {
        /// The entry's place.
        place: GuestPhysical,
        /// Whether it was to be updated.
        write: bool,
    },
    /// Another core kept changing an entry: let the guest execute its instruction again.
    Contended,
}

/// A translation that was found and allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The very byte that was asked for.
    pub address: GuestPhysical,
    /// The size of the guest's page, in bytes.
    pub page_size: u64,
    /// Where the entry stands that maps the page, and what it says: what allows this page allows any neighbour whose entry
    /// is in the same table and differs by the address alone.
    pub entry: (GuestPhysical, u64),
}

/// What the CPU model can do, from CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implemented {
    /// Bits of a physical address (leaf 8000_0008, EAX bits 7 to 0).
    pub physical_address_bits: u32,
    /// Whether there are 1 GiB pages (leaf 8000_0001, EDX bit 26).
    pub gigabyte_pages: bool,
}

/// The control registers that govern a walk, as the guest has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ControlRegisters {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// PKRU, which matters only if CR4.PKE is set.
    pub pkru: u32,
}

/// The rules of one address space.
#[derive(Clone, Copy, Debug)]
pub struct Regime {
    root: u64,
    top_level: u8,
    implemented_bits: u32,
    reserved: u64,
    largest_leaf: u8,
    write_protect: bool,
    execution_prevention: bool,
    access_prevention: bool,
    no_execute: bool,
    protection_keys: Option<u32>,
}

/// How often an entry is tried again that changed under the walk.
const ATTEMPTS: u32 = 16;

impl Regime {
    /// The regime that these registers set up, or `None` if they do not page in long mode.
    #[inline]
    #[must_use]
    pub fn new(registers: &ControlRegisters, implemented: Implemented) -> Option<Self> {
        let has = |register: u64, bit: u64| register & bit != 0;
        if !has(registers.cr0, cr0::PAGING) || !has(registers.efer, efer::LONG_MODE_ACTIVE) {
            return None;
        }
        let five_levels = has(registers.cr4, cr4::FIVE_LEVELS);
        let no_execute = has(registers.efer, efer::NO_EXECUTE_ENABLE);
        let width = implemented.physical_address_bits.min(52);
        let too_wide = Entry::ADDRESS & !((1 << width) - 1);
        Some(Self {
            root: registers.cr3 & Entry::ADDRESS,
            top_level: if five_levels { 4 } else { 3 },
            implemented_bits: if five_levels { 57 } else { 48 },
            reserved: too_wide | if no_execute { 0 } else { Entry::NO_EXECUTE },
            largest_leaf: if implemented.gigabyte_pages { 2 } else { 1 },
            write_protect: has(registers.cr0, cr0::WRITE_PROTECT),
            execution_prevention: has(registers.cr4, cr4::SUPERVISOR_EXECUTION_PREVENTION),
            access_prevention: has(registers.cr4, cr4::SUPERVISOR_ACCESS_PREVENTION),
            no_execute,
            protection_keys: has(registers.cr4, cr4::PROTECTION_KEYS).then_some(registers.pkru),
        })
    }

    /// The same with this value of PKRU, the one register of them that a program changes by itself.
    #[inline]
    #[must_use]
    pub fn with_protection_keys(self, pkru: u32) -> Self {
        Self {
            protection_keys: self.protection_keys.map(|_| pkru),
            ..self
        }
    }

    /// Translates `address` for `access`, and marks the entries as accessed and the page as dirty as the CPU would.
    ///
    /// # Errors
    /// [`Fault`]; the leaf's bits are unchanged then.
    #[inline]
    pub fn translate<M: GuestMemory>(
        &self,
        memory: &M,
        address: GuestVirtual,
        access: Access,
    ) -> Result<Translation, Fault> {
        if !address.is_canonical(self.implemented_bits) {
            return Err(Fault::NotCanonical);
        }
        let mut table = self.root;
        let mut level = self.top_level;
        // W and U allow only where all levels agree; NX forbids where any level does, so it is kept inverted.
        let mut combined = u64::MAX;
        let mut attempts = 0;
        loop {
            let place = GuestPhysical(table | ((index(address.0, level) as u64) << 3));
            let Ok(word) = memory.read_entry(place) else {
                return Err(Fault::Table {
                    place,
                    write: false,
                });
            };
            let entry = Entry(word);
            if !entry.has(Entry::PRESENT) {
                return Err(self.fault(address, access, 0));
            }
            let leaf = entry.is_leaf(level);
            if word & self.reserved != 0 || (leaf && level > 0 && self.is_malformed(entry, level)) {
                let cause = fault::PRESENT | fault::RESERVED;
                return Err(self.fault(address, access, cause));
            }
            let with_this = combined & (word ^ Entry::NO_EXECUTE);
            let mut marks = Entry::ACCESSED;
            if leaf {
                self.permit(Entry(with_this), entry.protection_key(), address, access)?;
                if access.kind == Kind::Write {
                    marks |= Entry::DIRTY;
                }
            }
            if !entry.has(marks) && !mark(memory, place, word, marks)? {
                attempts += 1;
                if attempts == ATTEMPTS {
                    return Err(Fault::Contended);
                }
                continue;
            }
            if leaf {
                let offset = address.0 & (span(level) - 1);
                return Ok(Translation {
                    address: GuestPhysical(entry.page(level) | offset),
                    page_size: span(level),
                    entry: (place, word | marks),
                });
            }
            combined = with_this;
            table = entry.table();
            level -= 1;
        }
    }

    /// Whether a large page stands where none can, or has address bits below its size (bit 12 is its PAT bit).
    #[inline]
    fn is_malformed(&self, entry: Entry, level: u8) -> bool {
        let below = (span(level) - 1) & !0x1fff;
        level > self.largest_leaf || entry.0 & below != 0
    }

    /// The checks of SDM volume 3, section 4.6, on the combined bits of all levels (NX inverted).
    #[inline]
    fn permit(
        &self,
        combined: Entry,
        key: u32,
        address: GuestVirtual,
        access: Access,
    ) -> Result<(), Fault> {
        let user_page = combined.has(Entry::USER);
        let writable = combined.has(Entry::WRITABLE);
        let mode_allows = if access.user {
            user_page
        } else if !user_page {
            true
        } else if access.kind == Kind::Execute {
            !self.execution_prevention
        } else {
            !self.access_prevention || access.alignment_check
        };
        let kind_allows = match access.kind {
            Kind::Read => true,
            Kind::Write => writable || !(access.user || self.write_protect),
            Kind::Execute => !self.no_execute || combined.has(Entry::NO_EXECUTE),
        };
        let key_allows = !user_page || self.key_permits(key, access);
        if mode_allows && kind_allows && key_allows {
            return Ok(());
        }
        let cause = if key_allows {
            fault::PRESENT
        } else {
            fault::PRESENT | fault::PROTECTION_KEY
        };
        Err(self.fault(address, access, cause))
    }

    /// What PKRU says of a data access to a user page with this key.
    #[inline]
    fn key_permits(&self, key: u32, access: Access) -> bool {
        let Some(pkru) = self.protection_keys else {
            return true;
        };
        let rights = pkru >> (2 * key);
        let (access_disabled, write_disabled) = (rights & 1 != 0, rights & 2 != 0);
        match access.kind {
            Kind::Execute => true,
            Kind::Read => !access_disabled,
            Kind::Write => {
                !access_disabled && !(write_disabled && (access.user || self.write_protect))
            }
        }
    }

    #[cold]
    fn fault(&self, address: GuestVirtual, access: Access, cause: u32) -> Fault {
        let mut error_code = cause;
        if access.user {
            error_code |= fault::USER;
        }
        if access.kind == Kind::Write {
            error_code |= fault::WRITE;
        }
        if access.kind == Kind::Execute && (self.no_execute || self.execution_prevention) {
            error_code |= fault::FETCH;
        }
        Fault::Page(PageFault {
            address,
            error_code,
        })
    }
}

/// Sets accessed (and dirty) in an entry; `false` if it changed meanwhile.
#[cold]
fn mark<M: GuestMemory>(
    memory: &M,
    place: GuestPhysical,
    word: u64,
    marks: u64,
) -> Result<bool, Fault> {
    memory
        .exchange(place, word, word | marks)
        .map_err(|Denied| Fault::Table { place, write: true })
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
