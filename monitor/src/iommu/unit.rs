//! One IOMMU: its registers, its ring of commands, its log of events.
//!
//! A command is done when the unit has stored the number of a later COMPLETION_WAIT in memory, so that looking costs a load. The
//! unit fetches commands and writes events by itself; the rings lie in the reserve, where no device and no domain reaches them.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use adyton_x86::iommu::{
    Command, Event, EventKind, control, description, feature, register, status,
};

use crate::acpi::IommuUnit;
use crate::address::{HostPhysical, PAGE_SIZE};

/// Bytes of a ring, one page: 256 commands or events, whose length code is 8 (48882, sections 3.4.1 and 3.4.2).
const RING_SIZE: u64 = PAGE_SIZE;
const RING_LENGTH: u64 = 8 << 56;
const ENTRY_SIZE: u64 = 16;

/// The pages that a unit needs.
pub(super) struct Pages {
    /// The ring of commands.
    pub commands: HostPhysical,
    /// The ring of events.
    pub events: HostPhysical,
    /// A page that begins with the word for completions.
    pub completion: HostPhysical,
}

/// A unit, driven by whoever holds it.
pub(super) struct Unit {
    registers: u64,
    pages: Pages,
    tail: u64,
    flags: u8,
}

impl Unit {
    /// A unit that does nothing yet.
    ///
    /// # Safety
    /// The description is true, and nobody else drives the unit. The pages are zeroed, and the unit's from now on.
    pub(super) unsafe fn new(description: &IommuUnit, pages: Pages) -> Self {
        Self {
            registers: description.base,
            pages,
            tail: 0,
            flags: description.flags,
        }
    }

    fn read(&self, register: u64) -> u64 {
        // SAFETY: the unit's registers, mapped one to one; who made it warrants that.
        unsafe { ((self.registers + register) as *const u64).read_volatile() }
    }

    fn write(&mut self, register: u64, value: u64) {
        // SAFETY: as in `read`; what is written is this module's matter.
        unsafe { ((self.registers + register) as *mut u64).write_volatile(value) }
    }

    /// Whether one command can make it forget everything.
    pub(super) fn can_invalidate_all(&self) -> bool {
        self.read(register::EXTENDED_FEATURES) & feature::INVALIDATE_ALL != 0
    }

    /// Switches it on with `table`, whose size in pages is given, in whatever state the firmware has left it.
    pub(super) fn enable(&mut self, table: HostPhysical, pages: u64) {
        self.write(register::CONTROL, 0);
        self.write(register::EXCLUSION, 0);
        self.write(register::DEVICE_TABLE, table.value() | (pages - 1));
        self.write(
            register::COMMAND_BUFFER,
            self.pages.commands.value() | RING_LENGTH,
        );
        self.write(register::EVENT_LOG, self.pages.events.value() | RING_LENGTH);
        for pointer in [
            register::COMMAND_HEAD,
            register::COMMAND_TAIL,
            register::EVENT_HEAD,
            register::EVENT_TAIL,
        ] {
            self.write(pointer, 0);
        }
        let on = control::ENABLE | control::EVENT_LOG | control::COMMAND_BUFFER;
        let value = on | control::COHERENT | self.described();
        self.write(register::CONTROL, value);
    }

    /// What its description asks of the control register.
    fn described(&self) -> u64 {
        [
            (description::TUNNEL, control::TUNNEL),
            (description::PASS_POSTED_WRITES, control::PASS_POSTED_WRITES),
            (
                description::RESPONSE_PASS_POSTED_WRITES,
                control::RESPONSE_PASS_POSTED_WRITES,
            ),
            (description::ISOCHRONOUS, control::ISOCHRONOUS),
        ]
        .iter()
        .filter(|(flag, _)| self.flags & flag != 0)
        .fold(0, |bits, (_, bit)| bits | bit)
    }

    /// Whether the ring takes so many commands more. One slot stays free: a full ring would look empty.
    pub(super) fn has_room(&self, commands: u64) -> bool {
        let head = self.read(register::COMMAND_HEAD) % RING_SIZE;
        let used = (self.tail + RING_SIZE - head) % RING_SIZE / ENTRY_SIZE;
        used + commands < RING_SIZE / ENTRY_SIZE
    }

    /// Gives it commands, for which there is room, and then has it store `number`.
    pub(super) fn command(&mut self, commands: &[Command], number: u64) {
        let last = Command::completion_wait(self.pages.completion.value(), number);
        for command in commands.iter().chain([&last]) {
            let place = (self.pages.commands.value() + self.tail) as *mut Command;
            // SAFETY: in the unit's page; the unit does not read there before the tail says so.
            unsafe { place.write_volatile(*command) };
            self.tail = (self.tail + ENTRY_SIZE) % RING_SIZE;
        }
        // Commands, and the tables that they are about, before the tail.
        fence(Ordering::SeqCst);
        self.write(register::COMMAND_TAIL, self.tail);
    }

    /// The number that was stored last: all commands up to it are done.
    pub(super) fn completed(&self) -> u64 {
        // SAFETY: the unit's page, mapped one to one and aligned; the unit stores whole words.
        unsafe { &*(self.pages.completion.value() as *const AtomicU64) }.load(Ordering::Acquire)
    }

    /// Takes at most `limit` events out of the log. Whether events were lost since the last time.
    pub(super) fn take_events(&mut self, limit: u32, mut visit: impl FnMut(Event)) -> bool {
        let mut head = self.read(register::EVENT_HEAD) % RING_SIZE;
        let tail = self.read(register::EVENT_TAIL) % RING_SIZE;
        let mut left = limit;
        while head != tail && left > 0 {
            let place = (self.pages.events.value() + head) as *mut Event;
            // SAFETY: in the unit's page; the unit does not write there before the head says so.
            let event = unsafe { place.read_volatile() };
            if event.kind() == EventKind::None {
                // The tail has come before the event (48882, section 2.5.1): it will be there the next time.
                break;
            }
            visit(event);
            // SAFETY: as above.
            unsafe { place.write_volatile(Event([0; 2])) };
            head = (head + ENTRY_SIZE) % RING_SIZE;
            left -= 1;
        }
        if left < limit {
            self.write(register::EVENT_HEAD, head);
        }
        let lost = self.read(register::STATUS) & status::EVENT_OVERFLOW != 0;
        if lost {
            self.restart_log();
        }
        lost
    }

    /// A log that has run over stays off until it is switched off and on (section 2.5.2).
    fn restart_log(&mut self) {
        let on = self.read(register::CONTROL);
        self.write(register::CONTROL, on & !control::EVENT_LOG);
        self.write(register::STATUS, status::EVENT_OVERFLOW);
        self.write(register::EVENT_HEAD, 0);
        self.write(register::EVENT_TAIL, 0);
        self.write(register::CONTROL, on);
    }
}

#[cfg(test)]
mod tests;
