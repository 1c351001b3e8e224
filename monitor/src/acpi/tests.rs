use super::sample::{Bytes, set_checksum, table};
use super::*;
use proptest::prelude::*;

fn interrupts() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0xfee0_0000u32.to_le_bytes());
    body.extend(1u32.to_le_bytes());
    body.extend([0, 8, 0, 3, 1, 0, 0, 0]);
    body.extend([0, 8, 1, 4, 2, 0, 0, 0]);
    body.extend([0, 8, 2, 5, 0, 0, 0, 0]);
    body.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    body.extend([9, 16, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    body.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
    body.extend([5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 1, 0, 0, 0]);
    table(b"APIC", &body)
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset - 36..offset - 36 + value.len()].copy_from_slice(value);
}

fn fixed(dsdt: u32) -> Vec<u8> {
    let mut body = vec![0; 276 - 36];
    put(&mut body, 40, &dsdt.to_le_bytes());
    put(&mut body, 48, &0xb2u32.to_le_bytes());
    put(&mut body, 64, &0x604u32.to_le_bytes());
    put(&mut body, 68, &0x704u32.to_le_bytes());
    put(&mut body, 112, &(1u32 << 10).to_le_bytes());
    put(&mut body, 116, &[1, 8, 0, 0, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0]);
    put(&mut body, 128, &[0x0f]);
    put(&mut body, 172, &[0, 16, 0, 0, 0, 0x10, 0, 0xfe, 0, 0, 0, 0]);
    table(b"FACP", &body)
}

fn code() -> Vec<u8> {
    let mut body = b"\x10\x0b_S5_".to_vec();
    body.extend(b"\x08_S3_\x12\x06\x04\x01\x01\x00\x00");
    body.extend(b"\x08\\_S4_\x12\x07\x04\x0a\x02\x0b\x05\x00\x00");
    body.extend(b"\x08_S5_\x12\x46\x00\x04\x0a\x07\x00\x00\x00");
    table(b"DSDT", &body)
}

