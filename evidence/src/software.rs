//! A machine made of software: a TPM, firmware that measures, a monitor that answers, to try verifiers with.
//!
//! Nothing here protects anything: the keys come from small numbers. It is for tests, examples and demonstrations, and only
//! there with the feature `software`.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use ed25519_dalek::SigningKey;
use p256::ecdsa;
use p256::ecdsa::signature::Signer;

use crate::bundle::{Bundle, Measured};
use crate::closure;
use crate::composition::Composition;
use crate::cose::Sign1;
use crate::enclave::Enclave;
use crate::log::{self, kind};
use crate::platform::{
    EVENTS, MONITOR_PCR, Platform, QUOTED, Values, decode_log, encode_log, qualifying_data,
};
use crate::token::{Boot, Request, Token};
use crate::tpm::{Attest, Key};
use crate::{Hash, hash};

pub mod sample;

/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;
/// restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth
const ATTRIBUTES: u32 = 1 << 16 | 1 << 18 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6;

/// A TPM with its event log.
#[derive(Clone)]
pub struct Tpm {
    key: ecdsa::SigningKey,
    values: BTreeMap<u32, Hash>,
    /// The log.
    pub log: Vec<u8>,
    /// Reset and restart count.
    pub resets: [u32; 2],
    /// Attributes of the attestation key.
    pub attributes: u32,
    /// PCRs that a quote covers.
    pub quoted: Vec<u32>,
}

impl Tpm {
    /// One that was never used; its key comes from `seed`, which is not 0.
    #[must_use]
    pub fn new(seed: u8) -> Self {
        let mut scalar = [0; 32];
        scalar[31] = seed.max(1);
        Self {
            key: ecdsa::SigningKey::from_bytes(&scalar.into())
                .unwrap_or_else(|_| unreachable!("small numbers are scalars of the curve")),
            values: BTreeMap::new(),
            log: log_head(),
            resets: [7, 0],
            attributes: ATTRIBUTES,
            quoted: QUOTED.to_vec(),
        }
    }

    /// The value of a PCR.
    #[must_use]
    pub fn value(&self, pcr: u32) -> Hash {
        self.values.get(&pcr).copied().unwrap_or_default()
    }

    /// Extends a PCR and writes it down.
    pub fn event(&mut self, pcr: u32, kind: u32, digest: Hash, data: &[u8]) {
        self.extend(pcr, &digest);
        let digests = [(SHA256, &digest[..])];
        let _memory_takes_all = log::record(&mut self.log, [pcr, kind], &digests, data);
    }

    /// Extends a PCR and writes nothing down.
    pub fn extend(&mut self, pcr: u32, digest: &Hash) {
        let value = log::extended(&self.value(pcr), digest);
        self.values.insert(pcr, value);
    }

    /// TPMT_PUBLIC of the attestation key.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let mut bytes = vec![];
        bytes.extend([0x0023_u16, SHA256].map(u16::to_be_bytes).concat());
        bytes.extend(self.attributes.to_be_bytes());
        // No policy; null symmetric algorithm, ECDSA with SHA-256 on P-256, null KDF.
        let rest = [0_u16, 0x0010, 0x0018, SHA256, 0x0003, 0x0010];
        bytes.extend(rest.map(u16::to_be_bytes).concat());
        for coordinate in point.as_bytes().get(1..).unwrap_or_default().chunks(32) {
            bytes.extend(sized(coordinate));
        }
        bytes
    }

    /// TPMS_ATTEST and TPMT_SIGNATURE of a quote.
    #[must_use]
    pub fn quote(&self, qualifying: &[u8]) -> [Vec<u8>; 2] {
        let mut bits = [0_u8; 3];
        let mut values = vec![];
        for pcr in &self.quoted {
            bits[*pcr as usize / 8] |= 1 << (pcr % 8);
            values.extend(self.value(*pcr));
        }
        let mut attest = vec![];
        attest.extend(0xff54_4347_u32.to_be_bytes());
        attest.extend(0x8018_u16.to_be_bytes());
        attest.extend(sized(
            &[&SHA256.to_be_bytes()[..], &hash(&self.public())].concat(),
        ));
        attest.extend(sized(qualifying));
        attest.extend(123_456_u64.to_be_bytes());
        attest.extend(self.resets.map(u32::to_be_bytes).concat());
        attest.push(1);
        attest.extend(0x2019_1023_0016_3636_u64.to_be_bytes());
        attest.extend(1_u32.to_be_bytes());
        attest.extend(SHA256.to_be_bytes());
        attest.push(3);
        attest.extend(bits);
        attest.extend(sized(&hash(&values)));
        let signature: ecdsa::Signature = self.key.sign(&attest);
        let (r, s) = signature.split_bytes();
        let mut signed = [0x0018_u16, SHA256].map(u16::to_be_bytes).concat();
        signed.extend(sized(&r));
        signed.extend(sized(&s));
        [attest, signed]
    }

    /// Values of the PCRs that evidence holds.
    #[must_use]
    pub fn values(&self) -> Values {
        QUOTED.map(|pcr| self.value(pcr))
    }
}

