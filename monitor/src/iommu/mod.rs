//! AMD's IOMMUs: every device goes through the nested tables of the domain that it belongs to. Design note 006.
//!
//! From [`start`] on every device is blocked; [`open`] lets all of them reach what domain 0's nested tables show to devices.
//! From then on a change of those tables is the change for devices, once what the units remember is flushed ([`Flush`]).
//! [`unit`] drives one unit, [`hiding`] keeps domain 0 from finding it.
//!
//! What must hold: nobody but this module touches the units' registers, their rings and the device table, all of which lie in
//! the reserve or are hidden; and a table page that was taken out is not reused before a flush that began later has ended.

pub mod hiding;
mod interrupts;
mod unit;

use core::sync::atomic::{Ordering, fence};

use adyton_x86::iommu::{Command, DEVICES, DeviceEntry, Event, EventKind};
use arrayvec::ArrayVec;

use crate::acpi::IommuUnit;
use crate::address::{HostPhysical, PAGE_SIZE};
use crate::cores;
use crate::frames::FRAMES;
use crate::instructions::{cpuid, time_stamp};
use crate::lock::Lock;
use crate::log;
use crate::machine;
use crate::once::Once;
use unit::{Pages, Unit};

/// The most units that a machine may have: one could otherwise stay off.
pub const MOST_UNITS: usize = 64;

/// Bytes that all of this takes of the reserve, the units' rings left out.
pub const RESERVED: u64 = (DEVICES * size_of::<DeviceEntry>()) as u64;

/// What units remember of domain 0's tables is filed under this number; what they remember of blocked devices, under 0; what they
/// remember of other domains' tables, under numbers that [`crate::devices`] gives.
pub const DOMAIN0: u16 = 1;
/// Levels of nested tables.
const LEVELS: u8 = 4;
/// Events that are taken out of a log at one go.
const EVENTS_AT_ONCE: u32 = 32;
/// Blocked accesses that are told in the log, so that a device cannot drown all else.
const MOST_LINES: u64 = 64;

static STATE: Once<Lock<State>> = Once::new();

struct State {
    units: ArrayVec<Unit, MOST_UNITS>,
    devices: &'static mut [DeviceEntry],
    report: Report,
    /// The entry of a function that is domain 0's.
    open: DeviceEntry,
    /// The number of the last flush that was begun.
    last: u64,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Units that are on.
    pub units: u64,
    /// Flushes that were begun.
    pub flushes: u64,
    /// Accesses of devices that were blocked and logged.
    pub blocked: u64,
    /// Whose access was blocked last: bus, device and function.
    pub device: u16,
    /// Where it went.
    pub address: u64,
    /// Times that a log ran over.
    pub overflows: u64,
}

/// The duty to make units forget translations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// There is none.
    #[default]
    Done,
    /// It has not begun.
    Needed,
    /// It is done when the units have come to this number.
    Begun(u64),
}

impl Flush {
    /// Does what can be done without waiting. Whether no unit uses what was taken, before it was needed, from the tables that are filed
    /// under this number.
    pub fn advance(&mut self, filed: u16) -> bool {
        if *self == Self::Needed
            && let Some(number) = begin(filed)
        {
            *self = Self::Begun(number);
        }
        if let Self::Begun(number) = *self
            && has_done(number)
        {
            *self = Self::Done;
        }
        *self == Self::Done
    }
}

/// Switches all units on, with every device blocked.
///
/// # Panics
/// If the reserve is too small, or a unit does not answer.
pub fn start(descriptions: &[IommuUnit]) {
    if descriptions.is_empty() {
        return;
    }
    let table = FRAMES
        .allocate_contiguous(RESERVED / PAGE_SIZE, PAGE_SIZE)
        .expect("the reserve is too small for the device table");
    // SAFETY: just allocated, large enough, and from now on this module's.
    let devices =
        unsafe { core::slice::from_raw_parts_mut(table.value() as *mut DeviceEntry, DEVICES) };
    devices.fill(DeviceEntry::blocked());
    let mut units = ArrayVec::<Unit, MOST_UNITS>::new();
    for description in descriptions {
        let pages = Pages {
            commands: page(),
            events: page(),
            completion: page(),
        };
        // SAFETY: the firmware describes it, and no other system runs.
        let mut unit = unsafe { Unit::new(description, pages) };
        unit.enable(table, RESERVED / PAGE_SIZE);
        units.push(unit);
    }
    let mut state = State {
        report: Report {
            units: units.len() as u64,
            ..Report::default()
        },
        units,
        devices,
        open: DeviceEntry::blocked(),
        last: 0,
    };
    state.forget_everything();
    log!(
        "{} IOMMU, device table at {:#x}: devices are blocked",
        state.report.units,
        table.value()
    );
    STATE.set(Lock::new(state));
}

