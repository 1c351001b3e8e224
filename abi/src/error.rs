//! Why a call was refused: the status in RAX.

macro_rules! errors {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The reason for which a call was refused. Nothing was changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u64)]
        pub enum Error { $($(#[$meta])* $name = $code,)* }

        impl Error {
            /// Every error.
            pub const ALL: &'static [Error] = &[$(Error::$name,)*];

            /// The error with the code `value`; 0 is success and no error.
            #[must_use]
            pub const fn from_code(value: u64) -> Option<Error> {
                match value { $($code => Some(Error::$name),)* _ => None }
            }

            /// What was refused, in a sentence for people.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Error::$name => $text,)* }
            }
        }
    };
}

errors! {
    /// No such call, or not from this processor mode.
    Unsupported = 1, "the monitor does not know this call, or not from this processor mode";
    /// An argument is malformed: unknown bits, zero size, wrap-around, zero token.
    Invalid = 2, "an argument is malformed";
    /// An address or size is not a multiple of the page size that applies.
    Alignment = 3, "an address or size is not aligned";
    /// More than one call may take: see `docs/calls.md` for the bound.
    TooLarge = 4, "the range is too large for one call";
    /// The address lies in no pool of the caller.
    NotPool = 5, "the address lies outside the caller's pool";
    /// The virtual range is not contiguous in guest-physical memory.
    NotContiguous = 6, "the range is not contiguous in physical memory";
    /// The address lies in no claim, or names no domain, vCPU, region or offer.
    NotFound = 7, "there is no such claim, domain, vCPU, region or offer";
    /// The key is not that of the claim.
    BadKey = 8, "the key is not that of the claim";
    /// The range, or part of it, is claimed, carved, shared or pinned already.
    Overlap = 9, "part of the range is in use already";
    /// The domain has something at that place already.
    Occupied = 10, "the place is occupied in the domain";
    /// Rights or attributes exceed those of what they are derived from.
    Rights = 11, "the rights or attributes exceed those of the parent region";
    /// An account has not enough pages of monitor memory left.
    Quota = 12, "the quota of monitor memory is used up";
    /// Another call on the same claim or vCPU is unfinished.
    Busy = 13, "another call on the same claim or vCPU is unfinished";
    /// The sequence number is not that of the last exit.
    Stale = 14, "the sequence number is not that of the last exit";
    /// The domain may not run on this core.
    WrongCore = 15, "the domain may not run on this core";
    /// Not in this state: sealed, not sealed, without vCPU, owned by somebody.
    WrongState = 16, "the domain or region is not in the state that this call needs";
    /// The caller's own policy does not allow it this call.
    Policy = 17, "the caller's policy does not allow this call";
    /// What is accepted is not what was offered.
    Mismatch = 18, "the offer is not what was expected";
    /// The region was closed: nothing can be derived from it.
    Closed = 19, "the region is closed";
    /// The caller has interrupts off and one is waiting; call again with them on.
    Interrupted = 20, "an interrupt is waiting and the caller has interrupts off";
    /// The domain, or the claim it lives in, was destroyed.
    Dead = 21, "the domain was destroyed";
    /// A core did not answer in time: the memory was quarantined.
    Quarantined = 22, "a core did not answer, so the memory is quarantined";
    /// The monitor is out of something that no account covers.
    Exhausted = 23, "the monitor has no memory left";
    /// Nothing has measured this boot, so nothing can be said about it.
    Unmeasured = 24, "this boot was not measured";
    /// The TPM has refused or does not answer.
    Tpm = 25, "the TPM does not answer";
    /// No IOMMU keeps devices out of memory, and the command line does not say `adyton.without-iommu=allow`.
    Unprotected = 26, "no IOMMU keeps devices out of memory here, so no domain is confidential (adyton.without-iommu=allow makes it so nevertheless)";
    /// The report was not made by this monitor since it was booted, or was changed.
    Forged = 27, "the report is not this monitor's, or was changed";
    /// The signature over the domain is malformed, wrong, or about another measurement, or there is none.
    Signature = 28, "the signature over the domain is not right";
    /// The key is that of a newer version of the domain.
    Newer = 29, "the key belongs to a newer version of the domain";
    /// Domain 0 has given the domain no counter.
    NoCounter = 30, "the domain has no counter: domain 0 gives them out";
    /// Domain 0 uses the core: it must be taken offline first, with all its threads.
    CoreBusy = 31, "domain 0 uses the core, or a thread of it: it must be taken offline first";
    /// There is no such PCI function, or it is not the caller's, or the address does not lead to its registers.
    NotDevice = 36, "there is no such PCI function, or the address does not lead to its registers";
    /// A bridge, one of several functions of a device (virtual ones included), one that does not stand alone behind a root port or on bus 0, or without
    /// registers in memory.
    Unassignable = 37, "the PCI function is a bridge, one of several, behind a bridge that lets nobody tell it from others, or has no registers in memory";
    /// The function's registers lie where something else does, or nowhere.
    Entangled = 38, "the PCI function's registers lie where something else does";
}

/// Status of a call that succeeded.
pub const SUCCESS: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_again() {
        assert_eq!(Error::from_code(SUCCESS), None);
        for error in Error::ALL {
            assert_eq!(Error::from_code(*error as u64), Some(*error));
            assert!(!error.message().is_empty());
        }
    }
}
