//! What a call has the TPM do besides quotes: an errand, given in slices to who asks for it.

use adyton_abi::error::Error;
use adyton_secrets::hash;

use super::{Request, naming};
use crate::attestation;
use crate::attestation::errand::Errand;
use crate::attestation::quote::{Asker, QuoteInput};
use crate::domain::name::Refusal;
use crate::tpm::command::Message;

/// A slice of the errand, which is made when its turn comes: the answer, when it is there.
///
/// # Errors
/// What `make` says; [`Refusal::Again`] as long as there is no answer; `Tpm` and `Exhausted` as the TPM refuses.
pub(super) fn carry_out(
    request: &Request<'_>,
    make: impl FnOnce() -> Result<Errand, Refusal>,
) -> Result<Message, Refusal> {
    let platform = attestation::platform().ok_or(Error::Unmeasured)?;
    let identity = request.identity().map(u64::to_le_bytes);
    let asker = Asker {
        domain: naming::caller(request),
        token: request.token,
        input: QuoteInput(hash(&[identity.as_flattened()])),
    };
    let answer = platform.desk.lock().carry_out(asker, make)?;
    answer.ok_or(Refusal::Again)
}
