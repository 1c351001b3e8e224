//! The instruction decoder, on what a guest may have put at its instruction pointer.
#![no_main]

use adyton_monitor::guest::instruction::{Instruction, LONGEST, Mode, State};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, [u64; 16], [u64; 6], Vec<u8>)| {
    let (mode, general, segment_bases, bytes) = input;
    let mode = match mode % 3 {
        0 => Mode::Long,
        1 => Mode::ThirtyTwo,
        _ => Mode::Sixteen,
    };
    let Some(instruction) = Instruction::decode(&bytes, mode) else {
        return;
    };
    let length = usize::from(instruction.length());
    assert!((1..=LONGEST).contains(&length) && length <= bytes.len());
    // It is the bytes of the instruction that count, and all of them.
    let alone = Instruction::decode(&bytes[..length], mode);
    assert_eq!(
        alone.map(|alone| alone.length()),
        Some(instruction.length())
    );
    assert!(Instruction::decode(&bytes[..length - 1], mode).is_none());
    if let Some(transfer) = instruction.transfer() {
        assert!([1, 2, 4, 8].contains(&transfer.width));
    }
    let state = State {
        general: &general,
        instruction_pointer: general[0],
        segment_bases,
    };
    let _ = (
        instruction.touched(&state),
        instruction.has_vector_addresses(),
        instruction.is_plain_access(),
    );
});