/// Has every reader try `bytes`, for fuzzers: whatever the bytes, nothing panics, and what is read is written again as it was.
pub fn read_everything(bytes: &[u8]) {
    if let Ok(bundle) = Bundle::decode(bytes) {
        for part in [bundle.token, bundle.claims] {
            read_everything_in(part);
        }
        let mut again = vec![];
        let _memory_takes_all = bundle.encode(&mut again);
        assert!(again == bytes, "a bundle with two encodings");
    }
    read_everything_in(bytes);
}

fn read_everything_in(bytes: &[u8]) {
    let _refused = Sign1::decode(bytes).map(|token| token.is_genuine());
    let _refused = (Token::decode(bytes), Platform::decode(bytes));
    let _refused = (Attest::decode(bytes), Key::decode(bytes));
    let _refused = decode_log(bytes).map(log::events);
    if let Ok(events) = log::events(bytes) {
        events.for_each(drop);
    }
    if let Ok(composition) = Composition::decode(bytes) {
        let _refused = closure::examine(&composition);
    }
    if let Ok(enclave) = Enclave::decode(bytes) {
        let mut again = vec![];
        let _memory_takes_all = enclave.encode(&mut again);
        assert!(again == bytes, "an enclave with two encodings");
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut sized = (bytes.len() as u16).to_be_bytes().to_vec();
    sized.extend(bytes);
    sized
}

/// The first record of a log with one bank.
fn log_head() -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    data.extend(1_u32.to_le_bytes());
    data.extend([SHA256, 32].map(u16::to_le_bytes).concat());
    data.push(0);
    let mut record = [0, kind::NO_ACTION].map(u32::to_le_bytes).concat();
    record.extend([0; 20]);
    record.extend((data.len() as u32).to_le_bytes());
    record.extend(data);
    record
}

/// The digest of an image, file or line with that name.
#[must_use]
pub fn digest(name: &str) -> Hash {
    hash(name.as_bytes())
}

/// What a monitor starts with: configuration, kernel, initrd, command line.
pub const STARTED_WITH: [&str; 4] = ["configuration", "kernel", "initrd", "command line"];

/// Firmware comes up on `tpm` and starts `images`, by name.
pub fn start(tpm: &mut Tpm, images: &[&str]) {
    for pcr in [0, 2, 7] {
        tpm.event(pcr, kind::POST_CODE, digest("firmware"), b"firmware");
    }
    let action = b"Calling EFI Application from Boot Option";
    tpm.event(4, kind::ACTION, hash(action), action);
    for pcr in 0..8 {
        tpm.event(pcr, kind::SEPARATOR, hash(&[0; 4]), &[0; 4]);
    }
    for image in images {
        // UEFI_IMAGE_LOAD_EVENT without a device path.
        tpm.event(4, kind::APPLICATION, digest(image), &[0; 32]);
    }
}

/// A monitor that was started on a machine, or something that pretends to be one.
#[derive(Clone)]
pub struct Monitor {
    /// The machine's TPM.
    pub tpm: Tpm,
    /// Its key.
    pub key: SigningKey,
    /// Whether it says that its boot was measured.
    pub measured: bool,
    /// The reset counters that it saw.
    pub resets: [u32; 2],
    /// The security version that it states.
    pub security_version: u64,
    /// Whether its machine has an IOMMU.
    pub protected: bool,
}

