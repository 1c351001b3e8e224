//! The first serial port, written by polling.
//!
//! The port belongs to domain 0 once it runs: from then on only the panic handler writes here.

use core::fmt::{self, Write};

use crate::instructions::{input8, output8};

const PORT: u16 = 0x3f8;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// COM1 as a sink for formatted text.
#[derive(Debug)]
pub struct Console;

/// Sets 115200 baud, 8 data bits, no parity.
pub fn initialize() {
    for (offset, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0xc7), (4, 3)] {
        // SAFETY: these ports are the UART's; nothing else drives it while the monitor boots or panics.
        unsafe { output8(PORT + offset, value) };
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}

fn send(byte: u8) {
    // Bounded, so that a machine without the port still boots.
    for _ in 0..100_000 {
        // SAFETY: reading the line status has no effect on what domain 0 could have in flight but error bits.
        if unsafe { input8(PORT + 5) } & TRANSMITTER_EMPTY != 0 {
            break;
        }
    }
    // SAFETY: see `initialize`.
    unsafe { output8(PORT, byte) };
}
