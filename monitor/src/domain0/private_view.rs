//! One instruction of domain 0's kernel with ones in place of memory that is not its own: design note 003.
//!
//! Each core has nested tables of its own ([`Detour`]) in which up to [`PAGES`] pages lead to a page of ones. The core
//! executes exactly one instruction under them, and comes back to domain 0's tables whatever ends it. All else that the
//! instruction touches is real.
//!
//! What must hold:
//! - Only its own core touches a view, and only inside the monitor.
//! - A view is no older than the translations that the core has promised to use ([`Vcpu::prepare_entry`]): one that was made
//!   before a flush began is left before the core enters domain 0 again, and a core that is in one when a flush
//!   begins is taken out by an NMI as from everywhere else.
//! - The page of ones is filled before every step, so nothing that a step wrote is read by another.

use core::cell::UnsafeCell;

use arrayvec::ArrayVec;

use super::{PAGE_FAULT, view};
use crate::address::{GuestPhysical, HostPhysical, PAGE_SIZE};
use crate::cores::Core;
use crate::frames::FRAMES;
use crate::nested::{Detour, NoWay, Rights};
use crate::once::Once;
use crate::vcpu::Vcpu;
use crate::vendor::{Exit, Step, Vendor};

/// The most pages that one instruction finds ones in: two operands, each across a boundary.
const PAGES: usize = 4;

/// The root, a way of two tables for two places far apart, and a last table for each page.
const TABLES: usize = 1 + 2 * 2 + PAGES;

static VIEWS: Once<&'static [OfCore]> = Once::new();

struct OfCore(UnsafeCell<PrivateView>);

// SAFETY: `here` hands each one out to its own core only.
unsafe impl Sync for OfCore {}

struct PrivateView {
    detour: Detour<TABLES>,
    ones: HostPhysical,
    /// The pages that lead to the ones.
    pages: ArrayVec<GuestPhysical, PAGES>,
    /// The generation of domain 0's translations when the detour was begun; 0 if it is to be begun again.
    generation: u64,
    /// The step that is under way.
    step: Option<Step>,
    /// The last step met another page in the middle.
    is_unfinished: bool,
}

/// What is left to do after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing: domain 0 goes on.
    Nothing,
    /// To answer the exit as if there had been no view.
    Answer,
}

/// Makes a view for each core. While the monitor boots, before the accounts are made.
///
/// # Panics
/// If the reserve is too small.
pub(super) fn create(cores: usize) {
    const TOO_SMALL: &str = "the reserve is too small for the cores' views";
    let pages = ((cores * size_of::<OfCore>()) as u64).div_ceil(PAGE_SIZE);
    let array = FRAMES.allocate_contiguous(pages, PAGE_SIZE);
    let array = array.expect(TOO_SMALL).value() as *mut OfCore;
    let frame = || FRAMES.allocate().expect(TOO_SMALL);
    for index in 0..cores {
        let view = PrivateView {
            detour: Detour::new(
                Vendor::current().nested_format(),
                core::array::from_fn(|_| frame()),
            ),
            ones: frame(),
            pages: ArrayVec::new(),
            generation: 0,
            step: None,
            is_unfinished: false,
        };
        // SAFETY: the array has room for `cores` views and belongs to nobody else.
        unsafe { array.add(index).write(OfCore(UnsafeCell::new(view))) };
    }
    // SAFETY: all elements were just written; they are never moved or freed.
    VIEWS.set(unsafe { core::slice::from_raw_parts(array, cores) });
}

/// Runs `action` on the view of `core`, which is the one that runs this.
fn here<T>(core: &Core, action: impl FnOnce(&mut PrivateView) -> T) -> Option<T> {
    let view = VIEWS.try_get()?.get(core.index as usize)?;
    // SAFETY: only its own core comes here, and no action asks for the view again.
    Some(action(unsafe { &mut *view.0.get() }))
}

/// Whether `core`, which is the one that runs this, is about to execute or has executed an instruction in its view.
pub(crate) fn is_active(core: &Core) -> bool {
    here(core, |view| view.step.is_some()) == Some(true)
}

