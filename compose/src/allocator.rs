//! Which pages of a claim are in use: best fit by pages.

use alloc::collections::BTreeMap;

/// The free runs of a range of pages, by their first page.
///
/// What must hold: runs are not empty, do not overlap and do not touch.
#[derive(Clone, Debug)]
pub struct PageAllocator {
    free: BTreeMap<u64, u64>,
}

impl PageAllocator {
    /// All of `pages` pages free, from page `first` on.
    #[must_use]
    pub fn new(first: u64, pages: u64) -> Self {
        let free = if pages == 0 {
            BTreeMap::new()
        } else {
            BTreeMap::from([(first, pages)])
        };
        Self { free }
    }

    /// Takes `pages` pages, the first of them a multiple of `alignment` pages, from the smallest
    /// run that holds them.
    pub fn allocate(&mut self, pages: u64, alignment: u64) -> Option<u64> {
        if pages == 0 || alignment == 0 {
            return None;
        }
        let fits = |(&start, &length): (&u64, &u64)| {
            let first = start.checked_next_multiple_of(alignment)?;
            let waste = first - start;
            (waste + pages <= length).then_some((length, start, first))
        };
        let (length, start, first) = self.free.iter().filter_map(fits).min()?;
        self.free.remove(&start);
        self.insert(start, first - start);
        self.insert(first + pages, start + length - first - pages);
        Some(first)
    }

    /// Gives `pages` pages from `first` on back.
    pub fn free(&mut self, first: u64, pages: u64) {
        let mut start = first;
        let mut length = pages;
        if let Some((&before, &size)) = self.free.range(..first).next_back()
            && before + size == first
        {
            self.free.remove(&before);
            start = before;
            length += size;
        }
        if let Some(size) = self.free.remove(&(first + pages)) {
            length += size;
        }
        self.insert(start, length);
    }

    /// Pages that are free.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.free.values().sum()
    }

    fn insert(&mut self, start: u64, length: u64) {
        if length != 0 {
            self.free.insert(start, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_run_that_fits_is_taken() {
        let mut pages = PageAllocator::new(1, 100);
        let first = pages.allocate(10, 1).expect("free");
        let second = pages.allocate(5, 1).expect("free");
        let _third = pages.allocate(1, 1).expect("free");
        pages.free(first, 10);
        assert_eq!(pages.allocate(8, 1), Some(first));
        pages.free(first, 8);
        pages.free(second, 5);
        assert_eq!(pages.allocate(15, 1), Some(first));
    }

    #[test]
    fn alignment_wastes_nothing() {
        let mut pages = PageAllocator::new(1, 1023);
        assert_eq!(pages.allocate(512, 512), Some(512));
        assert_eq!(pages.available(), 511);
        assert_eq!(pages.allocate(511, 1), Some(1));
        assert_eq!(pages.allocate(1, 1), None);
    }

    #[test]
    fn freed_neighbours_grow_together() {
        let mut pages = PageAllocator::new(0, 3);
        let taken: [_; 3] = core::array::from_fn(|_| pages.allocate(1, 1).expect("free"));
        for page in [taken[1], taken[0], taken[2]] {
            pages.free(page, 1);
        }
        assert_eq!(pages.allocate(3, 1), Some(0));
    }
}
