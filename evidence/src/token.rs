//! The main token: the small signed statement from which everything else in evidence hangs.

use ed25519_dalek::SigningKey;

use crate::Hash;
use crate::bundle::{self, Subject};
use crate::cbor::decode::{Decoder, Malformed};
use crate::cbor::encode::{Encoder, Full, Length, Sink, Slice};
use crate::claims::{
    BOOT, BOUND_KEY, ENCLAVE_PROFILE_NAME, MONITOR, MOST_REPORT_DATA, NONCE, NONCE_LENGTHS,
    PROFILE, PROFILE_NAME, PROTECTION, REPORT_DATA, REQUESTED_BY, RESETS, SHA_256, SUBMODS,
    is_information,
};
use crate::cose;

/// How the machine came to this monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// By a loader that measures nothing, as for development.
    Unmeasured,
    /// By firmware that measured the monitor.
    Measured {
        /// Reset and restart count of the TPM when the monitor started.
        resets: [u32; 2],
        /// Digest of the platform's claims set.
        platform: Hash,
        /// Digest of the log's claims set.
        log: Hash,
    },
}

/// Who asked for the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The subject itself, a domain.
    Subject {
        /// Data of its choice, at most [`MOST_REPORT_DATA`] bytes; none where empty.
        report_data: &'a [u8],
        /// SHA-256 of a SubjectPublicKeyInfo that it binds.
        key: Option<Hash>,
    },
    /// Its owner, who may bind nothing.
    Owner,
    /// Whoever had the report of an enclave, which is the subject and binds in its report what it wants.
    Enclave,
}

impl Request<'_> {
    /// What the evidence is about.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        match self {
            Self::Subject { .. } | Self::Owner => Subject::Domain,
            Self::Enclave => Subject::Enclave,
        }
    }

    /// Claims that say it.
    fn claims(&self) -> u64 {
        match self {
            Request::Owner => 1,
            Request::Subject { report_data, key } => {
                1 + u64::from(!report_data.is_empty()) + u64::from(key.is_some())
            }
            Request::Enclave => 0,
        }
    }
}

/// The claims of the main token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What the asker sent, to know that this is new.
    pub nonce: &'a [u8],
    /// Version of the call interface.
    pub interface: u64,
    /// Rises where a weakness of the monitor was mended.
    pub security_version: u64,
    /// How the machine came here.
    pub boot: Boot,
    /// Whether an IOMMU keeps devices out of the memory of domains.
    pub protected: bool,
    /// Who asked.
    pub request: Request<'a>,
    /// Digest of the claims set about the subject.
    pub claims: Hash,
}

impl<'a> Token<'a> {
    /// Writes the claims.
    ///
    /// # Errors
    /// [`Full`].
    pub fn encode(&self, sink: impl Sink) -> Result<(), Full> {
        let mut encoder = Encoder(sink);
        let measured = u64::from(self.boot != Boot::Unmeasured);
        encoder.map(6 + measured + self.request.claims())?;
        encoder.integer(NONCE)?;
        encoder.bytes(self.nonce)?;
        encoder.integer(PROFILE)?;
        encoder.text(profile(self.request.subject()))?;
        self.encode_digests(&mut encoder)?;
        encoder.integer(MONITOR)?;
        encoder.array(2)?;
        encoder.unsigned(self.interface)?;
        encoder.unsigned(self.security_version)?;
        encoder.integer(BOOT)?;
        encoder.unsigned(measured)?;
        if let Boot::Measured {
            resets: [resets, restarts],
            ..
        } = self.boot
        {
            encoder.integer(RESETS)?;
            encoder.array(2)?;
            encoder.unsigned(resets.into())?;
            encoder.unsigned(restarts.into())?;
        }
        self.encode_request(&mut encoder)?;
        encoder.integer(PROTECTION)?;
        encoder.unsigned(self.protected.into())
    }

