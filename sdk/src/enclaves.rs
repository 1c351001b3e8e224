//! SGX enclaves of this system, as the monitor knows them.

use adyton_abi::call::Information;
use adyton_abi::enclave::REPORT_SIZE;
use adyton_compose::calls::information;

use crate::{Error, Linux};

/// An enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enclave {
    /// Its number, which no other enclave has until the machine boots again.
    pub number: u64,
    /// Bytes of its address space.
    pub size: u64,
    /// Bytes of memory that it has for itself alone.
    pub memory: u64,
    /// Threads that are inside.
    pub inside: u64,
    /// ATTRIBUTES (Intel SDM volume 3D, table 35-3).
    pub attributes: u64,
    /// MRENCLAVE, once it is initialized.
    pub measurement: Option<[u8; 32]>,
}

impl Enclave {
    /// Bit of [`Self::attributes`]: it has been initialized.
    pub const INITIALIZED: u64 = 1 << 0;
    /// Bit of [`Self::attributes`]: a debugger may read it.
    pub const DEBUG: u64 = 1 << 1;
}

/// All enclaves of this system. Empty on a machine without an EPC.
///
/// # Errors
/// [`Error::NoMonitor`], or a refusal.
pub fn enclaves() -> Result<Vec<Enclave>, Error> {
    const MEASUREMENT: u64 = 1 << 63;
    const PAGE: u64 = 4096;
    let place = Linux::without_memory()?;
    let ask = |argument| information(&place, Information::Enclaves, argument);
    let (mut found, mut next) = (Vec::new(), 0);
    loop {
        let [following, number, size, pages, inside, attributes, ..] = ask(next)?;
        if number != 0 {
            let words = ask(MEASUREMENT | (following - 1))?;
            let mut digest = [0; 32];
            for (bytes, word) in digest.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            let is_initialized = attributes & Enclave::INITIALIZED != 0;
            found.push(Enclave {
                number,
                size,
                memory: (pages + 1) * PAGE,
                inside,
                attributes,
                measurement: is_initialized.then_some(digest),
            });
        }
        next = following;
        if next == 0 {
            return Ok(found);
        }
    }
}

/// Evidence of the enclave that made `report`, with EREPORT for [`adyton_abi::enclave::target`], in this boot: for whoever sent `nonce`,
/// 8 to 64 bytes.
///
/// # Errors
/// [`Error::NoMonitor`], or a refusal: `Forged` where the report is another's, changed, or of another boot.
pub fn enclave_evidence(nonce: &[u8], report: &[u8; REPORT_SIZE]) -> Result<Vec<u8>, Error> {
    let place = Linux::without_memory()?;
    Ok(adyton_compose::evidence::enclave_evidence(
        &place, nonce, report,
    )?)
}
