//! Numbers of claims, tags and algorithms in evidence (`docs/attestation.md`, section 4).

/// The nonce (RFC 9711, section 4.1).
pub const NONCE: i64 = 10;
/// `dbgstat` (RFC 9711, section 4.2.9).
pub const DEBUG_STATE: i64 = 263;
/// `eat_profile` (RFC 9711, section 4.3.2).
pub const PROFILE: i64 = 265;
/// `submods` (RFC 9711, section 4.2.18).
pub const SUBMODS: i64 = 266;
/// Interface version and security version of the monitor.
pub const MONITOR: i64 = -70_000;
/// How the monitor was booted.
pub const BOOT: i64 = -70_001;
/// Reset and restart count of the TPM at boot.
pub const RESETS: i64 = -70_002;
/// Who asked for the evidence.
pub const REQUESTED_BY: i64 = -70_003;
/// Data that the subject chose.
pub const REPORT_DATA: i64 = -70_004;
/// SHA-256 of a public key that the subject binds.
pub const BOUND_KEY: i64 = -70_005;
/// What keeps devices out of memory.
pub const PROTECTION: i64 = -70_006;
/// Who has signed a domain.
pub const SIGNER: i64 = -70_009;
/// What a domain is.
pub const DOMAIN: i64 = -70_010;
/// What an SGX enclave is.
pub const ENCLAVE: i64 = -70_011;
/// TPMS_ATTEST.
pub const QUOTE: i64 = -70_020;
/// TPMT_SIGNATURE.
pub const SIGNATURE: i64 = -70_021;
/// TPMT_PUBLIC.
pub const ATTESTATION_KEY: i64 = -70_022;
/// Quoted PCRs.
pub const PCRS: i64 = -70_023;
/// The event log.
pub const LOG: i64 = -70_024;

/// Keys of a domain's map.
pub mod domain {
    /// Opaque, building or sealed.
    pub const KIND: i64 = 0;
    /// Measurement.
    pub const MEASUREMENT: i64 = 1;
    /// Policy flags.
    pub const FLAGS: i64 = 2;
    /// Exceptions that go to the parent.
    pub const EXCEPTIONS: i64 = 3;
    /// vCPUs.
    pub const VCPUS: i64 = 4;
    /// Where it may run.
    pub const CORES: i64 = 5;
    /// Regions accepted after seal.
    pub const EPOCH: i64 = 6;
    /// What it may still do.
    pub const STILL: i64 = 7;
    /// Who commands it.
    pub const COMMANDERS: i64 = 8;
    /// Its memory.
    pub const REGIONS: i64 = 9;
    /// Its devices.
    pub const DEVICES: i64 = 10;
    /// Cores of its own.
    pub const WHOLE_CORES: i64 = 11;
}

/// Keys of an enclave's map.
pub mod enclave {
    /// MRENCLAVE.
    pub const MRENCLAVE: i64 = 0;
    /// MRSIGNER.
    pub const MRSIGNER: i64 = 1;
    /// ISVPRODID.
    pub const ISVPRODID: i64 = 2;
    /// ISVSVN.
    pub const ISVSVN: i64 = 3;
    /// ATTRIBUTES: flags and XFRM.
    pub const ATTRIBUTES: i64 = 4;
    /// MISCSELECT.
    pub const MISCSELECT: i64 = 5;
    /// CPUSVN.
    pub const CPUSVN: i64 = 6;
    /// REPORTDATA.
    pub const REPORTDATA: i64 = 7;
    /// CONFIGID.
    pub const CONFIGID: i64 = 8;
    /// CONFIGSVN.
    pub const CONFIGSVN: i64 = 9;
    /// ISVFAMILYID.
    pub const ISVFAMILYID: i64 = 10;
    /// ISVEXTPRODID.
    pub const ISVEXTPRODID: i64 = 11;
}

/// The profile of evidence about a domain.
pub const PROFILE_NAME: &str = "urn:uuid:3e3b2f0c-6a0f-4f6e-9b44-0c7c6b1f7a51";
/// The profile of evidence about an SGX enclave.
pub const ENCLAVE_PROFILE_NAME: &str = "urn:uuid:adbe4427-377f-488d-909c-0c8134b928c1";

/// Tag of a COSE_Sign1 (RFC 9052, section 2).
pub const TAG_SIGN1: u64 = 18;
/// Tag of a detached EAT bundle (RFC 9711, section 5).
pub const TAG_BUNDLE: u64 = 602;
/// EdDSA (RFC 9053, section 2.2).
pub const EDDSA: i64 = -8;
/// SHA-256 (RFC 9054, section 2.1).
pub const SHA_256: i64 = -16;

/// Lengths that a nonce can have.
pub const NONCE_LENGTHS: core::ops::RangeInclusive<usize> = 8..=64;
/// Most bytes of report data.
pub const MOST_REPORT_DATA: usize = 64;

/// Whether an unknown claim may be ignored.
#[must_use]
pub const fn is_information(key: i64) -> bool {
    -72_999 <= key && key <= -72_000
}

/// Whether an unknown key of a domain's map may be ignored.
#[must_use]
pub const fn is_domain_information(key: i64) -> bool {
    1000 <= key && key <= 1999
}
