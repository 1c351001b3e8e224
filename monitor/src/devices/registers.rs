//! Where a function's registers lie: its base addresses, how much each decodes, and how they stand one behind another in the domain that
//! drives the function.
//!
//! How much a base address decodes is found by writing ones to it, which moves the registers for a moment. So it is done for
//! every function of bus 0 while the machine boots and nobody uses them, and kept.

use adyton_x86::pci::{base_address, command, header, register};
use arrayvec::ArrayVec;

use super::configuration::{Configuration, header, is_ordinary};
use crate::address::PAGE_SIZE;
use crate::memory::Range;

/// Base addresses of a function; a bridge has two.
pub const BASE_ADDRESSES: usize = 6;
/// Functions of bus 0.
pub const FUNCTIONS: usize = 256;

/// How much the base addresses of a function decode, as a power of two each; 0 for none, or for ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// It was there.
    pub known: bool,
    bits: [u8; BASE_ADDRESSES],
}

/// The registers behind one base address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Which base address.
    pub index: u8,
    /// Where they lie, in whole pages.
    pub range: Range,
    /// Bytes from where the function's registers begin in the domain that drives it.
    pub offset: u64,
}

/// All registers of a function.
pub type AllRegisters = ArrayVec<Registers, BASE_ADDRESSES>;

/// Base addresses that a header of this kind has.
const fn count(kind: u8) -> usize {
    match kind & !header::MORE_FUNCTIONS {
        header::ORDINARY => BASE_ADDRESSES,
        header::BRIDGE => 2,
        _ => 0,
    }
}

const fn place(index: usize) -> u16 {
    register::BASE_ADDRESS + 4 * index as u16
}

/// Finds how much each base address decodes. The function answers nowhere meanwhile, and must not be in use.
pub fn measure(space: &mut impl Configuration, function: u16) -> Sizes {
    let before = space.read16(function, register::COMMAND);
    let off = before & !(command::PORTS | command::MEMORY | command::MASTER);
    space.write(function, register::COMMAND, 2, off.into());
    let mut sizes = Sizes::nothing();
    let count = count(header(space, function));
    let mut index = 0;
    while index < count {
        let low = space.read(function, place(index));
        let is_long = is_memory(low) && low & base_address::TYPE == base_address::LONG;
        let mut mask = u64::from(ones(space, function, index));
        if is_long && index + 1 < count {
            mask |= u64::from(ones(space, function, index + 1)) << 32;
        } else if mask != 0 {
            mask |= u64::from(u32::MAX) << 32;
        }
        let address = mask & !0xf;
        if let Some(bits) = sizes.bits.get_mut(index)
            && is_memory(low)
            && address << 1 != 0
        {
            *bits = address.trailing_zeros() as u8;
        }
        index += if is_long { 2 } else { 1 };
    }
    space.write(function, register::COMMAND, 2, before.into());
    sizes
}

/// What a base address keeps of ones that are written to it.
fn ones(space: &mut impl Configuration, function: u16, index: usize) -> u32 {
    let before = space.read(function, place(index));
    space.write(function, place(index), 4, u32::MAX);
    let kept = space.read(function, place(index));
    space.write(function, place(index), 4, before);
    kept
}

/// Both halves of the address that stands there, each where it counts; the upper one is 0 where there is none.
fn halves(space: &impl Configuration, function: u16, index: usize) -> [u64; 2] {
    let low = space.read(function, place(index));
    let is_long = low & base_address::TYPE == base_address::LONG;
    let high = if is_long {
        space.read(function, place(index + 1))
    } else {
        0
    };
    let low = u64::from(low & base_address::ADDRESS);
    [low, u64::from(high) << 32]
}

const fn is_memory(low: u32) -> bool {
    low & base_address::PORTS == 0
}

