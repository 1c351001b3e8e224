//! A machine with an operating system's view: registers, leaves by name, memory for operands.

use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::platform::StateComponent;
use adyton_sgx::structures::{Pageinfo, Secinfo};
use adyton_sgx::{
    Capabilities, EpcPage, EpcmEntry, ErrorCode, Event, Fault, Flags, Outcome, Processor, Progress,
    Register, Secrets, Segment, Thread, asynchronous_exit, encls, enclu,
};

use super::machine::{KERNEL, Mapping, Model, PAGE, Target, secrets};

/// Where the kernel maps the EPC.
pub const EPC: u64 = 0xFFFF_8880_0000_0000;
/// Where it maps memory for operands.
pub const MEMORY: u64 = 0xFFFF_8000_0000_0000;

/// How a leaf ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// RAX, ZF, CF.
    Code(u64, bool, bool),
    Fault(Fault),
    Entered,
    Left,
}

/// Success of a leaf that says so.
pub const OK: Answer = Answer::Code(0, false, false);
/// #GP(0).
pub const GP: Answer = Answer::Fault(Fault::general_protection());

/// An error code, with ZF.
pub fn code(code: ErrorCode) -> Answer {
    Answer::Code(code as u64, true, false)
}

/// A remark, with CF.
pub fn remark(code: ErrorCode) -> Answer {
    Answer::Code(code as u64, false, true)
}

/// The page fault at an address that the EPCM causes for a write.
pub fn epcm_fault(address: u64, user: bool) -> Answer {
    Answer::Fault(Fault::epcm(address, adyton_sgx::Access::Write, user))
}

/// Likewise for a read.
pub fn epcm_read_fault(address: u64, user: bool) -> Answer {
    Answer::Fault(Fault::epcm(address, adyton_sgx::Access::Read, user))
}

pub struct World {
    pub machine: Model,
    pub progress: Progress,
    pub processor: Processor,
    pub thread: Option<Thread>,
    /// Slices that the last leaf took.
    pub slices: usize,
}

/// Registers with a value each, flags that no leaf may lose and some that it must clear.
pub fn registers() -> Processor {
    let segment = |base| Segment {
        base,
        limit: u32::MAX,
        selector: 0x2B,
        rights: 0xC0F3,
    };
    Processor {
        general: std::array::from_fn(|number| 0x0101_0101_0101_0101 * (number as u64 + 1)),
        rip: 0x40_1000,
        next: 0x40_1003,
        flags: Flags::IF | Flags::ID | Flags::CF | Flags::OF,
        fs: segment(0x7F00_0000_1000),
        gs: segment(0),
        xcr0: 7,
    }
}

/// What the machines here can do: all that is implemented, with AVX state.
pub fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::BASIC;
    capabilities.xfrm = 7;
    capabilities.components[2] = StateComponent {
        offset: 576,
        size: 256,
    };
    capabilities
}

impl World {
    pub fn new() -> Self {
        Self::with(64, 7, capabilities())
    }

    pub fn with(pages: u32, seed: u8, capabilities: Capabilities) -> Self {
        Self::of(pages, secrets(seed), capabilities)
    }

    /// With these secrets.
    pub fn of(pages: u32, secrets: Secrets, capabilities: Capabilities) -> Self {
        let mut machine = Model::new(pages as usize, secrets, capabilities);
        for page in 0..pages {
            let mapping = Mapping {
                target: Target::Epc(EpcPage(page)),
                write: true,
                user: false,
            };
            machine.tables.insert(epc(EpcPage(page)), mapping);
        }
        Self {
            machine,
            progress: Progress::new(),
            processor: registers(),
            thread: None,
            slices: 0,
        }
    }

    /// Fresh pages of memory, all zero, one after the other.
    pub fn memory(&mut self, count: usize) -> u64 {
        let first = self.machine.memory.len();
        for page in first..first + count {
            self.machine.memory.push([0; PAGE as usize]);
            let mapping = Mapping {
                target: Target::Memory(page),
                write: true,
                user: false,
            };
            self.machine
                .tables
                .insert(MEMORY + page as u64 * PAGE, mapping);
        }
        MEMORY + first as u64 * PAGE
    }

    /// Memory that holds these bytes.
    pub fn holding(&mut self, bytes: &[u8]) -> u64 {
        let address = self.memory(bytes.len().div_ceil(PAGE as usize));
        self.put(address, bytes);
        address
    }

    /// Gives back memory beyond the first pages.
    pub fn drop_memory(&mut self, kept: usize) {
        for page in kept..self.machine.memory.len() {
            self.machine.tables.remove(&(MEMORY + page as u64 * PAGE));
        }
        self.machine.memory.truncate(kept);
    }

