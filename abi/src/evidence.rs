//! What stands at the beginning of the buffer of [`Call::Evidence`](crate::call::Call::Evidence): a question goes in, evidence comes out.

use core::mem::{offset_of, size_of};

pub use crate::quote::LONGEST_NONCE;

/// Bytes of the shortest nonce.
pub const SHORTEST_NONCE: usize = 8;
/// Most bytes of report data.
pub const MOST_REPORT_DATA: usize = 64;

/// The question. All numbers are little-endian, as the processor's.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Question {
    /// Bytes of the nonce, 8 to 64.
    pub nonce_size: u64,
    /// The nonce.
    pub nonce: [u8; LONGEST_NONCE],
    /// Bytes of report data, 0 to 64; 0 where an owner asks.
    pub report_size: u64,
    /// Report data.
    pub report: [u8; MOST_REPORT_DATA],
    /// 1 if a key is bound, else 0; 0 where an owner asks.
    pub has_key: u64,
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub key: [u8; 32],
}

/// Bytes of a question.
pub const QUESTION_SIZE: usize = size_of::<Question>();

impl Question {
    /// With this nonce, report data, and digest of a key; `None` where a length is out of its bounds.
    #[must_use]
    pub fn new(nonce: &[u8], report: &[u8], key: Option<[u8; 32]>) -> Option<Self> {
        let mut question = Self {
            nonce_size: nonce.len() as u64,
            nonce: [0; LONGEST_NONCE],
            report_size: report.len() as u64,
            report: [0; MOST_REPORT_DATA],
            has_key: key.is_some().into(),
            key: key.unwrap_or_default(),
        };
        if nonce.len() < SHORTEST_NONCE {
            return None;
        }
        question
            .nonce
            .get_mut(..nonce.len())?
            .copy_from_slice(nonce);
        question
            .report
            .get_mut(..report.len())?
            .copy_from_slice(report);
        Some(question)
    }

    /// As it stands in the buffer.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; QUESTION_SIZE] {
        laid_out(&[
            (offset_of!(Self, nonce_size), &self.nonce_size.to_le_bytes()),
            (offset_of!(Self, nonce), &self.nonce),
            (
                offset_of!(Self, report_size),
                &self.report_size.to_le_bytes(),
            ),
            (offset_of!(Self, report), &self.report),
            (offset_of!(Self, has_key), &self.has_key.to_le_bytes()),
            (offset_of!(Self, key), &self.key),
        ])
    }
}

/// Parts at their offsets, zero elsewhere.
pub(crate) fn laid_out<const SIZE: usize>(parts: &[(usize, &[u8])]) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    for (offset, part) in parts {
        for (byte, place) in part.iter().zip(bytes.iter_mut().skip(*offset)) {
            *place = *byte;
        }
    }
    bytes
}

const _: () = {
    assert!(offset_of!(Question, nonce) == 8);
    assert!(offset_of!(Question, report_size) == 72);
    assert!(offset_of!(Question, report) == 80);
    assert!(offset_of!(Question, has_key) == 144);
    assert!(offset_of!(Question, key) == 152);
    assert!(QUESTION_SIZE == 184);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded() {
        let long = [1; LONGEST_NONCE + 1];
        assert!(Question::new(&long[..7], &[], None).is_none());
        assert!(Question::new(&long, &[], None).is_none());
        assert!(Question::new(&long[..8], &long, None).is_none());
        let question = Question::new(&long[..64], &long[..64], Some([2; 32])).expect("longest");
        let bytes = question.to_bytes();
        assert_eq!((bytes[0], bytes[8], bytes[71], bytes[72]), (64, 1, 1, 64));
        assert_eq!(
            (bytes[144], bytes[151], bytes[152], bytes[183]),
            (1, 0, 2, 2)
        );
    }
}
