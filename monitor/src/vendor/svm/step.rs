//! Exactly one instruction of a guest, with other nested tables.
//!
//! RFLAGS.TF makes the CPU trap after the instruction, and RFLAGS.IF is cleared, so that physical interrupts stay pending
//! without ending the step (with `V_INTR_MASKING` they would end it before the instruction, again and again). The caller
//! sees to it that the instruction touches neither flag. Every exception exits, and so does every NMI as always.

use adyton_x86::flags::{INTERRUPT, TRAP};
use adyton_x86::svm::{Intercept2, Vmcb};

use crate::address::HostPhysical;
use crate::vcpu::Vcpu;
use crate::vendor::Exit;

const SINGLE_STEP: u64 = 1 << 14;
const DEBUG: u8 = 1;
/// All vectors but 2, which has an intercept of its own.
const ALL_EXCEPTIONS: u32 = !(1 << 2);

/// What the step changed, to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    nested_root: u64,
    flags: u64,
    interrupt_shadow: u64,
    dr6: u64,
    exceptions: u32,
}

/// See [`Vendor::begin_step`](crate::vendor::Vendor::begin_step).
pub fn begin_step(vcpu: &mut Vcpu, nested_root: HostPhysical) -> Step {
    begin(vcpu.vmcb_mut(), nested_root)
}

/// See [`Vendor::end_step`](crate::vendor::Vendor::end_step).
pub fn end_step(vcpu: &mut Vcpu, step: Step, exit: Option<Exit>) -> bool {
    let ended = end(vcpu.vmcb_mut(), step, exit);
    if ended == (Ended::Complete { trap: true }) {
        vcpu.inject_exception(DEBUG, None);
    }
    ended != Ended::Early
}

fn begin(vmcb: &mut Vmcb, nested_root: HostPhysical) -> Step {
    let step = Step {
        nested_root: vmcb.nested_root,
        flags: vmcb.save.rflags,
        interrupt_shadow: vmcb.interrupt_shadow,
        dr6: vmcb.save.dr6,
        exceptions: vmcb.intercept_exceptions,
    };
    vmcb.nested_root = nested_root.value();
    vmcb.save.rflags = step.flags & !INTERRUPT | TRAP;
    vmcb.interrupt_shadow = 0;
    vmcb.save.dr6 = step.dr6 & !SINGLE_STEP;
    vmcb.intercept_exceptions = ALL_EXCEPTIONS;
    // Should another core have put the calling instruction in place of the one that was looked at, it is undefined now.
    vmcb.intercept2.remove(Intercept2::VMMCALL);
    step
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Before the instruction was complete.
    Early,
    /// After it.
    Complete {
        /// The guest has a debug trap of its own coming: it steps itself, or has hit a data breakpoint.
        trap: bool,
    },
}

/// Puts back what the step changed.
fn end(vmcb: &mut Vmcb, step: Step, exit: Option<Exit>) -> Ended {
    let is_debug = matches!(exit, Some(Exit::Exception { vector: DEBUG, .. }));
    let is_complete = is_debug && vmcb.save.dr6 & SINGLE_STEP != 0;
    let steps_itself = is_complete && step.flags & TRAP != 0;
    let hits = vmcb.save.dr6 & !step.dr6 & enabled_breakpoints(vmcb.save.dr7);
    let mine = TRAP | INTERRUPT;
    vmcb.nested_root = step.nested_root;
    vmcb.save.rflags = vmcb.save.rflags & !mine | step.flags & mine;
    vmcb.intercept_exceptions = step.exceptions;
    vmcb.intercept2.insert(Intercept2::VMMCALL);
    if !steps_itself {
        vmcb.save.dr6 = vmcb.save.dr6 & !SINGLE_STEP | step.dr6 & SINGLE_STEP;
    }
    if is_complete {
        let trap = steps_itself || hits != 0;
        return Ended::Complete { trap };
    }
    vmcb.interrupt_shadow = step.interrupt_shadow;
    Ended::Early
}

