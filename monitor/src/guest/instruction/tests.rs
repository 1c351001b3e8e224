use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction as Oracle, InstructionInfoFactory,
    Mnemonic, Register as Name,
};
use proptest::prelude::*;

use super::*;

fn decode(bytes: &[u8]) -> Instruction {
    Instruction::decode(bytes, Mode::Long).unwrap()
}

fn register(number: u8) -> Register {
    Register {
        number,
        high_byte: false,
    }
}

#[test]
fn plain_moves() {
    use Direction::{Exchange, Load, Store, StoreImmediate};
    let known: &[(&[u8], Direction, u8)] = &[
        // mov [rdi], eax; mov [rip+0x10], r9d; mov r10, [rax+r12*4]; mov ah, [rcx]; mov sil, [rcx]
        (&[0x89, 0x07], Store(register(0)), 4),
        (&[0x44, 0x89, 0x0d, 0x10, 0, 0, 0], Store(register(9)), 4),
        (&[0x4e, 0x8b, 0x14, 0xa0], Load(register(10)), 8),
        (
            &[0x8a, 0x21],
            Load(Register {
                number: 0,
                high_byte: true,
            }),
            1,
        ),
        (&[0x40, 0x8a, 0x31], Load(register(6)), 1),
        // mov dword [rdi+0x300], 0xfffc4500; mov byte [rdi], 0x80; mov word [rdi], 0x1234; mov qword [rdi], -1
        (
            &[0xc7, 0x87, 0, 3, 0, 0, 0, 0x45, 0xfc, 0xff],
            StoreImmediate(0xfffc_4500),
            4,
        ),
        (&[0xc6, 0x07, 0x80], StoreImmediate(0x80), 1),
        (&[0x66, 0xc7, 0x07, 0x34, 0x12], StoreImmediate(0x1234), 2),
        (
            &[0x48, 0xc7, 0x07, 0xff, 0xff, 0xff, 0xff],
            StoreImmediate(u64::MAX),
            8,
        ),
        // mov eax, [0xfee00020] with a 32-bit offset; mov [0xfee000b0], eax with a 64-bit one
        (&[0x67, 0xa1, 0x20, 0, 0xe0, 0xfe], Load(register(0)), 4),
        (
            &[0xa3, 0xb0, 0, 0xe0, 0xfe, 0, 0, 0, 0],
            Store(register(0)),
            4,
        ),
        // xchg [rcx], edx
        (&[0x87, 0x11], Exchange(register(2)), 4),
    ];
    for (bytes, direction, width) in known {
        let instruction = decode(bytes);
        let expected = Transfer {
            direction: *direction,
            width: *width,
        };
        assert_eq!(instruction.transfer(), Some(expected), "{bytes:x?}");
        assert_eq!(usize::from(instruction.length()), bytes.len(), "{bytes:x?}");
    }
}

#[test]
fn other_instructions_are_no_plain_moves() {
    // mov eax, ebx; add [rdi], eax; movzx eax, byte [rdi]; the undefined C7 /1; lea
    for bytes in [
        &[0x89, 0xd8][..],
        &[0x01, 0x07],
        &[0x0f, 0xb6, 0x07],
        &[0xc7, 0x0f, 0, 0, 0, 0],
        &[0x8d, 0x07],
    ] {
        assert_eq!(decode(bytes).transfer(), None, "{bytes:x?}");
    }
}

#[test]
fn cut_off_instructions() {
    let whole = [0xc7, 0x84, 0x07, 0, 3, 0, 0, 0, 0x45, 0xfc, 0xff];
    for length in 0..whole.len() {
        assert!(Instruction::decode(&whole[..length], Mode::Long).is_none());
    }
    assert!(Instruction::decode(&[0x66; 40], Mode::Long).is_none());
}

fn addresses(bytes: &[u8], mode: Mode, general: &[u64; 16]) -> Vec<u64> {
    let state = State {
        general,
        instruction_pointer: 0x1000,
        segment_bases: [
            0x10_0000, 0x20_0000, 0x30_0000, 0x40_0000, 0x50_0000, 0x60_0000,
        ],
    };
    let instruction = Instruction::decode(bytes, mode).unwrap();
    instruction
        .touched(&state)
        .iter()
        .map(|touched| touched.address.0)
        .collect()
}

