//! The calling instruction, from inside a domain.

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, Ordering};

use adyton_abi::call::Call;
use adyton_abi::discovery::LEAF;
use adyton_abi::exit::WORDS;
use adyton_compose::calls;
use adyton_compose::environment::{Environment, Request, Response};

use crate::memory;

/// Whether the CPU's instruction is `VMCALL`.
static INTEL: AtomicBool = AtomicBool::new(false);

/// Asks the monitor which instruction calls it.
pub(crate) fn discover() {
    INTEL.store(__cpuid(LEAF + 1).ebx == 1, Ordering::Relaxed);
}

macro_rules! call_with {
    ($instruction:literal, $request:expr, $response:expr) => {{
        let [a, b, c, d, e, f, g, h] = $request.arguments;
        let results = &mut $response.results;
        // SAFETY: the monitor changes the registers of the call interface and nothing else that Rust
        // knows of; memory that a call takes away is reached through volatile accesses only.
        unsafe {
            asm!(
                $instruction,
                inlateout("rax") $request.call as u64 => $response.status,
                inlateout("rdi") a => results[0],
                inlateout("rsi") b => results[1],
                inlateout("rdx") c => results[2],
                inlateout("rcx") d => results[3],
                inlateout("r8") e => results[4],
                inlateout("r9") f => results[5],
                inlateout("r10") g => results[6],
                inlateout("r11") h => results[7],
                in("r12") $request.token,
                options(nostack),
            );
        }
    }};
}

/// `exit`, which needs six words and nothing else: the shortest way out and back.
macro_rules! exit_with {
    ($instruction:literal, $words:expr) => {{
        let [mut a, mut b, mut c, mut d, mut e, mut f] = $words;
        // SAFETY: as above.
        unsafe {
            asm!(
                $instruction,
                inlateout("rax") Call::Exit as u64 => _,
                inlateout("rdi") a,
                inlateout("rsi") b,
                inlateout("rdx") c,
                inlateout("rcx") d,
                inlateout("r8") e,
                inlateout("r9") f,
                lateout("r10") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        [a, b, c, d, e, f]
    }};
}

#[inline(always)]
fn execute(request: &Request) -> Response {
    let mut response = Response::default();
    if INTEL.load(Ordering::Relaxed) {
        call_with!("vmcall", request, response);
    } else {
        call_with!("vmmcall", request, response);
    }
    response
}

/// A domain, as the place where a payload makes its calls.
#[derive(Clone, Copy, Debug)]
pub struct Inside;

impl Environment for Inside {
    #[inline(always)]
    fn call(&self, request: &Request) -> Response {
        execute(request)
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        memory::write(address, bytes);
    }

    fn read(&self, address: u64, bytes: &mut [u8]) {
        memory::read(address, bytes);
    }

    fn zero(&self, address: u64, size: u64) {
        memory::zero(address, size);
    }

    fn load(&self, address: u64) -> u64 {
        memory::load(address)
    }

    fn store(&self, address: u64, word: u64) {
        memory::store(address, word);
    }

    fn entropy(&self) -> u64 {
        random()[0].max(1)
    }

    fn pause(&self) {
        core::hint::spin_loop();
    }

    fn process(&self) -> u64 {
        0
    }
}

/// Gives control and six words to the owner, and returns the six words of its reply.
///
/// Word 0 says what is wanted: see [`adyton_compose::convention`]. The reply comes from the owner,
/// which a confidential payload does not trust.
#[inline(always)]
pub fn call_parent(words: [u64; WORDS]) -> [u64; WORDS] {
    if INTEL.load(Ordering::Relaxed) {
        exit_with!("vmcall", words)
    } else {
        exit_with!("vmmcall", words)
    }
}

/// Four random words from the monitor's generator.
///
/// # Panics
/// When the monitor has none: going on without would be worse.
#[must_use]
pub fn random() -> [u64; 4] {
    calls::random(&Inside).expect("the monitor gives random words")
}
