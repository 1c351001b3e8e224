//! What an SGX enclave is, as its REPORT says (Intel SDM volume 3D, chapter 35) and as evidence states it.

use crate::Hash;
use crate::cbor::decode::{Decoder, Malformed};
use crate::cbor::encode::{Encoder, Full, Sink};
use crate::claims::{DEBUG_STATE, ENCLAVE, enclave as key};

/// Bits of the flags of ATTRIBUTES.
pub mod attribute {
    /// It has been initialized, as every enclave that makes a report.
    pub const INIT: u64 = 1 << 0;
    /// A debugger can read and write it.
    pub const DEBUG: u64 = 1 << 1;
    /// It runs in 64-bit mode.
    pub const MODE64BIT: u64 = 1 << 2;
    /// It may have provisioning keys.
    pub const PROVISIONKEY: u64 = 1 << 4;
    /// It may have the EINITTOKEN key.
    pub const EINITTOKEN_KEY: u64 = 1 << 5;
    /// Key separation and sharing: it has a [`Separation`](super::Separation).
    pub const KSS: u64 = 1 << 7;
    /// Its threads may be told of asynchronous exits.
    pub const AEXNOTIFY: u64 = 1 << 10;
    /// Those that policies speak of, with their names there.
    pub const NAMES: [(u64, &str); 5] = [
        (MODE64BIT, "mode64bit"),
        (PROVISIONKEY, "provisionkey"),
        (EINITTOKEN_KEY, "einittoken-key"),
        (KSS, "kss"),
        (AEXNOTIFY, "aexnotify"),
    ];
}

/// An enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclave {
    /// MRENCLAVE: what it was built of.
    pub measurement: Hash,
    /// MRSIGNER: SHA-256 of its signer's modulus.
    pub signer: Hash,
    /// ISVPRODID, a number of the signer's.
    pub product: u16,
    /// ISVSVN, its security version.
    pub version: u16,
    /// ATTRIBUTES.FLAGS: [`attribute`].
    pub flags: u64,
    /// ATTRIBUTES.XFRM: which extended state it has.
    pub xfrm: u64,
    /// MISCSELECT.
    pub miscselect: u32,
    /// CPUSVN: of the monitor that executes SGX.
    pub cpusvn: [u8; 16],
    /// REPORTDATA: its own words.
    pub data: [u8; 64],
    /// What it has with KSS only.
    pub separation: Option<Separation>,
}

/// Fields that an enclave has only with [`attribute::KSS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separation {
    /// CONFIGID: chosen by who creates the enclave.
    pub configuration: [u8; 64],
    /// CONFIGSVN.
    pub configuration_version: u16,
    /// ISVFAMILYID, the signer's.
    pub family: [u8; 16],
    /// ISVEXTPRODID, the signer's.
    pub product: [u8; 16],
}

impl Separation {
    /// As where nobody chose anything.
    pub const NONE: Self = Self {
        configuration: [0; 64],
        configuration_version: 0,
        family: [0; 16],
        product: [0; 16],
    };
}

impl Enclave {
    /// Whether a debugger can read and write it.
    #[must_use]
    pub const fn is_debugged(&self) -> bool {
        self.flags & attribute::DEBUG != 0
    }

    /// Writes the claims set.
    ///
    /// # Errors
    /// [`Full`].
    pub fn encode(&self, sink: impl Sink) -> Result<(), Full> {
        let mut encoder = Encoder(sink);
        encoder.map(2)?;
        encoder.integer(DEBUG_STATE)?;
        encoder.unsigned(u64::from(!self.is_debugged()))?;
        encoder.integer(ENCLAVE)?;
        encoder.map(if self.separation.is_some() { 12 } else { 8 })?;
        for (key, digest) in [
            (key::MRENCLAVE, &self.measurement),
            (key::MRSIGNER, &self.signer),
        ] {
            encoder.integer(key)?;
            encoder.bytes(digest)?;
        }
        for (key, number) in [(key::ISVPRODID, self.product), (key::ISVSVN, self.version)] {
            encoder.integer(key)?;
            encoder.unsigned(number.into())?;
        }
        encoder.integer(key::ATTRIBUTES)?;
        encoder.array(2)?;
        encoder.unsigned(self.flags)?;
        encoder.unsigned(self.xfrm)?;
        encoder.integer(key::MISCSELECT)?;
        encoder.unsigned(self.miscselect.into())?;
        encoder.integer(key::CPUSVN)?;
        encoder.bytes(&self.cpusvn)?;
        encoder.integer(key::REPORTDATA)?;
        encoder.bytes(&self.data)?;
        match &self.separation {
            None => Ok(()),
            Some(separation) => separation.encode(&mut encoder),
        }
    }

