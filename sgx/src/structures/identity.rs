//! Reports and keys: who an enclave is, and what it asks for.

use super::structure;

structure! {
    /// REPORT (SDM, chapter 35).
    Report [432] {
        /// CPUSVN.
        cpusvn set_cpusvn @ 0: [16],
        /// MISCSELECT.
        miscselect set_miscselect @ 16: u32,
        reserved @ 20: 12,
        /// ISVEXTPRODID.
        isvextprodid set_isvextprodid @ 32: [16],
        /// ATTRIBUTES.
        attributes set_attributes @ 48: [16],
        /// MRENCLAVE.
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
        reserved @ 262: 42,
        /// ISVFAMILYID.
        isvfamilyid set_isvfamilyid @ 304: [16],
        /// REPORTDATA.
        reportdata set_reportdata @ 320: [64],
        /// KEYID, not under the MAC.
        keyid set_keyid @ 384: [32],
        /// MAC over all before KEYID.
        mac set_mac @ 416: [16],
    }
}

impl Report {
    /// Bytes that the MAC covers.
    pub const BODY: usize = 384;

    /// What the MAC covers.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0[..Self::BODY]
    }
}

structure! {
    /// TARGETINFO (SDM, chapter 35): for whom a report is.
    Targetinfo [512] {
        /// MEASUREMENT: MRENCLAVE of the target.
        measurement set_measurement @ 0: [32],
        /// ATTRIBUTES.
        attributes set_attributes @ 32: [16],
        reserved @ 48: 2,
        /// CONFIGSVN.
        configsvn set_configsvn @ 50: u16,
        /// MISCSELECT.
        miscselect set_miscselect @ 52: u32,
        reserved @ 56: 8,
        /// CONFIGID.
        configid set_configid @ 64: [64],
        reserved @ 128: 384,
    }
}

structure! {
    /// KEYREQUEST (SDM, chapter 35).
    Keyrequest [512] {
        /// KEYNAME.
        keyname set_keyname @ 0: u16,
        /// KEYPOLICY.
        keypolicy set_keypolicy @ 2: u16,
        /// ISVSVN.
        isvsvn set_isvsvn @ 4: u16,
        reserved @ 6: 2,
        /// CPUSVN.
        cpusvn set_cpusvn @ 8: [16],
        /// ATTRIBUTEMASK.
        attributemask set_attributemask @ 24: [16],
        /// KEYID.
        keyid set_keyid @ 40: [32],
        /// MISCMASK.
        miscmask set_miscmask @ 72: u32,
        /// CONFIGSVN.
        configsvn set_configsvn @ 76: u16,
        reserved @ 78: 434,
    }
}
