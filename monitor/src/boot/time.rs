//! How fast the time-stamp counter runs, measured against the PC's interval timer.

use crate::instructions::{input8, output8, time_stamp};

/// The interval timer counts so many times a second.
const TIMER_HERTZ: u64 = 1_193_182;
const COMMAND: u16 = 0x43;
const CHANNEL_2: u16 = 0x42;
const GATE: u16 = 0x61;
const GATE_OPEN: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
const OUTPUT: u8 = 1 << 5;
/// Channel 2, low byte then high, count down once.
const ONE_SHOT: u8 = 0xb0;
/// What is counted: 5 ms.
const COUNT: u64 = TIMER_HERTZ / 200;

/// Ticks in a second, 0 if the timer does not answer.
///
/// # Safety
/// The timer's second channel is nobody's: while the monitor boots.
pub unsafe fn measure() -> u64 {
    // SAFETY: as the caller warrants.
    unsafe {
        let gate = input8(GATE);
        output8(GATE, gate & !SPEAKER | GATE_OPEN);
        output8(COMMAND, ONE_SHOT);
        output8(CHANNEL_2, COUNT as u8);
        // Whatever comes between, as below another monitor, makes ticks too many, and what is waited for by them too long, never too short.
        let start = time_stamp();
        output8(CHANNEL_2, (COUNT >> 8) as u8);
        let mut ticks = 0;
        // Bounded by reads of a slow device, a microsecond each.
        for _ in 0..1_000_000 {
            if input8(GATE) & OUTPUT != 0 {
                ticks = time_stamp().wrapping_sub(start);
                break;
            }
        }
        output8(GATE, gate);
        ticks * TIMER_HERTZ / COUNT
    }
}
