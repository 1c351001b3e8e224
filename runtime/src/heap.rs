//! The payload's heap: blocks of powers of two, freed blocks kept in a list for each size, new ones cut from
//! the range that the start page gives. Small and quick; what was cut is never joined again.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;

use spin::Mutex;

use crate::memory;

const SMALLEST: u32 = 5;
const SIZES: usize = 64;

struct Free {
    /// The first free block of each size; a free block begins with the address of the next.
    lists: [usize; SIZES],
    /// What was never used.
    next: usize,
    end: usize,
    begun: bool,
}

struct Heap(Mutex<Free>);

#[cfg_attr(not(test), global_allocator)]
#[cfg_attr(test, allow(dead_code))]
static HEAP: Heap = Heap(Mutex::new(Free {
    lists: [0; SIZES],
    next: 0,
    end: 0,
    begun: false,
}));

/// The power of two whose block holds `layout`. A block is aligned to its own size.
fn order(layout: &Layout) -> u32 {
    let size = layout.size().max(layout.align()).max(1);
    size.next_power_of_two().trailing_zeros().max(SMALLEST)
}

impl Free {
    fn begin(&mut self) {
        if let Some(page) = memory::start().filter(|_| !self.begun) {
            self.next = page.heap.base as usize;
            self.end = self.next + page.heap.size as usize;
            self.begun = true;
        }
    }

    fn cut(&mut self, order: u32) -> Option<usize> {
        let size = 1_usize.checked_shl(order)?;
        let block = self.next.checked_next_multiple_of(size)?;
        let end = block
            .checked_add(size)
            .filter(|&end| end <= self.end && block != 0)?;
        self.next = end;
        Some(block)
    }
}

// SAFETY: a block is cut from the heap once and is then either in one list or in one user's hands; it is as
// large as and aligned to a power of two that is at least the layout's size and alignment.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let order = order(&layout);
        let mut free = self.0.lock();
        free.begin();
        let first = free.lists[order as usize % SIZES];
        if first == 0 {
            return free.cut(order).map_or(null_mut(), |block| block as *mut u8);
        }
        let block = first as *mut usize;
        // SAFETY: free blocks are ours and begin with the address of the next.
        free.lists[order as usize % SIZES] = unsafe { block.read() };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let order = order(&layout);
        let mut free = self.0.lock();
        let block = block.cast::<usize>();
        // SAFETY: the caller gives a block back that is at least 32 bytes long and aligned.
        unsafe { block.write(free.lists[order as usize % SIZES]) };
        free.lists[order as usize % SIZES] = block as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_powers_of_two() {
        let order = |size, align| order(&Layout::from_size_align(size, align).expect("valid"));
        assert_eq!(order(1, 1), 5);
        assert_eq!(order(33, 1), 6);
        assert_eq!(order(8, 4096), 12);
    }

    #[test]
    fn cutting_aligns_and_ends_at_the_end() {
        let mut free = Free {
            lists: [0; SIZES],
            next: 0x1010,
            end: 0x3000,
            begun: true,
        };
        assert_eq!(free.cut(12), Some(0x2000));
        assert_eq!(free.cut(5), None);
        assert_eq!(free.cut(63), None);
    }
}
