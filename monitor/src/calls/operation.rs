//! Operations that may take several slices: beginning, continuing, ending.

use adyton_abi::error::Error;
use adyton_capability::Engine;
use adyton_capability::identity::ClaimId;
use adyton_capability::operation::{Begin, Operation, Pending, Progress};

use super::Request;
use crate::domain::engine::{self, slice};
use crate::domain::name::Refusal;
use crate::domain::platform::Machine;
use crate::domain::store::FrameStore;

/// Begins the operation that `decide` gives, or continues it if this very call began it before; its result word.
///
/// # Errors
/// `Busy` if another call is unfinished in the claim; what `decide` refuses; `Again` while it lasts.
pub(super) fn run(
    engine: &mut Engine<FrameStore>,
    request: &Request<'_>,
    claim: ClaimId,
    decide: impl FnOnce(&mut Engine<FrameStore>) -> Result<Operation, Refusal>,
) -> Result<u64, Refusal> {
    let token = request.require_token()?;
    let identity = request.identity();
    let operation = match engine.begin(claim, token, &identity)? {
        Begin::Busy => return Err(Error::Busy.into()),
        Begin::Continue(operation) => operation,
        Begin::New => {
            let operation = decide(engine)?;
            engine.set_pending(
                claim,
                Pending {
                    arguments: identity,
                    token,
                    operation,
                },
            );
            operation
        }
    };
    match advance(engine, request, operation) {
        Progress::Again => Err(Refusal::Again),
        Progress::Done(result) => {
            engine.clear_pending(claim);
            result.map_err(Refusal::from)
        }
    }
}

/// One slice of an operation.
pub(super) fn advance(
    engine: &mut Engine<FrameStore>,
    request: &Request<'_>,
    operation: Operation,
) -> Progress {
    engine.advance(operation, &mut Machine::new(request.core), &mut slice())
}

/// Whether this call has begun before and only needs to be carried on, so that its arguments need no second look.
pub(super) fn is_under_way(request: &Request<'_>, claim: ClaimId) -> bool {
    let found = engine::lock().begin(claim, request.token, &request.identity());
    matches!(found, Ok(Begin::Continue(_)))
}
