//! Leaf D: the states that XSAVE saves, and how large they are.
//!
//! The hardware answers for the XCR0 that is loaded, which is the monitor's, so the sizes are computed anew.

use core::arch::x86_64::CpuidResult;

use adyton_x86::cpuid::EXTENDED_STATE;

use super::ZERO;

/// Bytes of the legacy area and the header.
const FIXED_SIZE: u32 = 512 + 64;
/// Subleaf 1, EAX: XSAVEOPT, XSAVEC, XGETBV with ECX = 1.
pub(super) const COMPACTING: u32 = 0b0111;
/// The same and XSAVES, which does no more than they do where no supervisor state is offered. Not XFD, whose register is
/// denied.
pub(super) const SUPERVISOR_FORM: u32 = 0b1111;
/// A state's ECX: it is a supervisor state.
const SUPERVISOR: u32 = 1 << 0;
/// A state's ECX: it starts at a multiple of 64 in the compacted form.
const ALIGNED: u32 = 1 << 1;

/// The answer to subleaf `subleaf` of a domain that may set `allowed` in XCR0, has set `xcr0`, and sees these features
/// of the instructions (subleaf 1, EAX). It sees no supervisor states.
pub(super) fn leaf(
    subleaf: u32,
    raw: &impl Fn(u32, u32) -> CpuidResult,
    allowed: u64,
    xcr0: u64,
    instructions: u32,
) -> CpuidResult {
    match subleaf {
        0 => CpuidResult {
            eax: allowed as u32,
            ebx: size(raw, xcr0),
            ecx: size(raw, allowed),
            edx: (allowed >> 32) as u32,
        },
        1 => CpuidResult {
            eax: raw(EXTENDED_STATE, 1).eax & instructions,
            ebx: compacted_size(raw, xcr0),
            ..ZERO
        },
        2..64 if allowed >> subleaf & 1 != 0 => {
            let state = raw(EXTENDED_STATE, subleaf);
            CpuidResult {
                ecx: state.ecx & !SUPERVISOR,
                ..state
            }
        }
        _ => ZERO,
    }
}

/// What a domain may set in XCR0 of what the hardware has.
pub(super) fn available(raw: &impl Fn(u32, u32) -> CpuidResult) -> u64 {
    let states = raw(EXTENDED_STATE, 0);
    u64::from(states.edx) << 32 | u64::from(states.eax)
}

fn states(raw: &impl Fn(u32, u32) -> CpuidResult, xcr0: u64) -> impl Iterator<Item = CpuidResult> {
    (2..63)
        .filter(move |number| xcr0 >> number & 1 != 0)
        .map(move |number| raw(EXTENDED_STATE, number))
}

/// The standard form: each state has its place.
fn size(raw: &impl Fn(u32, u32) -> CpuidResult, xcr0: u64) -> u32 {
    states(raw, xcr0).fold(FIXED_SIZE, |size, state| {
        size.max(state.ebx.saturating_add(state.eax))
    })
}

/// The compacted form: one after the other.
fn compacted_size(raw: &impl Fn(u32, u32) -> CpuidResult, xcr0: u64) -> u32 {
    states(raw, xcr0).fold(FIXED_SIZE, |size, state| {
        let start = if state.ecx & ALIGNED != 0 {
            size.saturating_add(63) & !63
        } else {
            size
        };
        start.saturating_add(state.eax)
    })
}