/// From now on every device reaches what the nested tables with this root show to devices.
///
/// # Panics
/// If a unit does not answer, or the reserve is too small.
pub fn open(root: HostPhysical) {
    let Some(state) = STATE.try_get() else {
        return;
    };
    let translated = DeviceEntry::translated(root.value(), LEVELS, DOMAIN0);
    let entry = match (forwards_interrupts(), only_core()) {
        (true, _) => translated.without_init(),
        (false, Some(core)) => interrupts::look_up(translated, core),
        (false, None) => {
            log!("interrupts of devices go past the IOMMU, which QEMU does not forward");
            translated
        }
    };
    let mut state = state.lock();
    state.devices.fill(entry);
    state.open = entry;
    state.forget_everything();
}

/// From the next flush on the function's accesses are blocked. `false` if a unit takes no commands at present: then nothing was changed.
pub fn block(function: u16) -> bool {
    change(function, |_| DeviceEntry::blocked())
}

/// The function, which was blocked, reaches what the tables with this root show to devices, and sends no interrupts. `false` as for [`block`].
pub fn lead(function: u16, root: HostPhysical, filed: u16) -> bool {
    let entry = DeviceEntry::translated(root.value(), LEVELS, filed).without_interrupts();
    change(function, |_| entry)
}

/// The function, which was blocked, is domain 0's again. `false` as for [`block`].
pub fn open_function(function: u16) -> bool {
    change(function, |state| state.open)
}

fn change(function: u16, entry: impl FnOnce(&State) -> DeviceEntry) -> bool {
    let Some(state) = STATE.try_get() else {
        return true;
    };
    let mut state = state.lock();
    let all = entries(function);
    if !state.has_room(all.len()) {
        return false;
    }
    let entry = entry(&state);
    for function in &all {
        if let Some(place) = state.devices.get_mut(usize::from(*function)) {
            replace(place, entry);
        }
    }
    let commands: ArrayVec<_, 2> = all.into_iter().map(Command::invalidate_device).collect();
    state.command(&commands);
    true
}

/// The entries by which units judge the function's accesses.
fn entries(function: u16) -> ArrayVec<u16, 2> {
    let mut all = ArrayVec::from_iter([function]);
    if function > u16::from(u8::MAX) && ignores_buses() {
        all.push(function & 0xff);
    }
    all
}

/// Whether a function behind a bridge is taken for the one with the same number on bus 0, as by QEMU (10 too).
#[must_use]
pub fn ignores_buses() -> bool {
    is_emulated()
}

/// Whether devices are kept out of what is not their domain's.
#[must_use]
pub fn is_active() -> bool {
    STATE.try_get().is_some()
}

/// What has happened so far, with what the units have logged since.
#[must_use]
pub fn report() -> Report {
    let Some(state) = STATE.try_get() else {
        return Report::default();
    };
    let mut state = state.lock();
    state.take_events();
    state.report
}

/// Puts an entry in the place of another while units read it. Who reads a part of each is blocked: translation is named last, by one store.
fn replace(place: &mut DeviceEntry, entry: DeviceEntry) {
    let store = |word: &mut u64, value: u64| {
        // SAFETY: a valid reference; volatile, since units read it meanwhile.
        unsafe { core::ptr::from_mut(word).write_volatile(value) };
        fence(Ordering::SeqCst);
    };
    store(&mut place.translation, DeviceEntry::blocked().translation);
    store(&mut place.attributes, entry.attributes);
    store(&mut place.interrupts, entry.interrupts);
    store(&mut place.domain, entry.domain);
    store(&mut place.translation, entry.translation);
}

