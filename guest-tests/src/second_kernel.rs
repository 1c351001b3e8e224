//! Another kernel in domain 0's place, and what it finds in memory.
//!
//! Domain 0 starts it by `kexec_file_load`, so that neither firmware nor the monitor is asked. The first kernel has left a domain with
//! a secret, and beside it memory full of a pattern that is no secret ([`crate::secret`]). The second looks at all memory that the
//! machine has: what Linux uses by `/proc/kcore`, everything else by `/dev/mem`.
#![allow(unsafe_code)]

mod crashed;

use std::ffi::CString;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use adyton::Monitor;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;

use crate::fixture::{audit, pool};
use crate::kernel_attack::{start, used_ranges};
use crate::secret::{TURN, open_word, turned_secret};

/// Tests of the second kernel.
pub const TESTS: &[crate::Test] = &[
    ("second-kernel-searches", searches),
    ("second-kernel-reclaims", reclaims),
    ("crash-kernel-searches", crashed::searches),
];

const PAGE: usize = 4096;

/// Bytes of a page that are looked at: the patterns fill whole pages.
const LOOK: usize = 64;

/// Starts the kernel that `words` name (image, initrd, command line) in place of this one.
///
/// # Errors
/// What the kernel refuses.
pub fn start_command(words: &[String]) -> Result<()> {
    const ORDINARY: u64 = 0;
    load(words, ORDINARY)?;
    // SAFETY: ends this kernel, and with it the program.
    Errno::result(unsafe { libc::reboot(libc::LINUX_REBOOT_CMD_KEXEC) }).context("kexec")?;
    Ok(())
}

/// Has the kernel that `words` name started when this one panics.
///
/// # Errors
/// What the kernel refuses.
pub fn load_for_crash(words: &[String]) -> Result<()> {
    const ON_CRASH: u64 = 2;
    load(words, ON_CRASH)
}

fn load(words: &[String], flags: u64) -> Result<()> {
    let [kernel, initrd, line] = words else {
        bail!("KERNEL INITRD COMMAND-LINE");
    };
    let kernel = File::open(kernel).with_context(|| kernel.clone())?;
    let initrd = File::open(initrd).with_context(|| initrd.clone())?;
    let line = CString::new(line.as_str())?;
    let size = line.as_bytes_with_nul().len();
    // SAFETY: the kernel reads the files and a string with its end.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            size,
            line.as_ptr(),
            flags,
        )
    };
    Errno::result(loaded).context("kexec_file_load")?;
    Ok(())
}

/// Pages by what they hold.
#[derive(Debug, Default)]
struct Found {
    pages: u64,
    open: u64,
    secret: u64,
}

impl Found {
    /// Looks at the beginning of a page.
    fn look(&mut self, page: &[u8]) {
        self.pages += 1;
        let words = page[..LOOK].chunks_exact(8).map(|bytes| {
            let word = bytes.try_into().map_or(0, u64::from_le_bytes);
            word.rotate_left(TURN)
        });
        let is = |turned: u64| {
            let expected = [turned, !turned].into_iter().cycle();
            words
                .clone()
                .zip(expected)
                .all(|(word, other)| word == other)
        };
        self.open += u64::from(is(open_word().rotate_left(TURN)));
        self.secret += u64::from(is(turned_secret()));
    }
}

/// Neither in what Linux uses nor in anything else is the domain's secret; the pattern is found in both.
fn searches() -> Result<()> {
    let claimed = Monitor::ask()?.claimed;
    ensure!(claimed > 0, "the domain is gone");
    let (used, others) = (search_used()?, search_others()?);
    println!("in Linux's memory {used:?}, elsewhere {others:?}");
    ensure!(
        used.open > 0 && others.open > 0,
        "the control was not found"
    );
    ensure!(used.secret + others.secret == 0, "the secret was found");
    audit()?;
    Ok(())
}

