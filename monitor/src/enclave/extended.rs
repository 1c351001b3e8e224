//! The extended state of an enclave: between the XSAVE area of a vCPU and the pages of an SSA frame, both in the standard format
//! (Intel SDM volume 1, section 13.4). Pure but for the pages.

use adyton_sgx::{Control, EpcPage};

use super::{epc, platform};
use crate::vcpu::VECTOR_SIZE;

const PAGE: usize = 4096;
/// The legacy region as far as XSAVE writes it: x87, MXCSR and its mask, XMM.
const LEGACY: usize = 416;
const X87_HEAD: core::ops::Range<usize> = 0..24;
const FCW: core::ops::Range<usize> = 0..2;
const FSW: core::ops::Range<usize> = 2..4;
const MXCSR: core::ops::Range<usize> = 24..28;
const MXCSR_AND_MASK: core::ops::Range<usize> = 24..32;
const X87_REGISTERS: core::ops::Range<usize> = 32..160;
const XMM: core::ops::Range<usize> = 160..LEGACY;
/// XSTATE_BV, which says which components are not in their initial state.
const IN_USE: core::ops::Range<usize> = 512..520;
const HEADER: core::ops::Range<usize> = 512..576;
const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const FCW_AT_RESET: u16 = 0x37f;

/// The area of a vCPU.
pub(super) type Area = [u8; VECTOR_SIZE];

/// Writes the components of `xfrm` to the frame that begins in the first of `pages`.
pub(super) fn save(area: &Area, xfrm: u64, pages: &[EpcPage]) {
    put(area, X87_HEAD, pages);
    put(area, MXCSR_AND_MASK, pages);
    put(area, X87_REGISTERS, pages);
    put(area, XMM, pages);
    let mut header = [0; 64];
    header[..8].copy_from_slice(&(in_use(area) & xfrm).to_le_bytes());
    store(pages, HEADER.start, &header);
    for range in components(xfrm) {
        put(area, range, pages);
    }
}

/// Reads the components of `xfrm` from a frame.
pub(super) fn load(area: &mut Area, xfrm: u64, pages: &[EpcPage]) {
    let mut word = [0; 8];
    fetch(pages, IN_USE.start, &mut word);
    let saved = u64::from_le_bytes(word) & xfrm;
    let mut status = [0; 4];
    fetch(pages, MXCSR.start, &mut status);
    set_mxcsr(area, u32::from_le_bytes(status));
    if saved & X87 != 0 {
        get(area, X87_HEAD, pages);
        get(area, X87_REGISTERS, pages);
    }
    if saved & SSE != 0 {
        get(area, XMM, pages);
    }
    for range in components(saved) {
        get(area, range, pages);
    }
    set_in_use(area, in_use(area) & !xfrm | saved);
}

/// Puts the components of `xfrm` into their initial state, but for the control and status words.
pub(super) fn reset(area: &mut Area, xfrm: u64, control: Control) {
    for range in [X87_HEAD, X87_REGISTERS, XMM] {
        clear(area, range);
    }
    for range in components(xfrm) {
        clear(area, range);
    }
    for (range, word) in [(FCW, control.fcw), (FSW, control.fsw)] {
        if let Some(place) = area.get_mut(range) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    set_mxcsr(area, control.mxcsr);
    let is_initial = (control.fcw, control.fsw) == (FCW_AT_RESET, 0);
    let special = if is_initial { 0 } else { X87 };
    set_in_use(area, in_use(area) & !xfrm | special);
}

/// Only bits that the processor has: XRSTOR raises a fault at others, and an enclave may have changed the word after it was checked.
fn set_mxcsr(area: &mut Area, value: u32) {
    let value = value & platform().capabilities.mxcsr_mask;
    if let Some(place) = area.get_mut(MXCSR) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Where the components from 2 on lie.
fn components(chosen: u64) -> impl Iterator<Item = core::ops::Range<usize>> {
    let all = platform().capabilities.components.iter().zip(0_u32..);
    all.filter(move |(component, number)| {
        *number > 1 && chosen >> number & 1 != 0 && component.size > 0
    })
    .map(|(component, _)| {
        let start = component.offset as usize;
        start..start + component.size as usize
    })
}

fn in_use(area: &Area) -> u64 {
    area.get(IN_USE)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn set_in_use(area: &mut Area, value: u64) {
    if let Some(place) = area.get_mut(IN_USE) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn clear(area: &mut Area, range: core::ops::Range<usize>) {
    if let Some(place) = area.get_mut(range) {
        place.fill(0);
    }
}

fn put(area: &Area, range: core::ops::Range<usize>, pages: &[EpcPage]) {
    if let Some(bytes) = area.get(range.clone()) {
        store(pages, range.start, bytes);
    }
}

fn get(area: &mut Area, range: core::ops::Range<usize>, pages: &[EpcPage]) {
    if let Some(bytes) = area.get_mut(range.clone()) {
        fetch(pages, range.start, bytes);
    }
}

/// The part of the frame at `start` that lies in one page: which page, where in it, how long.
fn part(pages: &[EpcPage], start: usize, length: usize) -> Option<(EpcPage, usize, usize)> {
    let page = *pages.get(start / PAGE)?;
    Some((page, start % PAGE, length.min(PAGE - start % PAGE)))
}

fn store(pages: &[EpcPage], start: usize, bytes: &[u8]) {
    let (mut start, mut bytes) = (start, bytes);
    while !bytes.is_empty()
        && let Some((page, offset, length)) = part(pages, start, bytes.len())
    {
        let (now, later) = bytes.split_at(length);
        epc::store(page, offset, now);
        (start, bytes) = (start + length, later);
    }
}

fn fetch(pages: &[EpcPage], start: usize, bytes: &mut [u8]) {
    let (mut start, mut bytes) = (start, bytes);
    while !bytes.is_empty()
        && let Some((page, offset, length)) = part(pages, start, bytes.len())
    {
        let (now, later) = bytes.split_at_mut(length);
        epc::load(page, offset, now);
        (start, bytes) = (start + length, later);
    }
}
