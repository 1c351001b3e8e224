//! What the operating system tries with its page tables and exceptions against an enclave. Root plays its part: `/dev/mem` puts any
//! physical page at any address, as a kernel's own tables could.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;

use super::code::{self, Command, Entered, Leaf, enter, enter_by_vdso};
use super::driver::Enclave;
use super::image::{Attributes, Image, PAGE};
use super::{image, place};

pub(crate) const TESTS: &[crate::Test] = &[
    ("enclave-pages-exchanged", pages_exchanged),
    ("enclave-pages-of-many-exchanged", pages_of_many_exchanged),
    ("enclave-entry-exchanged", entry_exchanged),
    ("enclave-page-of-plain-memory", page_of_plain_memory),
    ("enclave-memory-outside", memory_outside),
    ("enclave-permissions", permissions),
    ("enclave-code-outside", code_outside),
    ("enclave-thread-twice", thread_twice),
    ("enclave-registers-hidden", registers_hidden),
];

/// Bits of a page fault's error code.
const PRESENT: u16 = 1;
const SGX: u16 = 1 << 15;
pub(super) const PAGE_FAULT: u16 = 14;
const GENERAL_PROTECTION: u16 = 13;

/// An enclave with the vDSO's function.
pub(super) struct Victim {
    /// The enclave.
    pub enclave: Enclave,
    pub function: u64,
}

impl Victim {
    /// The tests' enclave.
    pub fn new() -> Result<Self> {
        Self::of(Enclave::load(&image(Attributes::PLAIN))?)
    }

    /// With this enclave.
    pub fn of(enclave: Enclave) -> Result<Self> {
        Ok(Self {
            enclave,
            function: code::vdso_function().context("the vDSO's function")?,
        })
    }

    /// Enters once.
    pub fn ask(&self, command: Command, first: u64, second: u64) -> Entered {
        let tcs = self.enclave.page(place::TCS);
        let command = command as u64;
        enter_by_vdso(self.function, tcs, Leaf::Enter, command, [first, second])
    }

    /// A word of the enclave's memory, as the enclave sees it.
    pub fn word(&self, address: u64) -> Result<u64> {
        let entered = self.ask(Command::Load, address, 0);
        ensure!(
            entered.run.function == 4,
            "the enclave cannot load: {entered:?}"
        );
        Ok(entered.result)
    }

    /// Asks, and mends what the entry meets.
    pub fn ask_and_mend(
        &self,
        command: Command,
        operands: [u64; 2],
        mend: impl FnMut(&Entered) -> Result<bool>,
    ) -> Result<Entered> {
        let tcs = self.enclave.page(place::TCS);
        code::enter_and_mend(self.function, tcs, command, operands, mend)
    }

    /// Asks for a word: it is refused until `restore` has put everything right, then it is this one.
    pub(super) fn refuses(
        &self,
        address: u64,
        word: u64,
        is_right: impl Fn(&Entered) -> bool,
        restore: impl Fn() -> Result<()>,
    ) -> Result<()> {
        let mut refusals = 0;
        let ended = self.ask_and_mend(Command::Load, [address, 0], |met| {
            ensure!(is_right(met), "{met:?}");
            refusals += 1;
            restore()?;
            Ok(true)
        })?;
        ensure!(
            refusals == 1 && ended.result == word,
            "{refusals} refusals, then {ended:?}"
        );
        Ok(())
    }

