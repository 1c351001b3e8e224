//! What evidence is asked for.

use core::mem::offset_of;

use adyton_abi::enclave;
use adyton_abi::error::Error;
use adyton_abi::evidence::{
    self as abi, LONGEST_NONCE, MOST_REPORT_DATA, QUESTION_SIZE, SHORTEST_NONCE,
};
use adyton_capability::identity::DomainId;
use adyton_evidence::Hash;
use adyton_evidence::cbor::encode::Full;
use adyton_evidence::enclave::Enclave;
use adyton_evidence::token::Request;
use arrayvec::ArrayVec;

use super::Kept;

/// About whom.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one question at a time, and no allocator"
)]
#[derive(Clone, Debug)]
pub enum Subject {
    /// A domain.
    Domain(DomainId),
    /// An enclave: its claims set, whole.
    Enclave(ArrayVec<u8, LONGEST_ENCLAVE>),
}

/// Most bytes of an enclave's claims set.
pub const LONGEST_ENCLAVE: usize = 384;

/// A question, read once.
#[derive(Clone, Debug)]
pub struct Question {
    /// About whom.
    pub subject: Subject,
    /// What the asker sent.
    pub nonce: ArrayVec<u8, LONGEST_NONCE>,
    report: ArrayVec<u8, MOST_REPORT_DATA>,
    key: Option<Hash>,
    by_owner: bool,
}

impl Question {
    /// What stands in the first page of a buffer. An owner may bind nothing.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn read(
        subject: DomainId,
        by_owner: bool,
        bytes: &[u8; QUESTION_SIZE],
    ) -> Result<Self, Error> {
        let nonce = field(
            bytes,
            offset_of!(abi::Question, nonce_size),
            offset_of!(abi::Question, nonce),
        )?;
        let report: ArrayVec<u8, MOST_REPORT_DATA> = field(
            bytes,
            offset_of!(abi::Question, report_size),
            offset_of!(abi::Question, report),
        )?;
        let key = array(bytes, offset_of!(abi::Question, key))?;
        let key = match number(bytes, offset_of!(abi::Question, has_key))? {
            0 => None,
            1 => Some(key),
            _ => return Err(Error::Invalid),
        };
        let binds = !report.is_empty() || key.is_some();
        if nonce.len() < SHORTEST_NONCE || by_owner && binds {
            return Err(Error::Invalid);
        }
        Ok(Self {
            subject: Subject::Domain(subject),
            nonce,
            report,
            key,
            by_owner,
        })
    }

    /// What stands in the first page of a buffer, where it is about an enclave, and what `judge` makes of the REPORT there.
    ///
    /// # Errors
    /// `Invalid`, or what `judge` refuses.
    pub fn read_enclave(
        bytes: &[u8; enclave::QUESTION_SIZE],
        judge: impl FnOnce(&[u8; enclave::REPORT_SIZE]) -> Result<Enclave, Error>,
    ) -> Result<Self, Error> {
        let nonce = field(
            bytes,
            offset_of!(enclave::Question, nonce_size),
            offset_of!(enclave::Question, nonce),
        )?;
        if nonce.len() < SHORTEST_NONCE {
            return Err(Error::Invalid);
        }
        let report = array(bytes, offset_of!(enclave::Question, report))?;
        let mut claims = ArrayVec::new();
        let fits = judge(&report)?.encode(Kept(&mut claims));
        fits.map_err(|Full| Error::Exhausted)?;
        Ok(Self {
            subject: Subject::Enclave(claims),
            nonce,
            report: ArrayVec::new(),
            key: None,
            by_owner: false,
        })
    }

    /// Who asks, as evidence says it.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        match self.subject {
            Subject::Enclave(_) => Request::Enclave,
            Subject::Domain(_) if self.by_owner => Request::Owner,
            Subject::Domain(_) => Request::Subject {
                report_data: &self.report,
                key: self.key,
            },
        }
    }
}

fn array<const N: usize>(bytes: &[u8], place: usize) -> Result<[u8; N], Error> {
    let rest = bytes.get(place..).ok_or(Error::Invalid)?;
    rest.first_chunk().copied().ok_or(Error::Invalid)
}

