//! Evidence about a domain or an enclave, for whoever may ask: one at a time, in slices.
//!
//! 1. [`Stage::Quote`]: the TPM's statement for the asker's nonce, where the boot was measured;
//! 2. [`Stage::Compose`]: what the engine's survey tells is encoded, hashed, and written to the asker's buffer; of an enclave its claims are;
//! 3. [`Stage::Sign`]: the main token, over the digests that were taken on the way;
//! 4. [`Stage::Write`]: everything that stands in front of the composition.
//!
//! The buffer is the asker's, who may write it meanwhile, and what is written there is never read back: digests are taken of the monitor's
//! own bytes. What stands in front of the composition is as long as it is, up to the length's own length, before anything is written; so room is left for
//! it, and evidence begins a few bytes behind the beginning of the buffer.
//!
//! What must hold: all of a composition is of one state of the engine. If that changes, the composition begins anew.

mod prefix;
mod question;

use adyton_abi::call::Call;
use adyton_abi::error::Error;
use adyton_capability::identity::DomainId;
use adyton_capability::survey::{self, Member, Statement, Step, Survey};
use adyton_evidence::Hash;
use adyton_evidence::cbor::encode::{Full, Sink, Slice};
use adyton_evidence::composition::{
    Device, Extent, Facts, Holdings, Peer, Sharing, Signer, Writer,
};
use adyton_evidence::cose::{self, MOST_PAYLOAD};
use adyton_evidence::platform::Platform as Statements;
use adyton_evidence::token::{Boot, Token};
use arrayvec::ArrayVec;
use sha2::{Digest, Sha256};

pub use question::{Question, Subject};

use super::quote::{Asker, QuoteInput};
use super::{SECURITY_VERSION, key, platform};
use crate::domain::name::Refusal;
use crate::domain::{engine, platform as domains};
use crate::instructions::time_stamp;
use crate::lock::Lock;
use crate::tpm::command;
use crate::{devices, iommu, machine};
use prefix::Prefix;

/// Seconds for which evidence that nobody carries on keeps others waiting.
const PATIENCE: u64 = 1;
/// Most bytes of a composition in one slice. Hashing is what takes long.
const CHUNK: usize = 1024;
/// Most bytes that one statement comes to.
const LONGEST_STATEMENT: usize = 192;
/// Instructions of one slice's survey, about, and of one step of it.
const SURVEY: u32 = 40_000;
/// As above.
const STEP: u32 = 1_000;
/// Most bytes of the platform's claims set.
const LONGEST_PLATFORM: usize = 1280;
/// Most bytes of a signed token.
const LONGEST_TOKEN: usize = 1152;

/// Where evidence goes.
pub trait Output {
    /// Finds out whether `length` bytes can be written at `offset`, as far as it holds them.
    ///
    /// # Errors
    /// Why not.
    fn prepare(&self, offset: u64, length: u64) -> Result<(), Refusal>;

    /// Writes; what it cannot hold is `TooLarge`.
    ///
    /// # Errors
    /// Why it cannot.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Refusal>;
}

/// Who asks, by which call: a repetition of the same call is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The caller's domain.
    pub domain: DomainId,
    /// The call.
    pub call: Call,
    /// Arguments of the call.
    pub arguments: [u64; 8],
    /// Its token.
    pub token: u64,
}

/// How far it is.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it, which is never moved about"
)]
enum Stage {
    /// The TPM is asked.
    Quote,
    /// The composition is being told; a survey begins where there is none.
    Compose(Option<Composing>),
    /// All digests are known.
    Sign(Signing),
    /// What stands in front is being written.
    Write(Prefix),
}

struct Composing {
    survey: Survey,
    hash: Sha256,
    /// Bytes so far.
    length: u64,
}

/// A token in the making.
struct Signing {
    payload: ArrayVec<u8, MOST_PAYLOAD>,
    steps: cose::Signing,
    /// Bytes of the composition.
    length: u64,
}

