//! What happens when the monitor finds its own invariants broken: say so, scrub, reset.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::console::Console;
use crate::{last_words, platform, scrub};

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    if PANICKING.swap(true, Ordering::SeqCst) {
        // A second core, or a panic in the panic: the first one carries on alone.
        crate::instructions::stop();
    }
    let _ = writeln!(Console, "\nadyton: {information}");
    scrub::everything();
    last_words::leave(format_args!("{information}"));
    platform::reset()
}
