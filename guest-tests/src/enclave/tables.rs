//! What a kernel tries against an enclave from where no user gets: page tables that change while another core is inside, large pages, and its
//! own loads and stores. Needs two cores.
#![allow(unsafe_code)]

use std::arch::asm;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;

use super::abuse::{Victim, is_refused};
use super::code::Command;
use super::driver::Enclave;
use super::image::{Attributes, Image, PAGE};
use super::{data, image, place};
use crate::paging::{PRESENT_WRITABLE_USER, entry, physical, put};
use crate::{kernel_mode, raw, startup};

pub(crate) const TESTS: &[crate::Test] = &[
    (
        "enclave-tables-change-without-shoot-down",
        without_shoot_down,
    ),
    ("enclave-tables-change-with-shoot-down", with_shoot_down),
    ("enclave-by-a-large-page", large_page),
    ("enclave-from-kernel-mode", from_kernel_mode),
];

/// Rounds of the enclave's counting in one entry: some tens of milliseconds.
const ROUNDS: u64 = 5_000_000;

/// A thread that counts in the enclave on the second core, entry by entry, and bears with being refused meanwhile.
struct Counting<'a> {
    victim: &'a Victim,
    /// Where it counts.
    counter: u64,
    is_over: AtomicBool,
    refusals: AtomicU64,
    /// While this is so, it waits where it was refused.
    waits: AtomicBool,
}

impl<'a> Counting<'a> {
    const fn new(victim: &'a Victim, counter: u64) -> Self {
        Self {
            victim,
            counter,
            is_over: AtomicBool::new(false),
            refusals: AtomicU64::new(0),
            waits: AtomicBool::new(false),
        }
    }

