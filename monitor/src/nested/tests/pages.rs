//! An owner of table pages for the tests.

use core::sync::atomic::{AtomicU64, Ordering};
use std::cell::RefCell;
use std::collections::BTreeSet;

use adyton_x86::paging::ENTRIES;

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::nested::{Frames, MustFlush};

/// Table pages at made-up addresses, which checks the rules of [`Frames`] as it goes.
pub(in crate::nested) struct Pages {
    pages: Vec<[AtomicU64; ENTRIES]>,
    free: RefCell<Vec<usize>>,
    retired: RefCell<BTreeSet<usize>>,
}

impl Pages {
    const BASE: u64 = 0x7000_0000_0000;

    pub(in crate::nested) fn new(count: usize) -> Self {
        Self {
            pages: (0..count)
                .map(|_| [const { AtomicU64::new(0) }; ENTRIES])
                .collect(),
            free: RefCell::new((0..count).rev().collect()),
            retired: RefCell::default(),
        }
    }

    fn number(table: HostPhysical) -> usize {
        ((table.0 - Self::BASE) / PAGE_SIZE) as usize
    }

    pub(in crate::nested) fn flush(&self, flush: MustFlush) {
        assert!(flush.is_needed() || self.retired.borrow().is_empty());
        self.free
            .borrow_mut()
            .extend(core::mem::take(&mut *self.retired.borrow_mut()));
        flush.flushed();
    }

    pub(in crate::nested) fn used(&self) -> u64 {
        (self.pages.len() - self.free.borrow().len()) as u64
    }
}

impl Frames for Pages {
    fn allocate(&self) -> Option<HostPhysical> {
        let number = self.free.borrow_mut().pop()?;
        for entry in &self.pages[number] {
            entry.store(0, Ordering::Relaxed);
        }
        Some(HostPhysical(Self::BASE + number as u64 * PAGE_SIZE))
    }

    fn retire(&self, table: HostPhysical) {
        let number = Self::number(table);
        assert!(!self.free.borrow().contains(&number));
        assert!(self.retired.borrow_mut().insert(number), "retired twice");
    }

    fn table(&self, table: HostPhysical) -> &[AtomicU64; ENTRIES] {
        &self.pages[Self::number(table)]
    }
}
