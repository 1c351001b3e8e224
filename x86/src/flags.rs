//! Bits of RFLAGS (APM volume 2, section 3.1.6).

/// TF: a debug exception follows the next instruction.
pub const TRAP: u64 = 1 << 8;
/// IF: interrupts that can be masked are not.
pub const INTERRUPT: u64 = 1 << 9;
/// AC: with CR0.AM, accesses in user mode are aligned; with CR4.SMAP, the kernel may reach user memory.
pub const ALIGNMENT_CHECK: u64 = 1 << 18;
