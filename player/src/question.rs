//! What must stand in memory before a call, so that it finds a question there.

use adyton_abi::call::Call;
use adyton_abi::enclave;
use adyton_abi::evidence::{self, SHORTEST_NONCE};
use adyton_compose::environment::Request;

use crate::world::Ground;

/// Stores the question, word by word, where the call will look for it. The page of a quote begins as that of evidence does.
pub(crate) fn ask(ground: &Ground, request: &Request, store: impl FnMut(u64, u64)) {
    let Some((address, _)) = ground.answers else {
        return;
    };
    let nonce = [request.token as u8; SHORTEST_NONCE];
    match (request.call, ground.report) {
        (Call::Quote | Call::Evidence, _) => {
            if let Some(question) = evidence::Question::new(&nonce, &[], None) {
                words(address, &question.to_bytes(), store);
            }
        }
        (Call::EnclaveEvidence, Some(report)) => {
            if let Some(question) = enclave::Question::new(&nonce, report) {
                words(address, &question.to_bytes(), store);
            }
        }
        _ => {}
    }
}

fn words(address: u64, bytes: &[u8], mut store: impl FnMut(u64, u64)) {
    let (words, _) = bytes.as_chunks();
    for (place, word) in (address..).step_by(8).zip(words) {
        store(place, u64::from_le_bytes(*word));
    }
}