    /// Puts a page of the enclave where it belongs.
    pub(super) fn restore(&self, number: u64) -> Result<()> {
        self.enclave
            .map(number, 1, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// The physical page of a page of the enclave's: of all pages of the EPC, the only one that it accepts there. Every other one,
    /// of its own, of another enclave, or of none, must be refused.
    pub(super) fn find_physical(&self, number: u64) -> Result<u64> {
        let address = self.enclave.page(number);
        let mut pages = epc_pages()?.into_iter();
        let mut last = pages.next().context("an EPC")?;
        put_physical(last, Some(address))?;
        let ended = self.ask_and_mend(Command::Load, [address, 0], |met| {
            ensure!(is_refused(met), "page {last:#x} at {address:#x}: {met:?}");
            ensure!(met.run.address == address, "at {:#x}", met.run.address);
            let Some(next) = pages.next() else {
                return Ok(false);
            };
            last = next;
            put_physical(last, Some(address))?;
            Ok(true)
        })?;
        ensure!(
            ended.run.function == 4,
            "no page of the EPC is accepted at {address:#x}"
        );
        self.restore(number)?;
        Ok(last)
    }
}

/// Every page of the EPC, as CPUID says where it is (leaf 12h).
pub(super) fn epc_pages() -> Result<Vec<u64>> {
    let mut pages = Vec::new();
    for subleaf in 2.. {
        let found = std::arch::x86_64::__cpuid_count(0x12, subleaf);
        if found.eax & 0xf != 1 {
            break;
        }
        let number = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low & !0xfff);
        let start = number(found.eax, found.ebx);
        let end = start + number(found.ecx, found.edx);
        pages.extend((start..end).step_by(PAGE));
    }
    ensure!(!pages.is_empty(), "CPUID shows no EPC");
    Ok(pages)
}

/// Puts a physical page at an address, or anywhere.
pub(super) fn put_physical(page: u64, address: Option<u64>) -> Result<u64> {
    let memory = File::options().read(true).write(true).open("/dev/mem")?;
    let fixed = address.map_or(0, |_| libc::MAP_FIXED);
    // SAFETY: a place in an enclave's reservation, or a fresh one.
    let mapped = unsafe {
        libc::mmap(
            address.unwrap_or(0) as *mut libc::c_void,
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | fixed,
            memory.as_raw_fd(),
            page as libc::off_t,
        )
    };
    ensure!(mapped != libc::MAP_FAILED, "/dev/mem: {}", Errno::last());
    Ok(mapped as u64)
}

/// Whether an entry ended with the fault of a page that the EPCM refuses.
pub(super) fn is_refused(entered: &Entered) -> bool {
    let run = &entered.run;
    run.function != 4 && run.vector == PAGE_FAULT && run.error & (SGX | PRESENT) == SGX | PRESENT
}

/// An address of the enclave leads to every other page of the EPC, its own and another enclave's among them.
fn pages_exchanged() -> Result<()> {
    let (victim, other) = (Victim::new()?, Victim::new()?);
    let [first, second] = [place::DATA, place::DATA + 1].map(|number| victim.enclave.page(number));
    let theirs = other.enclave.page(place::DATA);
    // All are used, so that they are in the EPC and translations of them are kept.
    ensure!(victim.word(first)? == 1 && victim.word(second)? == 2 && other.word(theirs)? == 1);
    let found = victim.find_physical(place::DATA)?;
    let neighbour = victim.find_physical(place::DATA + 1)?;
    let strange = other.find_physical(place::DATA)?;
    ensure!(found != neighbour && found != strange && neighbour != strange);
    // While a translation is kept from the entry before.
    for page in [neighbour, strange] {
        ensure!(victim.word(first)? == 1);
        put_physical(page, Some(first))?;
        let mended = victim.ask_and_mend(Command::Load, [first, 0], |met| {
            ensure!(is_refused(met), "a page in another's place: {met:?}");
            victim.restore(place::DATA)?;
            Ok(true)
        })?;
        ensure!(mended.result == 1, "the page reads {:#x}", mended.result);
    }
    Ok(())
}

/// The same where so many pages are in use that none is looked at before it is touched; and a right that is taken away.
fn pages_of_many_exchanged() -> Result<()> {
    const MANY: u64 = 600;
    let image = Image {
        size: 1024 * PAGE as u64,
        heap: MANY,
        ..image(Attributes::PLAIN)
    };
    let victim = Victim::of(Enclave::load(&image)?)?;
    let pages = image.heap_pages();
    for number in pages.clone() {
        let stored = victim.ask(Command::Store, victim.enclave.page(number), number);
        ensure!(stored.run.function == 4, "page {number}: {stored:?}");
    }
    let (number, other) = (pages.start + 3, pages.start + 500);
    let address = victim.enclave.page(number);
    let strange = victim.find_physical(other)?;
    for lie in [Some(strange), None] {
        // The control: the translation is kept from the entry before.
        ensure!(victim.word(address)? == number, "before the lie");
        match lie {
            Some(page) => put_physical(page, Some(address)).map(drop)?,
            None => put_anonymous(address, 99)?,
        }
        victim.refuses(address, number, is_refused, || victim.restore(number))?;
    }
    victim.enclave.protect(number, 1, libc::PROT_READ)?;
    ensure!(victim.word(address)? == number, "it can be read");
    let stored = victim.ask(Command::Store, address, 1);
    ensure!(
        (stored.run.vector, stored.run.error & SGX) == (PAGE_FAULT, 0),
        "written without the right: {stored:?}"
    );
    for number in pages {
        let word = victim.word(victim.enclave.page(number))?;
        ensure!(word == number, "page {number} holds {word:#x}");
    }
    Ok(())
}

/// Between two entries the addresses of the TCS and of its frame come to lead to another page of the EPC, then to memory.
fn entry_exchanged() -> Result<()> {
    let victim = Victim::new()?;
    let strange = victim.find_physical(place::DATA)?;
    for number in [place::TCS, place::FRAMES] {
        let address = victim.enclave.page(number);
        for attempt in 0..2 {
            for _ in 0..2 {
                let entered = victim.ask(Command::Add, 1, 2);
                ensure!(entered.result == 3, "before: {entered:?}");
            }
            if attempt == 0 {
                put_physical(strange, Some(address))?;
            } else {
                put_anonymous(address, 0)?;
            }
            let met = victim.ask(Command::Add, 1, 2);
            ensure!(
                is_refused(&met) && met.run.function == 2 && met.run.address == address,
                "entry by another page: {met:?}"
            );
            victim.restore(number)?;
        }
        let entered = victim.ask(Command::Add, 1, 2);
        ensure!(entered.result == 3, "afterwards: {entered:?}");
    }
    Ok(())
}

/// An address of the enclave leads to memory of the process.
fn page_of_plain_memory() -> Result<()> {
    let victim = Victim::new()?;
    let number = place::DATA + 3;
    let address = victim.enclave.page(number);
    ensure!(victim.word(address)? == 4);
    put_anonymous(address, 99)?;
    victim.refuses(address, 4, is_refused, || victim.restore(number))
}

/// Puts a fresh page of the process's at an address, with a word.
pub(super) fn put_anonymous(address: u64, word: u64) -> Result<()> {
    // SAFETY: a page of an enclave's reservation, or one that a test has mapped, to which no reference points.
    unsafe {
        let mapped = libc::mmap(
            address as *mut libc::c_void,
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        );
        ensure!(mapped as u64 == address, "mmap: {}", Errno::last());
        (address as *mut u64).write_volatile(word);
    }
    Ok(())
}

/// An address outside leads to the EPC: for the enclave a fault, for the program ones.
fn memory_outside() -> Result<()> {
    let (victim, other) = (Victim::new()?, Victim::new()?);
    let number = place::DATA + 4;
    let [ours, theirs] = [&victim, &other].map(|one| one.enclave.page(number));
    ensure!(victim.word(ours)? == 5 && other.word(theirs)? == 5);
    for page in [victim.find_physical(number)?, other.find_physical(number)?] {
        let outside = put_physical(page, None)?;
        let place = outside as *mut u64;
        // SAFETY: just mapped; whatever stands there is a number.
        let seen = unsafe {
            let before = place.read_volatile();
            place.write_volatile(0x4141);
            [before, place.read_volatile()]
        };
        ensure!(
            seen == [u64::MAX; 2],
            "the program reads {seen:x?} out of the EPC"
        );
        victim.refuses(outside, 77, is_refused, || put_anonymous(outside, 77))?;
    }
    ensure!(
        victim.word(ours)? == 5 && other.word(theirs)? == 5,
        "the program's stores have reached the EPC"
    );
    Ok(())
}

/// What the page tables forbid is forbidden from the next entry on, with the error code of page tables, not of the EPCM.
fn permissions() -> Result<()> {
    let victim = Victim::new()?;
    let number = place::DATA + 5;
    let address = victim.enclave.page(number);
    ensure!(victim.ask(Command::Store, address, 50).run.function == 4);
    ensure!(victim.word(address)? == 50);
    victim.enclave.protect(number, 1, libc::PROT_READ)?;
    let mut refusals = 0;
    victim.ask_and_mend(Command::Store, [address, 51], |met| {
        let run = &met.run;
        ensure!(
            (run.vector, run.error) == (PAGE_FAULT, 7),
            "a store to what is read-only: {met:?}"
        );
        refusals += 1;
        let both = libc::PROT_READ | libc::PROT_WRITE;
        victim.enclave.protect(number, 1, both)?;
        Ok(true)
    })?;
    ensure!(
        refusals == 1 && victim.word(address)? == 51,
        "{refusals} refusals"
    );
    Ok(())
}

fn code_outside() -> Result<()> {
    extern "C" fn never() {}
    let victim = Victim::new()?;
    let met = victim.ask(Command::Call, never as *const () as u64, 0);
    ensure!(
        met.run.function != 4 && met.run.vector == GENERAL_PROTECTION,
        "code outside: {met:?}"
    );
    // Inside, pages decide: one of data is none of code, and a jump to code is a jump.
    let victim = Victim::new()?;
    let met = victim.ask(Command::Call, victim.enclave.page(place::DATA), 0);
    ensure!(
        met.run.function != 4 && met.run.vector == PAGE_FAULT,
        "data as code: {met:?}"
    );
    let victim = Victim::new()?;
    let out = victim.enclave.page(place::CODE) + code::way_out();
    let met = victim.ask(Command::Call, out, 0);
    ensure!(met.run.function == 4, "code inside: {met:?}");
    Ok(())
}

/// While a thread is inside, or interrupted and without a second frame, nobody else enters by its TCS.
fn thread_twice() -> Result<()> {
    const ROUNDS: u64 = 200_000_000;
    /// What the page of the counter is full of.
    const BEFORE: u64 = 7;
    let mut image = image(Attributes::PLAIN);
    // NSSA: with two frames each thread could resume the other.
    image.pages[place::TCS as usize].bytes[28] = 1;
    let victim = Victim::of(Enclave::load(&image)?)?;
    let tcs = victim.enclave.page(place::TCS);
    let second = victim.enclave.page(place::SECOND_TCS);
    let counter = victim.enclave.page(place::DATA + 6);
    let counted = || enter(second, Command::Load, counter, 0);
    ensure!(counted() == BEFORE, "it has counted before it began");
    let (mut refused, mut early) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| enter(tcs, Command::Count, ROUNDS, counter));
        while counted() == BEFORE {
            std::thread::yield_now();
        }
        loop {
            let met = victim.ask(Command::Add, 1, 1);
            let was_last = counted() == ROUNDS + BEFORE;
            if met.run.function == 2 && met.run.vector == GENERAL_PROTECTION {
                refused += 1;
            } else if !was_last {
                early += 1;
            }
            if was_last {
                break;
            }
            std::thread::yield_now();
        }
    });
    println!("{refused} refused");
    ensure!(early == 0 && refused > 0, "{early} entered, {refused} not");
    let entered = victim.ask(Command::Add, 1, 1);
    ensure!(entered.result == 2, "afterwards: {entered:?}");
    Ok(())
}

