//! Hides the sleep states from domain 0: waking from S3 would start firmware, and then domain 0, without the monitor
//! beneath, while memory still holds everything.
//!
//! A system believes that a state exists if the DSDT declares its package (ACPI 6.5, section 7.4.2). The declarations of `_S1_`
//! to `_S4_` get another name, in place, and the table's checksum is corrected. A system that tries nevertheless finds
//! its write dropped ([`crate::domain0`]).

const HEADER_SIZE: usize = 36;
const CHECKSUM: usize = 9;
const NAME: u8 = 0x08;
const PACKAGE: u8 = 0x12;
const ROOT: u8 = b'\\';
/// What stands for the underscore that every such name begins with.
const HIDDEN: u8 = b'X';

/// Renames the declarations in a DSDT, header included. Returns how many there were.
pub fn hide(table: &mut [u8]) -> usize {
    let mut found = 0;
    for start in HEADER_SIZE..table.len() {
        let Some(place) = declaration(table.get(start..).unwrap_or(&[])) else {
            continue;
        };
        if let Some(first) = table.get_mut(start + place) {
            *first = HIDDEN;
            found += 1;
        }
    }
    let difference = (b'_' - HIDDEN).wrapping_mul(found as u8);
    if let Some(checksum) = table.get_mut(CHECKSUM) {
        *checksum = checksum.wrapping_add(difference);
    }
    found
}

/// Where the name stands, if these bytes begin with a declaration of a sleep state's package.
fn declaration(bytes: &[u8]) -> Option<usize> {
    let place = match bytes {
        [NAME, ROOT, ..] => 2,
        [NAME, ..] => 1,
        _ => return None,
    };
    match bytes.get(place..)? {
        [b'_', b'S', b'1'..=b'4', b'_', PACKAGE, ..] => Some(place),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_disappear_and_the_sum_stays() {
        let mut table = vec![7; HEADER_SIZE];
        table.extend(b"\x08_S3_\x12\x06\x04\x01\x01\x00\x00");
        table.extend(b"\x08\\_S4_\x12\x06\x04\x02\x02\x00\x00");
        table.extend(b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00");
        table.extend(b"\x08_S1_\x0a");
        let sum = |table: &[u8]| table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let before = sum(&table);
        assert_eq!(hide(&mut table), 2);
        assert_eq!(sum(&table), before);
        let holds = |name: &[u8]| table.windows(4).any(|window| window == name);
        assert!(!holds(b"_S3_") && !holds(b"_S4_") && holds(b"_S5_") && holds(b"_S1_"));
        assert!(holds(b"XS3_"));
        hide(&mut []);
        hide(&mut [NAME; 40]);
    }
}
