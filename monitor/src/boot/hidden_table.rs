//! Hides the TPM's ACPI table and device from domain 0: they get names that no system looks for, in place, and the checksums are
//! corrected.

const SIGNATURE: usize = 0;
const HEADER_SIZE: usize = 36;
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

/// Renames the TPM 2.0's device in the DSDT whose bytes these are. Where another table declares it, it stays visible, and its
/// registers answer nothing.
pub fn hide_device(table: &mut [u8]) {
    const NAME: &[u8] = b"MSFT0101\0";
    for start in HEADER_SIZE..table.len() {
        let Some(first) = table
            .get_mut(start..)
            .filter(|rest| rest.starts_with(NAME))
            .and_then(|rest| rest.first_mut())
        else {
            continue;
        };
        let difference = first.wrapping_sub(HIDDEN);
        *first = HIDDEN;
        if let Some(checksum) = table.get_mut(CHECKSUM) {
            *checksum = checksum.wrapping_add(difference);
        }
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

    #[test]
    fn the_device_goes_and_the_sum_stays() {
        let mut table = vec![3; HEADER_SIZE];
        table.extend(b"\x5b\x82\x08_HID\x0dMSFT0101\0\x08_STAMSFT0102");
        let sum = |table: &[u8]| table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let before = sum(&table);
        hide_device(&mut table);
        assert_eq!(sum(&table), before);
        let holds = |name: &[u8]| table.windows(name.len()).any(|window| window == name);
        assert!(holds(b"XSFT0101\0") && !holds(b"MSFT0101") && holds(b"MSFT0102"));
        hide_device(&mut []);
    }
}
