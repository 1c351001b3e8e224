//! Getting evidence: about the caller's own domain from inside, about another from its owner, about an SGX enclave from its REPORT.

use alloc::vec::Vec;

use adyton_abi::PAGE_SIZE;
use adyton_abi::call::Call;
use adyton_abi::enclave;
use adyton_abi::error::Error;
use adyton_abi::evidence::Question;
use adyton_abi::report::{self, Report};

use crate::calls::{self, Name};
use crate::environment::{Environment, Refusal, Request};

/// What most evidence fits into, with the event log of a PC.
const FIRST_SIZE: usize = 128 << 10;
/// More than any evidence has.
const LAST_SIZE: usize = 64 << 20;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// What the relying party sent, 8 to 64 bytes.
    pub nonce: &'a [u8],
    /// Data of the domain's own, up to 64 bytes.
    pub report_data: &'a [u8],
    /// SHA-256 of the SubjectPublicKeyInfo of a key that the domain binds.
    pub key: Option<[u8; 32]>,
}

/// Evidence, as it goes to a verifier: about `domain`, which the caller commands, or the caller's own. An owner binds nothing.
///
/// # Errors
/// What the monitor refuses; `Invalid` where a length is out of bounds.
pub fn evidence<E: Environment>(
    place: &E,
    domain: Option<Name>,
    asked: &Asked<'_>,
) -> Result<Vec<u8>, Refusal> {
    let invalid = Refusal {
        call: Call::Evidence,
        address: 0,
        code: Error::Invalid as u64,
    };
    let question = Question::new(asked.nonce, asked.report_data, asked.key).ok_or(invalid)?;
    whole(place, &question.to_bytes(), |address, size| {
        calls::evidence(place, domain, address, size)
    })
}

/// Evidence of the SGX enclave that made `report` for the monitor ([`enclave::target`]): for whoever sent `nonce` (8 to 64 bytes).
///
/// # Errors
/// What the monitor refuses; `Invalid` where a length is out of bounds.
pub fn enclave_evidence<E: Environment>(
    place: &E,
    nonce: &[u8],
    report: &[u8; enclave::REPORT_SIZE],
) -> Result<Vec<u8>, Refusal> {
    let invalid = Refusal {
        call: Call::EnclaveEvidence,
        address: 0,
        code: Error::Invalid as u64,
    };
    let question = enclave::Question::new(nonce, report).ok_or(invalid)?;
    whole(place, &question.to_bytes(), |address, size| {
        calls::enclave_evidence(place, address, size)
    })
}

/// Asks with a buffer that is large enough, and cuts out of it what was written.
fn whole<E: Environment>(
    place: &E,
    question: &[u8],
    ask: impl Fn(u64, u64) -> Result<[u64; 2], Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let mut size = FIRST_SIZE;
    loop {
        let call = |address| ask(address, size as u64);
        let (outcome, mut memory) = place.filled(size, question, call);
        match outcome {
            Ok([offset, length]) => {
                let end = offset.saturating_add(length) as usize;
                memory.truncate(end);
                memory.drain(..(offset as usize).min(memory.len()));
                return Ok(memory);
            }
            Err(refusal) if refusal.is(Error::TooLarge) && size < LAST_SIZE => size *= 4,
            Err(refusal) => return Err(refusal),
        }
    }
}

/// A report about the calling domain, with data of its own: for a domain on the same machine, which has it [`check`]ed.
///
/// # Errors
/// What the monitor refuses.
pub fn report<E: Environment>(place: &E, data: &[u8; report::DATA]) -> Result<Report, Refusal> {
    let call = |page| calls::once(place, Request::new(Call::Report, [page])).map(drop);
    let (outcome, memory) = place.filled(PAGE_SIZE as usize, data, call);
    outcome?;
    let bytes = memory.first_chunk().copied().unwrap_or([0; report::SIZE]);
    Ok(Report::from_bytes(&bytes))
}

/// Has the monitor check a report of a domain on this machine. How often that domain has accepted memory until now.
///
/// # Errors
/// `Forged`; `Dead` where the domain is no more; what else the monitor refuses.
pub fn check<E: Environment>(place: &E, report: &Report) -> Result<u64, Refusal> {
    let call = |page| calls::once(place, Request::new(Call::Check, [page]));
    let (outcome, _) = place.filled(PAGE_SIZE as usize, &report.to_bytes(), call);
    let [epoch, ..] = outcome?;
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    fn asked() -> Asked<'static> {
        Asked {
            nonce: &[1; 8],
            ..Asked::default()
        }
    }

    #[test]
    fn what_is_too_large_is_asked_for_again() {
        let place = Fake::new(0);
        place.answer(Error::TooLarge as u64, [0; 8]);
        place.answer(0, [4, 5, 0, 0, 0, 0, 0, 0]);
        let found = evidence(&place, None, &asked()).expect("evidence");
        assert_eq!(found, [0, 0, 0, 0, 1], "from the question itself");
        let sizes: Vec<_> = place.calls().iter().map(|call| call.arguments[4]).collect();
        assert_eq!(sizes, [128 << 10, 512 << 10]);
    }

    #[test]
    fn an_enclave_is_asked_about_by_its_report() {
        let place = Fake::new(0);
        place.answer(0, [72, 3, 0, 0, 0, 0, 0, 0]);
        let found = enclave_evidence(&place, &[1; 8], &[7; 432]).expect("evidence");
        assert_eq!(found, [7; 3], "from the question itself");
        let [call] = place.calls()[..] else {
            panic!("one call");
        };
        assert_eq!(
            (call.call, call.arguments[1]),
            (Call::EnclaveEvidence, 128 << 10)
        );
        assert!(enclave_evidence(&place, &[1; 7], &[7; 432]).is_err());
    }

    #[test]
    fn a_short_nonce_is_refused_before_the_call() {
        let place = Fake::new(0);
        let short = Asked {
            nonce: &[1; 7],
            ..Asked::default()
        };
        let refusal = evidence(&place, None, &short).expect_err("refused");
        assert!(refusal.is(Error::Invalid) && place.calls().is_empty());
    }
}