    /// Writes as the kernel.
    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        use adyton_sgx::Machine;
        self.machine.mode = KERNEL;
        self.machine.write(address, bytes).expect("mapped");
    }

    /// Reads as the kernel.
    pub fn get(&mut self, address: u64, length: usize) -> Vec<u8> {
        use adyton_sgx::Machine;
        self.machine.mode = KERNEL;
        let mut bytes = vec![0; length];
        self.machine.read(address, &mut bytes).expect("mapped");
        bytes
    }

    /// Makes a user address lead somewhere.
    pub fn map(&mut self, address: u64, target: Target) {
        let mapping = Mapping {
            target,
            write: true,
            user: true,
        };
        self.machine.tables.insert(address, mapping);
    }

    /// A page that nobody uses.
    pub fn free_page(&self) -> EpcPage {
        let count = self.machine.epc.len() as u32;
        (0..count)
            .map(EpcPage)
            .find(|page| !self.entry(*page).attributes().valid)
            .expect("a free page")
    }

    pub fn entry(&self, page: EpcPage) -> &'static EpcmEntry {
        self.machine.entry(page)
    }

    fn load(&mut self, leaf: u32, operands: [u64; 3]) {
        let pairs = [Register::Rbx, Register::Rcx, Register::Rdx];
        // The upper half of RAX is ignored.
        self.processor
            .set(Register::Rax, 0xFFFF_FFFF_0000_0000 | u64::from(leaf));
        for (register, value) in pairs.into_iter().zip(operands) {
            self.processor.set(register, value);
        }
    }

    /// One slice of a leaf of the kernel's.
    pub fn encls_slice(&mut self, leaf: Encls, operands: [u64; 3]) -> Outcome {
        self.machine.mode.privilege = 0;
        self.load(leaf as u32, operands);
        encls(&mut self.machine, &mut self.progress, &mut self.processor)
    }

    /// A leaf of the kernel's, to its end.
    pub fn encls(&mut self, leaf: Encls, operands: [u64; 3]) -> Answer {
        self.slices = 1;
        loop {
            let before = self.processor;
            match self.encls_slice(leaf, operands) {
                Outcome::Again => self.slices += 1,
                Outcome::Fault(fault) => {
                    let mut after = self.processor;
                    after.general = before.general;
                    assert_eq!(after, before, "a fault changes no register");
                    return Answer::Fault(fault);
                }
                Outcome::Complete => return self.answer(),
                other => panic!("{leaf:?} ended with {other:?}"),
            }
            assert!(self.slices < 100, "{leaf:?} never ends");
        }
    }

    /// A leaf of a program's.
    pub fn enclu(&mut self, leaf: Enclu, operands: [u64; 3]) -> Answer {
        self.load(leaf as u32, operands);
        let mode = self.machine.mode;
        self.machine.mode = super::machine::Mode {
            privilege: 3,
            ..mode
        };
        let outcome = enclu(&mut self.machine, &mut self.thread, &mut self.processor);
        self.machine.mode = mode;
        match outcome {
            Outcome::Fault(fault) => Answer::Fault(fault),
            Outcome::Complete => self.answer(),
            Outcome::Entered => Answer::Entered,
            Outcome::Left => Answer::Left,
            Outcome::Again => panic!("{leaf:?} stops in between"),
        }
    }

    /// An event inside; what CR2 would be.
    pub fn event(&mut self, event: Event) -> u64 {
        let thread = self.thread.take().expect("inside");
        asynchronous_exit(&mut self.machine, &thread, &mut self.processor, event)
    }

    fn answer(&self) -> Answer {
        let flags = self.processor.flags;
        Answer::Code(
            self.processor.get(Register::Rax),
            flags.contains(Flags::ZF),
            flags.contains(Flags::CF),
        )
    }

    /// PAGEINFO in memory.
    pub fn page_info(&mut self, linaddr: u64, srcpge: u64, secinfo: u64, secs: u64) -> u64 {
        let mut info = Pageinfo::zeroed();
        info.set_linaddr(linaddr);
        info.set_srcpge(srcpge);
        info.set_secinfo(secinfo);
        info.set_secs(secs);
        self.holding(&info.0)
    }

    /// SECINFO in memory.
    pub fn secinfo(&mut self, flags: u64) -> u64 {
        let mut info = Secinfo::zeroed();
        info.set_flags(flags);
        self.holding(&info.0)
    }
}

/// The kernel's address of an EPC page.
pub fn epc(page: EpcPage) -> u64 {
    EPC + u64::from(page.0) * PAGE
}

/// Whether success leaves RAX and the flags alone.
pub fn is_silent(leaf: Encls) -> bool {
    use Encls::{Eadd, Eaug, Ecreate, Eextend, Epa};
    matches!(leaf, Ecreate | Eadd | Eextend | Epa | Eaug)
}
