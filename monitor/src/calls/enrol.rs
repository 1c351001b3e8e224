//! Enrolment: `enrol`.

use core::mem::offset_of;

use adyton_abi::enrolment::{EnrolmentPage, Step};
use adyton_abi::error::Error;
use arrayvec::ArrayVec;

use super::attest::Page;
use super::{Request, Results, errand};
use crate::attestation;
use crate::attestation::enrolment::{Challenge, Errand, HEAD};
use crate::domain::name::Refusal;
use crate::vcpu::Owner;

/// `enrol(page, step, offset; token)`.
pub(super) fn enrol(request: &Request<'_>) -> Result<Results, Refusal> {
    request.require_token()?;
    if request.caller.owner() != Owner::Domain0 {
        return Err(Error::Policy.into());
    }
    let [address, step, offset, ..] = request.arguments;
    let page = Page::aligned(request, address)?;
    let step = Step::from_number(step).ok_or(Error::Invalid)?;
    let answer = errand::carry_out(request, || {
        Ok(attestation::errand::Errand::Enrolment(match step {
            Step::Certificate => {
                Errand::certificate(u16::try_from(offset).map_err(|_| Error::Invalid)?)
            }
            Step::Activate => Errand::activation(challenge(&page)?),
        }))
    })?;
    write(&page, &answer)?;
    Ok(Results::default())
}

/// The challenge in the page.
fn challenge(page: &Page) -> Result<Challenge, Error> {
    let credential = taken(
        page.read(offset_of!(EnrolmentPage, credential_size)),
        page.read(offset_of!(EnrolmentPage, credential)),
    )?;
    let secret = taken(
        page.read(offset_of!(EnrolmentPage, secret_size)),
        page.read(offset_of!(EnrolmentPage, secret)),
    )?;
    Ok(Challenge { credential, secret })
}

/// As many of the bytes as the size says.
fn taken<const N: usize>(size: [u8; 8], bytes: [u8; N]) -> Result<ArrayVec<u8, N>, Error> {
    let size = usize::try_from(u64::from_le_bytes(size)).map_err(|_| Error::Invalid)?;
    let part = bytes.get(..size).ok_or(Error::Invalid)?;
    Ok(part.iter().copied().collect())
}

fn write(page: &Page, answer: &[u8]) -> Result<(), Error> {
    let (whole, bytes) = answer.split_first_chunk::<HEAD>().ok_or(Error::Tpm)?;
    let whole = u64::from(u16::from_be_bytes(*whole));
    for (offset, number) in [
        (offset_of!(EnrolmentPage, whole_size), whole),
        (offset_of!(EnrolmentPage, answer_size), bytes.len() as u64),
    ] {
        page.write(offset, &number.to_le_bytes());
    }
    let most = size_of::<EnrolmentPage>() - offset_of!(EnrolmentPage, answer);
    let bytes = bytes.get(..most).unwrap_or(bytes);
    page.write(offset_of!(EnrolmentPage, answer), bytes);
    Ok(())
}
