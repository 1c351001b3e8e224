//! Code of a test in kernel mode of domain 0: where the monitor's strongest attacker stands.
//!
//! Root of a distribution that does not enforce signatures may load any module. So a module that the distribution brings
//! (`brd`) gets another initialization routine, which switches SMEP and SMAP off, calls a function of this very program with
//! interrupts off, puts everything back, and refuses to stay. Its signature does not match any more and is left out.
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::ffi::CString;
use std::fs;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;

/// What the routine returns: the module is not to stay.
const REFUSAL: i32 = libc::EOPNOTSUPP;

global_asm!(
    r#"
.section .text.kernel_mode, "ax"
kernel_mode_routine:
    push rbx
    push rbp
    mov rbp, rsp
    and rsp, -16
    pushfq
    push 0
    cli
    mov rbx, cr4
    mov rax, rbx
    btr rax, 20
    btr rax, 21
    mov cr4, rax
    movabs rdi, 0x1111111111111111
    movabs rax, 0x2222222222222222
    call rax
    mov cr4, rbx
    add rsp, 8
    popfq
    mov rsp, rbp
    pop rbp
    pop rbx
    mov eax, -{refusal}
    ret
    int3
kernel_mode_routine_end:
.text
"#,
    refusal = const REFUSAL,
);

unsafe extern "C" {
    static kernel_mode_routine: u8;
    static kernel_mode_routine_end: u8;
}

/// Keeps this process's memory where it is, so that nothing faults in kernel mode.
fn keep_memory() -> bool {
    // Another core may move locked pages too: to make room for large ones, or to make large ones of them. What is large already stays so; to
    // have none by `prctl` would be for this process alone, and would have the pool's faults answered with SIGBUS.
    let settings = [
        ("/proc/sys/vm/compact_unevictable_allowed", "0"),
        ("/proc/sys/vm/compaction_proactiveness", "0"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "never"),
    ];
    let stays = settings
        .iter()
        .all(|(file, value)| fs::write(file, value).is_ok());
    // SAFETY: changes nothing in memory.
    stays && unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) == 0 }
}

/// Calls `action` with `argument` in kernel mode on this core, interrupts off. It must not fault, nor take long. Several cores may do so at once, if
/// their threads stay where they are.
///
/// # Errors
/// If the kernel does not take the module.
pub fn run(action: extern "C" fn(u64), argument: u64) -> Result<()> {
    // Once: what a test does to its page tables is not for the kernel to look at.
    static KEPT: OnceLock<bool> = OnceLock::new();
    ensure!(*KEPT.get_or_init(keep_memory), "memory: {}", Errno::last());
    let module = module(action as usize as u64, argument)?;
    let none = CString::default();
    // SAFETY: the kernel copies the image, and runs what it was made for.
    let status = unsafe {
        libc::syscall(
            libc::SYS_init_module,
            module.as_ptr(),
            module.len(),
            none.as_ptr(),
        )
    };
    match Errno::result(status) {
        Err(Errno::EOPNOTSUPP) => Ok(()),
        other => bail!("init_module: {other:?}"),
    }
}

fn routine(action: u64, argument: u64) -> Vec<u8> {
    let start = &raw const kernel_mode_routine;
    let length = &raw const kernel_mode_routine_end as usize - start as usize;
    // SAFETY: the assembly above lies between the two symbols.
    let mut code = unsafe { std::slice::from_raw_parts(start, length) }.to_vec();
    for (mark, value) in [(0x11_u8, argument), (0x22, action)] {
        let place = code.windows(8).position(|bytes| bytes == [mark; 8]);
        let place = place.expect("the routine has both marks");
        code[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    code
}

/// The file of a module of this kernel.
fn template() -> Result<Vec<u8>> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let folder = format!("/lib/modules/{}", release.trim());
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.clone())? {
            let path = entry?.path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(name);
            } else if name.ends_with("/brd.ko") {
                return Ok(fs::read(path)?);
            }
        }
    }
    bail!("there is no brd.ko")
}

/// Sections by which the kernel would patch code that is not there any more.
const PATCHES: [&str; 12] = [
    ".return_sites",
    ".retpoline_sites",
    ".call_sites",
    "__mcount_loc",
    ".altinstructions",
    "__jump_table",
    ".static_call_sites",
    ".ibt_endbr_seal",
    ".smp_locks",
    ".parainstructions",
    "__bug_table",
    "__patchable_function_entries",
];

