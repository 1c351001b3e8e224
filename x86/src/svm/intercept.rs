//! What makes a guest exit: APM volume 2, table B-1, offsets 00Ch and 010h.

use bitflags::bitflags;

bitflags! {
    /// The intercepts at offset 00Ch of the VMCB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    #[repr(transparent)]
    pub struct Intercept1: u32 {
        /// A physical interrupt.
        const INTERRUPT = 1 << 0;
        /// A physical non-maskable interrupt.
        const NMI = 1 << 1;
        /// A physical INIT.
        const INIT = 1 << 3;
        /// The guest could take a virtual interrupt.
        const VIRTUAL_INTERRUPT = 1 << 4;
        /// SIDT, SGDT, SLDT and STR.
        const DESCRIPTOR_TABLE_READS = 0xf << 6;
        /// RDTSC (and, where its own intercept is missing, RDTSCP).
        const RDTSC = 1 << 14;
        /// RDPMC.
        const RDPMC = 1 << 15;
        /// CPUID.
        const CPUID = 1 << 18;
        /// RSM.
        const RSM = 1 << 19;
        /// IRET, before it executes.
        const IRET = 1 << 20;
        /// INT with a vector.
        const SOFTWARE_INTERRUPT = 1 << 21;
        /// INVD.
        const INVD = 1 << 22;
        /// HLT.
        const HALT = 1 << 24;
        /// INVLPG.
        const INVLPG = 1 << 25;
        /// INVLPGA.
        const INVLPGA = 1 << 26;
        /// I/O to a port whose bit is set in the I/O permission map.
        const IO = 1 << 27;
        /// RDMSR or WRMSR of a register whose bit is set in the MSR permission map.
        const MSR = 1 << 28;
        /// A task switch.
        const TASK_SWITCH = 1 << 29;
        /// Shutdown, as after a triple fault.
        const SHUTDOWN = 1 << 31;
    }
}

bitflags! {
    /// The intercepts at offset 010h of the VMCB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    #[repr(transparent)]
    pub struct Intercept2: u32 {
        /// VMRUN; must be set, or the VMCB is invalid.
        const VMRUN = 1 << 0;
        /// VMMCALL.
        const VMMCALL = 1 << 1;
        /// VMLOAD.
        const VMLOAD = 1 << 2;
        /// VMSAVE.
        const VMSAVE = 1 << 3;
        /// STGI.
        const STGI = 1 << 4;
        /// CLGI.
        const CLGI = 1 << 5;
        /// SKINIT.
        const SKINIT = 1 << 6;
        /// RDTSCP.
        const RDTSCP = 1 << 7;
        /// WBINVD.
        const WBINVD = 1 << 9;
        /// MONITOR.
        const MONITOR = 1 << 10;
        /// MWAIT.
        const MWAIT = 1 << 11;
        /// XSETBV.
        const XSETBV = 1 << 13;
    }
}