/// Looks at all memory that Linux uses.
fn search_used() -> Result<Found> {
    let core = File::open("/proc/kcore").context("/proc/kcore")?;
    let pieces = pieces(&core)?;
    let mut found = Found::default();
    for range in used_ranges()? {
        search_core(&core, &pieces, range, &mut found)?;
    }
    Ok(found)
}

/// Looks at a range that pieces of a core file hold.
fn search_core(core: &File, pieces: &[Piece], range: Range<u64>, found: &mut Found) -> Result<()> {
    const WINDOW: usize = 1 << 20;
    let mut window = vec![0; WINDOW];
    for place in range.clone().step_by(WINDOW) {
        let size = WINDOW.min((range.end - place) as usize);
        let offset = pieces.iter().find_map(|piece| piece.offset(place));
        let offset = offset.with_context(|| format!("{place:#x} is not in it"))?;
        core.read_exact_at(&mut window[..size], offset)
            .with_context(|| format!("at {place:#x}"))?;
        window[..size]
            .chunks_exact(PAGE)
            .for_each(|page| found.look(page));
    }
    Ok(())
}

/// Looks at everything else below the end of memory: the pool, the monitor's, the firmware's, and what answers to nobody.
fn search_others() -> Result<Found> {
    let memory = File::open("/dev/mem").context("/dev/mem")?;
    let mut found = Found::default();
    let mut page = [0; LOOK];
    let mut next = 0;
    for range in used_ranges()? {
        for place in (next..range.start).step_by(PAGE) {
            memory
                .read_exact_at(&mut page, place)
                .with_context(|| format!("at {place:#x}"))?;
            found.look(&page);
        }
        next = range.end.next_multiple_of(PAGE as u64);
    }
    Ok(found)
}

/// A piece of memory in a core file.
struct Piece {
    physical: Range<u64>,
    offset: u64,
}

impl Piece {
    fn offset(&self, place: u64) -> Option<u64> {
        let inside = self.physical.contains(&place);
        inside.then(|| self.offset + (place - self.physical.start))
    }
}

/// The memory in a core file, by its program headers (System V ABI, AMD64 supplement; ELF-64 object file format, figure 5).
fn pieces(core: &File) -> Result<Vec<Piece>> {
    const LOAD: u64 = 1;
    let mut header = [0; 64];
    core.read_exact_at(&mut header, 0)?;
    let word = |bytes: &[u8], at: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&bytes[at..at + size]);
        u64::from_le_bytes(word)
    };
    let (table, count) = (word(&header, 32, 8), word(&header, 56, 2));
    let mut pieces = Vec::new();
    for number in 0..count {
        let mut entry = [0; 56];
        core.read_exact_at(&mut entry, table + number * 56)?;
        let (kind, offset) = (word(&entry, 0, 4), word(&entry, 8, 8));
        let (physical, size) = (word(&entry, 24, 8), word(&entry, 32, 8));
        if let Some(end) = physical.checked_add(size).filter(|_| kind == LOAD) {
            pieces.push(Piece {
                physical: physical..end,
                offset,
            });
        }
    }
    Ok(pieces)
}

/// The first kernel's claim is one whose owner is gone: it is given back, and what the domain had is zero.
fn reclaims() -> Result<()> {
    let pool = pool()?;
    let collected = pool.collect()?;
    ensure!(collected.len() == 1, "{collected:?}");
    ensure!(Monitor::ask()?.claimed == 0, "something is still claimed");
    let base = start(&pool)? + collected[0].offset;
    let memory = File::open("/dev/mem").context("/dev/mem")?;
    let (mut found, mut zero) = (Found::default(), 0);
    let mut page = [0; LOOK];
    for place in (base..base + collected[0].record.size).step_by(PAGE) {
        memory.read_exact_at(&mut page, place)?;
        found.look(&page);
        zero += u64::from(page == [0; LOOK]);
    }
    println!("{found:?}, {zero} of zeros");
    ensure!(found.open > 0, "the control was not found");
    ensure!(found.secret == 0, "the secret was found");
    ensure!(zero > 256, "nothing was zeroed");
    audit()?;
    Ok(())
}