    fn encode_digests<S: Sink>(&self, encoder: &mut Encoder<S>) -> Result<(), Full> {
        encoder.integer(SUBMODS)?;
        match &self.boot {
            Boot::Unmeasured => encoder.map(1)?,
            Boot::Measured { platform, log, .. } => {
                encoder.map(3)?;
                encode_digest(encoder, bundle::LOG, log)?;
                encode_digest(encoder, bundle::PLATFORM, platform)?;
            }
        }
        encode_digest(encoder, self.request.subject().set(), &self.claims)
    }

    fn encode_request<S: Sink>(&self, encoder: &mut Encoder<S>) -> Result<(), Full> {
        match self.request {
            Request::Enclave => Ok(()),
            Request::Owner => {
                encoder.integer(REQUESTED_BY)?;
                encoder.unsigned(1)
            }
            Request::Subject { report_data, key } => {
                encoder.integer(REQUESTED_BY)?;
                encoder.unsigned(0)?;
                if !report_data.is_empty() {
                    encoder.integer(REPORT_DATA)?;
                    encoder.bytes(report_data)?;
                }
                match key {
                    None => Ok(()),
                    Some(key) => {
                        encoder.integer(BOUND_KEY)?;
                        encoder.bytes(&key)
                    }
                }
            }
        }
    }
}

/// The profile of evidence about such a subject.
const fn profile(subject: Subject) -> &'static str {
    match subject {
        Subject::Domain => PROFILE_NAME,
        Subject::Enclave => ENCLAVE_PROFILE_NAME,
    }
}

/// A detached claims set (RFC 9711, section 4.2.18.2).
fn encode_digest<S: Sink>(encoder: &mut Encoder<S>, name: &str, digest: &Hash) -> Result<(), Full> {
    encoder.text(name)?;
    encoder.array(2)?;
    encoder.integer(SHA_256)?;
    encoder.bytes(digest)
}

impl Token<'_> {
    /// Signs the claims and writes the tagged COSE_Sign1.
    ///
    /// # Errors
    /// [`Full`].
    pub fn sign(&self, sink: impl Sink, key: &SigningKey) -> Result<(), Full> {
        let mut memory = [0; cose::MOST_PAYLOAD];
        let mut payload = Slice::new(&mut memory);
        self.encode(&mut payload)?;
        cose::sign(sink, key, payload.written())
    }

    /// Bytes of the signed token. They depend on which claims there are and how long, not on digests, so that room can be
    /// left for the token in front of what it is about.
    ///
    /// # Errors
    /// [`Full`] where it could not be signed.
    pub fn signed_length(&self) -> Result<u64, Full> {
        let mut length = Length::default();
        self.encode(&mut length)?;
        cose::signed_length(usize::try_from(length.0).map_err(|_| Full)?)
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading<'a> {
    nonce: Option<&'a [u8]>,
    profile: Option<&'a str>,
    digests: Option<Digests>,
    monitor: Option<[u64; 2]>,
    boot: Option<u64>,
    resets: Option<[u64; 2]>,
    requested_by: Option<u64>,
    report_data: &'a [u8],
    key: Option<Hash>,
    protection: Option<u64>,
}

#[derive(Default)]
struct Digests {
    log: Option<Hash>,
    platform: Option<Hash>,
    subject: Option<(Subject, Hash)>,
}

impl<'a> Token<'a> {
    /// Reads the claims.
    ///
    /// # Errors
    /// [`Malformed`]; another profile is `Range`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reading = Reading::default();
        Decoder::whole(bytes, |decoder| {
            let mut map = decoder.map()?;
            while let Some(key) = map.number(decoder)? {
                reading.claim(key, decoder)?;
            }
            Ok(())
        })?;
        reading.finish()
    }
}