    /// How often it has entered. `is_right` judges each refusal.
    fn count(&self, is_right: impl Fn(&super::code::Entered) -> bool) -> Result<u64> {
        raw::stay_on(1)?;
        let mut entries = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let operands = [ROUNDS, self.counter];
            let ended = self.victim.ask_and_mend(Command::Count, operands, |met| {
                ensure!(is_right(met), "{met:?}");
                self.refusals.fetch_add(1, Ordering::SeqCst);
                while self.waits.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                Ok(true)
            })?;
            ensure!(ended.run.function == 4, "it ends with {ended:?}");
            entries += 1;
        }
        Ok(entries)
    }

    /// Waits until it has been refused more often than `before`.
    fn refused_since(&self, before: u64) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let since = Instant::now();
        while self.refusals.load(Ordering::SeqCst) == before {
            ensure!(since.elapsed() < PATIENCE, "nothing is refused");
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// An entry that a kernel changes to and fro while it looks at nobody and tells nobody.
struct Flicker {
    base_variable: u64,
    address: u64,
    lie: u64,
}

extern "C" fn flicker(argument: u64) {
    const TIMES: u64 = 8;
    /// Ticks of either: longer than the time between two interrupts of the other core.
    const TICKS: u64 = 12_000_000;
    let it: &Flicker = raw::borrowed(argument);
    let wait = || {
        // SAFETY: reads a counter.
        let now = || unsafe { core::arch::x86_64::_rdtsc() };
        let start = now();
        while now().wrapping_sub(start) < TICKS {
            core::hint::spin_loop();
        }
    };
    // SAFETY: in kernel mode the variable holds where all memory is mapped; the entry is one that this test has seen mapped, and
    // is put back.
    unsafe {
        let base = (it.base_variable as *const u64).read_volatile();
        let place = entry(base, it.address, 1);
        let right = place.read_volatile();
        for _ in 0..TIMES {
            place.write_volatile(it.lie | PRESENT_WRITABLE_USER);
            wait();
            place.write_volatile(right);
            wait();
        }
    }
}

/// The entry of a page in use leads elsewhere and back, again and again, while another core is inside, and nobody flushes anything. A translation that
/// the core has may live until its next interrupt; what it loads anew must be the right page or be refused.
fn without_shoot_down() -> Result<()> {
    raw::stay_on(0)?;
    let (victim, other) = (Victim::new()?, Victim::new()?);
    let counter = victim.enclave.page(place::DATA) + 64;
    let neighbour = victim.enclave.page(place::DATA + 1);
    let theirs = other.enclave.page(place::DATA);
    let plain = raw::anonymous_page()?;
    raw::store(plain + 64, 99);
    ensure!(victim.word(counter)? == 1 && victim.word(neighbour)? == 2 && other.word(theirs)? == 1);
    let lies = [
        physical_pages(&victim.enclave, place::DATA + 1, 1)?[0],
        physical_pages(&other.enclave, place::DATA, 1)?[0],
        physical(plain)?,
    ];
    let counting = Counting::new(&victim, counter);
    let entries = std::thread::scope(|scope| -> Result<u64> {
        let thread = scope.spawn(|| {
            counting.count(|met| is_refused(met) && met.run.address & !0xfff == counter & !0xfff)
        });
        let lies = lies.into_iter().try_for_each(|lie| {
            let before = counting.refusals.load(Ordering::SeqCst);
            let mut it = Flicker {
                base_variable: startup::base_variable()?,
                address: counter,
                lie,
            };
            // How soon the other core looks is for the machine to say: an emulator lets its cores take turns.
            let begin = Instant::now();
            while counting.refusals.load(Ordering::SeqCst) == before {
                ensure!(
                    begin.elapsed() < Duration::from_secs(10),
                    "a page in another's place was never met"
                );
                kernel_mode::run(flicker, &raw mut it as u64)?;
            }
            Ok(())
        });
        counting.is_over.store(true, Ordering::SeqCst);
        let entries = thread.join().expect("no panic")?;
        lies.map(|()| entries)
    })?;
    let counted = victim.word(counter)?;
    ensure!(
        counted == 1 + entries * ROUNDS,
        "{entries} entries counted to {counted}"
    );
    for word in [0, 64, 128] {
        ensure!(victim.word(neighbour + word)? == 2, "its own page changed");
        ensure!(other.word(theirs + word)? == 1, "another's page changed");
    }
    ensure!(raw::load(plain + 64) == 99, "the program's page changed");
    let refusals = counting.refusals.load(Ordering::SeqCst);
    println!("{entries} entries, {refusals} refused");
    Ok(())
}

/// A kernel that takes a right away and shoots down: when that is over, no core inside uses the right any more.
fn with_shoot_down() -> Result<()> {
    raw::stay_on(0)?;
    let victim = Victim::new()?;
    let number = place::DATA + 2;
    let counter = victim.enclave.page(number);
    let second = victim.enclave.page(place::SECOND_TCS);
    let look = || super::code::enter(second, Command::Load, counter, 0);
    ensure!(victim.word(counter)? == 3);
    let counting = Counting::new(&victim, counter);
    let entries = std::thread::scope(|scope| -> Result<u64> {
        // What page tables forbid, not what the EPCM does.
        let thread =
            scope.spawn(|| counting.count(|met| met.run.vector == 14 && met.run.error == 7));
        let rounds = (0..5).try_for_each(|_| {
            let before = counting.refusals.load(Ordering::SeqCst);
            let start = look();
            while look() == start {
                std::thread::yield_now();
            }
            counting.waits.store(true, Ordering::SeqCst);
            victim.enclave.protect(number, 1, libc::PROT_READ)?;
            let counted = look();
            for _ in 0..50 {
                ensure!(look() == counted, "it counts on after the shoot-down");
                std::thread::yield_now();
            }
            counting.refused_since(before)?;
            let both = libc::PROT_READ | libc::PROT_WRITE;
            victim.enclave.protect(number, 1, both)?;
            counting.waits.store(false, Ordering::SeqCst);
            Ok(())
        });
        counting.is_over.store(true, Ordering::SeqCst);
        counting.waits.store(false, Ordering::SeqCst);
        let entries = thread.join().expect("no panic")?;
        rounds.map(|()| entries)
    })?;
    let counted = victim.word(counter)?;
    ensure!(
        counted == 3 + entries * ROUNDS,
        "{entries} entries counted to {counted}"
    );
    Ok(())
}

const LARGE: u64 = 2 << 20;
/// Present, writable, the user's, and a page although it stands where tables do.
const LARGE_ENTRY: u64 = PRESENT_WRITABLE_USER | 1 << 7;

/// An enclave whose pages lie in the EPC as they do in its addresses, so that one large page can lead to all of them; what keeps
/// others from lying there comes with it.
fn congruent() -> Result<(Victim, Vec<Enclave>)> {
    let mut wanted = image(Attributes::PLAIN);
    wanted.size = LARGE;
    let mut fillers = Vec::new();
    for _ in 0..8 {
        let enclave = Enclave::load(&wanted)?;
        let pages = physical_pages(&enclave, 0, wanted.pages.len() as u64)?;
        let [first, .., last] = pages[..] else {
            anyhow::bail!("an enclave without pages")
        };
        let is_dense = pages
            .iter()
            .zip((first..).step_by(PAGE))
            .all(|(page, due)| *page == due);
        if is_dense && first.is_multiple_of(LARGE) {
            return Ok((Victim::of(enclave)?, fillers));
        }
        // The driver gives pages out in order: up to what comes before the next large page's first, others take them.
        let next = last + PAGE as u64;
        let gap = (next.next_multiple_of(LARGE) - next) / PAGE as u64;
        fillers.push(enclave);
        // Beside its pages each enclave takes two: its SECS, and one for versions.
        let count = gap.checked_sub(4).unwrap_or(gap + 508);
        fillers.push(Enclave::build(&filler(count))?);
    }
    anyhow::bail!("the driver gives its pages out in no order that is known")
}

/// An enclave of so many pages, which is never entered.
fn filler(count: u64) -> Image {
    Image {
        size: 2 * LARGE,
        pages: (0..count).map(data).collect(),
        ..image(Attributes::PLAIN)
    }
}

/// Most pages that are looked at in one go.
const PAGES: usize = 32;

/// Which physical pages some pages of this process are.
struct Look {
    base_variable: u64,
    address: u64,
    count: u64,
    entries: [u64; PAGES],
}

extern "C" fn look(argument: u64) {
    let it: &mut Look = raw::borrowed(argument);
    // SAFETY: in kernel mode the variable holds where all memory is mapped; the pages were touched, so they have entries.
    unsafe {
        let base = (it.base_variable as *const u64).read_volatile();
        let pages = (it.address..).step_by(PAGE);
        for (place, address) in it.entries.iter_mut().take(it.count as usize).zip(pages) {
            *place = entry(base, address, 1).read_volatile();
        }
    }
}

/// The physical pages of an enclave's first pages, once the kernel has mapped them.
pub(crate) fn physical_pages(enclave: &Enclave, first: u64, count: u64) -> Result<Vec<u64>> {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    for number in first..first + count {
        // A touch from outside reads ones, and maps the page.
        let word = raw::load(enclave.page(number));
        ensure!(word == u64::MAX, "page {number} reads {word:#x}");
    }
    let mut it = Look {
        base_variable: startup::base_variable()?,
        address: enclave.page(first),
        count,
        entries: [0; PAGES],
    };
    kernel_mode::run(look, &raw mut it as u64)?;
    let entries = it.entries.into_iter().take(count as usize);
    Ok(entries.map(|entry| entry & ADDRESS).collect())
}

/// All of an enclave by one large page: what is where it belongs works, and nothing else does.
fn large_page() -> Result<()> {
    raw::stay_on(0)?;
    let (victim, _fillers) = congruent()?;
    let base = victim.enclave.base;
    let start = physical_pages(&victim.enclave, 0, 1)?[0];
    let [first, second] = [place::DATA, place::DATA + 1].map(|number| victim.enclave.page(number));
    ensure!(victim.word(first)? == 1);
    let before = put(base, 2, start | LARGE_ENTRY)?;
    let through = (|| {
        victim.ask(Command::Store, second + 8, 22);
        Ok::<_, anyhow::Error>([victim.word(first)?, victim.word(second + 8)?])
    })();
    // The program's own accesses by the same page.
    let seen = raw::load(first);
    raw::store(first, 0x4141);
    // Every page of the enclave somewhere else: the next large page of the EPC, and memory that is none.
    let elsewhere = raw::anonymous_page()?;
    let mut answers = Vec::new();
    for lie in [
        start + LARGE,
        start - LARGE,
        physical(elsewhere)? & !(LARGE - 1),
    ] {
        put(base, 2, lie | LARGE_ENTRY)?;
        answers.push(victim.ask(Command::Load, first, 0));
    }
    put(base, 2, before)?;
    ensure!(through? == [1, 22], "by the large page");
    ensure!(seen == u64::MAX, "the program reads {seen:#x}");
    for answer in answers {
        ensure!(answer.run.function == 2, "entered by a lie: {answer:?}");
    }
    ensure!(
        victim.word(first)? == 1,
        "the program's store has reached it"
    );
    ensure!(victim.word(second + 8)? == 22, "the enclave's own has not");
    Ok(())
}

/// What a kernel reads and writes.
struct Copies {
    address: u64,
    sizes: [u64; 4],
    vector: [u64; 2],
    string: [u8; 64],
}

extern "C" fn copy(argument: u64) {
    let it: &mut Copies = raw::borrowed(argument);
    // SAFETY: the address is mapped for this process, whose memory the kernel's mode reaches here; nothing refers to what is there.
    unsafe {
        asm!(
            "movzx {word}, byte ptr [{at}]", "mov [{sizes}], {word}",
            "movzx {word}, word ptr [{at}]", "mov [{sizes} + 8], {word}",
            "mov {word:e}, [{at}]", "mov [{sizes} + 16], {word}",
            "mov {word}, [{at}]", "mov [{sizes} + 24], {word}",
            word = out(reg) _, at = in(reg) it.address, sizes = in(reg) it.sizes.as_mut_ptr(),
            options(nostack)
        );
        asm!(
            "rep movsb",
            inout("rcx") it.string.len() => _,
            inout("rsi") it.address => _,
            inout("rdi") it.string.as_mut_ptr() => _,
            options(nostack)
        );
        asm!(
            "mov byte ptr [{at} + 8], 0x41", "mov word ptr [{at} + 16], 0x4141",
            "mov dword ptr [{at} + 24], 0x41414141", "mov [{at} + 32], {word}",
            at = in(reg) it.address, word = in(reg) 0x4141_4141_4141_4141_u64,
            options(nostack)
        );
        it.vector = (it.address as *const [u64; 2]).read_volatile();
    }
}

fn copied(address: u64) -> Result<Copies> {
    let mut it = Copies {
        address,
        sizes: [0; 4],
        vector: [0; 2],
        string: [0; 64],
    };
    kernel_mode::run(copy, &raw mut it as u64)?;
    Ok(it)
}

/// Kernel mode reads ones out of an enclave and writes nothing into it, by its own instructions and by its copies for a program.
fn from_kernel_mode() -> Result<()> {
    let victim = Victim::new()?;
    let address = victim.enclave.page(place::DATA + 4);
    ensure!(victim.word(address)? == 5);
    let plain = raw::anonymous_page()?;
    raw::store(plain, 0x1234_5678_9abc_def0);
    let control = copied(plain)?;
    ensure!(control.sizes == [0xf0, 0xdef0, 0x9abc_def0, 0x1234_5678_9abc_def0]);
    ensure!(control.string[..3] == [0xf0, 0xde, 0xbc] && control.vector[1] == 0x41);
    ensure!(raw::load(plain + 32) == 0x4141_4141_4141_4141);
    let copies = copied(address)?;
    ensure!(
        copies.sizes == [0xff, 0xffff, 0xffff_ffff, u64::MAX] && copies.vector == [u64::MAX; 2],
        "{:x?} {:x?}",
        copies.sizes,
        copies.vector
    );
    ensure!(copies.string == [0xff; 64], "{:x?}", copies.string);
    for offset in (0..64).step_by(8) {
        let word = victim.word(address + offset)?;
        ensure!(word == 5, "{offset} in the page holds {word:#x}");
    }
    // The kernel's copies.
    let mut file = File::options();
    let file = file.read(true).write(true).create(true).truncate(true);
    let mut file = file.open("/tmp/enclave").context("a file")?;
    ensure!(
        raw::write_from(&file, plain, PAGE) == Ok(PAGE),
        "the control"
    );
    ensure!(raw::write_from(&file, address, PAGE) == Ok(PAGE), "a copy");
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    ensure!(bytes[0] == 0xf0, "the control");
    ensure!(
        bytes[PAGE..].iter().all(|byte| *byte == 0xff),
        "the enclave's memory in a file"
    );
    file.rewind()?;
    ensure!(
        raw::read_into(&file, address, PAGE) == Ok(PAGE),
        "a copy back"
    );
    ensure!(victim.word(address + 40)? == 5, "the copy has reached it");
    Ok(())
}
