//! The leaves by number (SDM, chapter 38): what EAX says when `ENCLS` or `ENCLU` is executed.

/// Leaves of `ENCLS`, for the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs, reason = "the SDM's names")]
pub enum Encls {
    Ecreate = 0x00,
    Eadd = 0x01,
    Einit = 0x02,
    Eremove = 0x03,
    Edbgrd = 0x04,
    Edbgwr = 0x05,
    Eextend = 0x06,
    Eldb = 0x07,
    Eldu = 0x08,
    Eblock = 0x09,
    Epa = 0x0A,
    Ewb = 0x0B,
    Etrack = 0x0C,
    Eaug = 0x0D,
    Emodpr = 0x0E,
    Emodt = 0x0F,
    Erdinfo = 0x10,
    Etrackc = 0x11,
    Eldbc = 0x12,
    Elduc = 0x13,
}

/// Leaves of `ENCLU`, for applications and enclaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs, reason = "the SDM's names")]
pub enum Enclu {
    Ereport = 0x00,
    Egetkey = 0x01,
    Eenter = 0x02,
    Eresume = 0x03,
    Eexit = 0x04,
    Eaccept = 0x05,
    Emodpe = 0x06,
    Eacceptcopy = 0x07,
    Edeccssa = 0x09,
}

impl Encls {
    /// All, by number.
    pub const ALL: [Self; 20] = [
        Self::Ecreate,
        Self::Eadd,
        Self::Einit,
        Self::Eremove,
        Self::Edbgrd,
        Self::Edbgwr,
        Self::Eextend,
        Self::Eldb,
        Self::Eldu,
        Self::Eblock,
        Self::Epa,
        Self::Ewb,
        Self::Etrack,
        Self::Eaug,
        Self::Emodpr,
        Self::Emodt,
        Self::Erdinfo,
        Self::Etrackc,
        Self::Eldbc,
        Self::Elduc,
    ];

    /// The leaf that EAX names, if any.
    #[must_use]
    pub fn from_eax(eax: u32) -> Option<Self> {
        let leaf = *Self::ALL.get(eax as usize)?;
        (leaf as u32 == eax).then_some(leaf)
    }
}

impl Enclu {
    /// All, by number.
    pub const ALL: [Self; 9] = [
        Self::Ereport,
        Self::Egetkey,
        Self::Eenter,
        Self::Eresume,
        Self::Eexit,
        Self::Eaccept,
        Self::Emodpe,
        Self::Eacceptcopy,
        Self::Edeccssa,
    ];

    /// The leaf that EAX names, if any.
    #[must_use]
    #[inline]
    pub fn from_eax(eax: u32) -> Option<Self> {
        Some(match eax {
            0x00 => Self::Ereport,
            0x01 => Self::Egetkey,
            0x02 => Self::Eenter,
            0x03 => Self::Eresume,
            0x04 => Self::Eexit,
            0x05 => Self::Eaccept,
            0x06 => Self::Emodpe,
            0x07 => Self::Eacceptcopy,
            0x09 => Self::Edeccssa,
            _ => return None,
        })
    }

    /// Whether it may only be executed in enclave mode; the others only outside it.
    #[must_use]
    pub fn inside(self) -> bool {
        !matches!(self, Self::Eenter | Self::Eresume)
    }
}
