//! The privileged instructions that the monitor uses, one function each.

use core::arch::asm;

pub use core::arch::x86_64::{__cpuid_count as cpuid, CpuidResult};

/// Reads a byte from an I/O port.
///
/// # Safety
/// The device behind the port must be the caller's to touch.
#[must_use]
pub unsafe fn input8(port: u16) -> u8 {
    let value;
    // SAFETY: as the caller warrants.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// Reads 16 bits from an I/O port.
///
/// # Safety
/// See [`input8`].
#[must_use]
pub unsafe fn input16(port: u16) -> u16 {
    let value;
    // SAFETY: as the caller warrants.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack)) };
    value
}

/// Reads 32 bits from an I/O port.
///
/// # Safety
/// See [`input8`].
#[must_use]
pub unsafe fn input32(port: u16) -> u32 {
    let value;
    // SAFETY: as the caller warrants.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack)) };
    value
}

/// Writes a byte to an I/O port.
///
/// # Safety
/// See [`input8`]; what the device does must not touch memory that is not its own.
pub unsafe fn output8(port: u16, value: u8) {
    // SAFETY: as the caller warrants.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

/// Writes 16 bits to an I/O port.
///
/// # Safety
/// See [`output8`].
pub unsafe fn output16(port: u16, value: u16) {
    // SAFETY: as the caller warrants.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack)) };
}

/// Writes 32 bits to an I/O port.
///
/// # Safety
/// See [`output8`].
pub unsafe fn output32(port: u16, value: u32) {
    // SAFETY: as the caller warrants.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) };
}

/// Reads a model-specific register.
///
/// # Safety
/// The register must exist: a fault in the monitor is a panic.
#[must_use]
pub unsafe fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: as the caller warrants.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The register must exist and accept the value, and what it changes must be the caller's to change.
pub unsafe fn write_msr(register: u32, value: u64) {
    // SAFETY: as the caller warrants.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    };
}

/// Reads CR2, the address of the last page fault.
#[must_use]
pub fn read_cr2() -> u64 {
    let value;
    // SAFETY: reading a control register has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack)) };
    value
}

/// Reads CR4.
#[must_use]
pub fn read_cr4() -> u64 {
    let value;
    // SAFETY: reading a control register has no effect.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack)) };
    value
}

/// Writes CR4.
///
/// # Safety
/// The bits must be ones that the CPU has and that the monitor's code expects.
pub unsafe fn write_cr4(value: u64) {
    // SAFETY: as the caller warrants.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack)) };
}

/// Writes back and empties all caches.
pub fn write_back_caches() {
    // SAFETY: changes no memory contents.
    unsafe { asm!("wbinvd", options(nostack)) };
}

/// Holds physical interrupts while a domain's vCPU runs: they do not end its run (APM volume 2, section 15.21.1: the host's IF decides).
pub fn hold_interrupts() {
    // SAFETY: as long as GIF is off it has no other effect.
    unsafe { asm!("cli", options(nomem, nostack)) };
}

/// Lets physical interrupts end the run of a domain's vCPU.
pub fn let_interrupts() {
    // SAFETY: as in `hold_interrupts`.
    unsafe { asm!("sti", options(nomem, nostack)) };
}

/// Reads the time-stamp counter.
#[must_use]
pub fn time_stamp() -> u64 {
    // SAFETY: reading the counter has no effect.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Stops this core for good, as far as the monitor can.
pub fn stop() -> ! {
    loop {
        // SAFETY: with interrupts off, only an NMI wakes it, and it goes back to sleep.
        unsafe { asm!("cli; hlt", options(nomem, nostack)) };
    }
}
