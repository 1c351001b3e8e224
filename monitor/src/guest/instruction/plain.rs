//! Which instructions only compute: what the monitor may single-step on a guest's behalf.

use super::Instruction;
use super::opcode::Map;

impl Instruction {
    /// Whether it uses memory and does nothing but move and compute: it changes no segment register, no control register, no
    /// system flag, not the stack and not the flow of control. One step of a repeated string instruction is such a thing too.
    #[must_use]
    pub fn is_plain_access(&self) -> bool {
        let has_place = self.place.is_some() && !self.has_vector_addresses();
        match self.map {
            Map::Primary => self.is_string() || has_place && self.is_plain_primary(),
            Map::Secondary => has_place && self.is_plain_secondary(),
            // Below F0 these are vector instructions, but for a few that manage translations.
            Map::Third => has_place && !matches!(self.opcode, 0x80..=0x82),
            Map::ThirdImmediate | Map::Half | Map::Extended(_) => has_place,
        }
    }

    fn is_string(&self) -> bool {
        matches!(self.opcode, 0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf)
    }

    fn is_plain_primary(&self) -> bool {
        match self.opcode {
            0x00..=0x3f | 0x63 | 0x69 | 0x6b | 0x80..=0x8b | 0xa0..=0xa3 => true,
            0xc0 | 0xc1 | 0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 => true,
            0xc6 | 0xc7 => self.register & 7 == 0,
            // INC and DEC; the others jump, call and push.
            0xfe | 0xff => self.register & 7 < 2,
            _ => false,
        }
    }

    fn is_plain_secondary(&self) -> bool {
        match self.opcode {
            0x10..=0x17 | 0x28..=0x2f | 0x40..=0x77 | 0x7c..=0x7f | 0x90..=0x9f => true,
            0xa3..=0xa5 | 0xab..=0xb1 | 0xb3 | 0xb6..=0xb8 | 0xba..=0xc6 | 0xd0..=0xfe => true,
            // CMPXCHG8B and 16B; the others save supervisor state or belong to the virtualization extension.
            0xc7 => self.register & 7 == 1,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    fn is_plain(bytes: &[u8]) -> bool {
        let instruction = Instruction::decode(bytes, Mode::Long).expect("it decodes");
        assert_eq!(usize::from(instruction.length()), bytes.len());
        instruction.is_plain_access()
    }

    #[test]
    fn what_kernels_copy_with_is_plain() {
        let plain: &[&[u8]] = &[
            &[0x48, 0x8b, 0x07],                                     // mov rax, [rdi]
            &[0x48, 0x89, 0x06],                                     // mov [rsi], rax
            &[0xf3, 0x48, 0xa5],                                     // rep movsq
            &[0xf3, 0xaa],                                           // rep stosb
            &[0xf3, 0x6f],                                           // rep outsd
            &[0x48, 0x0f, 0xc3, 0x07],                               // movnti [rdi], rax
            &[0xf0, 0x48, 0x0f, 0xc7, 0x0f],                         // lock cmpxchg16b [rdi]
            &[0xf0, 0x48, 0x0f, 0xb1, 0x0f],                         // lock cmpxchg [rdi], rcx
            &[0x0f, 0xae, 0x3f],                                     // clflush [rdi]
            &[0xf3, 0x48, 0x0f, 0xb8, 0x07],                         // popcnt rax, [rdi]
            &[0x0f, 0xb6, 0x07],                                     // movzx eax, byte [rdi]
            &[0xc5, 0xfd, 0x6f, 0x07],                               // vmovdqa ymm0, [rdi]
            &[0xf2, 0x48, 0x0f, 0x38, 0xf1, 0x07],                   // crc32 rax, [rdi]
            &[0x48, 0xff, 0x07],                                     // inc qword [rdi]
            &[0x48, 0xc7, 0x07, 0, 0, 0, 0],                         // mov qword [rdi], 0
            &[0xc4, 0xe2, 0x7d, 0x18, 0x07],                         // vbroadcastss ymm0, [rdi]
            &[0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0x00, 0x00, 0x00], // mov rax, gs:[0x28]
        ];
        for bytes in plain {
            assert!(is_plain(bytes), "{bytes:x?}");
        }
    }

    #[test]
    fn what_has_other_effects_is_not() {
        let others: &[&[u8]] = &[
            &[0x9c],                               // pushfq
            &[0x9d],                               // popfq
            &[0xcf],                               // iret
            &[0x48, 0xcf],                         // iretq
            &[0xcd, 0x80],                         // int 0x80
            &[0xcc],                               // int3
            &[0x0f, 0x05],                         // syscall
            &[0x0f, 0x34],                         // sysenter
            &[0x0f, 0x07],                         // sysret
            &[0x0f, 0x01, 0xd9],                   // vmmcall
            &[0x0f, 0x01, 0x17],                   // lgdt [rdi]
            &[0x0f, 0x01, 0x3f],                   // invlpg [rdi]
            &[0x0f, 0x00, 0x1f],                   // ltr [rdi]
            &[0x8e, 0x17],                         // mov ss, [rdi]
            &[0x0f, 0xb2, 0x07],                   // lss eax, [rdi]
            &[0x8f, 0x07],                         // pop [rdi]
            &[0xff, 0x37],                         // push [rdi]
            &[0xff, 0x17],                         // call [rdi]
            &[0xff, 0x1f],                         // call far [rdi]
            &[0xff, 0x27],                         // jmp [rdi]
            &[0xff, 0x2f],                         // jmp far [rdi]
            &[0x50],                               // push rax
            &[0xc3],                               // ret
            &[0xca, 0, 0],                         // retf 0
            &[0xc9],                               // leave
            &[0xc8, 0, 0, 0],                      // enter 0, 0
            &[0x48, 0x8b, 0xc7],                   // mov rax, rdi
            &[0xf4],                               // hlt
            &[0xfb],                               // sti
            &[0x0f, 0x22, 0xd8],                   // mov cr3, rax
            &[0x0f, 0x23, 0xf8],                   // mov dr7, rax
            &[0x0f, 0x30],                         // wrmsr
            &[0x0f, 0xc7, 0x2f],                   // xsaves [rdi]
            &[0x66, 0x0f, 0x38, 0x82, 0x07],       // invpcid rax, [rdi]
            &[0xc4, 0xe2, 0x7d, 0x90, 0x04, 0x07], // vpgatherdd ymm0, [rdi + ymm0], ymm0
        ];
        for bytes in others {
            assert!(!is_plain(bytes), "{bytes:x?}");
        }
    }
}
