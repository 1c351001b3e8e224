//! Domain 0's way to configuration space: the two ports, and the window in memory.
//!
//! Through ports a function is chosen by one register and accessed by another. Choosing exits anyway, as the reset port lies
//! inside that register; the accesses exit only while what is chosen must be looked at. So which function is chosen, and whether
//! accesses exit, changes under one lock. In the window stores exit, as domain 0 may only read there.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use adyton_x86::pci::{HOST_BRIDGE, register};

use super::kept::KEPT;
use super::permission::{self, Write};
use super::{chipset, controller_hub};
use crate::instructions::{input32, output32};
use crate::iommu::hiding;
use crate::lock::Lock;
use crate::machine;
use crate::vendor::svm;

/// The register that chooses (PCI 3.0, section 3.2.2.3.2).
pub const ADDRESS: u16 = 0xcf8;
/// The register that accesses, four bytes.
pub const DATA: u16 = 0xcfc;
const DATA_SIZE: u16 = 4;
const ENABLE: u32 = 1 << 31;
/// Bits that are always 0 (PCI 3.0, section 3.2.2.3.2). Emulators keep them, and reach from one register into the next.
const UNUSED: u32 = 3;

const WORDS: usize = (1 << 16) / 64;
/// Words for the functions of bus 0.
const FIRST_BUS: usize = 256 / 64;

/// Functions that are not domain 0's.
static WITHDRAWN: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// Host bridges, of bus 0.
static HOST_BRIDGES: [AtomicU64; FIRST_BUS] = [const { AtomicU64::new(0) }; FIRST_BUS];
/// Functions behind bridges that are not to be moved, for they are given away.
static HELD: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// Functions because of which nothing is to be moved.
static FROZEN: AtomicU32 = AtomicU32::new(0);

/// Held while something is chosen, and while what is chosen is written.
static CHOOSING: Lock<()> = Lock::new(());

fn has(words: &[AtomicU64], function: u16) -> bool {
    let word = words.get(usize::from(function / 64));
    word.is_some_and(|word| word.load(Ordering::Acquire) & 1 << (function % 64) != 0)
}

