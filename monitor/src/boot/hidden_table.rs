//! Hides an ACPI table from domain 0: it gets a name that no system looks for, in place, and its checksum is corrected.

const SIGNATURE: usize = 0;
const CHECKSUM: usize = 9;
/// The first letter of the new name.
const HIDDEN: u8 = b'X';

/// Renames the table whose bytes these are, header included.
pub fn hide(table: &mut [u8]) {
    let Some(first) = table.get_mut(SIGNATURE) else {
        return;
    };
    let difference = first.wrapping_sub(HIDDEN);
    *first = HIDDEN;
    if let Some(checksum) = table.get_mut(CHECKSUM) {
        *checksum = checksum.wrapping_add(difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_goes_and_the_sum_stays() {
        let mut table = *b"TPM2\x0c\0\0\0\x04\x99ab";
        let sum = |table: &[u8]| table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let before = sum(&table);
        hide(&mut table);
        assert_eq!(sum(&table), before);
        assert!(table.starts_with(b"XPM2"));
        hide(&mut []);
    }
}
