//! The first instructions: PVH entry in 32-bit mode, identity-mapped page tables, 64-bit mode.
//!
//! The loader (QEMU, or any other that speaks the Xen PVH boot protocol) finds the entry by the ELF note of type 18
//! and starts it in flat 32-bit mode without paging, EBX holding the address of the start information. The note's
//! descriptor has 8 bytes because the file is 64-bit.
//!
//! GRUB on a machine without UEFI finds the entry by the Multiboot2 header (Multiboot2 specification 2.0, section 3.1) in the same file's
//! first 32 KiB, and starts it in the same state, EBX holding the address of the Multiboot2 information.
//!
//! The firmware of a UEFI machine starts the same image at `uefi_entry`, which the PE header that `cargo xtask image` puts before it
//! names. It runs in the firmware's world until [`leave_firmware`].
//!
//! The first 512 GiB of physical memory are mapped one to one by 1 GiB pages; [`super::paging`] adds more where
//! memory reaches further. The application processors join at `long_mode_to_ebp`, see [`super::trampoline`].

use core::arch::global_asm;

use crate::cores::STACK_SIZE;

global_asm!(
    r#"
.section .note.pvh, "a", @note
    .align 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_start

.section .multiboot, "a"
    .align 8
multiboot_header:
    // Magic, architecture (i386), length, checksum.
    .long 0xe85250d6, 0, multiboot_header_end - multiboot_header
    .long -(0xe85250d6 + multiboot_header_end - multiboot_header)
    // Tag 3: the entry, in place of the file's own.
    .short 3, 0
    .long 12, multiboot_start
    .align 8
    // Tag 6: modules on page boundaries.
    .short 6, 0
    .long 8
    .short 0, 0
    .long 8
multiboot_header_end:

.section .text.boot, "ax"
.code32
multiboot_start:
    mov edx, offset {multiboot_main}
    jmp loaded
.global pvh_start
pvh_start:
    mov edx, offset {pvh_main}
loaded:
    cli
    cld
    mov esi, ebx
    mov ebx, edx
    // One page directory pointer table: 512 pages of 1 GiB, present, writable, large.
    mov edi, offset boot_pointers
    xor ecx, ecx
1:  mov eax, ecx
    shl eax, 30
    or eax, 0x83
    mov [edi + ecx * 8], eax
    mov eax, ecx
    shr eax, 2
    mov [edi + ecx * 8 + 4], eax
    inc ecx
    cmp ecx, 512
    jne 1b
    mov eax, offset boot_pointers
    or eax, 3
    mov [boot_root], eax
    mov ebp, offset bootstrap_entry

// Joined by every core, with the 64-bit address to go to in EBP; ESI and EDI are carried over.
.global long_mode_to_ebp
long_mode_to_ebp:
    // PAE, OSFXSR, OSXMMEXCPT
    mov eax, 0x620
    mov cr4, eax
    mov eax, offset boot_root
    mov cr3, eax
    // EFER: long mode and no-execute
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    // CR0: PG, WP, NE, ET, MP, PE
    mov eax, 0x80010033
    mov cr0, eax
    lgdt [descriptor_table_pointer]
    mov esp, offset entry_stack_end
    push 0x08
    push ebp
    retf

.code64
// By the firmware's convention: RCX the image, RDX the system table. Returns only if the monitor cannot run.
.global uefi_entry
uefi_entry:
    cli
    jmp {uefi_main}

// Interrupts are off.
.global leave_firmware
leave_firmware:
    cli
    cld
    mov ebx, offset {after_uefi}
    // The same tables that the PVH entry makes.
    mov edi, offset boot_pointers
    xor ecx, ecx
1:  mov rax, rcx
    shl rax, 30
    or rax, 0x83
    mov [rdi + rcx * 8], rax
    inc ecx
    cmp ecx, 512
    jne 1b
    mov eax, offset boot_pointers
    or eax, 3
    mov [boot_root], rax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800
    wrmsr
    // Without global pages, so that none of the firmware's translations outlives its tables.
    mov eax, 0x620
    mov cr4, rax
    mov eax, offset boot_root
    mov cr3, rax
    mov eax, 0x80010033
    mov cr0, rax
    lgdt [descriptor_table_pointer]
    mov esp, offset entry_stack_end
    push 0x08
    mov eax, offset bootstrap_entry
    push rax
    retfq

// ESI: the argument, EBX: the function to go on with.
bootstrap_entry:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    lea rsp, [boot_stack + {stack_size} - 16]
    mov edi, esi
    mov ebx, ebx
    xor ebp, ebp
    call rbx
    ud2

// RDI: the end of the core's own stack, whose word there is the core, as below.
.global leave_boot_stack
leave_boot_stack:
    mov rsp, rdi
    mov rdi, [rsp]
    xor ebp, ebp
    call {on_own_stack}
    ud2

.global application_entry
application_entry:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov rsp, [application_stack]
    // The word at the stack's end is the core, see cores::Core::current.
    mov rdi, [rsp]
    xor ebp, ebp
    call {application_main}
    ud2

// Not among what is only read: loading the task register marks its segment as busy.
.section .data.descriptors, "aw"
    .align 16
.global descriptor_table
descriptor_table:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cf9b000000ffff
.global task_descriptor
task_descriptor:
    .quad 0, 0
.global descriptor_table_pointer
descriptor_table_pointer:
    .word descriptor_table_pointer - descriptor_table - 1
    .quad descriptor_table

.section .bss.boot, "aw", @nobits
    .align 4096
.global boot_root
boot_root:
    .skip 4096
boot_pointers:
    .skip 4096
    .align {stack_size}
.global boot_stack
boot_stack:
    .skip {stack_size}
    .skip 64
entry_stack_end:
    .align 8
.global application_stack
application_stack:
    .skip 8
.text
"#,
    stack_size = const STACK_SIZE,
    pvh_main = sym pvh_main,
    multiboot_main = sym multiboot_main,
    uefi_main = sym crate::uefi::uefi_main,
    after_uefi = sym super::after_uefi,
    application_main = sym super::application_main,
    on_own_stack = sym super::on_own_stack,
);

unsafe extern "C" {
    fn pvh_main(start_information: u64) -> !;

    fn multiboot_main(information: u64) -> !;

    static boot_stack: u8;

    /// Takes the machine over from the firmware: own page tables, descriptors and stack. Goes on at
    /// `story::after_uefi`.
    ///
    /// # Safety
    /// The boot services have ended, interrupts are off, and the image lies where it is linked for, below 4 GiB.
    pub fn leave_firmware() -> !;

    /// Goes on at `story::on_own_stack`.
    ///
    /// # Safety
    /// Nothing that is still used lies on the stack that this core runs on; the address is its own [stack's end](crate::cores::StackEnd),
    /// which holds the core, and that stack is not in use.
    pub fn leave_boot_stack(stack_end: u64) -> !;
}

/// Where the stack begins that a boot runs on until its core has its own.
#[must_use]
pub fn boot_stack_base() -> u64 {
    &raw const boot_stack as u64
}
