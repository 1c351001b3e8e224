//! Asking other cores to forget translations, and knowing when they have.
//!
//! A core answers at its next exit, or while it waits itself ([`Core::poll`]), by promising to flush before it enters any
//! guest again. A promise is as good as a flush, since the monitor uses no guest translation itself.

use core::sync::atomic::Ordering;

use super::{Core, attention};

/// A request that one core has been sent.
#[must_use = "until the core has answered it may still use the old translations"]
#[derive(Clone, Copy, Debug)]
pub struct FlushTicket(u64);

impl Core {
    /// Asks this core to flush all guest translations.
    pub fn request_flush(&self) -> FlushTicket {
        let ticket = self.flush_wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.kick(attention::FLUSH);
        FlushTicket(ticket)
    }

    /// The same for the core that runs this: done at its next entry without an NMI.
    pub fn flush_own(&self) {
        self.attention
            .fetch_or(attention::FLUSH_AT_ENTRY, Ordering::SeqCst);
    }

    /// Whether the core has answered.
    #[must_use]
    pub fn has_flushed(&self, ticket: FlushTicket) -> bool {
        self.flush_done.load(Ordering::Acquire) >= ticket.0
    }

    /// Answers what was asked so far.
    pub(super) fn answer_flush(&self) {
        if self.take(attention::FLUSH) {
            let wanted = self.flush_wanted.load(Ordering::SeqCst);
            self.attention
                .fetch_or(attention::FLUSH_AT_ENTRY, Ordering::SeqCst);
            self.flush_done.store(wanted, Ordering::Release);
        }
    }
}
