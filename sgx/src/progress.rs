//! How far an instruction is that takes several slices.
//!
//! The machine keeps one [`Progress`] per core. An instruction that stops with [`Outcome::Again`](crate::Outcome) has claimed nothing and has
//! changed nothing that anybody can use; what it worked out is noted here, with what it depends on (operands, and the stamps of the pages).
//! When it is executed again, on this core and with all that unchanged, it carries on; otherwise it begins anew. So nothing has to be undone
//! when its caller never comes back, and every instruction is, to all others, done at its last slice.

use crate::encls::{Initialization, Transfer};

/// See the module. Some kilobytes: kept in memory of the core, not on a stack.
pub struct Progress {
    pub(crate) initialization: Initialization,
    pub(crate) transfer: Option<Transfer>,
}

impl Progress {
    /// Of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            initialization: Initialization::NONE,
            transfer: None,
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
