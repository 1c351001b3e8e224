//! What the loader and the runtime agree on beyond the start page: the words of an exit.
//!
//! The monitor carries the six words of an exit without looking at them. Word 0 says what the
//! payload wants; numbers from [`PAYLOAD`] on are the payload's own agreement with its owner.

/// Word 0: the payload is finished; word 1 is its exit status.
pub const FINISHED: u64 = 0;
/// Word 0: look at the console; word 1 is 1 when the payload waits for input, else for room.
pub const CONSOLE: u64 = 1;
/// Word 0: an exception that the payload does not handle; word 1 is its vector.
pub const FAULT: u64 = 2;
/// Word 0: the payload panicked; what it had to say is on the console.
pub const PANIC: u64 = 3;
/// The first number that is the payload's own.
pub const PAYLOAD: u64 = 16;

/// Window 0 of the start page is the console.
pub const CONSOLE_WINDOW: usize = 0;
/// Window 6 is a page that begins with the domain's signature, where the owner passes one on.
pub const SIGNATURE_WINDOW: usize = 6;
/// Window 7 is not memory but room: addresses that the domain's page tables map and at which it
/// may accept offers.
pub const OFFER_WINDOW: usize = 7;

/// Every vCPU starts with the start page's address in RDI, its own index added in the bits
/// that a page address leaves free.
pub const VCPU_MASK: u64 = 0xfff;