impl Signing {
    fn begin(token: &Token<'_>, length: u64) -> Result<Self, Full> {
        let mut payload = ArrayVec::new();
        token.encode(Kept(&mut payload))?;
        let key = key::public().ok_or(Full)?;
        Ok(Self {
            steps: cose::Signing::begin(&key, &payload)?,
            payload,
            length,
        })
    }

    /// A step; the signed token, once it is there.
    fn advance(&mut self) -> Result<Option<ArrayVec<u8, LONGEST_TOKEN>>, Full> {
        let mut signed = ArrayVec::new();
        let key = key::signing().ok_or(Full)?;
        let done = self.steps.advance(key, &self.payload, Kept(&mut signed))?;
        Ok(done.then_some(signed))
    }
}

/// Evidence in the making.
struct Work {
    client: Client,
    question: Question,
    /// The platform's claims set; empty where the boot was not measured.
    platform: ArrayVec<u8, LONGEST_PLATFORM>,
    boot: Boot,
    /// Where in the buffer the composition begins.
    start: u64,
    stage: Stage,
    /// When it was carried on last.
    since: u64,
}

/// Where evidence is asked for.
pub struct Desk {
    work: Option<Work>,
    /// Who was turned away first, and when last: next in turn.
    next: Option<(Client, u64)>,
}

/// The machine's only one: the engine has one survey at a time, and the TPM makes one statement.
pub static DESK: Lock<Desk> = Lock::new(Desk {
    work: None,
    next: None,
});

impl Desk {
    /// A slice of work for `client`, whose question is read where the work begins. Where in `output` evidence begins, and its bytes, once
    /// it is there.
    ///
    /// # Errors
    /// `Again` while it lasts, or while others are served; `Dead`, `TooLarge`, `Tpm`; what `question` and `output` refuse.
    pub fn serve(
        &mut self,
        client: Client,
        question: impl FnOnce() -> Result<Question, Refusal>,
        output: &impl Output,
    ) -> Result<[u64; 2], Refusal> {
        let reserved = self.is_reserved(client);
        match &self.work {
            Some(work) if work.client == client => {}
            Some(work) if !machine::lasts(work.since, PATIENCE) => {
                if !reserved {
                    self.next = Some((client, time_stamp()));
                }
                return Err(Refusal::Again);
            }
            _ if reserved => return Err(Refusal::Again),
            _ => self.begin(client, question()?)?,
        }
        self.carry_on(output)
    }

    /// Out of line: a core's stack does not hold what this takes besides what it takes to carry on.
    #[inline(never)]
    fn begin(&mut self, client: Client, question: Question) -> Result<(), Error> {
        self.next = None;
        self.work = Some(Work::new(client, question)?);
        Ok(())
    }

    /// A slice of the work, which there is.
    #[inline(never)]
    fn carry_on(&mut self, output: &impl Output) -> Result<[u64; 2], Refusal> {
        let work = self.work.as_mut().ok_or(Refusal::Again)?;
        work.since = time_stamp();
        let outcome = work.advance(output);
        if !matches!(outcome, Err(Refusal::Again | Refusal::Fault(_))) {
            self.work = None;
        }
        outcome
    }

    /// Whether somebody else is next: so nobody who asks again and again keeps others away.
    fn is_reserved(&self, client: Client) -> bool {
        self.next
            .is_some_and(|(next, since)| next != client && !machine::lasts(since, PATIENCE))
    }
}

impl Work {
    fn new(client: Client, question: Question) -> Result<Self, Error> {
        let mut work = Self {
            client,
            question,
            platform: ArrayVec::new(),
            boot: Boot::Unmeasured,
            start: 0,
            stage: Stage::Quote,
            since: time_stamp(),
        };
        if platform().is_none() {
            work.settle(Boot::Unmeasured)?;
        }
        Ok(work)
    }