impl Monitor {
    /// Extends the monitor's PCR as a monitor does, and has a key from `seed`.
    #[must_use]
    pub fn take_over(mut tpm: Tpm, seed: u8, started_with: [&str; 4]) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let bound = hash(key.verifying_key().as_bytes());
        let digests = started_with.into_iter().map(digest).chain([bound]);
        for (label, digest) in EVENTS.into_iter().zip(digests) {
            tpm.event(MONITOR_PCR, kind::IPL, digest, label.as_bytes());
        }
        Self {
            resets: tpm.resets,
            tpm,
            key,
            measured: true,
            security_version: 1,
            protected: true,
        }
    }

    /// A genuine monitor on a machine of its own.
    #[must_use]
    pub fn genuine() -> Self {
        let mut tpm = Tpm::new(1);
        start(&mut tpm, &["monitor"]);
        Self::take_over(tpm, 1, STARTED_WITH)
    }

    /// Evidence about `composition`.
    #[must_use]
    pub fn evidence(
        &self,
        nonce: &[u8],
        request: Request<'_>,
        composition: &Composition,
    ) -> Vec<u8> {
        let key = self.key.verifying_key().to_bytes();
        self.evidence_qualified(nonce, request, composition, &qualifying_data(&key, nonce))
    }

    /// As [`Monitor::evidence`], with qualifying data of the caller's choice.
    #[must_use]
    pub fn evidence_qualified(
        &self,
        nonce: &[u8],
        request: Request<'_>,
        composition: &Composition,
        qualifying: &[u8],
    ) -> Vec<u8> {
        self.evidence_quoted(nonce, request, composition, &self.tpm.quote(qualifying))
    }

    /// As [`Monitor::evidence`], with a quote and a signature of the caller's choice.
    #[must_use]
    pub fn evidence_quoted(
        &self,
        nonce: &[u8],
        request: Request<'_>,
        composition: &Composition,
        quote: &[Vec<u8>; 2],
    ) -> Vec<u8> {
        let mut claims = vec![];
        let _memory_takes_all = composition.encode(&mut claims);
        self.evidence_claiming(nonce, request, &claims, quote)
    }

    /// Evidence about an enclave.
    #[must_use]
    pub fn enclave_evidence(&self, nonce: &[u8], enclave: &Enclave) -> Vec<u8> {
        let mut claims = vec![];
        let _memory_takes_all = enclave.encode(&mut claims);
        let key = self.key.verifying_key().to_bytes();
        let quote = self.tpm.quote(&qualifying_data(&key, nonce));
        self.evidence_claiming(nonce, Request::Enclave, &claims, &quote)
    }

    /// As [`Monitor::evidence_quoted`], with a claims set of the caller's choice about the subject.
    #[must_use]
    pub fn evidence_claiming(
        &self,
        nonce: &[u8],
        request: Request<'_>,
        claims: &[u8],
        [quote, signature]: &[Vec<u8>; 2],
    ) -> Vec<u8> {
        let platform = Platform {
            quote,
            signature,
            key: &self.tpm.public(),
            values: self.tpm.values(),
        };
        let [mut statement, mut log] = [vec![], vec![]];
        let _memory_takes_all = platform.encode(&mut statement);
        let _memory_takes_all = encode_log(&mut log, &self.tpm.log);
        let boot = if self.measured {
            Boot::Measured {
                resets: self.resets,
                platform: hash(&statement),
                log: hash(&log),
            }
        } else {
            Boot::Unmeasured
        };
        let token = Token {
            nonce,
            interface: 1,
            security_version: self.security_version,
            boot,
            protected: self.protected,
            request,
            claims: hash(claims),
        };
        let [mut signed, mut evidence] = [vec![], vec![]];
        let _fits = token.sign(&mut signed, &self.key);
        let bundle = Bundle {
            token: &signed,
            measured: self.measured.then_some(Measured {
                log: &log,
                platform: &statement,
            }),
            subject: request.subject(),
            claims,
        };
        let _memory_takes_all = bundle.encode(&mut evidence);
        evidence
    }
}
