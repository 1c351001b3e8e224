//! Spaces to which nothing happens: *settled* ones, that are judged by one list ([`Journal`]) instead of region by region.
//!
//! What must hold: whatever is loaded or dropped unsettles a space, and the list of a settled one has every entry that [`Space::judge`] would
//! look at, in regions that are detached too.

use super::journal::{self, Full, Journal};
use super::{Space, Step, UPPER_LEVELS};
use crate::frames::FrameAllocator;

/// A walk of the operating system's tables: three steps and the last, which is the third again where a large page ends the walk early.
#[derive(Clone, Copy, Debug)]
pub struct Walk(pub [Step; UPPER_LEVELS + 1]);

impl Space {
    /// Whether nothing was loaded and nothing dropped since [`Self::settle`], and all that was listed then still holds.
    #[inline]
    pub fn is_as_settled(&self) -> bool {
        self.is_settled && self.journal.still_holds()
    }

    /// Whether nothing was loaded and nothing dropped since [`Self::settle`].
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Puts all that its translations depend on into one list, and the steps of other walks with them. Whether there was room.
    pub fn settle(&mut self, frames: &FrameAllocator, others: &[Walk]) -> bool {
        self.is_settled = self.pages <= journal::MOST && self.list(frames, others).is_ok();
        self.is_settled
    }

    fn list(&mut self, frames: &FrameAllocator, others: &[Walk]) -> Result<(), Full> {
        let mut journal = core::mem::replace(&mut self.journal, Journal::NONE);
        let listed = self.list_in(&mut journal, frames, others);
        self.journal = journal;
        listed
    }

    fn list_in(
        &mut self,
        journal: &mut Journal,
        frames: &FrameAllocator,
        others: &[Walk],
    ) -> Result<(), Full> {
        journal.begin(frames)?;
        let mut listed = Ok(());
        self.for_each_region(|region| listed = listed.and_then(|()| region.list_upper(journal)));
        for walk in others {
            for step in &walk.0[..UPPER_LEVELS] {
                listed = listed.and_then(|()| journal.add_shared(step));
            }
        }
        for (number, walk) in others.iter().enumerate() {
            let last = walk.0[UPPER_LEVELS];
            // A frame of one page is walked to twice.
            let is_listed = others
                .iter()
                .take(number)
                .any(|walk| walk.0[UPPER_LEVELS] == last);
            if !is_listed {
                listed = listed.and_then(|()| journal.add(last));
            }
        }
        self.for_each_region(|region| listed = listed.and_then(|()| region.list_last(journal)));
        listed.and_then(|()| journal.end())
    }
}
