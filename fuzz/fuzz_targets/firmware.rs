//! What is read once at boot: the firmware's tables, the bundle, the options, the hand-over.
#![no_main]

use adyton_monitor::acpi::{PhysicalMemory, Tables};
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

fuzz_target!(|bytes: &[u8]| {
    let _ = Bundle::parse(0x1000, bytes);
    if let Ok(line) = core::str::from_utf8(bytes) {
        let _ = Options::parse(line);
    }
    let memory = Bytes(bytes);
    let Ok(tables) = Tables::find(0, &memory) else {
        return;
    };
    let _ = tables.cores(|_| {});
    let _ = tables.io_apics(|_| {});
    let _ = tables.local_apic_address();
    let _ = tables.fixed();
    let _ = tables.configuration_space(|_| {});
    use adyton_monitor::acpi::SleepState as S;
    for state in [S::S1, S::S3, S::S4, S::S5] {
        let _ = tables.sleep_type(state);
    }
});