impl Sizes {
    /// Those of a function that is there and decodes nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            known: true,
            ..Self::default()
        }
    }

    /// Everywhere that registers may come to lie while base addresses keep what they have or lose it, each half for itself: a reset makes
    /// them 0, and whoever puts back what was there does so half by half.
    pub fn possible(
        &self,
        space: &impl Configuration,
        function: u16,
    ) -> impl Iterator<Item = Range> {
        let used = self.bits.iter().enumerate().filter(|(_, bits)| **bits > 0);
        used.flat_map(move |(index, bits)| {
            let [low, high] = halves(space, function, index);
            let size = 1_u64.checked_shl((*bits).into()).unwrap_or(u64::MAX);
            [0, low, high, high | low].map(|start| {
                let start = start & !(PAGE_SIZE - 1);
                let end = start.saturating_add(size.max(PAGE_SIZE));
                Range { start, end }
            })
        })
    }

    /// Where the registers lie at present. `None` if one of them lies nowhere.
    pub fn locate(&self, space: &impl Configuration, function: u16) -> Option<AllRegisters> {
        let mut found = AllRegisters::new();
        let mut offset = 0_u64;
        for (index, bits) in self.bits.iter().enumerate().filter(|(_, bits)| **bits > 0) {
            let [low, high] = halves(space, function, index);
            let start = high | low;
            // A bridge's 64-bit address, and a size that no address has room for, are refused with the rest.
            let size = 1_u64.checked_shl((*bits).into())?.max(PAGE_SIZE);
            let start = start & !(PAGE_SIZE - 1);
            let end = start.checked_add(size)?;
            offset = offset.checked_next_multiple_of(size)?;
            found
                .try_push(Registers {
                    index: index as u8,
                    range: Range { start, end },
                    offset,
                })
                .ok()?;
            offset = offset.checked_add(size)?;
        }
        Some(found)
    }
}

/// Bytes that the registers take in the domain that drives the function.
#[must_use]
pub fn extent(registers: &[Registers]) -> u64 {
    registers
        .last()
        .map_or(0, |last| last.offset + last.range.size())
}

/// The function's expansion ROM, if it answers: not less than it decodes, since an address is a multiple of that and a ROM has at most 16 MiB.
pub fn rom(space: &impl Configuration, function: u16) -> Option<Range> {
    const LARGEST: u64 = 16 << 20;
    let address = space.read(function, register::ROM);
    let start = u64::from(address & !0x7ff);
    let answers = is_ordinary(space, function) && address & base_address::ROM_ENABLE != 0;
    answers.then(|| Range {
        start,
        end: start + LARGEST.min(1 << start.trailing_zeros().min(32)),
    })
}

/// What a bridge passes on to the bus behind it: memory, and prefetchable memory, which has four registers. As they may be lost and put
/// back one by one ([`Sizes::possible`]), that is one of several.
pub fn bridged(space: &impl Configuration, function: u16) -> [Range; 9] {
    const FIELD: u32 = 0xfff0;
    let limits = |word: u32, upper: [u64; 2]| {
        let start = upper[0] << 32 | u64::from(word & FIELD) << 16;
        let last = upper[1] << 32 | u64::from(word >> 16 & FIELD) << 16 | 0xf_ffff;
        // A limit below the beginning passes nothing on.
        let end = if last > start {
            last.saturating_add(1)
        } else {
            start
        };
        Range { start, end }
    };
    let prefetchable = space.read(function, register::BRIDGE_PREFETCHABLE);
    let [base, limit] =
        [4, 8].map(|more| u64::from(space.read(function, register::BRIDGE_PREFETCHABLE + more)));
    let plain = limits(space.read(function, register::BRIDGE_MEMORY), [0; 2]);
    let kept = |which: usize, bit: usize, value: u64| if which & bit == 0 { value } else { 0 };
    core::array::from_fn(|index| match index.checked_sub(1) {
        None => plain,
        Some(which) => {
            let word = if which & 4 == 0 { prefetchable } else { 0 };
            limits(word, [kept(which, 1, base), kept(which, 2, limit)])
        }
    })
}
