//! Which enclaves there are: an enclave is a domain, and its record is the EPCM (design note 007).

use adyton_sgx::EpcPage;
use adyton_sgx::epcm::{EpcmEntry, PageType};
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::Secs;

use super::{epc, is_offered, platform};

/// The bit of the argument that asks for a measurement.
const MEASUREMENT: u64 = 1 << 63;
/// Pages that one call looks at.
const SLICE: usize = 4096;

/// Answers [`Information::Enclaves`](adyton_abi::call::Information::Enclaves).
pub(crate) fn information(argument: u64) -> [u64; 8] {
    if !is_offered() {
        return [0; 8];
    }
    if argument & MEASUREMENT != 0 {
        return measurement(argument & !MEASUREMENT);
    }
    let Ok(first) = usize::try_from(argument) else {
        return [0; 8];
    };
    let rest = platform().epcm.get(first..).unwrap_or(&[]);
    for (entry, number) in rest.iter().zip(first as u64..).take(SLICE) {
        if let Some(secs) = secs(entry, number) {
            let pages = entry.children().into();
            let inside = entry.tracking().threads();
            let flags = secs.attributes();
            return [
                number + 1,
                secs.eid(),
                secs.size(),
                pages,
                inside,
                flags,
                0,
                0,
            ];
        }
    }
    let next = if rest.len() > SLICE {
        (first + SLICE) as u64
    } else {
        0
    };
    [next, 0, 0, 0, 0, 0, 0, 0]
}

fn measurement(number: u64) -> [u64; 8] {
    let mut words = [0; 8];
    let entry = usize::try_from(number)
        .ok()
        .and_then(|number| platform().epcm.get(number));
    let found = entry.and_then(|entry| secs(entry, number));
    // Before EINIT the field holds the state of the hash.
    if let Some(secs) = found.filter(|secs| secs.has(attribute::INIT)) {
        let measured = adyton_secrets::words(secs.mrenclave());
        for (place, word) in words.iter_mut().zip(measured) {
            *place = word;
        }
    }
    words
}

/// The SECS in a page, if it is one.
fn secs(entry: &EpcmEntry, number: u64) -> Option<Secs> {
    let stamp = entry.stamp();
    if !entry.attributes().is(PageType::Secs) {
        return None;
    }
    let mut secs = Secs::zeroed();
    epc::load(EpcPage(u32::try_from(number).ok()?), 0, &mut secs.0);
    // Should the page have become another enclave's meanwhile, its contents are nobody's business.
    let is_same = entry.attributes().is(PageType::Secs) && entry.stamp() == stamp;
    is_same.then_some(secs)
}
