//! How far an instruction is that takes several slices.
//!
//! The machine keeps one [`Progress`] per core. An instruction that stops with [`Outcome::Again`](crate::Outcome) has claimed nothing and has
//! changed nothing that anybody can use; what it worked out is noted here, with what it depends on (operands, and the stamps of the pages).
//! When it is executed again, on this core and with all that unchanged, it carries on; otherwise it begins anew. So nothing has to be undone
//! when its caller never comes back, and every instruction is, to all others, done at its last slice.

/// See the module. A few kilobytes: kept in memory of the core, not on a stack.
#[derive(Default)]
pub struct Progress {}
