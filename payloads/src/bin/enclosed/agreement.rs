//! What this program and its host agree on (`guest-tests/src/enclave/program.rs` compiles this file too).

/// Where the program is linked: the enclave's base.
pub const BASE: u64 = 0x4000_0000;

/// What RDI says at the program's first instruction.
pub mod entry {
    /// Begin, in an enclave: RSI is the address of the [`Block`](super::Block).
    pub const BEGIN: u64 = 0;
    /// The call that it left for has been answered.
    pub const ANSWERED: u64 = 1;
    /// Begin, called as a function: RSI as above, RDX is the function that answers calls.
    pub const PLAIN: u64 = 2;
}

/// What there is to do, and its operands.
pub mod work {
    /// Nothing.
    pub const NOTHING: u64 = 0;
    /// Multiplies matrices, so often.
    pub const MULTIPLY: u64 = 1;
    /// Writes every word of so many bytes, so often.
    pub const STREAM: u64 = 2;
    /// Makes a way through all cache lines of so many bytes, in no order.
    pub const SHUFFLE: u64 = 3;
    /// Goes so many steps of that way.
    pub const CHASE: u64 = 4;
    /// Answers requests from a descriptor: so many, each by so many bytes.
    pub const SERVE: u64 = 5;
    /// Asks the host for nothing, so often.
    pub const ASK: u64 = 6;
    /// Notes so many times that pass between two of its instructions because of an interrupt; the result is where they stand, in the host's room if
    /// the program is in an enclave.
    pub const INTERRUPTIONS: u64 = 7;
}

/// What the program asks its host for: each is one system call.
pub mod call {
    /// Nothing.
    pub const NOTHING: u64 = 0;
    /// `read`: descriptor, address, bytes.
    pub const READ: u64 = 1;
    /// `write`: descriptor, address, bytes.
    pub const WRITE: u64 = 2;
}

/// Bytes of a request that [`work::SERVE`] answers.
pub const REQUEST: u64 = 64;
/// Bytes of the host's memory where an enclave puts what others are to see.
pub const ROOM: usize = 16 << 10;

/// What the host tells the program, and what the program asks of it: memory outside the enclave.
#[repr(C)]
#[derive(Debug)]
pub struct Block {
    /// One of [`work`].
    pub work: u64,
    /// Its operands.
    pub operands: [u64; 3],
    /// The program's memory, and its size in bytes.
    pub memory: [u64; 2],
    /// Address of [`ROOM`] bytes outside.
    pub room: u64,
    /// Whether the program has left for a call; otherwise it has ended.
    pub asks: u64,
    /// One of [`call`].
    pub call: u64,
    /// Its operands.
    pub arguments: [u64; 3],
    /// What the host has answered; what has come of the work, when the program has ended.
    pub result: u64,
}
