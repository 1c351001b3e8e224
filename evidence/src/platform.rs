//! What the TPM states, and the log that explains it: two claims sets beside the main token.

use sha2::{Digest, Sha256};

use crate::Hash;
use crate::cbor::decode::{Decoder, Malformed};
use crate::cbor::encode::{Encoder, Full, Sink};
use crate::claims::{ATTESTATION_KEY, LOG, PCRS, QUOTE, SIGNATURE};

/// The PCRs that a quote covers, rising.
pub use adyton_abi::quote::REGISTERS as QUOTED;

/// The PCR that the monitor extends.
pub const MONITOR_PCR: u32 = 12;
/// The PCR into which the firmware measures what it starts.
pub const STARTED_PCR: u32 = 4;
/// PCRs of boot loaders.
pub const LOADER_PCRS: [u32; 2] = [8, 9];

/// Labels of the monitor's events in the log, in their order.
pub const EVENTS: [&str; 5] = [
    "adyton:configuration",
    "adyton:kernel",
    "adyton:initrd",
    "adyton:command-line",
    "adyton:key",
];

/// Values of the quoted PCRs, in the order of [`QUOTED`].
pub type Values = [Hash; QUOTED.len()];

/// What the monitor has the TPM sign with a quote: the monitor's key and the asker's nonce.
#[must_use]
pub fn qualifying_data(key: &[u8; 32], nonce: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"ADYTON-QUOTE-1\0\0");
    hash.update(key);
    // A nonce has 64 bytes at most.
    hash.update([nonce.len() as u8]);
    hash.update(nonce);
    hash.finalize().into()
}

/// The platform's statement.
#[derive(Clone, Copy, Debug)]
pub struct Platform<'a> {
    /// TPMS_ATTEST.
    pub quote: &'a [u8],
    /// TPMT_SIGNATURE.
    pub signature: &'a [u8],
    /// TPMT_PUBLIC of the key that signed.
    pub key: &'a [u8],
    /// The quoted PCRs.
    pub values: Values,
}

impl<'a> Platform<'a> {
    /// Writes the claims set.
    ///
    /// # Errors
    /// [`Full`].
    pub fn encode(&self, sink: impl Sink) -> Result<(), Full> {
        let mut encoder = Encoder(sink);
        encoder.map(4)?;
        for (key, bytes) in [
            (QUOTE, self.quote),
            (SIGNATURE, self.signature),
            (ATTESTATION_KEY, self.key),
        ] {
            encoder.integer(key)?;
            encoder.bytes(bytes)?;
        }
        encoder.integer(PCRS)?;
        encoder.map(QUOTED.len() as u64)?;
        for (index, value) in QUOTED.iter().zip(&self.values) {
            encoder.unsigned((*index).into())?;
            encoder.bytes(value)?;
        }
        Ok(())
    }

    /// Reads the claims set.
    ///
    /// # Errors
    /// [`Malformed`]; other PCRs than [`QUOTED`] are `Range`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Decoder::whole(bytes, |decoder| {
            let mut map = decoder.map()?;
            let mut next = |wanted: i64, decoder: &mut Decoder<'a>| match map.number(decoder)? {
                Some(key) if key == wanted => Ok(()),
                Some(key) => Err(Malformed::UnknownKey(key)),
                None => Err(Malformed::MissingKey(wanted)),
            };
            next(QUOTE, decoder)?;
            let quote = decoder.bytes()?;
            next(SIGNATURE, decoder)?;
            let signature = decoder.bytes()?;
            next(ATTESTATION_KEY, decoder)?;
            let key = decoder.bytes()?;
            next(PCRS, decoder)?;
            let values = read_values(decoder)?;
            match map.number(decoder)? {
                Some(key) => Err(Malformed::UnknownKey(key)),
                None => Ok(Self {
                    quote,
                    signature,
                    key,
                    values,
                }),
            }
        })
    }
}

fn read_values(decoder: &mut Decoder<'_>) -> Result<Values, Malformed> {
    let mut map = decoder.map()?;
    let mut values = Values::default();
    for (value, index) in values.iter_mut().zip(QUOTED) {
        if map.number(decoder)? != Some(index.into()) {
            return Err(Malformed::Range);
        }
        *value = decoder.array_of_bytes()?;
    }
    match map.number(decoder)? {
        Some(_) => Err(Malformed::Range),
        None => Ok(values),
    }
}

/// Writes the log's claims set.
///
/// # Errors
/// [`Full`].
pub fn encode_log(mut sink: impl Sink, log: &[u8]) -> Result<(), Full> {
    begin_log(&mut sink, log.len() as u64)?;
    sink.put(log)
}

/// Writes what stands in front of a log of `length` bytes in its claims set.
///
/// # Errors
/// [`Full`].
pub fn begin_log(sink: impl Sink, length: u64) -> Result<(), Full> {
    let mut encoder = Encoder(sink);
    encoder.map(1)?;
    encoder.integer(LOG)?;
    encoder.begin_bytes(length)
}

/// Reads the log's claims set.
///
/// # Errors
/// [`Malformed`].
pub fn decode_log(bytes: &[u8]) -> Result<&[u8], Malformed> {
    Decoder::whole(bytes, |decoder| {
        let mut map = decoder.map()?;
        match map.number(decoder)? {
            Some(LOG) => {}
            Some(key) => return Err(Malformed::UnknownKey(key)),
            None => return Err(Malformed::MissingKey(LOG)),
        }
        let log = decoder.bytes()?;
        match map.number(decoder)? {
            Some(key) => Err(Malformed::UnknownKey(key)),
            None => Ok(log),
        }
    })
}