static SEEN: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// What the registers of a production enclave hold when an exception takes it out: nothing of the enclave's.
fn registers_hidden() -> Result<()> {
    const SECRET: u64 = 0x5ec2_e7ad_0b1e_c7ed;
    const GPRSGX: u64 = PAGE as u64 - 184;
    let victim = Victim::new()?;
    let tcs = victim.enclave.page(place::TCS);
    // SAFETY: the handler only looks, and leaves the enclave's entry by its own way.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = look as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut());
    }
    SEEN.store(0, Ordering::SeqCst);
    enter(tcs, Command::FillAndLoad, SECRET, 0x1000);
    ensure!(HANDLED.load(Ordering::SeqCst) == 1, "there was no signal");
    let seen = SEEN.load(Ordering::SeqCst);
    ensure!(seen == 0, "registers that hold the secret: {seen:#x}");
    // It was in them: the frame holds it. RBP, R8 and R15 in GPRSGX.
    let frame = victim.enclave.page(place::FRAMES) + GPRSGX;
    for offset in [40, 64, 120] {
        let word = victim.word(frame + offset)?;
        ensure!(word == SECRET, "the frame holds {word:#x} at {offset}");
    }
    Ok(())
}

extern "C" fn look(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    const SECRET: u64 = 0x5ec2_e7ad_0b1e_c7ed;
    // SAFETY: the kernel hands a ucontext to a handler that asks for one, with the vector state behind it.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let mut found = 0;
    for (register, bit) in registers.iter().zip(0..) {
        found |= u64::from(*register as u64 == SECRET) << bit;
    }
    // SAFETY: as above.
    let vectors = unsafe { &*context.uc_mcontext.fpregs };
    let has_secret = |words: &[u32; 4]| words[0] == SECRET as u32 || words[2] == SECRET as u32;
    let xmm = vectors
        ._xmm
        .iter()
        .any(|register| has_secret(&register.element));
    // FLD1 leaves 1.0 in the topmost register.
    let x87 = vectors
        ._st
        .iter()
        .any(|register| register.exponent == 0x3fff);
    found |= u64::from(xmm) << 62 | u64::from(x87) << 63;
    SEEN.store(found, Ordering::SeqCst);
    HANDLED.fetch_add(1, Ordering::SeqCst);
    // Behind ENCLU, where the enclave would have come back to.
    registers[libc::REG_RIP as usize] += 3;
}