fn set(words: &[AtomicU64], function: u16, value: bool) {
    if let Some(word) = words.get(usize::from(function / 64)) {
        let bit = 1 << (function % 64);
        if value {
            word.fetch_or(bit, Ordering::AcqRel);
        } else {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }
}

/// The functions that are not domain 0's.
pub(super) fn withdrawn() -> impl Iterator<Item = u16> {
    (0..=u16::MAX).filter(|function| has(&WITHDRAWN, *function))
}

/// The registers that may be meant. Some of AMD's processors take four more bits for the number, if they are told to (family 17h's reference,
/// CF8 extended addresses); all others ignore these bits. Which it is nobody says, so both are judged.
pub(super) const fn offsets(value: u32) -> [u16; 2] {
    let low = (value & 0xfc) as u16;
    [low, low | (value >> 16 & 0xf00) as u16]
}

/// What a store of `width` bytes to the port may write while this is chosen. `None` if it reaches over an edge of the register: no system's does.
pub(super) fn writes(value: u32, port: u16, width: u8) -> Option<[Write; 2]> {
    let behind = port
        .checked_sub(DATA)
        .filter(|behind| behind + u16::from(width) <= DATA_SIZE)?;
    Some(offsets(value).map(|offset| Write {
        offset: offset + behind,
        width,
    }))
}

/// Notes which functions of bus 0 are host bridges, and which have registers that stay as the firmware left them. While booting: nobody else uses the ports.
pub(super) fn find_chipset() {
    let (mut kept, mut has_hub) = (chipset::Functions::new(), false);
    for function in 0..=u8::MAX {
        let function = u16::from(function);
        // SAFETY: reading headers has no effect, and domain 0 does not run yet.
        let (identity, class) = unsafe {
            (
                probe(function, register::IDENTITY),
                probe(function, register::CLASS),
            )
        };
        let class = (class >> 16) as u16;
        if identity as u16 != u16::MAX && class == HOST_BRIDGE {
            set(&HOST_BRIDGES, function, true);
        }
        has_hub |= controller_hub::tells(function, identity);
        if let Some(registers) = chipset::registers(function, identity, class) {
            kept.push((function, registers));
        }
    }
    chipset::FUNCTIONS.set(kept);
    controller_hub::set(has_hub);
    choose(0);
}

/// # Safety
/// Nobody else uses the ports.
unsafe fn probe(function: u16, offset: u16) -> u32 {
    choose(ENABLE | u32::from(function) << 8 | u32::from(offset));
    // SAFETY: as the caller warrants.
    unsafe { input32(DATA) }
}

fn choose(value: u32) {
    // SAFETY: choosing has no other effect.
    unsafe { output32(ADDRESS, value) }
}

fn chosen() -> u32 {
    // SAFETY: reading it has no effect.
    unsafe { input32(ADDRESS) }
}

/// Whether the function is a host bridge of bus 0.
#[must_use]
pub fn is_host_bridge(function: u16) -> bool {
    has(&HOST_BRIDGES, function)
}

/// Whether the write changes what stays as the firmware left it.
fn is_kept(function: u16, write: Write) -> bool {
    let functions = chipset::FUNCTIONS.try_get();
    functions.is_some_and(|functions| chipset::keeps(functions, function, write))
}

/// Whether a store of domain 0's to the function's configuration space goes through.
fn permits(function: u16, write: Write, value: Option<u32>) -> bool {
    if has(&WITHDRAWN, function) || is_host_bridge(function) || is_kept(function, write) {
        return false;
    }
    if has(&HELD, function) && write.moves_addresses() {
        return false;
    }
    if FROZEN.load(Ordering::Acquire) == 0 {
        return true;
    }
    super::window()
        .is_none_or(|window| permission::moves_nothing(&window, &KEPT, function, write, value))
}

/// Whether each store that may be meant goes through.
fn permits_all(chosen: u32, writes: [Write; 2], value: Option<u32>) -> bool {
    let mut writes = writes.into_iter();
    writes.all(|write| permits((chosen >> 8) as u16, write, value))
}

/// Does what domain 0 stores to the function's configuration space, if that goes through.
pub fn while_permitted(function: u16, write: Write, value: u32, perform: impl FnOnce()) {
    let _guard = CHOOSING.lock();
    if permits(function, write, Some(value)) {
        perform();
    }
}

/// Whether accesses must be looked at while this is chosen.
fn is_delicate(value: u32) -> bool {
    let whole = offsets(value).map(|offset| Write { offset, width: 4 });
    value & ENABLE != 0 && !permits_all(value, whole, None)
}

/// Domain 0 chooses: a function that is not its own is none.
pub fn select(value: u32) {
    let _guard = CHOOSING.lock();
    let value = hiding::configuration_address(&machine::get().iommus, value & !UNUSED);
    let value = if has(&WITHDRAWN, (value >> 8) as u16) {
        value & !ENABLE
    } else {
        value
    };
    if is_delicate(value) {
        svm::maps::trap_ports(DATA, DATA_SIZE);
        choose(value);
    } else {
        choose(value);
        svm::maps::pass_ports(DATA, DATA_SIZE);
    }
}

/// Domain 0 writes `written`, `width` bytes of it, to the port, one of [`DATA`]'s: `write` does it, if that is allowed.
pub fn with_chosen(port: u16, width: u8, written: u32, write: impl FnOnce()) {
    let _guard = CHOOSING.lock();
    let value = chosen();
    let Some(writes) = writes(value, port, width) else {
        return;
    };
    if value & ENABLE == 0 || permits_all(value, writes, Some(written)) {
        write();
    }
}

/// From now on nothing in the machine is moved to other addresses, once for each call of [`thaw`], because of this function.
pub(super) fn freeze(function: u16) {
    let _guard = CHOOSING.lock();
    FROZEN.fetch_add(1, Ordering::AcqRel);
    // Other functions behind bridges keep their freedom.
    set(&HELD, function, function > u16::from(u8::MAX));
    if is_delicate(chosen()) {
        svm::maps::trap_ports(DATA, DATA_SIZE);
    }
    if let Some(window) = super::window() {
        KEPT.keep(&window);
    }
}

/// Ends what [`freeze`] began.
pub(super) fn thaw(function: u16) {
    set(&HELD, function, false);
    FROZEN.fetch_sub(1, Ordering::AcqRel);
}

/// Does something to configuration space that domain 0 must not get in between of.
pub(super) fn exclusively<T>(perform: impl FnOnce() -> T) -> T {
    let _guard = CHOOSING.lock();
    perform()
}

/// The function is not domain 0's any more. If it is chosen, nothing is.
pub(super) fn withdraw(function: u16) {
    let _guard = CHOOSING.lock();
    set(&WITHDRAWN, function, true);
    let value = chosen();
    if (value >> 8) as u16 == function {
        choose(value & !ENABLE);
    }
}

/// The function is domain 0's again.
pub(super) fn give_back(function: u16) {
    let _guard = CHOOSING.lock();
    set(&WITHDRAWN, function, false);
}
