//! Numbers of the model-specific registers that the monitor itself uses or switches (APM volume 2, appendix A; Intel SDM
//! volume 4). What domains may do with these and all others is the monitor's policy.

/// Time-stamp counter.
pub const TSC: u32 = 0x10;
/// Local APIC base, mode and enable.
pub const APIC_BASE: u32 = 0x1b;
/// Speculation control.
pub const SPEC_CTRL: u32 = 0x48;
/// Prediction commands, write only.
pub const PRED_CMD: u32 = 0x49;
/// SYSENTER: code segment.
pub const SYSENTER_CS: u32 = 0x174;
/// SYSENTER: stack pointer.
pub const SYSENTER_ESP: u32 = 0x175;
/// SYSENTER: entry point.
pub const SYSENTER_EIP: u32 = 0x176;
/// Debug features: branch stepping, branch records.
pub const DEBUG_CONTROL: u32 = 0x1d9;
/// Page attribute table.
pub const PAT: u32 = 0x277;
/// Deadline of the local APIC timer.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// The first x2APIC register; register `offset` of the xAPIC page is this plus `offset / 16`.
pub const X2APIC_FIRST: u32 = 0x800;
/// x2APIC: interrupt command.
pub const X2APIC_COMMAND: u32 = 0x830;
/// x2APIC: the last register.
pub const X2APIC_LAST: u32 = 0x8ff;
/// Supervisor states that XSAVES saves.
pub const XSS: u32 = 0xda0;
/// Extended features: long mode, SYSCALL, NX, SVM.
pub const EFER: u32 = 0xc000_0080;
/// SYSCALL: segments.
pub const STAR: u32 = 0xc000_0081;
/// SYSCALL: entry point from 64-bit mode.
pub const LSTAR: u32 = 0xc000_0082;
/// SYSCALL: entry point from compatibility mode.
pub const CSTAR: u32 = 0xc000_0083;
/// SYSCALL: flags that are cleared.
pub const SFMASK: u32 = 0xc000_0084;
/// Base of FS.
pub const FS_BASE: u32 = 0xc000_0100;
/// Base of GS.
pub const GS_BASE: u32 = 0xc000_0101;
/// What SWAPGS exchanges with the base of GS.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// What RDTSCP and RDPID return.
pub const TSC_AUX: u32 = 0xc000_0103;
/// SVM: whether it is locked or disabled, and how INIT is taken.
pub const VM_CR: u32 = 0xc001_0114;
/// SVM: physical address of the host save area.
pub const VM_HSAVE_PA: u32 = 0xc001_0117;
