//! Error codes that leaves return in RAX (SDM table 38-4).

/// A code other than 0, which is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs, reason = "the SDM's names, without their SGX_")]
pub enum ErrorCode {
    InvalidSigStruct = 1,
    InvalidAttribute = 2,
    Blkstate = 3,
    InvalidMeasurement = 4,
    Notblockable = 5,
    PgInvld = 6,
    EpcPageConflict = 7,
    InvalidSignature = 8,
    MacCompareFail = 9,
    PageNotBlocked = 10,
    NotTracked = 11,
    VaSlotOccupied = 12,
    ChildPresent = 13,
    EnclaveAct = 14,
    EntryepochLocked = 15,
    InvalidEinittoken = 16,
    PrevTrkIncmpl = 17,
    PgIsSecs = 18,
    PageAttributesMismatch = 19,
    PageNotModifiable = 20,
    PageNotDebuggable = 21,
    /// Of ERDINFO; comes with CF instead of ZF.
    PgNonepc = 26,
    /// Of ETRACKC; likewise.
    TrackNotRequired = 27,
    InvalidCpusvn = 32,
    InvalidIsvsvn = 64,
    UnmaskedEvent = 128,
    InvalidKeyname = 256,
}
