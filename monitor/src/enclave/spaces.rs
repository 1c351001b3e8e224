//! The machine's spaces: which thread's translations each one keeps, and which core has it.
//!
//! A space is kept for a thread as long as nobody needs it more. There are at least two for each core, and a core has one at a time, so one
//! can always be had.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use adyton_sgx::{EpcPage, Thread};
use adyton_x86::paging::Entry;

use super::quick::Known;
use super::space::{OutOfFrames, Space, Translation, Walk};
use super::{RECORDS, RESTRICTIONS, judgement};
use crate::address::{HostPhysical, PAGE_SIZE};
use crate::guest::walk::Kind;
use crate::once::Once;

/// Spaces beyond the two of each core.
const MORE: usize = 62;
/// How many places a thread's space is looked for in.
const PROBES: usize = 8;
/// The most translations that are judged at an entry: of a larger space each part is, when it is touched.
const MOST_JUDGED: usize = 256;
/// The most such parts of a space, of 2 MiB each: an entry must be short.
const MOST_PARTS: usize = 2048;

static SPACES: Once<&'static [Slot]> = Once::new();

/// Whose translations they are, and by which rules of domain 0's they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    tcs: EpcPage,
    secs: EpcPage,
    base: u64,
    size: u64,
    /// CR0, CR3 without a process-context identifier, CR4, EFER.
    control: [u64; 4],
}

impl Key {
    /// Of a thread that enters under these control registers.
    pub(super) fn new(thread: &Thread, [cr0, cr3, cr4, efer]: [u64; 4]) -> Self {
        Self {
            tcs: thread.tcs,
            secs: thread.secs,
            base: thread.base,
            size: thread.size,
            control: [cr0, cr3 & Entry::ADDRESS, cr4, efer],
        }
    }
}

/// A place for a space.
pub(super) struct Slot {
    is_taken: AtomicBool,
    kept: UnsafeCell<Kept>,
}

// SAFETY: `kept` is reached only by the core that has set `is_taken`.
unsafe impl Sync for Slot {}

struct Kept {
    key: Option<Key>,
    space: Space,
    /// Of domain 0's nested tables.
    generation: u64,
    /// [`RESTRICTIONS`] when the EPCM was last asked about all of them.
    restrictions: u64,
    /// Translations loaded since the last entry that was looked at whole.
    loaded: usize,
    /// How threads enter; good while the space is settled.
    known: Option<Known>,
    /// The page from which a thread left last and where it lies; good while the space is settled.
    exit: (u64, u64),
}

/// No page.
const NOWHERE: (u64, u64) = (u64::MAX, 0);

