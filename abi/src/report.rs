//! A report: what one domain is, for another on the same machine, which has the monitor check it. It proves nothing elsewhere.

use core::mem::{offset_of, size_of};

/// Bytes of the data that the subject chooses.
pub const DATA: usize = 64;

/// A report. All numbers are little-endian, as the processor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Report {
    /// Chosen by the subject: what it wants to say, with what the other side sent.
    pub data: [u8; DATA],
    /// Its measurement.
    pub measurement: [u8; 32],
    /// Its policy flags.
    pub flags: u64,
    /// Exceptions that go to its parent.
    pub exceptions: u64,
    /// Its vCPUs.
    pub vcpus: u64,
    /// Regions that it had accepted since it was sealed.
    pub epoch: u64,
    /// Random.
    pub salt: [u8; 16],
    /// The monitor's own name for the subject; it means nothing to anybody else.
    pub name: [u8; 8],
    /// Over everything before.
    pub code: [u8; 32],
}

/// Bytes of a report.
pub const SIZE: usize = size_of::<Report>();

/// What of a report `code` is over.
pub const COVERED: usize = offset_of!(Report, code);

const _: () = {
    assert!(offset_of!(Report, measurement) == 64);
    assert!(offset_of!(Report, flags) == 96);
    assert!(offset_of!(Report, epoch) == 120);
    assert!(offset_of!(Report, salt) == 128);
    assert!(offset_of!(Report, name) == 144);
    assert!(COVERED == 152 && SIZE == 184);
};

impl Report {
    /// As it stands in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let numbers = [self.flags, self.exceptions, self.vcpus, self.epoch].map(u64::to_le_bytes);
        let parts: [&[u8]; 6] = [
            &self.data,
            &self.measurement,
            numbers.as_flattened(),
            &self.salt,
            &self.name,
            &self.code,
        ];
        let mut bytes = [0; SIZE];
        let all = parts.into_iter().flatten();
        for (place, byte) in bytes.iter_mut().zip(all) {
            *place = *byte;
        }
        bytes
    }

    /// From what stands in memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SIZE]) -> Self {
        let number = |place| u64::from_le_bytes(part(bytes, place));
        Self {
            data: part(bytes, offset_of!(Self, data)),
            measurement: part(bytes, offset_of!(Self, measurement)),
            flags: number(offset_of!(Self, flags)),
            exceptions: number(offset_of!(Self, exceptions)),
            vcpus: number(offset_of!(Self, vcpus)),
            epoch: number(offset_of!(Self, epoch)),
            salt: part(bytes, offset_of!(Self, salt)),
            name: part(bytes, offset_of!(Self, name)),
            code: part(bytes, offset_of!(Self, code)),
        }
    }
}

fn part<const N: usize>(bytes: &[u8; SIZE], place: usize) -> [u8; N] {
    let mut part = [0; N];
    for (to, from) in part.iter_mut().zip(bytes.iter().skip(place)) {
        *to = *from;
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_are_written() {
        let bytes: [u8; SIZE] = core::array::from_fn(|index| index as u8);
        let report = Report::from_bytes(&bytes);
        assert_eq!(report.to_bytes(), bytes);
        assert_eq!(
            (report.measurement[0], report.salt[0], report.code[31]),
            (64, 128, 183)
        );
        assert_eq!(report.flags.to_le_bytes()[0], 96);
    }
}
