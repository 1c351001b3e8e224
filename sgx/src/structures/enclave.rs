//! What describes an enclave and its threads, in EPC pages.

use super::structure;

structure! {
    /// SECS (SDM, chapter 35), the first 512 bytes, after which all is reserved. From 264 on, software has zeros, and the processor keeps what
    /// it needs: no software can read it there.
    Secs [512] {
        /// SIZE in bytes.
        size set_size @ 0: u64,
        /// BASEADDR.
        baseaddr set_baseaddr @ 8: u64,
        /// SSAFRAMESIZE in pages.
        ssaframesize set_ssaframesize @ 16: u32,
        /// MISCSELECT.
        miscselect set_miscselect @ 20: u32,
        /// Pages of the XSAVE area in an SSA frame; 0 as software writes it.
        xsavepages set_xsavepages @ 24: u32,
        reserved @ 28: 20,
        /// ATTRIBUTES, flags.
        attributes set_attributes @ 48: u64,
        /// ATTRIBUTES, XFRM.
        xfrm set_xfrm @ 56: u64,
        /// MRENCLAVE; before EINIT the state of the hash, eight 32-bit numbers.
        mrenclave set_mrenclave @ 64: [32],
        reserved @ 96: 32,
        /// MRSIGNER.
        mrsigner set_mrsigner @ 128: [32],
        reserved @ 160: 32,
        /// CONFIGID.
        configid set_configid @ 192: [64],
        /// ISVPRODID.
        isvprodid set_isvprodid @ 256: u16,
        /// ISVSVN.
        isvsvn set_isvsvn @ 258: u16,
        /// CONFIGSVN.
        configsvn set_configsvn @ 260: u16,
        reserved @ 262: 2,
        /// EID, unique in a boot.
        eid set_eid @ 264: u64,
        /// Blocks of 64 bytes that were hashed.
        updates set_updates @ 272: u64,
        reserved @ 280: 8,
        /// ISVEXTPRODID.
        isvextprodid set_isvextprodid @ 288: [16],
        /// ISVFAMILYID.
        isvfamilyid set_isvfamilyid @ 304: [16],
        reserved @ 320: 192,
    }
}

impl Secs {
    /// Where reserved bytes of a SECS that software wrote end: from here to the end of the page all must be zero.
    pub const SOFTWARE_END: usize = 262;

    /// Whether an attribute is set.
    #[must_use]
    pub fn has(&self, attribute: u64) -> bool {
        self.attributes() & attribute != 0
    }

    /// ATTRIBUTES as they stand in other structures: flags, then XFRM.
    #[must_use]
    pub fn attribute_bytes(&self) -> &[u8; 16] {
        self.0[48..].first_chunk().unwrap_or(&[0; 16])
    }
}

structure! {
    /// The first 64 bytes of a SECS: what entering looks at.
    SecsHead [64] {
        /// SIZE in bytes.
        size set_size @ 0: u64,
        /// BASEADDR.
        baseaddr set_baseaddr @ 8: u64,
        /// SSAFRAMESIZE in pages.
        ssaframesize set_ssaframesize @ 16: u32,
        /// MISCSELECT.
        miscselect set_miscselect @ 20: u32,
        /// Pages of the XSAVE area in an SSA frame.
        xsavepages set_xsavepages @ 24: u32,
        reserved @ 28: 20,
        /// ATTRIBUTES, flags.
        attributes set_attributes @ 48: u64,
        /// ATTRIBUTES, XFRM.
        xfrm set_xfrm @ 56: u64,
    }
}

impl SecsHead {
    /// Whether an attribute is set.
    #[must_use]
    pub fn has(&self, attribute: u64) -> bool {
        self.attributes() & attribute != 0
    }
}

structure! {
    /// TCS (SDM, chapter 35), as far as it is not reserved.
    Tcs [72] {
        /// STATE: 1 while a processor is in the enclave by it.
        state set_state @ 0: u64,
        /// FLAGS, see [`tcs_flags`].
        flags set_flags @ 8: u64,
        /// OSSA: offset of the first SSA frame.
        ossa set_ossa @ 16: u64,
        /// CSSA: the frame that the next exit uses.
        cssa set_cssa @ 24: u32,
        /// NSSA: how many frames there are.
        nssa set_nssa @ 28: u32,
        /// OENTRY: offset of the entry.
        oentry set_oentry @ 32: u64,
        /// AEP, of the processor.
        aep set_aep @ 40: u64,
        /// OFSBASE.
        ofsbase set_ofsbase @ 48: u64,
        /// OGSBASE.
        ogsbase set_ogsbase @ 56: u64,
        /// FSLIMIT.
        fslimit set_fslimit @ 64: u32,
        /// GSLIMIT.
        gslimit set_gslimit @ 68: u32,
    }
}

/// Where the fields of a TCS end; the rest of the page is reserved.
pub const TCS_ENCODED: usize = Tcs::SIZE;

/// Bits of TCS.FLAGS (SDM, chapter 35).
pub mod tcs_flags {
    /// Debugging of the thread is not suppressed; only EDBGWR sets it.
    pub const DBGOPTIN: u64 = 1 << 0;
    /// The thread may be told of asynchronous exits.
    pub const AEXNOTIFY: u64 = 1 << 1;
}

structure! {
    /// GPRSGX (SDM, chapter 35): the end of an SSA frame.
    Gprsgx [184] {
        /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
        general set_general @ 0: [128],
        /// RFLAGS.
        rflags set_rflags @ 128: u64,
        /// RIP.
        rip set_rip @ 136: u64,
        /// URSP: RSP outside.
        ursp set_ursp @ 144: u64,
        /// URBP: RBP outside.
        urbp set_urbp @ 152: u64,
        /// EXITINFO.
        exitinfo set_exitinfo @ 160: u32,
        reserved @ 164: 3,
        /// AEXNOTIFY, of the enclave.
        aexnotify set_aexnotify @ 167: u8,
        /// FSBASE.
        fsbase set_fsbase @ 168: u64,
        /// GSBASE.
        gsbase set_gsbase @ 176: u64,
    }
}

/// Where AEXNOTIFY is in GPRSGX.
pub const GPRSGX_AEXNOTIFY: usize = 167;

structure! {
    /// EXINFO (SDM, chapter 35), before GPRSGX if MISCSELECT has it.
    Exinfo [16] {
        /// MADDR: address of a page fault.
        maddr set_maddr @ 0: u64,
        /// ERRCD: error code.
        errcd set_errcd @ 8: u32,
        reserved @ 12: 4,
    }
}
