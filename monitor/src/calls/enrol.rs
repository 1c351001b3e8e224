//! Enrolment: `enrol`.

use core::mem::offset_of;

use adyton_abi::enrolment::{EnrolmentPage, MOST_ANSWER, Step};
use adyton_abi::error::Error;

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
    Ok(Challenge {
        credential: page.sized(
            offset_of!(EnrolmentPage, credential_size),
            offset_of!(EnrolmentPage, credential),
        )?,
        secret: page.sized(
            offset_of!(EnrolmentPage, secret_size),
            offset_of!(EnrolmentPage, secret),
        )?,
    })
}

fn write(page: &Page, answer: &[u8]) -> Result<(), Error> {
    let (whole, bytes) = answer.split_first_chunk::<HEAD>().ok_or(Error::Tpm)?;
    if bytes.len() > MOST_ANSWER {
        return Err(Error::Tpm);
    }
    let whole = u16::from_be_bytes(*whole);
    page.write_number(offset_of!(EnrolmentPage, whole_size), whole.into());
    page.write_number(offset_of!(EnrolmentPage, answer_size), bytes.len() as u64);
    page.write(offset_of!(EnrolmentPage, answer), bytes);
    Ok(())
}
