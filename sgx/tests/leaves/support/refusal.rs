//! Refusals: the answer, and that nothing has changed.

use adyton_sgx::epcm::Attributes;
use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::{EpcPage, Thread};

use super::machine::Bytes;
use super::world::{Answer, World};

/// What software can find out about the EPC.
#[derive(Debug, PartialEq)]
pub struct Snapshot {
    pages: Vec<Page>,
    thread: Option<Thread>,
}

/// Attributes, address, children, threads; contents if it is valid.
type Page = (Attributes, u64, u32, u64, Option<Box<Bytes>>);

impl World {
    pub fn snapshot(&self) -> Snapshot {
        let pages = (0..self.machine.epc.len()).map(|number| {
            let entry = self.entry(EpcPage(number as u32));
            assert!(entry.is_unclaimed(), "page {number} is still claimed");
            let attributes = entry.attributes();
            let contents = attributes.valid.then(|| Box::new(self.machine.epc[number]));
            let threads = entry.tracking().threads();
            (
                attributes,
                entry.address(),
                entry.children(),
                threads,
                contents,
            )
        });
        Snapshot {
            pages: pages.collect(),
            thread: self.thread,
        }
    }

    /// A leaf of the kernel's that is refused.
    #[track_caller]
    pub fn refuses(&mut self, leaf: Encls, operands: [u64; 3], answer: Answer) {
        let before = self.snapshot();
        assert_eq!(self.encls(leaf, operands), answer, "{leaf:?}");
        assert_eq!(self.snapshot(), before, "{leaf:?} changed something");
    }

    /// A leaf of a program's that is refused.
    #[track_caller]
    pub fn refuses_user(&mut self, leaf: Enclu, operands: [u64; 3], answer: Answer) {
        let before = self.snapshot();
        let processor = self.processor;
        assert_eq!(self.enclu(leaf, operands), answer, "{leaf:?}");
        assert_eq!(self.snapshot(), before, "{leaf:?} changed something");
        let after = self.processor;
        assert_eq!(
            (after.rip, after.fs, after.gs, after.xcr0),
            (processor.rip, processor.fs, processor.gs, processor.xcr0)
        );
    }
}