/// Begins to make all units forget what they have filed under this number; `None` if one takes no commands at present.
fn begin(filed: u16) -> Option<u64> {
    let Some(state) = STATE.try_get() else {
        return Some(0);
    };
    let mut state = state.lock();
    if !state.has_room(1) {
        return None;
    }
    state.report.flushes += 1;
    Some(state.command(&[Command::invalidate_pages(filed)]))
}

/// Whether all units have come to this number.
fn has_done(number: u64) -> bool {
    STATE
        .try_get()
        .is_none_or(|state| state.lock().has_done(number))
}

/// The APIC identifier of the machine's only core, if it has one alone.
fn only_core() -> Option<u8> {
    match cores::all() {
        [core] => u8::try_from(core.apic_id).ok(),
        _ => None,
    }
}

/// Whether fixed interrupts can be forwarded while others are refused. QEMU (10 too) delivers forwarded ones with vector 0.
fn forwards_interrupts() -> bool {
    !is_emulated()
}

/// Whether this is QEMU's IOMMU.
fn is_emulated() -> bool {
    const HYPERVISOR: u32 = 1 << 31;
    const LEAF: u32 = 0x4000_0000;
    cpuid(1, 0).ecx & HYPERVISOR != 0 && {
        let name = cpuid(LEAF, 0);
        [name.ebx, name.ecx, name.edx].map(u32::to_le_bytes) == [*b"TCGT", *b"CGTC", *b"GTCG"]
    }
}

fn page() -> HostPhysical {
    FRAMES
        .allocate()
        .expect("the reserve is too small for the IOMMUs")
}

impl State {
    /// Whether every unit takes so many commands at present, and the wait behind them.
    fn has_room(&self, commands: usize) -> bool {
        let all = commands as u64 + 1;
        self.units.iter().all(|unit| unit.has_room(all))
    }

    /// Gives all units these commands, for which there is room; the number that says when they are done.
    fn command(&mut self, commands: &[Command]) -> u64 {
        self.last += 1;
        for unit in &mut self.units {
            unit.command(commands, self.last);
        }
        self.last
    }

    fn has_done(&self, number: u64) -> bool {
        self.units.iter().all(|unit| unit.completed() >= number)
    }

    /// Makes all units forget all they know, and waits for it: only while booting.
    fn forget_everything(&mut self) {
        if self.units.iter().all(Unit::can_invalidate_all) {
            let number = self.command(&[Command::invalidate_all()]);
            return self.wait(number);
        }
        for device in 0..=u16::MAX {
            let number = self.command(&[Command::invalidate_device(device)]);
            self.wait(number);
        }
        for domain in [0, DOMAIN0] {
            let number = self.command(&[Command::invalidate_pages(domain)]);
            self.wait(number);
        }
    }

    fn wait(&self, number: u64) {
        let (begin, patience) = (time_stamp(), machine::get().patience);
        while !self.has_done(number) {
            assert!(
                time_stamp().wrapping_sub(begin) <= patience,
                "an IOMMU does not answer"
            );
            core::hint::spin_loop();
        }
    }

    fn take_events(&mut self) {
        let Self {
            units,
            report,
            devices,
            ..
        } = self;
        for unit in units {
            let note = |event: Event| {
                let entry = devices.get(usize::from(event.device()));
                report.note(
                    event,
                    entry.is_none_or(|entry| entry.domain as u16 == DOMAIN0),
                );
            };
            if unit.take_events(EVENTS_AT_ONCE, note) {
                report.overflows += 1;
            }
        }
    }
}

impl Report {
    fn note(&mut self, event: Event, is_system: bool) {
        let (bus, device, function) = (
            event.device() >> 8,
            event.device() >> 3 & 31,
            event.device() & 7,
        );
        let is_blocked = matches!(
            event.kind(),
            EventKind::PageFault | EventKind::InvalidRequest
        );
        if is_blocked {
            self.blocked += 1;
            self.device = event.device();
            self.address = event.address();
        }
        if !is_blocked || self.blocked <= MOST_LINES {
            log!(
                "device {bus:02x}:{device:02x}.{function}, {}: {:?} at {:#x}{}{}",
                if is_system {
                    "domain 0's"
                } else {
                    "another domain's"
                },
                event.kind(),
                event.address(),
                if event.is_write() { ", writing" } else { "" },
                if event.is_interrupt() {
                    ", an interrupt"
                } else {
                    ""
                },
            );
        }
    }
}
