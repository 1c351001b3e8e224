//! What the rest of this crate needs of the place where it runs.

use alloc::vec;
use alloc::vec::Vec;

use adyton_abi::PAGE_SIZE;
use adyton_abi::call::Call;
use adyton_abi::error::{Error, SUCCESS};

/// The registers of a call: see [`adyton_abi::call`].
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The number.
    pub call: Call,
    /// Arguments 0 to 7.
    pub arguments: [u64; 8],
    /// The token, 0 where the call needs none.
    pub token: u64,
}

/// The registers that a call returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response {
    /// 0, or the code of an [`Error`].
    pub status: u64,
    /// Results 0 to 7.
    pub results: [u64; 8],
}

/// The call instruction, the caller's own memory, and a few facts about the caller.
///
/// Addresses are virtual addresses of the caller. Implementations check that they lie in memory which this
/// environment maps for the purpose, and panic otherwise as an index out of bounds does; they
/// access it as volatile memory that others may change.
pub trait Environment: Clone + Send + Sync + 'static {
    /// Executes the calling instruction.
    fn call(&self, request: &Request) -> Response;

    /// Copies `bytes` to `address`.
    fn write(&self, address: u64, bytes: &[u8]);

    /// Copies from `address` to `bytes`.
    fn read(&self, address: u64, bytes: &mut [u8]);

    /// Sets `size` bytes from `address` to zero.
    fn zero(&self, address: u64, size: u64);

    /// Loads one aligned word; what the other side wrote before it is visible afterwards.
    fn load(&self, address: u64) -> u64;

    /// Stores one aligned word after everything that was written before it.
    fn store(&self, address: u64, word: u64);

    /// Has a call fill memory of this environment's own: `size` bytes, aligned to a page, which begin with `contents`. Gives `call` its
    /// address; returns what `call` returns and what the memory then holds. By itself it takes the memory from the heap.
    fn filled<T>(&self, size: usize, contents: &[u8], call: impl FnOnce(u64) -> T) -> (T, Vec<u8>) {
        const PAGE: usize = PAGE_SIZE as usize;
        // One page more, for wherever in a page the memory begins. Nobody else has a byte of the pages that the call is given.
        let mut memory = vec![0; size.next_multiple_of(PAGE) + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        for (place, byte) in memory.iter_mut().skip(start).zip(contents) {
            *place = *byte;
        }
        let outcome = call(memory[start..].as_mut_ptr().expose_provenance() as u64);
        memory.truncate(start + size);
        memory.drain(..start);
        (outcome, memory)
    }

    /// A random word that is not zero.
    fn entropy(&self) -> u64;

    /// Lets others run before a refused call is tried again.
    fn pause(&self);

    /// Names the process, so that the copy that `fork` makes cleans up nothing of its parent's.
    fn process(&self) -> u64;
}

/// A call that the monitor refused. Nothing was changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call:?} at {address:#x} was refused: {}", describe(*code))]
pub struct Refusal {
    /// The call.
    pub call: Call,
    /// Its argument 0.
    pub address: u64,
    /// The status it returned.
    pub code: u64,
}

fn describe(code: u64) -> &'static str {
    Error::from_code(code).map_or(
        "for a reason that this version does not know",
        Error::message,
    )
}

impl Refusal {
    /// The reason, where this version knows it.
    #[must_use]
    pub fn reason(&self) -> Option<Error> {
        Error::from_code(self.code)
    }

    /// Whether the reason is `error`.
    #[must_use]
    pub fn is(&self, error: Error) -> bool {
        self.code == error as u64
    }
}

impl Request {
    /// A call without a token; missing arguments are 0.
    #[must_use]
    pub fn new<const COUNT: usize>(call: Call, given: [u64; COUNT]) -> Self {
        const { assert!(COUNT <= 8) };
        let mut arguments = [0; 8];
        arguments[..COUNT].copy_from_slice(&given);
        Self {
            call,
            arguments,
            token: 0,
        }
    }

    /// The same call with a token.
    #[must_use]
    pub fn with_token(self, token: u64) -> Self {
        Self { token, ..self }
    }

    /// What `response` to this call says.
    ///
    /// # Errors
    /// The refusal, when the status is not success.
    pub fn outcome(&self, response: Response) -> Result<[u64; 8], Refusal> {
        if response.status == SUCCESS {
            return Ok(response.results);
        }
        Err(Refusal {
            call: self.call,
            address: self.arguments[0],
            code: response.status,
        })
    }
}
