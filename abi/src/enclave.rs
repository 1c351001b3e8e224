//! What stands at the beginning of the buffer of [`Call::EnclaveEvidence`](crate::call::Call::EnclaveEvidence), and for whom an
//! enclave has to make its REPORT, so that the monitor turns it into evidence (`docs/attestation.md`, section 12).

use core::mem::{offset_of, size_of};

use crate::evidence::{LONGEST_NONCE, SHORTEST_NONCE, laid_out};

/// Bytes of a TARGETINFO (Intel SDM volume 3D, chapter 35).
pub const TARGET_SIZE: usize = 512;
/// Bytes of a REPORT.
pub const REPORT_SIZE: usize = 432;
/// MEASUREMENT of the target: no digest of anything that anybody has.
pub const TARGET_MEASUREMENT: [u8; 32] = *b"Adyton turns reports to evidence";

/// The TARGETINFO. Its ATTRIBUTES are 0: without INIT, as those of no enclave that runs, so no enclave gets the key of the report.
#[must_use]
pub fn target() -> [u8; TARGET_SIZE] {
    let mut target = [0; TARGET_SIZE];
    for (place, byte) in target.iter_mut().zip(TARGET_MEASUREMENT) {
        *place = byte;
    }
    target
}

/// The question. All numbers are little-endian, as the processor's.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Question {
    /// Bytes of the nonce, 8 to 64.
    pub nonce_size: u64,
    /// The nonce.
    pub nonce: [u8; LONGEST_NONCE],
    /// The REPORT.
    pub report: [u8; REPORT_SIZE],
}

/// Bytes of a question.
pub const QUESTION_SIZE: usize = size_of::<Question>();

impl Question {
    /// With this nonce and this REPORT; `None` where the nonce's length is out of its bounds.
    #[must_use]
    pub fn new(nonce: &[u8], report: &[u8; REPORT_SIZE]) -> Option<Self> {
        let mut question = Self {
            nonce_size: nonce.len() as u64,
            nonce: [0; LONGEST_NONCE],
            report: *report,
        };
        let place = question.nonce.get_mut(..nonce.len())?;
        place.copy_from_slice(nonce);
        (nonce.len() >= SHORTEST_NONCE).then_some(question)
    }

    /// As it stands in the buffer.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; QUESTION_SIZE] {
        laid_out(&[
            (offset_of!(Self, nonce_size), &self.nonce_size.to_le_bytes()),
            (offset_of!(Self, nonce), &self.nonce),
            (offset_of!(Self, report), &self.report),
        ])
    }
}

const _: () = {
    assert!(offset_of!(Question, nonce) == 8);
    assert!(offset_of!(Question, report) == 72);
    assert!(QUESTION_SIZE == 504);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_stands_as_it_is_documented() {
        let (report, long) = ([3; REPORT_SIZE], [1; LONGEST_NONCE + 1]);
        assert!(Question::new(&long[..7], &report).is_none());
        assert!(Question::new(&long, &report).is_none());
        let bytes = Question::new(&long[..64], &report)
            .expect("longest")
            .to_bytes();
        assert_eq!((bytes[0], bytes[8], bytes[71]), (64, 1, 1));
        assert_eq!((bytes[72], bytes[503]), (3, 3));
    }

    #[test]
    fn the_target_is_no_enclave() {
        let target = target();
        assert_eq!(target[..32], TARGET_MEASUREMENT);
        assert!(target[32..].iter().all(|byte| *byte == 0));
    }
}
