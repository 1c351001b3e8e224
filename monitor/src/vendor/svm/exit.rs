//! What a VMCB says of an exit, in the vendor-neutral words.

use adyton_x86::svm::exit_code::{io, nested_fault};
use adyton_x86::svm::{ExitCode, Vmcb};

use crate::vendor::{Exit, Io, NestedFault};

/// Why the guest of this VMCB exited.
pub(super) fn decode(vmcb: &Vmcb) -> Exit {
    let information = vmcb.exit_information1;
    match vmcb.exit_code {
        ExitCode::VMMCALL => Exit::Call,
        ExitCode::NESTED_FAULT => Exit::NestedFault(NestedFault {
            address: vmcb.exit_information2,
            write: information & nested_fault::WRITE != 0,
            execute: information & nested_fault::FETCH != 0,
            present: information & nested_fault::PRESENT != 0,
            table_walk: information & nested_fault::TABLE_WALK != 0,
        }),
        ExitCode::INTERRUPT => Exit::Interrupt,
        ExitCode::NMI => Exit::Nmi,
        ExitCode::CPUID => Exit::Cpuid,
        ExitCode::MSR if information & 1 == 0 => Exit::ReadMsr,
        ExitCode::MSR => Exit::WriteMsr,
        ExitCode::IO => Exit::Io(Io {
            port: io::port(information),
            size: io::size(information),
            input: information & io::IN != 0,
            string: information & io::STRING != 0,
            repeat: information & io::REPEAT != 0,
            next_rip: vmcb.exit_information2,
        }),
        ExitCode::INIT => Exit::Init,
        ExitCode::HALT => Exit::Halt,
        ExitCode::IRET => Exit::InterruptReturn,
        ExitCode::INVD => Exit::InvalidateCaches,
        ExitCode::XSETBV => Exit::SetExtendedControl,
        ExitCode::RDTSC | ExitCode::RDTSCP => Exit::TimeStamp,
        ExitCode::RDPMC => Exit::PerformanceCounter,
        ExitCode::MONITOR | ExitCode::MWAIT => Exit::MonitorWait,
        ExitCode::SHUTDOWN => Exit::Shutdown,
        code if (ExitCode::VMRUN.0..=ExitCode::SKINIT.0).contains(&code.0) => Exit::Virtualization,
        ExitCode::INVLPGA => Exit::Virtualization,
        code if (ExitCode::EXCEPTION_FIRST.0..=ExitCode::EXCEPTION_LAST.0).contains(&code.0) => {
            Exit::Exception {
                vector: (code.0 - ExitCode::EXCEPTION_FIRST.0) as u8,
                error: information as u32,
            }
        }
        code if code.is_invalid() => Exit::Invalid,
        code => Exit::Other(code.0),
    }
}
