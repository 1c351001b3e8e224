//! What is read once at boot: the firmware's tables, the bundle, the options, the hand-over.
#![no_main]

use adyton_monitor::acpi::sample::{Bytes, set_checksum, table};
use adyton_monitor::acpi::{SleepState as S, Tables};
use adyton_monitor::boot::bundle::Bundle;
use adyton_monitor::boot::options::Options;
use libfuzzer_sys::fuzz_target;

/// Where the tables begin, behind the root pointer and the root table.
const TABLES: usize = 256;

/// Memory with a root that leads to these tables; two of them may point at the third.
fn memory(bodies: &[Vec<u8>; 4]) -> Vec<u8> {
    let signatures = [b"APIC", b"FACP", b"MCFG", b"IVRS"];
    let mut memory = vec![0; TABLES];
    let mut pointers = Vec::new();
    for (signature, body) in signatures.into_iter().zip(bodies) {
        pointers.extend((memory.len() as u32).to_le_bytes());
        memory.extend(table(signature, body));
    }
    let root = table(b"RSDT", &pointers);
    memory[64..64 + root.len()].copy_from_slice(&root);
    memory[..8].copy_from_slice(b"RSD PTR ");
    memory[16..20].copy_from_slice(&64_u32.to_le_bytes());
    set_checksum(&mut memory[..20], 8);
    memory
}

fuzz_target!(|input: (Vec<u8>, [Vec<u8>; 4])| {
    let (bytes, bodies) = input;
    if let Ok(bundle) = Bundle::parse(0x1000, &bytes) {
        let end = 0x1000 + bytes.len() as u64;
        assert!(bundle.kernel.end <= end && bundle.ram_disk.end <= end);
    }
    if let Ok(line) = core::str::from_utf8(&bytes) {
        let _ = Options::parse(line);
    }
    read_tables(&bytes);
    read_tables(&memory(&bodies));
});

/// Reads everything that the monitor reads, from a root pointer at 0.
fn read_tables(bytes: &[u8]) {
    let memory = Bytes(bytes.to_vec());
    let Ok(tables) = Tables::find(0, &memory) else {
        return;
    };
    let _ = tables.cores(|_| {});
    let _ = tables.io_apics(|_| {});
    let _ = tables.local_apic_address();
    let _ = tables.fixed();
    let _ = tables.configuration_space(|_| {});
    for state in [S::S1, S::S3, S::S4, S::S5] {
        let _ = tables.sleep_type(state);
    }
}
