//! The log: a ring of text in the monitor's memory, without contents of guests.
//!
//! The ring is whole pages, so that it can be shown to domain 0: a [`Header`], then the bytes. `written` counts all
//! bytes ever written; the newest byte stands at offset `written - 1` modulo the ring's size.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::console::Console;
use crate::lock::Lock;

/// Bytes of text that are kept.
pub const TEXT_SIZE: usize = RING_SIZE - size_of::<Header>();
const RING_SIZE: usize = 16 << 10;

/// What stands before the text.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    /// Bytes written since the boot.
    pub written: u64,
    /// [`TEXT_SIZE`].
    pub size: u64,
}

/// The ring.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Ring {
    header: Header,
    text: [u8; TEXT_SIZE],
}

const _: () = assert!(size_of::<Ring>() == RING_SIZE);

static RING: Lock<Ring> = Lock::new(Ring {
    header: Header {
        written: 0,
        size: TEXT_SIZE as u64,
    },
    text: [0; TEXT_SIZE],
});
static TO_CONSOLE: AtomicBool = AtomicBool::new(false);

/// Writes a line to the log.
#[macro_export]
macro_rules! log {
    ($($arguments:tt)*) => { $crate::log::line(format_args!($($arguments)*)) };
}

/// Writes a line; see [`log!`](crate::log!).
pub fn line(text: fmt::Arguments<'_>) {
    let mut ring = RING.lock();
    let _ = writeln!(ring, "{text}");
    drop(ring);
    if TO_CONSOLE.load(Ordering::Relaxed) {
        let _ = writeln!(Console, "adyton: {text}");
    }
}

/// Shows what follows on the console too, or not any more.
pub fn show_on_console(show: bool) {
    TO_CONSOLE.store(show, Ordering::Relaxed);
}

/// Physical address and size of the ring.
#[must_use]
pub fn place() -> (u64, u64) {
    (&raw const *RING.lock() as u64, RING_SIZE as u64)
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let offset = (self.header.written % TEXT_SIZE as u64) as usize;
            if let Some(place) = self.text.get_mut(offset) {
                *place = byte;
            }
            self.header.written += 1;
        }
        Ok(())
    }
}
