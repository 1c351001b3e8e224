//! What EINIT is shown.

use super::structure;

structure! {
    /// SIGSTRUCT (SDM, chapter 35): who signed which enclave.
    Sigstruct [1808] {
        /// HEADER.
        header set_header @ 0: [16],
        /// VENDOR.
        vendor set_vendor @ 16: u32,
        /// DATE.
        date set_date @ 20: u32,
        /// HEADER2.
        header2 set_header2 @ 24: [16],
        /// SWDEFINED.
        swdefined set_swdefined @ 40: u32,
        reserved @ 44: 84,
        /// MODULUS, little-endian.
        modulus set_modulus @ 128: [384],
        /// EXPONENT.
        exponent set_exponent @ 512: u32,
        /// SIGNATURE, little-endian.
        signature set_signature @ 516: [384],
        /// MISCSELECT.
        miscselect set_miscselect @ 900: u32,
        /// MISCMASK.
        miscmask set_miscmask @ 904: u32,
        reserved @ 908: 4,
        /// ISVFAMILYID.
        isvfamilyid set_isvfamilyid @ 912: [16],
        /// ATTRIBUTES, flags.
        attributes set_attributes @ 928: u64,
        /// ATTRIBUTES, XFRM.
        xfrm set_xfrm @ 936: u64,
        /// ATTRIBUTEMASK of the flags.
        attributemask set_attributemask @ 944: u64,
        /// ATTRIBUTEMASK of XFRM.
        xfrmmask set_xfrmmask @ 952: u64,
        /// ENCLAVEHASH.
        enclavehash set_enclavehash @ 960: [32],
        reserved @ 992: 16,
        /// ISVEXTPRODID.
        isvextprodid set_isvextprodid @ 1008: [16],
        /// ISVPRODID.
        isvprodid set_isvprodid @ 1024: u16,
        /// ISVSVN.
        isvsvn set_isvsvn @ 1026: u16,
        reserved @ 1028: 12,
        /// Q1, little-endian.
        q1 set_q1 @ 1040: [384],
        /// Q2, little-endian.
        q2 set_q2 @ 1424: [384],
    }
}

impl Sigstruct {
    /// HEADER as it must be.
    pub const HEADER: [u8; 16] = [6, 0, 0, 0, 0xE1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    /// HEADER2 as it must be.
    pub const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];

    /// What is signed: two ranges, hashed one after the other.
    #[must_use]
    pub fn signed(&self) -> [&[u8]; 2] {
        [&self.0[..128], &self.0[900..1028]]
    }
}

structure! {
    /// EINITTOKEN (SDM, chapter 35): a launch enclave's leave.
    Einittoken [304] {
        /// VALID: bit 0.
        valid set_valid @ 0: u32,
        reserved @ 4: 44,
        /// ATTRIBUTES of the enclave.
        attributes set_attributes @ 48: [16],
        /// MRENCLAVE.
        mrenclave set_mrenclave @ 64: [32],
        reserved @ 96: 32,
        /// MRSIGNER.
        mrsigner set_mrsigner @ 128: [32],
        reserved @ 160: 32,
        /// CPUSVNLE.
        cpusvnle set_cpusvnle @ 192: [16],
        /// ISVPRODIDLE.
        isvprodidle set_isvprodidle @ 208: u16,
        /// ISVSVNLE.
        isvsvnle set_isvsvnle @ 210: u16,
        reserved @ 212: 24,
        /// MASKEDMISCSELECTLE.
        maskedmiscselectle set_maskedmiscselectle @ 236: u32,
        /// MASKEDATTRIBUTESLE.
        maskedattributesle set_maskedattributesle @ 240: [16],
        /// KEYID.
        keyid set_keyid @ 256: [32],
        /// MAC over the first 192 bytes.
        mac set_mac @ 288: [16],
    }
}

impl Einittoken {
    /// Bytes that the MAC covers.
    pub const BODY: usize = 192;
}
