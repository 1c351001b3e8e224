//! Memory of this process that a call writes.
#![allow(unsafe_code)]

use adyton_abi::PAGE_SIZE;

/// A page that begins where pages do.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE as usize]);

/// Gives `call` the address of whole pages of `size` bytes at least that begin with `contents`, and returns what they hold then.
pub(crate) fn filled<T>(size: usize, contents: &[u8], call: impl FnOnce(u64) -> T) -> (T, Vec<u8>) {
    let mut pages = vec![Page([0; PAGE_SIZE as usize]); size.div_ceil(PAGE_SIZE as usize)];
    for (page, part) in pages.iter_mut().zip(contents.chunks(PAGE_SIZE as usize)) {
        for (place, byte) in page.0.iter_mut().zip(part) {
            *place = *byte;
        }
    }
    let memory = pages.as_mut_ptr();
    let outcome = call(memory.expose_provenance() as u64);
    // SAFETY: the call is done, and with it whatever writes by the exposed address. The pages are initialised, and outlive the slice.
    let bytes = unsafe {
        core::slice::from_raw_parts(memory.cast::<u8>(), pages.len() * PAGE_SIZE as usize)
    };
    (outcome, bytes.get(..size).unwrap_or(bytes).to_vec())
}
