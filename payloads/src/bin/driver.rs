//! Drives QEMU's teaching device `edu` from inside a domain, one thing for each entry, as its owner's replies say.
//!
//! | word 0 of the reply | does | words 1 and 2 of the next exit |
//! | --- | --- | --- |
//! | 1 `number` | has it compute a factorial | the factorial |
//! | 2 `word` | has it copy a word from one page to another | what came |
//! | 3 `word` | has it interrupt with this number, by a message into memory | what came, polls until then; ticks that it took |
//! | 4 `offset` | reads a register | it |
//! | 5 `offset value` | writes one | |
//! | 6 `offset width write value` | accesses configuration space | status, value |
//! | 7 `direction address` | begins to copy 64 bytes of its buffer to the address (2) or from there (0), and does not wait | |
//! | 8 | | address of the page that it copies from, and of the one that it copies to |
//! | 9 `word` | puts a word into the second page, or without an argument does not | what was there |
//! | 10 `address` | sends messages there from now on | |

#![no_std]
#![no_main]

use core::arch::x86_64::_rdtsc;

use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::devices::Holder;
use adyton_runtime::compose::environment::Refusal;
use adyton_runtime::device::{Buffer, Device};
use adyton_runtime::{Domain, call_parent};

adyton_runtime::entry!(main);

const FACTORIAL: u64 = 0x08;
const STATUS: u64 = 0x20;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
const BUSY: u32 = 1;
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
/// Its own memory, by its own address.
const INSIDE: u64 = 0x4_0000;
const BYTES: u64 = 64;

const PCI_COMMAND: u16 = 4;
const MEMORY_AND_MASTER: u32 = 6;
const MESSAGES: u8 = 5;

struct Driver {
    device: Device,
    from: Buffer,
    to: Buffer,
}

fn main(domain: &mut Domain) -> u64 {
    let Some(device) = domain.device() else {
        return 1;
    };
    let driver = Driver {
        device,
        from: Buffer::new(1),
        to: Buffer::new(1),
    };
    let is_mine = device
        .facts()
        .is_ok_and(|facts| facts.holder == Holder::Caller);
    if !is_mine || device.configure(PCI_COMMAND, 2, MEMORY_AND_MASTER).is_err() {
        return 2;
    }
    let mut answer = [0, 0];
    loop {
        let [operation, rest @ ..] = call_parent([PAYLOAD, answer[0], answer[1], 0, 0, 0]);
        answer = driver.perform(operation, rest);
        if operation == 0 {
            return 0;
        }
    }
}

impl Driver {
    fn perform(&self, operation: u64, [a, b, c, d, _]: [u64; 5]) -> [u64; 2] {
        let Self { device, from, to } = self;
        match operation {
            1 => [self.factorial(a), 0],
            2 => [self.copy(a), 0],
            3 => self.interrupt(a),
            4 => [device.read(a).into(), 0],
            5 => {
                device.write(a, b as u32);
                [0, 0]
            }
            6 => self.configuration(a as u16, b as u8, c != 0, d as u32),
            7 => {
                let (source, destination) = if a == TO_MEMORY {
                    (INSIDE, b)
                } else {
                    (b, INSIDE)
                };
                self.begin(source, destination, a);
                [0, 0]
            }
            8 => [from.address(), to.address()],
            9 => {
                let before = to.load(0);
                if a != 0 {
                    to.store(0, a);
                }
                [before, 0]
            }
            10 => [u64::from(self.send_to(a).is_err()), 0],
            _ => [u64::MAX, 0],
        }
    }

    fn factorial(&self, number: u64) -> u64 {
        self.device.write(FACTORIAL, number as u32);
        while self.device.read(STATUS) & BUSY != 0 {
            core::hint::spin_loop();
        }
        self.device.read(FACTORIAL).into()
    }

    fn begin(&self, source: u64, destination: u64, direction: u64) {
        self.device.write_long(SOURCE, source);
        self.device.write_long(DESTINATION, destination);
        self.device.write_long(COUNT, BYTES);
        self.device.write_long(COMMAND, START | direction);
    }

    fn wait(&self) {
        while self.device.read_long(COMMAND) & START != 0 {
            core::hint::spin_loop();
        }
    }

    fn copy(&self, word: u64) -> u64 {
        self.from.store(0, word);
        self.to.store(0, 0);
        self.begin(self.from.address(), INSIDE, 0);
        self.wait();
        self.begin(INSIDE, self.to.address(), TO_MEMORY);
        self.wait();
        self.to.load(0)
    }

    /// Messages are writes of 32 bits: they go to this domain's memory as any write of the device does.
    fn send_to(&self, address: u64) -> Result<(), Refusal> {
        let device = &self.device;
        let Some(place) = device.capability(MESSAGES) else {
            return Ok(());
        };
        device.configure(place + 4, 4, address as u32)?;
        device.configure(place + 8, 4, (address >> 32) as u32)?;
        device.configure(place + 12, 2, 0x5a5a)?;
        let control = device.configuration(place + 2, 2)?;
        device.configure(place + 2, 2, control | 1)
    }

    fn interrupt(&self, number: u64) -> [u64; 2] {
        let last = 8;
        self.to.store(last, 0);
        if self.send_to(self.to.address() + 8 * last as u64).is_err() {
            return [0, 0];
        }
        // SAFETY: reading the time stamp has no effect.
        let begin = unsafe { _rdtsc() };
        self.device.write(RAISE, number as u32);
        let mut tries = 0_u32;
        while self.to.load(last) == 0 && tries < 100_000_000 {
            core::hint::spin_loop();
            tries += 1;
        }
        // SAFETY: as above.
        let ticks = unsafe { _rdtsc() } - begin;
        self.device.write(ACKNOWLEDGE, number as u32);
        [self.to.load(last), ticks]
    }

    fn configuration(&self, offset: u16, width: u8, write: bool, value: u32) -> [u64; 2] {
        let device = &self.device;
        let outcome = if write {
            device.configure(offset, width, value).map(|()| 0)
        } else {
            device.configuration(offset, width)
        };
        match outcome {
            Ok(value) => [0, value.into()],
            Err(refusal) => [refusal.reason().map_or(u64::MAX, |reason| reason as u64), 0],
        }
    }
}
