//! Reads a block of an NVMe disk that the domain drives itself: nobody else sees what is read.
//!
//! By the *NVM Express Base Specification* 1.4: one pair of queues for administration, one for reading, completions polled in memory.
//! Each reply of the owner's is the number of a block; the next exit tells two words of it: the first, and the sum of all.

#![no_std]
#![no_main]

use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::device::{Buffer, Device};
use adyton_runtime::{Domain, call_parent};

adyton_runtime::entry!(main);

const PCI_COMMAND: u16 = 4;
const MEMORY_AND_MASTER: u32 = 6;

/// Registers of the controller (section 3.1).
const CAPABILITIES: u64 = 0x00;
const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1c;
const ADMINISTRATION_SIZES: u64 = 0x24;
const SUBMISSIONS: u64 = 0x28;
const COMPLETIONS: u64 = 0x30;
const DOORBELLS: u64 = 0x1000;
/// Enabled, entries of 64 and of 16 bytes.
const ENABLE: u32 = 1 | 6 << 16 | 4 << 20;
const READY: u32 = 1;

/// Operations (sections 5 and 6).
const CREATE_SUBMISSIONS: u64 = 0x01;
const CREATE_COMPLETIONS: u64 = 0x05;
const READ: u64 = 0x02;

const ENTRIES: usize = 8;
const BLOCK_WORDS: usize = 512 / 8;
const PATIENCE: u32 = 200_000_000;

/// A pair of queues, a page each.
struct Queues {
    number: u64,
    submissions: Buffer,
    completions: Buffer,
    tail: usize,
    head: usize,
    phase: u64,
}

impl Queues {
    fn new(number: u64) -> Self {
        Self {
            number,
            submissions: Buffer::new(1),
            completions: Buffer::new(1),
            tail: 0,
            head: 0,
            phase: 1,
        }
    }

    /// Has the controller carry out one command: what it is, namespace, where data go, and words 10 to 13. Whether that succeeded.
    fn perform(&mut self, device: &Device, stride: u64, command: [u64; 5]) -> bool {
        let [operation, namespace, data, low, high] = command;
        let words = [
            operation | 7 << 16 | namespace << 32,
            0,
            0,
            data,
            0,
            low,
            high,
            0,
        ];
        for (word, value) in words.into_iter().enumerate() {
            self.submissions.store(self.tail * 8 + word, value);
        }
        self.tail = (self.tail + 1) % ENTRIES;
        let doorbell = DOORBELLS + 2 * self.number * stride;
        device.write(doorbell, self.tail as u32);
        for _ in 0..PATIENCE {
            let status = self.completions.load(self.head * 2 + 1) >> 48;
            if status & 1 == self.phase {
                self.head = (self.head + 1) % ENTRIES;
                if self.head == 0 {
                    self.phase ^= 1;
                }
                device.write(doorbell + stride, self.head as u32);
                return status >> 1 == 0;
            }
            core::hint::spin_loop();
        }
        false
    }
}

fn wait_until_ready(device: &Device, ready: u32) -> bool {
    (0..PATIENCE).any(|_| device.read(STATUS) & READY == ready)
}

/// Switches the controller on: the queues for administration and for reading.
fn start(device: &Device, stride: u64) -> Option<Queues> {
    let mut administration = Queues::new(0);
    let reading = Queues::new(1);
    device.write(CONFIGURATION, 0);
    if !wait_until_ready(device, 0) {
        return None;
    }
    let sizes = (ENTRIES - 1) as u32;
    device.write(ADMINISTRATION_SIZES, sizes | sizes << 16);
    for (register, buffer) in [
        (SUBMISSIONS, &administration.submissions),
        (COMPLETIONS, &administration.completions),
    ] {
        device.write(register, buffer.address() as u32);
        device.write(register + 4, (buffer.address() >> 32) as u32);
    }
    device.write(CONFIGURATION, ENABLE);
    if !wait_until_ready(device, READY) {
        return None;
    }
    let queue = 1 | u64::from(sizes) << 16;
    let made = [
        [
            CREATE_COMPLETIONS,
            0,
            reading.completions.address(),
            queue | 1 << 32,
            0,
        ],
        [
            CREATE_SUBMISSIONS,
            0,
            reading.submissions.address(),
            queue | 1 << 32 | 1 << 48,
            0,
        ],
    ]
    .into_iter()
    .all(|command| administration.perform(device, stride, command));
    made.then_some(reading)
}

fn main(domain: &mut Domain) -> u64 {
    let Some(device) = domain.device() else {
        return 1;
    };
    if device.configure(PCI_COMMAND, 2, MEMORY_AND_MASTER).is_err() {
        return 2;
    }
    let stride = 4 << (device.read(CAPABILITIES + 4) & 0xf);
    let Some(mut reading) = start(&device, stride) else {
        return 3;
    };
    let data = Buffer::new(1);
    let mut answer = [0, 0];
    loop {
        let [block, ..] = call_parent([PAYLOAD, answer[0], answer[1], 0, 0, 0]);
        if block == u64::MAX {
            return 0;
        }
        let command = [READ, 1, data.address(), block, 0];
        if !reading.perform(&device, stride, command) {
            return 4;
        }
        let sum = (0..BLOCK_WORDS).fold(0_u64, |sum, word| sum.wrapping_add(data.load(word)));
        answer = [data.load(0), sum];
    }
}
