//! The whole of evidence: a detached EAT bundle (RFC 9711, section 5).

use crate::cbor::decode::{Decoder, Malformed};
use crate::cbor::encode::{Encoder, Full, Sink};
use crate::claims::TAG_BUNDLE;

/// Name of the log's claims set.
pub const LOG: &str = "log";
/// Name of the platform's claims set.
pub const PLATFORM: &str = "platform";

/// What evidence is about, which its profile says and the name of its last claims set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A domain, with its composition.
    Domain,
    /// An SGX enclave.
    Enclave,
}

impl Subject {
    /// Name of the claims set. It stands behind the others: maps have longer names behind shorter ones.
    #[must_use]
    pub const fn set(self) -> &'static str {
        match self {
            Self::Domain => "composition",
            Self::Enclave => "sgx-enclave",
        }
    }

    /// The subject whose claims set has this name.
    #[must_use]
    pub fn of_set(name: &str) -> Option<Self> {
        let mut all = [Self::Domain, Self::Enclave].into_iter();
        all.find(|subject| subject.set() == name)
    }
}

/// Evidence, taken apart; every part is encoded CBOR.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// The signed main token.
    pub token: &'a [u8],
    /// The log and the platform's statement, where the boot was measured.
    pub measured: Option<Measured<'a>>,
    /// What the last claims set is about.
    pub subject: Subject,
    /// That claims set.
    pub claims: &'a [u8],
}

/// What there is only where the boot was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// The log's claims set.
    pub log: &'a [u8],
    /// The platform's claims set.
    pub platform: &'a [u8],
}

/// Writes what stands in front of the token, which has `token` bytes and follows.
///
/// # Errors
/// [`Full`].
pub fn begin<S: Sink>(encoder: &mut Encoder<S>, token: u64) -> Result<(), Full> {
    encoder.tag(TAG_BUNDLE)?;
    encoder.array(2)?;
    encoder.begin_bytes(token)
}

/// Writes what stands behind the token: the claims sets follow, [`set`] in front of each, in the order log, platform, subject's.
///
/// # Errors
/// [`Full`].
pub fn sets<S: Sink>(encoder: &mut Encoder<S>, measured: bool) -> Result<(), Full> {
    encoder.map(if measured { 3 } else { 1 })
}

/// Writes what stands in front of a claims set of `length` bytes.
///
/// # Errors
/// [`Full`].
pub fn set<S: Sink>(encoder: &mut Encoder<S>, name: &str, length: u64) -> Result<(), Full> {
    encoder.text(name)?;
    encoder.begin_bytes(length)
}

impl<'a> Bundle<'a> {
    /// Writes all of it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn encode(&self, sink: impl Sink) -> Result<(), Full> {
        let mut encoder = Encoder(sink);
        begin(&mut encoder, self.token.len() as u64)?;
        encoder.0.put(self.token)?;
        sets(&mut encoder, self.measured.is_some())?;
        let measured = self.measured.iter();
        let parts = measured.flat_map(|sets| [(LOG, sets.log), (PLATFORM, sets.platform)]);
        for (name, claims) in parts.chain([(self.subject.set(), self.claims)]) {
            set(&mut encoder, name, claims.len() as u64)?;
            encoder.0.put(claims)?;
        }
        Ok(())
    }

    /// Takes evidence apart.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Decoder::whole(bytes, |decoder| {
            decoder.tag(TAG_BUNDLE)?;
            decoder.array_of(2)?;
            let token = decoder.bytes()?;
            let (mut log, mut platform, mut last) = (None, None, None);
            let mut map = decoder.map()?;
            while let Some(name) = map.name(decoder)? {
                let claims = decoder.bytes()?;
                match (name, Subject::of_set(name), last) {
                    (LOG, ..) => log = Some(claims),
                    (PLATFORM, ..) => platform = Some(claims),
                    (_, Some(subject), None) => last = Some((subject, claims)),
                    _ => return Err(Malformed::Range),
                }
            }
            let measured = match (log, platform) {
                (Some(log), Some(platform)) => Some(Measured { log, platform }),
                (None, None) => None,
                _ => return Err(Malformed::Range),
            };
            let (subject, claims) = last.ok_or(Malformed::Range)?;
            Ok(Self {
                token,
                measured,
                subject,
                claims,
            })
        })
    }
}
