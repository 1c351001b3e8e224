//! TPMS_ATTEST (part 2, section 10.12.12) that holds a quote.

use super::{Malformed, Reader, SHA256};
use crate::Hash;
use crate::platform::QUOTED;

/// TPM_GENERATED_VALUE: a restricted key signs nothing that begins so unless the TPM made it.
const GENERATED: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const ATTEST_QUOTE: u16 = 0x8018;

/// TPMS_CLOCK_INFO without the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Resets of the TPM.
    pub resets: u32,
    /// Restarts and resumes since the last reset.
    pub restarts: u32,
}

/// A quote.
#[derive(Clone, Copy, Debug)]
pub struct Attest<'a> {
    /// Qualifying data.
    pub extra: &'a [u8],
    /// Reset counters.
    pub clock: Clock,
    /// Whether it covers exactly [`QUOTED`] of the SHA-256 bank.
    pub covers_quoted: bool,
    /// SHA-256 of the values of the PCRs, one after another.
    pub digest: Hash,
}

impl<'a> Attest<'a> {
    /// Reads a TPMS_ATTEST.
    ///
    /// # Errors
    /// [`Malformed`], also where it is no quote or was not made by a TPM.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        if reader.word()? != GENERATED || reader.half()? != ATTEST_QUOTE {
            return Err(Malformed);
        }
        let _signer = reader.sized()?;
        let extra = reader.sized()?;
        let _clock = reader.double()?;
        let clock = Clock {
            resets: reader.word()?,
            restarts: reader.word()?,
        };
        let _safe = reader.byte()?;
        let _firmware = reader.double()?;
        let covers_quoted = read_selection(&mut reader)?;
        let digest = reader.sized()?.try_into().map_err(|_| Malformed)?;
        reader.end()?;
        Ok(Self {
            extra,
            clock,
            covers_quoted,
            digest,
        })
    }
}

/// TPML_PCR_SELECTION: whether it selects what it must, in one bank.
fn read_selection(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    let banks = reader.word()?;
    let mut right = banks == 1;
    for _ in 0..banks {
        let algorithm = reader.half()?;
        let length = reader.byte()?;
        let bits = reader.take(length.into())?;
        let selected = (0_u32..).zip(bits).flat_map(|(byte, bits)| {
            let set = (0..8_u32).filter(move |bit| bits & (1 << bit) != 0);
            set.map(move |bit| 8 * byte + bit)
        });
        right &= algorithm == SHA256 && selected.eq(QUOTED);
    }
    Ok(right)
}
