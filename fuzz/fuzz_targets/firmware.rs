//! What is read once at boot: the firmware's tables, the bundle, the options, the hand-over.
#![no_main]

use adyton_monitor::acpi::{PhysicalMemory, SleepState as S, Tables};
use adyton_monitor::boot::bundle::Bundle;
use adyton_monitor::boot::options::Options;
use libfuzzer_sys::fuzz_target;

/// Memory from address zero on; everything behind its end is a hole.
struct Bytes<'a>(&'a [u8]);

impl PhysicalMemory for Bytes<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        let end = start.checked_add(buffer.len());
        let source = end.and_then(|end| self.0.get(start..end));
        source.is_some_and(|source| {
            buffer.copy_from_slice(source);
            true
        })
    }
}

/// Makes the bytes sum to zero by the one at `place`.
fn set_checksum(bytes: &mut [u8], place: usize) {
    bytes[place] = 0;
    let total = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[place] = total.wrapping_neg();
}

/// A table with a right header, whatever it contains.
fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[..4].copy_from_slice(signature);
    bytes[4..8].copy_from_slice(&(36 + body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    set_checksum(&mut bytes, 9);
    bytes
}

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
    let memory = Bytes(bytes);
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