/// The breakpoints, by their bits in DR6, that DR7 enables (APM volume 2, section 13.1.1.4).
fn enabled_breakpoints(dr7: u64) -> u64 {
    (0..4)
        .filter(|number| dr7 >> (2 * number) & 3 != 0)
        .fold(0, |bits, number| bits | 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: HostPhysical = HostPhysical(0x1000);
    const OTHERS: HostPhysical = HostPhysical(0x2000);
    const DEBUG_EXIT: Option<Exit> = Some(Exit::Exception {
        vector: DEBUG,
        error: 0,
    });

    fn vmcb(flags: u64) -> Box<Vmcb> {
        // SAFETY: all fields are numbers.
        let mut vmcb: Box<Vmcb> = unsafe { Box::new_zeroed().assume_init() };
        vmcb.nested_root = TABLES.value();
        vmcb.save.rflags = flags;
        vmcb.save.dr6 = 0xffff_0ff0;
        vmcb.save.dr7 = 0x400;
        vmcb.intercept_exceptions = 1 << 17;
        vmcb.intercept2 = Intercept2::VMMCALL | Intercept2::VMRUN;
        vmcb.interrupt_shadow = 1;
        vmcb
    }

    fn is_restored(vmcb: &Vmcb) -> bool {
        let intercepts = Intercept2::VMMCALL | Intercept2::VMRUN;
        vmcb.nested_root == TABLES.value()
            && vmcb.intercept_exceptions == 1 << 17
            && vmcb.intercept2 == intercepts
    }

    #[test]
    fn a_step_that_completes() {
        let mut vmcb = vmcb(INTERRUPT | 2);
        let step = begin(&mut vmcb, OTHERS);
        assert_eq!(vmcb.nested_root, OTHERS.value());
        assert_eq!(vmcb.save.rflags, TRAP | 2);
        assert_eq!(vmcb.intercept2, Intercept2::VMRUN);
        // The instruction sets the carry flag.
        vmcb.save.rflags |= 1;
        vmcb.save.dr6 |= SINGLE_STEP;
        let ended = end(&mut vmcb, step, DEBUG_EXIT);
        assert_eq!(ended, Ended::Complete { trap: false });
        assert!(is_restored(&vmcb));
        assert_eq!(vmcb.save.rflags, INTERRUPT | 3);
        assert_eq!((vmcb.save.dr6, vmcb.interrupt_shadow), (0xffff_0ff0, 0));
    }

    #[test]
    fn a_guest_that_steps_itself_gets_its_trap() {
        let mut vmcb = vmcb(TRAP | 2);
        let step = begin(&mut vmcb, OTHERS);
        vmcb.save.dr6 |= SINGLE_STEP;
        let ended = end(&mut vmcb, step, DEBUG_EXIT);
        assert_eq!(ended, Ended::Complete { trap: true });
        assert_eq!(vmcb.save.rflags, TRAP | 2);
        assert_eq!(vmcb.save.dr6, 0xffff_4ff0);
    }

    #[test]
    fn a_data_breakpoint_is_the_guests() {
        for (dr7, trap) in [(0x400, false), (0x404, true)] {
            let mut vmcb = vmcb(2);
            vmcb.save.dr7 = dr7;
            let step = begin(&mut vmcb, OTHERS);
            vmcb.save.dr6 |= SINGLE_STEP | 1 << 1;
            let ended = end(&mut vmcb, step, DEBUG_EXIT);
            assert_eq!(ended, Ended::Complete { trap });
            assert_eq!(vmcb.save.dr6, 0xffff_0ff2);
        }
    }

    #[test]
    fn whatever_else_ends_it_early() {
        let fault = Exit::Exception {
            vector: 14,
            error: 0,
        };
        // A debug fault without the step's bit: a breakpoint on the instruction itself.
        for exit in [Some(fault), Some(Exit::Nmi), None, DEBUG_EXIT] {
            let mut vmcb = vmcb(INTERRUPT | TRAP | 2);
            let step = begin(&mut vmcb, OTHERS);
            assert_eq!(end(&mut vmcb, step, exit), Ended::Early);
            assert!(is_restored(&vmcb));
            assert_eq!(vmcb.save.rflags, INTERRUPT | TRAP | 2);
            assert_eq!((vmcb.save.dr6, vmcb.interrupt_shadow), (0xffff_0ff0, 1));
        }
    }
}