    /// Reads a claims set.
    ///
    /// # Errors
    /// [`Malformed`]; `Range` also where flags and other claims contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Decoder::whole(bytes, |decoder| {
            let (mut debug, mut enclave) = (None, None);
            let mut map = decoder.map()?;
            while let Some(key) = map.number(decoder)? {
                match key {
                    DEBUG_STATE => debug = Some(decoder.unsigned()?),
                    ENCLAVE => enclave = Some(Reading::of(decoder)?.finish()?),
                    _ => return Err(Malformed::UnknownKey(key)),
                }
            }
            let debug = debug.ok_or(Malformed::MissingKey(DEBUG_STATE))?;
            let enclave = enclave.ok_or(Malformed::MissingKey(ENCLAVE))?;
            if debug == u64::from(!enclave.is_debugged()) {
                Ok(enclave)
            } else {
                Err(Malformed::Range)
            }
        })
    }
}

impl Separation {
    fn encode<S: Sink>(&self, encoder: &mut Encoder<S>) -> Result<(), Full> {
        encoder.integer(key::CONFIGID)?;
        encoder.bytes(&self.configuration)?;
        encoder.integer(key::CONFIGSVN)?;
        encoder.unsigned(self.configuration_version.into())?;
        encoder.integer(key::ISVFAMILYID)?;
        encoder.bytes(&self.family)?;
        encoder.integer(key::ISVEXTPRODID)?;
        encoder.bytes(&self.product)
    }
}

/// What was read so far of an enclave's map.
#[derive(Default)]
struct Reading {
    measurement: Option<Hash>,
    signer: Option<Hash>,
    product: Option<u16>,
    version: Option<u16>,
    attributes: Option<[u64; 2]>,
    miscselect: Option<u32>,
    cpusvn: Option<[u8; 16]>,
    data: Option<[u8; 64]>,
    configuration: Option<[u8; 64]>,
    configuration_version: Option<u16>,
    family: Option<[u8; 16]>,
    extended_product: Option<[u8; 16]>,
}

impl Reading {
    fn of(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut reading = Self::default();
        let mut map = decoder.map()?;
        while let Some(key) = map.number(decoder)? {
            match key {
                key::MRENCLAVE => reading.measurement = Some(decoder.array_of_bytes()?),
                key::MRSIGNER => reading.signer = Some(decoder.array_of_bytes()?),
                key::ISVPRODID => reading.product = Some(number(decoder)?),
                key::ISVSVN => reading.version = Some(number(decoder)?),
                key::ATTRIBUTES => {
                    decoder.array_of(2)?;
                    reading.attributes = Some([decoder.unsigned()?, decoder.unsigned()?]);
                }
                key::MISCSELECT => reading.miscselect = Some(number(decoder)?),
                key::CPUSVN => reading.cpusvn = Some(decoder.array_of_bytes()?),
                key::REPORTDATA => reading.data = Some(decoder.array_of_bytes()?),
                key::CONFIGID => reading.configuration = Some(decoder.array_of_bytes()?),
                key::CONFIGSVN => reading.configuration_version = Some(number(decoder)?),
                key::ISVFAMILYID => reading.family = Some(decoder.array_of_bytes()?),
                key::ISVEXTPRODID => reading.extended_product = Some(decoder.array_of_bytes()?),
                _ => return Err(Malformed::UnknownKey(key)),
            }
        }
        Ok(reading)
    }

    fn finish(self) -> Result<Enclave, Malformed> {
        let missing = Malformed::MissingKey;
        let separation = self.separation()?;
        let [flags, xfrm] = self.attributes.ok_or(missing(key::ATTRIBUTES))?;
        let is_separated = flags & attribute::KSS != 0;
        if flags & attribute::INIT == 0 || is_separated != separation.is_some() {
            return Err(Malformed::Range);
        }
        Ok(Enclave {
            measurement: self.measurement.ok_or(missing(key::MRENCLAVE))?,
            signer: self.signer.ok_or(missing(key::MRSIGNER))?,
            product: self.product.ok_or(missing(key::ISVPRODID))?,
            version: self.version.ok_or(missing(key::ISVSVN))?,
            flags,
            xfrm,
            miscselect: self.miscselect.ok_or(missing(key::MISCSELECT))?,
            cpusvn: self.cpusvn.ok_or(missing(key::CPUSVN))?,
            data: self.data.ok_or(missing(key::REPORTDATA))?,
            separation,
        })
    }

    /// All four of its claims, or none.
    fn separation(&self) -> Result<Option<Separation>, Malformed> {
        let claims = (
            self.configuration,
            self.configuration_version,
            self.family,
            self.extended_product,
        );
        match claims {
            (None, None, None, None) => Ok(None),
            (Some(configuration), Some(configuration_version), Some(family), Some(product)) => {
                Ok(Some(Separation {
                    configuration,
                    configuration_version,
                    family,
                    product,
                }))
            }
            _ => Err(Malformed::MissingKey(key::CONFIGID)),
        }
    }
}

fn number<T: TryFrom<u64>>(decoder: &mut Decoder<'_>) -> Result<T, Malformed> {
    T::try_from(decoder.unsigned()?).map_err(|_| Malformed::Range)
}