    /// What is known of the boot is known: how much stands in front of the composition is as well.
    fn settle(&mut self, boot: Boot) -> Result<(), Error> {
        self.boot = boot;
        let token = self.token(Hash::default());
        let room = token.signed_length().and_then(|length| {
            prefix::length(length, &self.platform, token.request.subject(), u64::MAX)
        });
        self.start = room.map_err(|Full| Error::Exhausted)?;
        self.stage = Stage::Compose(None);
        Ok(())
    }

    fn token(&self, claims: Hash) -> Token<'_> {
        Token {
            nonce: &self.question.nonce,
            interface: adyton_abi::VERSION.into(),
            security_version: SECURITY_VERSION,
            boot: self.boot,
            protected: iommu::is_active(),
            request: self.question.request(),
            claims,
        }
    }

    fn advance(&mut self, output: &impl Output) -> Result<[u64; 2], Refusal> {
        match &mut self.stage {
            Stage::Quote => self.ask_tpm()?,
            Stage::Compose(composing) => match (composing.take(), &self.question.subject) {
                (None, Subject::Domain(subject)) => {
                    let survey = engine::lock().survey(*subject)?;
                    *composing = Some(Composing {
                        survey,
                        hash: Sha256::new(),
                        length: 0,
                    });
                }
                (_, Subject::Enclave(claims)) => {
                    output.write(self.start, claims)?;
                    let (digest, length) = (adyton_evidence::hash(claims), claims.len() as u64);
                    self.sign(digest, length)?;
                }
                (Some(mut present), Subject::Domain(_)) => {
                    // Pages that are not there yet are asked for before anything is told.
                    let offset = self.start + present.length;
                    if let Err(refusal) = output.prepare(offset, CHUNK as u64) {
                        *composing = Some(present);
                        return Err(refusal);
                    }
                    match present.tell(self.start, output)? {
                        Told::More => *composing = Some(present),
                        Told::Changed => {}
                        Told::All => {
                            self.sign(present.hash.finalize().into(), present.length)?;
                        }
                    }
                }
            },
            Stage::Sign(signing) => {
                let signed = signing.advance().map_err(|Full| Error::Exhausted)?;
                if let Some(token) = signed {
                    let length = signing.length;
                    let subject = self.question.request().subject();
                    let prefix = Prefix::new(token, &self.platform, subject, length, self.start);
                    self.stage = Stage::Write(prefix.map_err(|Full| Error::Exhausted)?);
                }
            }
            Stage::Write(prefix) => {
                if prefix.write(&self.platform, output)? {
                    return Ok(prefix.extent());
                }
            }
        }
        Err(Refusal::Again)
    }

    /// The claims of the subject have that digest and that many bytes, and lie in the buffer.
    fn sign(&mut self, digest: Hash, length: u64) -> Result<(), Error> {
        let signing = Signing::begin(&self.token(digest), length);
        self.stage = Stage::Sign(signing.map_err(|Full| Error::Exhausted)?);
        Ok(())
    }

    /// Goes on when the TPM has made its statement.
    fn ask_tpm(&mut self) -> Result<(), Refusal> {
        let platform = platform().ok_or(Error::Unmeasured)?;
        let asker = Asker {
            domain: self.client.domain,
            token: self.client.token,
            input: QuoteInput::of(&self.question.nonce),
        };
        let Some(answer) = platform.desk.lock().ask(asker)? else {
            return Ok(());
        };
        let (quote, signature) = command::quoted(&answer).map_err(|_| Error::Tpm)?;
        let statements = Statements {
            quote,
            signature,
            key: &platform.public,
            values: platform.registers,
        };
        self.platform.clear();
        let fits = statements.encode(Kept(&mut self.platform));
        fits.map_err(|Full| Error::Tpm)?;
        Ok(self.settle(Boot::Measured {
            resets: platform.resets,
            platform: adyton_evidence::hash(&self.platform),
            log: platform.log_digest,
        })?)
    }
}

/// What a slice of telling came to.
enum Told {
    More,
    /// The engine was changed.
    Changed,
    All,
}

