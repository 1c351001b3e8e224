//! The calling instruction.
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::__cpuid;
use std::sync::OnceLock;

use adyton_abi::VERSION;
use adyton_abi::discovery::{LEAF, SIGNATURE};
use adyton_compose::environment::{Request, Response};

use crate::Error;

/// The instruction that reaches the monitor on this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// AMD's.
    Vmmcall,
    /// Intel's.
    Vmcall,
}

/// Looks for the monitor, once. Without one the instruction would raise `SIGILL`.
pub(crate) fn discover() -> Result<Instruction, Error> {
    static FOUND: OnceLock<Option<Instruction>> = OnceLock::new();
    FOUND.get_or_init(look).ok_or(Error::NoMonitor)
}

fn look() -> Option<Instruction> {
    let leaf = __cpuid(LEAF);
    let mut name = Vec::new();
    for word in [leaf.ebx, leaf.ecx, leaf.edx] {
        name.extend(word.to_le_bytes());
    }
    let facts = (name == SIGNATURE && leaf.eax > LEAF).then(|| __cpuid(LEAF + 1))?;
    let instruction = if facts.ebx == 1 {
        Instruction::Vmcall
    } else {
        Instruction::Vmmcall
    };
    (facts.eax == VERSION).then_some(instruction)
}

macro_rules! call_with {
    ($instruction:literal, $request:expr, $response:expr) => {{
        let [a, b, c, d, e, f, g, h] = $request.arguments;
        let results = &mut $response.results;
        // SAFETY: the monitor is there, and changes the registers of the call interface and nothing else that
        // Rust knows of; pool memory, which calls take and give, is never behind a reference.
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

impl Instruction {
    /// Calls the monitor, whose presence [`discover`] has made sure.
    #[inline(always)]
    pub(crate) fn execute(self, request: &Request) -> Response {
        let mut response = Response::default();
        match self {
            Self::Vmmcall => call_with!("vmmcall", request, response),
            Self::Vmcall => call_with!("vmcall", request, response),
        }
        response
    }
}