impl<'a> Reading<'a> {
    fn claim(&mut self, key: i64, decoder: &mut Decoder<'a>) -> Result<(), Malformed> {
        match key {
            NONCE => self.nonce = Some(decoder.bytes()?),
            PROFILE => self.profile = Some(decoder.text()?),
            SUBMODS => self.digests = Some(read_digests(decoder)?),
            MONITOR => self.monitor = Some(read_pair(decoder)?),
            BOOT => self.boot = Some(decoder.unsigned()?),
            RESETS => self.resets = Some(read_pair(decoder)?),
            REQUESTED_BY => self.requested_by = Some(decoder.unsigned()?),
            REPORT_DATA => {
                self.report_data = decoder.bytes()?;
                if !(1..=MOST_REPORT_DATA).contains(&self.report_data.len()) {
                    return Err(Malformed::Range);
                }
            }
            BOUND_KEY => self.key = Some(decoder.array_of_bytes()?),
            PROTECTION => self.protection = Some(decoder.unsigned()?),
            _ if is_information(key) => decoder.skip()?,
            _ => return Err(Malformed::UnknownKey(key)),
        }
        Ok(())
    }

    fn finish(self) -> Result<Token<'a>, Malformed> {
        let missing = Malformed::MissingKey;
        let nonce = self.nonce.ok_or(missing(NONCE))?;
        let named = self.profile.ok_or(missing(PROFILE))?;
        let [interface, security_version] = self.monitor.ok_or(missing(MONITOR))?;
        let digests = self.digests.as_ref().ok_or(missing(SUBMODS))?;
        let (subject, claims) = digests.subject.ok_or(missing(SUBMODS))?;
        if !NONCE_LENGTHS.contains(&nonce.len()) || named != profile(subject) {
            return Err(Malformed::Range);
        }
        Ok(Token {
            nonce,
            interface,
            security_version,
            boot: self.boot(digests)?,
            protected: match self.protection {
                Some(protection @ (0 | 1)) => protection == 1,
                Some(_) => return Err(Malformed::Range),
                None => return Err(missing(PROTECTION)),
            },
            request: self.request(subject)?,
            claims,
        })
    }

    fn boot(&self, digests: &Digests) -> Result<Boot, Malformed> {
        let kind = self.boot.ok_or(Malformed::MissingKey(BOOT))?;
        match (kind, self.resets, digests.platform, digests.log) {
            (0, None, None, None) => Ok(Boot::Unmeasured),
            (1, Some([resets, restarts]), Some(platform), Some(log)) => {
                let number = |value| u32::try_from(value).map_err(|_| Malformed::Range);
                Ok(Boot::Measured {
                    resets: [number(resets)?, number(restarts)?],
                    platform,
                    log,
                })
            }
            _ => Err(Malformed::Range),
        }
    }

    fn request(&self, subject: Subject) -> Result<Request<'a>, Malformed> {
        let (report_data, key) = (self.report_data, self.key);
        let binds = !report_data.is_empty() || key.is_some();
        match (subject, self.requested_by) {
            (Subject::Domain, None) => Err(Malformed::MissingKey(REQUESTED_BY)),
            (Subject::Domain, Some(0)) => Ok(Request::Subject { report_data, key }),
            (Subject::Domain, Some(1)) if !binds => Ok(Request::Owner),
            (Subject::Enclave, None) if !binds => Ok(Request::Enclave),
            _ => Err(Malformed::Range),
        }
    }
}

fn read_pair(decoder: &mut Decoder<'_>) -> Result<[u64; 2], Malformed> {
    decoder.array_of(2)?;
    Ok([decoder.unsigned()?, decoder.unsigned()?])
}

fn read_digests(decoder: &mut Decoder<'_>) -> Result<Digests, Malformed> {
    let mut digests = Digests::default();
    let mut map = decoder.map()?;
    while let Some(name) = map.name(decoder)? {
        decoder.array_of(2)?;
        if decoder.integer()? != SHA_256 {
            return Err(Malformed::Range);
        }
        let digest = decoder.array_of_bytes()?;
        match (name, Subject::of_set(name), digests.subject) {
            (bundle::LOG, ..) => digests.log = Some(digest),
            (bundle::PLATFORM, ..) => digests.platform = Some(digest),
            (_, Some(subject), None) => digests.subject = Some((subject, digest)),
            _ => return Err(Malformed::UnknownKey(SUBMODS)),
        }
    }
    Ok(digests)
}