/// A space that a core has. It goes back by [`Taken::release`].
#[must_use]
pub(super) struct Taken(&'static Slot);

/// One that a core had, and may find again as it was.
pub(super) struct Released(&'static Slot);

impl Released {
    /// Takes it, unless another core has it.
    #[inline]
    pub(super) fn take_again(&self) -> Option<Taken> {
        self.0.take()
    }
}

/// Makes the spaces.
///
/// # Panics
/// If the enclaves' reserve is too small.
pub(super) fn create(cores: usize) {
    const TOO_SMALL: &str = "the enclaves' reserve is too small for the cores' tables";
    let count = 2 * cores + MORE;
    let pages = ((count * size_of::<Slot>()) as u64).div_ceil(PAGE_SIZE);
    let array = RECORDS
        .allocate_contiguous(pages, PAGE_SIZE)
        .expect(TOO_SMALL);
    let array = array.value() as *mut Slot;
    for index in 0..count {
        let slot = Slot {
            is_taken: AtomicBool::new(false),
            kept: UnsafeCell::new(Kept {
                key: None,
                space: Space::new(&RECORDS).expect(TOO_SMALL),
                generation: 0,
                restrictions: 0,
                loaded: 0,
                known: None,
                exit: NOWHERE,
            }),
        };
        // SAFETY: the array has room for `count` slots and belongs to nobody else.
        unsafe { array.add(index).write(slot) };
    }
    // SAFETY: all elements were just written; they are never moved or freed.
    SPACES.set(unsafe { core::slice::from_raw_parts(array, count) });
}

/// The space for a thread that has just entered, with nothing in it that is not allowed now.
///
/// Ordering: the thread is counted as inside already, so whoever restricts a page after this looked at the restrictions finds it there.
pub(super) fn take(key: Key, thread: &Thread, generation: u64) -> Option<Taken> {
    let taken = find(&key)?;
    let kept = taken.kept();
    let restrictions = RESTRICTIONS.load(Ordering::SeqCst);
    let is_same = kept.key == Some(key) && kept.generation == generation;
    if !is_same || kept.space.regions() > MOST_PARTS {
        kept.space.clear(&RECORDS);
        kept.key = Some(key);
        kept.generation = generation;
    }
    if kept.space.pages() > MOST_JUDGED {
        kept.space.detach(restrictions);
    } else {
        kept.space.renew(restrictions, |address, word| {
            judgement::is_still_allowed(thread, address, word)
        });
    }
    kept.restrictions = restrictions;
    Some(taken)
}

fn find(key: &Key) -> Option<Taken> {
    let slots = *SPACES.try_get()?;
    let first = key.tcs.0 as usize % slots.len();
    // Not `cycle` and `skip`, which walk there.
    let from_first = || {
        let (before, after) = slots.split_at(first);
        after.iter().chain(before)
    };
    for slot in from_first().take(PROBES) {
        if let Some(taken) = slot.take() {
            if taken.kept().key.is_some_and(|kept| kept.tcs == key.tcs) {
                return Some(taken);
            }
            taken.release();
        }
    }
    from_first().find_map(Slot::take)
}

impl Slot {
    fn take(&'static self) -> Option<Taken> {
        self.is_taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(Taken(self))
    }
}

impl Taken {
    #[expect(clippy::mut_from_ref, reason = "whoever has the slot has it alone")]
    fn kept(&self) -> &mut Kept {
        // SAFETY: this core has set `is_taken`, and no caller keeps the reference over another call.
        unsafe { &mut *self.0.kept.get() }
    }

    /// What CR3 gets.
    pub(super) fn root(&self) -> HostPhysical {
        self.kept().space.root()
    }

    /// The host address to which a linear one is translated.
    pub(super) fn translate(&self, address: u64) -> Option<u64> {
        self.kept().space.translate(address)
    }

    /// [`Self::translate`], of an address in a page that mostly is the same each time.
    #[inline(always)]
    pub(super) fn exit_at(&self, address: u64) -> Option<u64> {
        let kept = self.kept();
        let (page, place) = kept.exit;
        if page == address / PAGE_SIZE && kept.space.is_settled() {
            return Some(place + address % PAGE_SIZE);
        }
        self.find_exit(address)
    }

    #[cold]
    fn find_exit(&self, address: u64) -> Option<u64> {
        let kept = self.kept();
        let place = kept.space.translate(address)?;
        kept.exit = (address / PAGE_SIZE, place & !(PAGE_SIZE - 1));
        Some(place)
    }

    /// Whether an access goes on, because all that was missing is that its part of the space is judged now.
    ///
    /// Ordering: as in [`take`]; what is restricted from here on waits for this thread to leave.
    pub(super) fn attach(&self, thread: &Thread, address: u64, kind: Kind) -> bool {
        let space = &mut self.kept().space;
        let restrictions = RESTRICTIONS.load(Ordering::SeqCst);
        let was_detached = space.attach(address, restrictions, |address, word| {
            judgement::is_still_allowed(thread, address, word)
        });
        was_detached && space.permits(address, kind)
    }

    /// Loads a translation; where frames are short, in place of all others, and then of those of threads that are not inside.
    pub(super) fn load(&self, new: &Translation) -> Result<(), OutOfFrames> {
        let kept = self.kept();
        kept.loaded += 1;
        if kept.space.load(&RECORDS, new).is_ok() {
            return Ok(());
        }
        kept.space.clear(&RECORDS);
        if kept.space.load(&RECORDS, new).is_ok() {
            return Ok(());
        }
        for slot in SPACES.try_get().copied().unwrap_or(&[]) {
            if let Some(other) = slot.take() {
                let other_kept = other.kept();
                other_kept.space.clear(&RECORDS);
                other_kept.key = None;
                other.release();
            }
        }
        kept.space.load(&RECORDS, new)
    }

    /// How many translations were loaded since this was asked last.
    pub(super) fn take_loaded(&self) -> usize {
        core::mem::take(&mut self.kept().loaded)
    }

    /// Notes how a thread has just entered, and the walks that it depends on.
    pub(super) fn settle(&self, known: Known, walks: &[Walk], restrictions: u64) {
        let kept = self.kept();
        // What the EPCM has taken away since, it has not been asked about for both.
        let is_settled = kept.restrictions == restrictions && kept.space.settle(&RECORDS, walks);
        kept.known = is_settled.then_some(known);
        kept.exit = NOWHERE;
    }

    /// How a thread entered last, if nothing has changed in the space since.
    #[inline]
    pub(super) fn known(&self) -> Option<&Known> {
        self.kept().known.as_ref()
    }

    /// Whether the space and that entry depend on what they depended on when it was noted.
    #[inline]
    pub(super) fn is_as_settled(&self) -> bool {
        self.kept().space.is_as_settled()
    }

    /// Gives it back, with what is in it.
    #[inline]
    pub(super) fn release(self) -> Released {
        self.0.is_taken.store(false, Ordering::Release);
        Released(self.0)
    }
}

#[cfg(test)]
mod tests {
    use adyton_sgx::Segment;
    use adyton_sgx::thread::XSAVE_PAGES;

    use super::*;

    #[test]
    fn an_address_space_is_the_same_by_any_process_context() {
        let thread = Thread {
            secs: EpcPage(1),
            tcs: EpcPage(2),
            tcs_address: 0,
            base: 0,
            size: 0x1000,
            xfrm: 3,
            debug: false,
            exinfo: false,
            epoch: 0,
            xsave: [EpcPage(3); XSAVE_PAGES],
            xsave_count: 1,
            gpr: EpcPage(3),
            fs: Segment::default(),
            gs: Segment::default(),
            xcr0: 3,
            single_step: false,
        };
        let of = |cr3| Key::new(&thread, [1, cr3, 3, 4]);
        assert_eq!(of(0x5000), of(0x5123));
        assert_ne!(of(0x5000), of(0x6000));
    }
}
