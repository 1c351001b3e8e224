//! Instructions that enclaves may not execute (Intel SDM volume 3D, section 38.6.1), of those that a processor without enclave
//! mode refuses for another reason.

use super::Instruction;
use super::opcode::Map;

impl Instruction {
    /// Whether it is undefined in enclave mode: it reaches ports, loads a segment register or leaves the code segment.
    #[must_use]
    pub fn is_undefined_in_enclave(&self) -> bool {
        let group = self.register & 7;
        match self.map {
            Map::Primary => match self.opcode {
                // INS, OUTS, IN, OUT.
                0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef => true,
                // POP and MOV to a segment register.
                0x07 | 0x17 | 0x1f | 0x8e => true,
                // Far CALL, JMP and RET, INT, INTO, IRET.
                0x9a | 0xea | 0xca | 0xcb | 0xcd..=0xcf => true,
                0xff => matches!(group, 3 | 5),
                _ => false,
            },
            Map::Secondary => match self.opcode {
                // SLDT, STR; SGDT, SIDT; SYSCALL, SYSENTER.
                0x00 => group < 2,
                0x01 => group < 2,
                0x05 | 0x34 => true,
                // POP FS and GS; LSS, LFS, LGS.
                0xa1 | 0xa9 | 0xb2 | 0xb4 | 0xb5 => true,
                _ => false,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    fn is_undefined(bytes: &[u8]) -> bool {
        Instruction::decode(bytes, Mode::Long)
            .expect("it decodes")
            .is_undefined_in_enclave()
    }

    #[test]
    fn ports_and_segments_are_undefined() {
        let undefined: &[&[u8]] = &[
            &[0xe4, 0x80],
            &[0xef],
            &[0xf3, 0x6e],
            &[0x8e, 0xde],
            &[0xcd, 0x80],
            &[0x48, 0xcb],
            &[0xff, 0x28],
            &[0x0f, 0xa1],
            &[0x0f, 0x05],
        ];
        for bytes in undefined {
            assert!(is_undefined(bytes), "{bytes:x?}");
        }
        let defined: &[&[u8]] = &[
            &[0x8b, 0x06],
            &[0xff, 0x20],
            &[0xc3],
            &[0x0f, 0xae, 0xe8],
            &[0x8c, 0xd8],
        ];
        for bytes in defined {
            assert!(!is_undefined(bytes), "{bytes:x?}");
        }
    }
}
