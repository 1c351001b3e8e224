use super::*;

/// Pages that play the unit's registers and its memory.
struct Board {
    bytes: Vec<u64>,
}

const PAGES: usize = 8;

impl Board {
    fn new() -> Self {
        Self {
            bytes: vec![0; (PAGES + 1) * 512],
        }
    }

    fn page(&self, number: u64) -> HostPhysical {
        let start = (self.bytes.as_ptr() as u64).next_multiple_of(PAGE_SIZE);
        HostPhysical(start + number * PAGE_SIZE)
    }

    /// Registers in pages 0 to 2, then commands, events and the completion word.
    fn unit(&self) -> Unit {
        let description = IommuUnit {
            base: self.page(0).value(),
            function: 0x10,
            group: 0,
            flags: description::ISOCHRONOUS,
        };
        let pages = Pages {
            commands: self.page(3),
            events: self.page(4),
            completion: self.page(5),
        };
        // SAFETY: memory of the test's own plays all of it.
        unsafe { Unit::new(&description, pages) }
    }

    fn set(&self, address: u64, value: u64) {
        // SAFETY: memory of the test's own.
        unsafe { (address as *mut u64).write_volatile(value) };
    }

    fn get(&self, address: u64) -> u64 {
        // SAFETY: memory of the test's own.
        unsafe { (address as *const u64).read_volatile() }
    }

    fn register(&self, register: u64) -> u64 {
        self.get(self.page(0).value() + register)
    }

    fn set_register(&self, register: u64, value: u64) {
        self.set(self.page(0).value() + register, value);
    }

    /// Does what a unit does with its commands: only the waits have an effect that can be seen.
    fn work(&self) -> Vec<[u64; 2]> {
        let mut seen = Vec::new();
        let (mut head, tail) = (
            self.register(register::COMMAND_HEAD),
            self.register(register::COMMAND_TAIL),
        );
        while head != tail {
            let place = self.page(3).value() + head;
            let command = [self.get(place), self.get(place + 8)];
            if command[0] >> 60 == 1 {
                self.set(command[0] & 0x000f_ffff_ffff_fff8, command[1]);
            }
            seen.push(command);
            head = (head + 16) % 4096;
        }
        self.set_register(register::COMMAND_HEAD, head);
        seen
    }
}

#[test]
fn it_is_switched_on_with_its_rings() {
    let board = Board::new();
    let mut unit = board.unit();
    board.set_register(register::EVENT_HEAD, 0x40);
    board.set_register(register::EXCLUSION, 0x7000_0001);
    unit.enable(HostPhysical(0x20_0000), 512);
    assert_eq!(board.register(register::DEVICE_TABLE), 0x20_01ff);
    assert_eq!(
        board.register(register::COMMAND_BUFFER),
        board.page(3).value() | 8 << 56
    );
    assert_eq!(board.register(register::EVENT_HEAD), 0);
    assert_eq!(board.register(register::EXCLUSION), 0);
    assert_eq!(board.register(register::CONTROL), 0x1c05);
}

#[test]
fn commands_go_round_and_completion_is_seen() {
    let board = Board::new();
    let mut unit = board.unit();
    for number in 1..1000 {
        assert!(unit.has_room(2));
        unit.command(&[Command::invalidate_pages(1)], number);
        assert_eq!(unit.completed(), number - 1);
        let seen = board.work();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], Command::invalidate_pages(1).0);
        assert_eq!(unit.completed(), number);
    }
}

#[test]
fn a_full_ring_has_no_room() {
    let board = Board::new();
    let mut unit = board.unit();
    for number in 0..127 {
        assert!(unit.has_room(2));
        unit.command(&[Command::invalidate_pages(1)], number);
    }
    assert!(!unit.has_room(2));
    board.work();
    assert!(unit.has_room(2));
}

#[test]
fn events_are_taken_once_and_in_order() {
    let board = Board::new();
    let mut unit = board.unit();
    let log = board.page(4).value();
    for number in 0..3 {
        board.set(log + number * 16, 2 << 60 | number);
        board.set(log + number * 16 + 8, 0x1000 * number);
    }
    board.set_register(register::EVENT_TAIL, 4 * 16);
    let mut seen = Vec::new();
    assert!(!unit.take_events(2, |event| seen.push(event.device())));
    assert_eq!(seen, [0, 1]);
    // The fourth is announced but not there yet.
    assert!(!unit.take_events(9, |event| seen.push(event.device())));
    assert_eq!(seen, [0, 1, 2]);
    board.set(log + 3 * 16, 2 << 60 | 9);
    assert!(!unit.take_events(9, |event| seen.push(event.device())));
    assert_eq!(seen, [0, 1, 2, 9]);
    assert_eq!(board.register(register::EVENT_HEAD), 64);
}

#[test]
fn a_log_that_ran_over_is_restarted() {
    let board = Board::new();
    let mut unit = board.unit();
    unit.enable(HostPhysical(0), 512);
    board.set_register(register::EVENT_TAIL, 0);
    board.set_register(register::STATUS, status::EVENT_OVERFLOW);
    let control = board.register(register::CONTROL);
    assert!(unit.take_events(9, |_| panic!("there is none")));
    assert_eq!(board.register(register::CONTROL), control);
    assert_eq!(board.register(register::EVENT_HEAD), 0);
}
