//! The console: bytes to and from the owner through window 0.
//!
//! When the ring is full, or nothing is there to read, the payload exits to let its owner look.

use core::fmt::{self, Arguments, Write};

use adyton_compose::convention::{CONSOLE, CONSOLE_WINDOW};
use adyton_compose::ring::{Consumer, Producer, Window};
use spin::Mutex;

use crate::call::{Inside, call_parent};
use crate::memory;

struct Console {
    output: Producer<Inside>,
    input: Consumer<Inside>,
}

static SHARED: Mutex<Option<Console>> = Mutex::new(None);

fn open() -> Option<Console> {
    let range = memory::start()?.windows[CONSOLE_WINDOW];
    let window = (range.size != 0).then(|| Window::new(Inside, range.base, range.size, None))?;
    let (output, input) = window.inside();
    Some(Console { output, input })
}

impl Console {
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let sent = self.output.send(bytes);
            if sent == 0 {
                call_parent([CONSOLE, 0, 0, 0, 0, 0]);
            }
            bytes = bytes.get(sent..).unwrap_or_default();
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        loop {
            let count = self.input.receive(bytes);
            if count != 0 || bytes.is_empty() || self.input.is_finished() {
                return count;
            }
            call_parent([CONSOLE, 1, 0, 0, 0, 0]);
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

fn with<T>(console: &mut Option<Console>, action: impl FnOnce(&mut Console) -> T) -> Option<T> {
    if console.is_none() {
        *console = open();
    }
    console.as_mut().map(action)
}

/// Writes bytes; without a console they go nowhere.
pub fn write(bytes: &[u8]) {
    with(&mut SHARED.lock(), |console| console.write(bytes));
}

/// Reads what is there, waits for the owner while nothing is, and returns 0 at the end.
pub fn read(bytes: &mut [u8]) -> usize {
    with(&mut SHARED.lock(), |console| console.read(bytes)).unwrap_or(0)
}

/// Writes formatted text; see [`print!`](crate::print).
pub fn print(text: Arguments<'_>) {
    with(&mut SHARED.lock(), |console| console.write_fmt(text));
}

/// Writes formatted text from a panic, which may have happened in the midst of writing.
#[cfg(not(test))]
pub(crate) fn emergency(text: Arguments<'_>) {
    if let Some(mut console) = SHARED.try_lock() {
        with(&mut console, |console| console.write_fmt(text));
    }
}

/// Writes to the console, as in `std`.
#[macro_export]
macro_rules! print {
    ($($part:tt)*) => { $crate::console::print(format_args!($($part)*)) };
}

/// Writes a line to the console, as in `std`.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($part:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($part)*))) };
}