fn number(bytes: &[u8], place: usize) -> Result<u64, Error> {
    array(bytes, place).map(u64::from_le_bytes)
}

/// A byte string of up to `N` bytes.
fn field<const N: usize>(
    bytes: &[u8],
    size: usize,
    place: usize,
) -> Result<ArrayVec<u8, N>, Error> {
    let size = usize::try_from(number(bytes, size)?).map_err(|_| Error::Invalid)?;
    let all: [u8; N] = array(bytes, place)?;
    let part = all.get(..size).ok_or(Error::Invalid)?;
    part.try_into().map_err(|_| Error::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adyton_abi::enclave as abi_enclave;
    use adyton_evidence::enclave::Separation;

    fn read(by_owner: bool, question: &abi::Question) -> Result<Question, Error> {
        Question::read(DomainId::from_word(1), by_owner, &question.to_bytes())
    }

    #[test]
    fn a_subject_binds_and_an_owner_does_not() {
        let plain = abi::Question::new(&[1; 8], &[], None).unwrap();
        assert_eq!(read(true, &plain).unwrap().request(), Request::Owner);
        let bound = abi::Question::new(&[1; 64], &[2; 64], Some([3; 32])).unwrap();
        let request = Request::Subject {
            report_data: &[2; 64],
            key: Some([3; 32]),
        };
        assert_eq!(read(false, &bound).unwrap().request(), request);
        let data = abi::Question::new(&[1; 8], &[2], None).unwrap();
        let key = abi::Question::new(&[1; 8], &[], Some([3; 32])).unwrap();
        for bound in [bound, data, key] {
            assert_eq!(read(true, &bound).err(), Some(Error::Invalid));
        }
    }

    #[test]
    fn lengths_out_of_bounds_are_refused() {
        let good = abi::Question::new(&[1; 8], &[], None).unwrap();
        assert!(read(false, &good).is_ok());
        let spoil: [fn(&mut abi::Question); 6] = [
            |question| question.nonce_size = 7,
            |question| question.nonce_size = 65,
            |question| question.nonce_size = u64::MAX,
            |question| question.report_size = 65,
            |question| question.report_size = 1 << 63,
            |question| question.has_key = 2,
        ];
        for spoil in spoil {
            let mut question = good.clone();
            spoil(&mut question);
            assert_eq!(read(false, &question).err(), Some(Error::Invalid));
        }
    }

    fn enclave() -> Enclave {
        Enclave {
            measurement: [1; 32],
            signer: [2; 32],
            product: u16::MAX,
            version: u16::MAX,
            flags: u64::MAX,
            xfrm: u64::MAX,
            miscselect: u32::MAX,
            cpusvn: [1; 16],
            data: [3; 64],
            separation: Some(Separation {
                configuration: [4; 64],
                configuration_version: u16::MAX,
                family: [5; 16],
                product: [6; 16],
            }),
        }
    }

    /// The longest claims there are fit, and say who asks: nobody that could bind anything.
    #[test]
    fn an_enclave_is_asked_about_by_its_report() {
        let asked = abi_enclave::Question::new(&[1; 8], &[7; 432]).unwrap();
        let read = |question: &abi_enclave::Question, judged| {
            Question::read_enclave(&question.to_bytes(), |report| {
                assert_eq!(report, &[7; 432]);
                judged
            })
        };
        let question = read(&asked, Ok(enclave())).unwrap();
        assert_eq!(question.request(), Request::Enclave);
        let Subject::Enclave(claims) = question.subject else {
            panic!("about a domain");
        };
        assert_eq!(Enclave::decode(&claims), Ok(enclave()));
        let forged = read(&asked, Err(Error::Forged));
        assert_eq!(forged.err(), Some(Error::Forged));
        for size in [0, 7, 65, u64::MAX] {
            let mut short = asked.clone();
            short.nonce_size = size;
            assert_eq!(read(&short, Ok(enclave())).err(), Some(Error::Invalid));
        }
    }
}
