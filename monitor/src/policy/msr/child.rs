//! The registers of a domain other than domain 0: those that its vCPU's own state holds and VMLOAD or VMRUN switch.

use super::Filter::Efer;
use super::Verdict::{Deny, Filter, PassThrough};
use super::{Entry, Verdict};

const fn entry(
    first: u32,
    last: u32,
    name: &'static str,
    read: Verdict,
    write: Verdict,
    reason: &'static str,
) -> Entry {
    Entry {
        first,
        last,
        name,
        read,
        write,
        reason,
    }
}

#[rustfmt::skip]
pub(super) const TABLE: &[Entry] = &[
    entry(0x10, 0x10, "TSC", PassThrough, Deny, "time is readable by everybody; no domain moves another's"),
    entry(0x174, 0x176, "SYSENTER_CS, _ESP, _EIP", PassThrough, PassThrough, "the vCPU's own, switched by VMLOAD"),
    entry(0x277, 0x277, "PAT", PassThrough, PassThrough, "with nested paging the guest's own copy in the VMCB"),
    entry(0xc000_0080, 0xc000_0080, "EFER", Filter(Efer), Filter(Efer), "holds the virtualization bit, which VMRUN needs and no domain sees"),
    entry(0xc000_0081, 0xc000_0084, "STAR, LSTAR, CSTAR, SFMASK", PassThrough, PassThrough, "the vCPU's own, switched by VMLOAD"),
    entry(0xc000_0100, 0xc000_0102, "FS_BASE, GS_BASE, KERNEL_GS_BASE", PassThrough, PassThrough, "the vCPU's own, switched by VMLOAD"),
];