#[test]
fn known_addresses() {
    let mut general = [0u64; 16];
    general[3] = 0x3000;
    general[4] = 0x8000;
    general[6] = 0x6000;
    general[7] = 0x7000;
    let long = |bytes: &[u8]| addresses(bytes, Mode::Long, &general);
    // rep movsb; fs: lodsd; push rbx; pop [rsp+8]; call [rip+0x100]; lea rax, [rbx]
    assert_eq!(long(&[0xf3, 0xa4]), [0x6000, 0x7000]);
    assert_eq!(long(&[0x64, 0xad]), [0x50_6000]);
    assert_eq!(long(&[0x53]), [0x8000 - 32]);
    assert_eq!(long(&[0x8f, 0x44, 0x24, 8]), [0x8010, 0x8000]);
    assert_eq!(long(&[0xff, 0x15, 0, 1, 0, 0]), [0x1106, 0x8000 - 32]);
    assert_eq!(long(&[0x48, 0x8d, 0x03]), [0_u64; 0]);
    // mov [bx+si+2], ax in 16-bit code; gs: mov [ebx], eax in 32-bit code
    let sixteen = addresses(&[0x89, 0x40, 0x02], Mode::Sixteen, &general);
    assert_eq!(sixteen, [0x40_9002]);
    let thirty_two = addresses(&[0x65, 0x89, 0x03], Mode::ThirtyTwo, &general);
    assert_eq!(thirty_two, [0x60_3000]);
}

#[test]
fn bit_numbers_reach_beyond_the_operand() {
    let mut general = [0u64; 16];
    general[7] = 0x7000;
    // bts [rdi], rax
    for (bit, address) in [
        (0, 0x7000),
        (64, 0x7008),
        (1000, 0x7078),
        (u64::MAX, 0x6ff8),
    ] {
        general[0] = bit;
        assert_eq!(
            addresses(&[0x48, 0x0f, 0xab, 0x07], Mode::Long, &general),
            [address]
        );
    }
}

#[test]
fn gathers_are_named() {
    // vpgatherdd ymm0, [rax+ymm1*4], ymm2
    let instruction = decode(&[0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x88]);
    assert!(instruction.has_vector_addresses());
    assert!(!decode(&[0x0f, 0x90, 0x07]).has_vector_addresses());
}

const GENERAL: [u64; 16] = [
    0x1111_0000_1000,
    0x2222_0000_2000,
    0x3333_0000_3000,
    0x4444_0000_4000,
    0x5555_0000_5000,
    0x6666_0000_6000,
    0x7777_0000_7000,
    0x0888_0000_8000,
    0x0999_0000_9000,
    0x0aaa_0000_a000,
    0x0bbb_0000_b000,
    0x0ccc_0000_c000,
    0x0ddd_0000_d000,
    0x0eee_0000_e000,
    0x0fff_0000_f000,
    0x0101_0001_0000,
];
const BASES: [u64; 6] = [
    0x10_0000, 0x20_0000, 0x30_0000, 0x40_0000, 0x50_0000, 0x60_0000,
];
const START: u64 = 0x0012_3000;

/// What the oracle takes a register to hold.
fn value(name: Name, mode: Mode) -> Option<u64> {
    Some(match name {
        Name::ES => BASES[0],
        Name::CS => BASES[1],
        Name::SS => BASES[2],
        Name::DS => BASES[3],
        Name::FS => BASES[4],
        Name::GS => BASES[5],
        _ if name.is_gpr64() => GENERAL[name.number()],
        _ if name.is_gpr32() => GENERAL[name.number()] & 0xffff_ffff,
        _ if name.is_gpr16() => GENERAL[name.number()] & 0xffff,
        Name::AL => GENERAL[0] & 0xff,
        _ => return None,
    })
    .map(|value| match (name, mode) {
        (Name::ES | Name::CS | Name::SS | Name::DS, Mode::Long) => 0,
        _ => value,
    })
}