/// One IOMMU, described twice, and a stretch that a device uses.
fn iommus() -> Vec<u8> {
    let mut body = vec![0; 12];
    body.extend([0x10, 0xd1, 28, 0, 0x10, 0, 0x40, 0, 0, 0, 0xd8, 0xfe]);
    body.extend([0; 16]);
    body.extend([0x11, 0xd1, 40, 0, 0x10, 0, 0x40, 0, 0, 0, 0xd8, 0xfe]);
    body.extend([0; 28]);
    body.extend([0x21, 8, 32, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(0x7000_0000u64.to_le_bytes());
    body.extend(0x2000u64.to_le_bytes());
    table(b"IVRS", &body)
}

/// A machine whose root is at 0x10; `wide` for a root of revision 2.
fn machine(wide: bool) -> Bytes {
    let mut memory = vec![0; 0x2000];
    let mut place = |address: usize, bytes: &[u8]| {
        memory[address..address + bytes.len()].copy_from_slice(bytes);
    };
    let tables: [(usize, Vec<u8>); 5] = [
        (0x400, interrupts()),
        (0x600, fixed(0x1000)),
        (
            0x800,
            table(
                b"MCFG",
                &[0; 8]
                    .into_iter()
                    .chain([0, 0, 0, 0xb0, 0, 0, 0, 0, 1, 0, 0, 255, 0, 0, 0, 0])
                    .collect::<Vec<_>>(),
            ),
        ),
        (0xa00, iommus()),
        (0xc00, table(b"TPM2", &[0; 16])),
    ];
    let mut list = Vec::new();
    for (address, bytes) in &tables {
        place(*address, bytes);
        let pointer = (*address as u64).to_le_bytes();
        list.extend(&pointer[..if wide { 8 } else { 4 }]);
    }
    place(0x1000, &code());
    place(0x200, &table(if wide { b"XSDT" } else { b"RSDT" }, &list));
    let mut root = b"RSD PTR \0ADYTON\0".to_vec();
    root.extend(0x200u32.to_le_bytes());
    if wide {
        root[15] = 2;
    }
    set_checksum(&mut root, 8);
    if wide {
        root.extend(36u32.to_le_bytes());
        root.extend(0x200u64.to_le_bytes());
        root.extend([0; 4]);
        set_checksum(&mut root, 32);
    }
    place(0x10, &root);
    Bytes(memory)
}

#[test]
fn both_roots_lead_to_the_tables() {
    for wide in [false, true] {
        let memory = machine(wide);
        let tables = Tables::find(0x10, &memory).unwrap();
        assert!(tables.iommu_table() == Some(0xa00) && !tables.has_intel_iommu());
        assert!(tables.tpm().is_some());
        assert_eq!(tables.local_apic_address(), Ok(0x1_fee0_0000));
    }
}

#[test]
fn cores_come_once_and_in_order() {
    let memory = machine(true);
    let mut cores = Vec::new();
    Tables::find(0x10, &memory)
        .unwrap()
        .cores(|core| cores.push((core.apic_id, core.enabled, core.online_capable)))
        .unwrap();
    assert_eq!(
        cores,
        [(3, true, false), (4, false, true), (256, true, false)]
    );
}

#[test]
fn fixed_registers_prefer_the_extended_fields() {
    let memory = machine(true);
    let fixed = Tables::find(0x10, &memory).unwrap().fixed().unwrap();
    assert_eq!(fixed.pm1a_control, Some(Register::Memory(0xfe00_1000)));
    assert_eq!(fixed.pm1b_control, Some(Register::Port(0x704)));
    assert_eq!(fixed.smi_command, Some(0xb2));
    assert_eq!(fixed.sleep_control, None);
    assert_eq!(
        fixed.reset,
        Some(Reset {
            register: Register::Port(0xcf9),
            value: 0x0f
        })
    );
}

#[test]
fn sleep_types_are_found_in_the_byte_code() {
    let memory = machine(false);
    let tables = Tables::find(0x10, &memory).unwrap();
    let values = |state| {
        tables
            .sleep_type(state)
            .unwrap()
            .map(|found| (found.a, found.b))
    };
    assert_eq!(values(SleepState::S1), None);
    assert_eq!(values(SleepState::S3), Some((1, 1)));
    assert_eq!(values(SleepState::S4), Some((2, 5)));
    assert_eq!(values(SleepState::S5), Some((7, 0)));
}

#[test]
fn configuration_space_segments() {
    let memory = machine(false);
    let mut segments = Vec::new();
    Tables::find(0x10, &memory)
        .unwrap()
        .configuration_space(|segment| segments.push(segment))
        .unwrap();
    assert_eq!(
        segments,
        [Segment {
            base: 0xb000_0000,
            group: 1,
            first_bus: 0,
            last_bus: 255
        }]
    );
}

#[test]
fn iommus_and_what_devices_must_reach() {
    let memory = machine(true);
    let tables = Tables::find(0x10, &memory).unwrap();
    let mut found = Vec::new();
    tables.iommus(|unit| found.push(unit)).unwrap();
    let unit = IommuUnit {
        base: 0xfed8_0000,
        function: 0x10,
        group: 0,
        flags: 0xd1,
    };
    assert_eq!(found, [unit, unit]);
    let mut ranges = Vec::new();
    tables.unity_ranges(|range| ranges.push(range)).unwrap();
    let wanted = crate::memory::Range {
        start: 0x7000_0000,
        end: 0x7000_2000,
    };
    assert_eq!(ranges, [wanted]);
}

#[test]
fn damage_is_refused() {
    let mut memory = machine(true);
    memory.0[0x400 + 40] ^= 1;
    assert_eq!(
        Tables::find(0x10, &memory).err(),
        Some(AcpiError::BadChecksum(*b"APIC"))
    );
    assert_eq!(
        Tables::find(0x18, &memory).err(),
        Some(AcpiError::BadRoot(0x18))
    );
    assert_eq!(
        Tables::find(0x1fff, &memory).err(),
        Some(AcpiError::Unreadable(0x1fff))
    );
    assert_eq!(
        Tables::find(u64::MAX, &memory).err(),
        Some(AcpiError::Unreadable(u64::MAX))
    );
}

/// Asks for everything; only that it comes back matters.
fn exhaust(memory: &Bytes) {
    if let Ok(tables) = Tables::find(0x10, memory) {
        let _ = tables.cores(|_| ());
        let _ = tables.local_apic_address();
        let _ = tables.configuration_space(|_| ());
        let _ = tables.iommus(|_| ());
        let _ = tables.unity_ranges(|_| ());
        let _ = tables.sleep_type(SleepState::S5);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        exhaust(&Bytes(bytes));
    }

    /// Damage behind good checksums, so that the parsers behind them see it.
    #[test]
    fn random_damage_never_panics(
        wide: bool,
        damage in proptest::collection::vec((0usize..0x300, any::<u8>()), 1..20),
        at in prop::sample::select(vec![0x200usize, 0x400, 0x600, 0x800, 0xa00, 0x1000]),
    ) {
        let mut memory = machine(wide);
        for (offset, byte) in damage {
            // Not the name, and not the length's upper bytes, so that the checksum can be set again.
            if offset == 4 || offset == 5 || offset > 9 {
                memory.0[at + offset] = byte;
            }
        }
        let length = usize::from(memory.0[at + 4]) | usize::from(memory.0[at + 5]) << 8;
        if length >= 36 && at + length <= memory.0.len() {
            set_checksum(&mut memory.0[at..at + length], 9);
        }
        exhaust(&memory);
    }
}
