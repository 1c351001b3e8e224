//! Memory that others may change: windows, and the pool with its exit pages.
//!
//! Every access is checked to lie in a range that the start page gives, and is volatile. Words are atomic, with
//! the order that the rings need.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use adyton_abi::start::{Range, StartPage};

static START: AtomicPtr<StartPage> = AtomicPtr::new(core::ptr::null_mut());

/// Remembers where the start page is.
pub(crate) fn set_start(page: *mut StartPage) {
    START.store(page, Ordering::Release);
}

/// The start page, from the first instruction on.
pub(crate) fn start() -> Option<&'static StartPage> {
    // SAFETY: the pointer is null, or what the loader built: aligned, measured, private to this domain,
    // mapped read-only for as long as it lives.
    unsafe { START.load(Ordering::Acquire).as_ref() }
}

fn contains(range: &Range, address: u64, size: u64) -> bool {
    let offset = address.wrapping_sub(range.base);
    address >= range.base && offset <= range.size && size <= range.size - offset
}

fn check(address: u64, size: u64) {
    let allowed = start().is_some_and(|page| {
        let mut ranges = page.windows.iter().chain([&page.pool]);
        ranges.any(|range| contains(range, address, size))
    });
    assert!(allowed, "access to {address:#x} outside windows and pool");
}

pub(crate) fn write(address: u64, bytes: &[u8]) {
    check(address, bytes.len() as u64);
    // SAFETY: checked to lie in shared or pool memory, to which no Rust reference points.
    unsafe { copy(address as *mut u8, bytes.as_ptr(), bytes.len()) }
}

pub(crate) fn read(address: u64, bytes: &mut [u8]) {
    check(address, bytes.len() as u64);
    // SAFETY: as in `write`; `bytes` is exclusively ours.
    unsafe { copy(bytes.as_mut_ptr(), address as *const u8, bytes.len()) }
}

pub(crate) fn zero(address: u64, size: u64) {
    check(address, size);
    // SAFETY: as in `write`. The instruction is opaque to the compiler, as volatile accesses are.
    unsafe {
        core::arch::asm!(
            "rep stosb",
            inout("rdi") address => _,
            inout("rcx") size => _,
            in("al") 0u8,
            options(nostack, preserves_flags),
        );
    }
}

/// Copies by one instruction that the compiler cannot see through: others may change either side meanwhile.
///
/// # Safety
/// Both ranges are mapped, and no Rust reference points to the one that others can change.
unsafe fn copy(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: by this function's own contract; the direction flag is clear as the ABI demands.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rdi") to => _,
            inout("rsi") from => _,
            inout("rcx") length => _,
            options(nostack, preserves_flags),
        );
    }
}

fn word(address: u64) -> &'static AtomicU64 {
    check(address, 8);
    assert!(
        address.is_multiple_of(8),
        "word at {address:#x} is not aligned"
    );
    // SAFETY: checked range and alignment; an atomic may be changed by others at any time.
    unsafe { AtomicU64::from_ptr(address as *mut u64) }
}

pub(crate) fn load(address: u64) -> u64 {
    word(address).load(Ordering::Acquire)
}

pub(crate) fn store(address: u64, value: u64) {
    word(address).store(value, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_they_end() {
        let range = Range {
            base: 0x1000,
            size: 0x1000,
        };
        assert!(contains(&range, 0x1000, 0x1000));
        assert!(contains(&range, 0x1fff, 1));
        assert!(!contains(&range, 0x1fff, 2));
        assert!(!contains(&range, 0xfff, 1));
        assert!(!contains(&range, u64::MAX, 2));
        assert!(!contains(&Range::default(), 0, 1));
    }
}