/// An exit of domain 0: ends the view if the core was in it, and says whether the exit is still to be answered.
pub(super) fn exit(core: &Core, vcpu: &mut Vcpu, exit: Exit) -> After {
    here(core, |view| view.exit(vcpu, exit)).unwrap_or(After::Answer)
}

/// Ends the view before it was used, if the core is in it: the guest will fault again.
pub(crate) fn leave(core: &Core, vcpu: &mut Vcpu) {
    here(core, |view| {
        if let Some(step) = view.step.take() {
            Vendor::current().end_step(vcpu, step, None);
            vcpu.flush_at_entry();
        }
    });
}

/// What the view was made of has changed in a way that no flush tells of.
pub(super) fn forget(core: &Core) {
    here(core, |view| view.generation = 0);
}

/// Lets the next entry execute one instruction with ones at the page of `place`. `false` if that cannot be.
#[must_use]
pub(super) fn enter(core: &Core, vcpu: &mut Vcpu, place: GuestPhysical) -> bool {
    here(core, |view| view.enter(vcpu, place.page())) == Some(true)
}

/// Whether domain 0 itself reaches this page in every way.
fn is_open(page: GuestPhysical) -> bool {
    let found = view().translate(&FRAMES, page);
    found.is_some_and(|found| found.rights.contains(Rights::READ_WRITE))
}

impl PrivateView {
    fn exit(&mut self, vcpu: &mut Vcpu, exit: Exit) -> After {
        self.is_unfinished = false;
        let Some(step) = self.step.take() else {
            return After::Answer;
        };
        let is_executed = Vendor::current().end_step(vcpu, step, Some(exit));
        vcpu.flush_at_entry();
        match exit {
            _ if is_executed => After::Nothing,
            // Another core has replaced the instruction by one of these: it raises the same without the view.
            Exit::Exception {
                vector: 3 | 4 | 6, ..
            } => After::Nothing,
            Exit::Exception { vector, error } if vector == PAGE_FAULT => {
                vcpu.inject_page_fault(vcpu.fault_address(), error);
                After::Nothing
            }
            Exit::NestedFault(_) => {
                self.is_unfinished = true;
                After::Answer
            }
            _ => After::Answer,
        }
    }

    fn enter(&mut self, vcpu: &mut Vcpu, page: GuestPhysical) -> bool {
        let generation = vcpu.seat.context().generation.current();
        if self.update(generation, page).is_err() {
            self.generation = 0;
            return false;
        }
        self.fill();
        // From here on the translations of this generation are used; if it has changed meanwhile, the entry leaves the view.
        vcpu.seat.tag.set_generation(generation);
        self.step = Some(Vendor::current().begin_step(vcpu, self.detour.root()));
        vcpu.flush_at_entry();
        true
    }

    /// Makes `page` lead to the ones, beside those of the same instruction if it met some before.
    fn update(&mut self, generation: u64, page: GuestPhysical) -> Result<(), NoWay> {
        let goes_on = core::mem::take(&mut self.is_unfinished);
        let is_current =
            self.generation == generation && !self.pages.iter().any(|page| is_open(*page));
        if !is_current || !goes_on && !self.pages.contains(&page) {
            self.begin(generation, goes_on)?;
        }
        if self.pages.contains(&page) {
            return Ok(());
        }
        self.pages.try_push(page).map_err(|_| NoWay)?;
        self.redirect(page)
    }

    fn begin(&mut self, generation: u64, goes_on: bool) -> Result<(), NoWay> {
        self.generation = generation;
        self.detour.begin(&FRAMES, view());
        self.pages.retain(|page| goes_on && !is_open(*page));
        let pages = self.pages.clone();
        pages.iter().try_for_each(|page| self.redirect(*page))
    }

    fn redirect(&mut self, page: GuestPhysical) -> Result<(), NoWay> {
        self.detour
            .redirect(&FRAMES, page, self.ones, Rights::READ_WRITE)
    }

    fn fill(&mut self) {
        // SAFETY: the page is this view's, and no guest runs on this core now.
        unsafe {
            core::ptr::write_bytes(self.ones.value() as *mut u8, 0xff, PAGE_SIZE as usize);
        }
    }
}