impl Composing {
    /// A slice: encodes under the engine's lock, then hashes and writes without it.
    fn tell(&mut self, start: u64, output: &impl Output) -> Result<Told, Refusal> {
        let mut memory = [0; CHUNK];
        let mut chunk = Slice::new(&mut memory);
        let told = self
            .encode(&mut chunk)
            .map_err(|Full| Refusal::from(Error::Exhausted))?;
        let bytes = chunk.written();
        self.hash.update(bytes);
        output.write(start + self.length, bytes)?;
        self.length += bytes.len() as u64;
        Ok(told)
    }

    fn encode(&mut self, chunk: &mut Slice<'_>) -> Result<Told, Full> {
        let mut engine = engine::lock();
        let mut left = SURVEY;
        while let Some(rest) = left.checked_sub(STEP)
            && chunk.written().len() + LONGEST_STATEMENT <= CHUNK
        {
            left = rest;
            match engine.survey_step(&mut self.survey) {
                Step::Onward => {}
                Step::Changed => return Ok(Told::Changed),
                Step::Tell(Statement::End) => return Ok(Told::All),
                Step::Tell(statement) => state(statement, &mut *chunk)?,
            }
        }
        Ok(Told::More)
    }
}

/// Who has signed a domain, as it has shown. Only under the engine's lock.
fn signer(member: &Member) -> Option<Signer> {
    member.measurement?;
    let identity = domains::find(member.id)?.signer.try_get()?;
    Some(Signer {
        key: identity.signer,
        product: identity.product,
        version: identity.version,
    })
}

/// One statement of a survey, in evidence.
fn state(statement: Statement, sink: impl Sink) -> Result<(), Full> {
    if let Statement::Begin(domains) = statement {
        return Writer::begin(sink, domains).map(drop);
    }
    let mut writer = Writer::resume(sink);
    match statement {
        Statement::Begin(_) | Statement::End => Ok(()),
        Statement::Opaque(index) => writer.opaque(index),
        Statement::Domain(member) => writer.domain(
            member.index,
            &Facts {
                measurement: member.measurement,
                flags: member.policy.flags,
                exceptions: member.policy.exceptions,
                vcpus: member.vcpus,
                cores: member.cores,
                whole_cores: member.whole_cores,
                signer: signer(&member),
            },
        ),
        Statement::Cores(range) => writer.cores(range),
        Statement::Holdings(holdings) => writer.holdings(&Holdings {
            epoch: holdings.epoch,
            still: holdings.still,
            commanders: &[holdings.commander],
            regions: holdings.regions,
        }),
        Statement::Region(extent) => writer.region(&Extent {
            place: extent.place,
            size: extent.size,
            attributes: extent.attributes,
            sharing: match extent.sharing {
                survey::Sharing::Exclusive => Sharing::Exclusive,
                survey::Sharing::Shared => Sharing::Shared,
                survey::Sharing::Lent => Sharing::Lent,
                survey::Sharing::Open => Sharing::Open,
            },
            origin: extent.origin,
            peers: extent.peers,
        }),
        Statement::Peer(domain, rights) => writer.peer(&Peer { domain, rights }),
        Statement::Devices(devices) => writer.devices(devices),
        Statement::Device(number) => writer.device(&kind(devices::identity(number))),
        Statement::WholeCores(cores) => writer.whole_cores(cores),
        Statement::WholeCore(threads) => writer.whole_core(threads),
        Statement::Complete => Ok(()),
    }
}

/// A kind of device from its one word: vendor, device, class.
const fn kind(identity: u64) -> Device {
    Device {
        vendor: identity as u16,
        device: (identity >> 16) as u16,
        class: (identity >> 32) as u32 & 0xff_ffff,
    }
}

/// Appends.
pub(crate) struct Kept<'a, const N: usize>(&'a mut ArrayVec<u8, N>);

impl<const N: usize> Sink for Kept<'_, N> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0.try_extend_from_slice(bytes).map_err(|_| Full)
    }
}
