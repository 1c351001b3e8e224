//! The protocols between cores under the model checker: every interleaving, and every value that the memory model lets a
//! core read.
//!
//! `machine` plays the hardware (guests that touch pages, caches of translations, NMIs) around the real code of this crate; each
//! file of models asks one kind of question. A model fails when two cores are at one thing without order between them, when
//! an assertion fails, and when somebody waits for ever. `planted` breaks the code, and sees the models fail.
//!
//! `cargo xtask test loom`, or by hand: `RUSTFLAGS="--cfg loom" cargo test --release -p adyton-synchronization --test loom`.
#![cfg(loom)]

mod attention;
mod entering;
mod flushing;
mod locking;
mod long;
mod machine;
mod planted;
mod quarantine;
mod retiring;
mod runner;
