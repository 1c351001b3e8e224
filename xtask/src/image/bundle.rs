//! The one module that QEMU's `-initrd` hands to the monitor: a kernel and an initrd in one file.
//!
//! Layout, all numbers little-endian u64: the magic `ADYTONB1`, then kernel offset, kernel size,
//! initrd offset, initrd size. Offsets count from the start of the file and are page-aligned. The
//! monitor reads it in `monitor/`; both sides hold to this page.

const MAGIC: &[u8; 8] = b"ADYTONB1";
const PAGE: usize = 4096;

/// Packs a kernel image and an initrd, given as segments, into one file.
pub fn bundle(kernel: &[u8], initrd: &[&[u8]]) -> Vec<u8> {
    let initrd_size = initrd.iter().map(|segment| segment.len()).sum::<usize>();
    let initrd_offset = (PAGE + kernel.len()).next_multiple_of(PAGE);
    let mut bytes = Vec::with_capacity(initrd_offset + initrd_size);
    bytes.extend_from_slice(MAGIC);
    for number in [PAGE, kernel.len(), initrd_offset, initrd_size] {
        bytes.extend_from_slice(&(number as u64).to_le_bytes());
    }
    bytes.resize(PAGE, 0);
    bytes.extend_from_slice(kernel);
    bytes.resize(initrd_offset, 0);
    initrd
        .iter()
        .for_each(|segment| bytes.extend_from_slice(segment));
    bytes
}

#[cfg(test)]
mod tests {
    use super::{PAGE, bundle};

    #[test]
    fn header_names_the_parts() {
        let bytes = bundle(&[1; 5000], &[&[2; 10], &[3; 10]]);
        let number = |at: usize| {
            usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
        };
        assert_eq!((number(8), number(16)), (PAGE, 5000));
        assert_eq!((number(24), number(32)), (3 * PAGE, 20));
        assert_eq!(bytes[number(8)], 1);
        assert_eq!(&bytes[number(24)..][..20], [[2; 10], [3; 10]].concat());
    }
}