/// Instructions of which more or other memory is used than the operands of which this decoder speaks: descriptor
/// tables, task and interrupt frames, shadow stacks, rows of tiles, bit strings (which the oracle takes for
/// one operand), and encodings that only one vendor has.
fn is_beyond(oracle: &Oracle) -> bool {
    matches!(oracle.flow_control(), FlowControl::Interrupt)
        || oracle.is_vsib()
        || matches!(
            oracle.mnemonic(),
            Mnemonic::Bt
                | Mnemonic::Bts
                | Mnemonic::Btr
                | Mnemonic::Btc
                | Mnemonic::Tileloadd
                | Mnemonic::Tileloaddt1
                | Mnemonic::Tilestored
                | Mnemonic::Bndldx
                | Mnemonic::Bndstx
                | Mnemonic::Enter
                | Mnemonic::Extrq
                | Mnemonic::Insertq
                | Mnemonic::Umonitor
                | Mnemonic::Syscall
                | Mnemonic::Sysret
                | Mnemonic::Jmpe
                | Mnemonic::Lkgs
                | Mnemonic::Incsspd
                | Mnemonic::Incsspq
                | Mnemonic::Rstorssp
                | Mnemonic::Saveprevssp
                | Mnemonic::Setssbsy
                | Mnemonic::Clrssbsy
        )
}

/// Everything that the oracle says is used must be listed, and the lengths must agree.
fn compare(bytes: &[u8], mode: Mode) {
    let bitness = match mode {
        Mode::Long => 64,
        Mode::ThirtyTwo => 32,
        Mode::Sixteen => 16,
    };
    let mut decoder = Decoder::with_ip(bitness, bytes, START, DecoderOptions::NONE);
    let oracle = decoder.decode();
    let ours = Instruction::decode(bytes, mode);
    if oracle.code() == Code::INVALID || is_beyond(&oracle) {
        return;
    }
    let ours = ours.unwrap_or_else(|| panic!("{oracle:?} {bytes:x?} not decoded"));
    assert_eq!(
        usize::from(ours.length()),
        oracle.len(),
        "{oracle:?} {:?} {bytes:x?}",
        oracle.mnemonic()
    );
    // VIA's cryptography, which no machine with SVM or VMX has; and system instructions without operands.
    let is_system =
        ours.opcode == 0x01 && ours.place.is_none() && oracle.mnemonic() != Mnemonic::Clzero;
    if ours.map == Map::Secondary && (is_system || matches!(ours.opcode, 0xa6 | 0xa7)) {
        return;
    }
    let state = State {
        general: &GENERAL,
        instruction_pointer: START,
        segment_bases: BASES,
    };
    let listed = ours.touched(&state);
    let mut factory = InstructionInfoFactory::new();
    for used in factory.info(&oracle).used_memory() {
        if matches!(used.access(), iced_x86::OpAccess::NoMemAccess) {
            continue;
        }
        let Some(address) = used.virtual_address(0, |name, _, _| value(name, mode)) else {
            panic!("{oracle:?} {used:?}");
        };
        let address = if mode == Mode::Long {
            address
        } else {
            address & 0xffff_ffff
        };
        let size = used.memory_size().size().max(1) as u64;
        let found = listed.iter().any(|touched| {
            let offset = address.wrapping_sub(touched.address.0);
            offset < u64::from(touched.size) && offset + size <= u64::from(touched.size)
        });
        assert!(
            found,
            "{:?} {bytes:x?} {mode:?} {address:x} {size}: {listed:x?}",
            oracle.mnemonic()
        );
    }
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Long, Mode::Long, Mode::ThirtyTwo, Mode::Sixteen])
}

/// Bytes that start like instructions: some prefixes, an opcode in one of the maps, and random bytes.
fn instruction_bytes() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop::sample::select(vec![
        0x66u8, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64, 0x65, 0x41, 0x48, 0x4f,
    ]);
    let escape = prop::sample::select(vec![
        vec![],
        vec![0x0f],
        vec![0x0f, 0x38],
        vec![0x0f, 0x3a],
        vec![0xc5],
        vec![0xc4],
        vec![0x62],
        vec![0x8f],
    ]);
    let rest = proptest::collection::vec(any::<u8>(), 16);
    (proptest::collection::vec(prefix, 0..3), escape, rest)
        .prop_map(|(prefixes, escape, rest)| [prefixes, escape, rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn agrees_with_the_oracle(bytes in instruction_bytes(), mode in mode()) {
        compare(&bytes, mode);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20), mode in mode(), general: [u64; 16]) {
        if let Some(instruction) = Instruction::decode(&bytes, mode) {
            let state = State { general: &general, instruction_pointer: general[0], segment_bases: [general[1]; 6] };
            let _ = instruction.touched(&state);
            let _ = instruction.transfer();
            prop_assert!(usize::from(instruction.length()) <= bytes.len().min(LONGEST));
        }
    }
}