/// The module whose initialization is the routine.
fn module(action: u64, argument: u64) -> Result<Vec<u8>> {
    let mut file = Elf(template()?);
    file.drop_signature();
    file.rename()?;
    let code = routine(action, argument);
    let (section, offset) = file.symbol("init_module")?;
    let text = file.header(section)?;
    ensure!(offset + code.len() <= text.size, "the routine does not fit");
    let place = text.offset + offset;
    file.0[place..place + code.len()].copy_from_slice(&code);
    for index in 0..file.sections() {
        let header = file.header(index)?;
        let name = file.name(&header);
        if PATCHES.contains(&name.as_str()) || name.starts_with(".orc_unwind") {
            // Another name: the same one without its first letter.
            let other = (header.name as u32 + 1).to_le_bytes();
            file.0[header.at..header.at + 4].copy_from_slice(&other);
        }
        if header.kind == RELOCATIONS && header.information == section {
            file.forget_relocations(&header, offset..offset + code.len());
        }
    }
    Ok(file.0)
}

const SYMBOLS: u64 = 2;
const RELOCATIONS: u64 = 4;

/// An ELF file as bytes (System V ABI, chapter 4).
struct Elf(Vec<u8>);

struct Header {
    at: usize,
    name: usize,
    kind: u64,
    offset: usize,
    size: usize,
    link: usize,
    information: usize,
}

impl Elf {
    fn number(&self, at: usize, bytes: usize) -> u64 {
        let mut word = [0; 8];
        if let Some(found) = self.0.get(at..at + bytes) {
            word[..bytes].copy_from_slice(found);
        }
        u64::from_le_bytes(word)
    }

    fn sections(&self) -> usize {
        self.number(60, 2) as usize
    }

    /// The section headers are the last of the file itself.
    fn drop_signature(&mut self) {
        let end = self.number(40, 8) as usize + 64 * self.sections();
        self.0.truncate(end);
    }

    /// Another name on each core: the kernel loads one module of a name at a time.
    fn rename(&mut self) -> Result<()> {
        /// Where `struct module` has its name: behind its state and a list's two pointers.
        const NAME: usize = 24;
        // SAFETY: asks where this runs.
        let core = unsafe { libc::sched_getcpu() }.cast_unsigned();
        for index in 0..self.sections() {
            let header = self.header(index)?;
            if self.name(&header) == ".gnu.linkonce.this_module" {
                let place = header.offset + NAME;
                ensure!(self.text(&header, NAME) == "brd", "a name elsewhere");
                self.0[place + 2] = b'0' + (core % 10) as u8;
                return Ok(());
            }
        }
        bail!("a module without a name")
    }

    fn header(&self, index: usize) -> Result<Header> {
        ensure!(index < self.sections(), "no section {index}");
        let at = self.number(40, 8) as usize + 64 * index;
        let word = |offset, bytes| self.number(at + offset, bytes);
        Ok(Header {
            at,
            name: word(0, 4) as usize,
            kind: word(4, 4),
            offset: word(24, 8) as usize,
            size: word(32, 8) as usize,
            link: word(40, 4) as usize,
            information: word(44, 4) as usize,
        })
    }

    fn text(&self, table: &Header, at: usize) -> String {
        let bytes = self.0.get(table.offset + at..).unwrap_or_default();
        let text = bytes.iter().take_while(|byte| **byte != 0);
        text.map(|byte| *byte as char).collect()
    }

    fn name(&self, header: &Header) -> String {
        let names = self.header(self.number(62, 2) as usize);
        names.map_or_else(|_| String::new(), |names| self.text(&names, header.name))
    }

    /// Section and offset of a symbol.
    fn symbol(&self, wanted: &str) -> Result<(usize, usize)> {
        for index in 0..self.sections() {
            let table = self.header(index)?;
            if table.kind != SYMBOLS {
                continue;
            }
            let names = self.header(table.link)?;
            for at in (table.offset..table.offset + table.size).step_by(24) {
                if self.text(&names, self.number(at, 4) as usize) == wanted {
                    return Ok((
                        self.number(at + 6, 2) as usize,
                        self.number(at + 8, 8) as usize,
                    ));
                }
            }
        }
        bail!("no symbol {wanted}")
    }

    /// Turns relocations of a part of a section into ones that do nothing.
    fn forget_relocations(&mut self, table: &Header, part: std::ops::Range<usize>) {
        for at in (table.offset..table.offset + table.size).step_by(24) {
            let offset = self.number(at, 8) as usize;
            if part.start < offset + 8 && offset < part.end {
                self.0[at + 8..at + 12].fill(0);
            }
        }
    }
}
