//! A store over a vector.

use std::cell::Cell;

use adyton_capability::store::{Page, PageNumber, Store};

/// Pages, and which of them are free.
#[derive(Debug, Default)]
pub struct Pages {
    pages: Vec<Page>,
    free: Vec<PageNumber>,
    /// Pages that may still be allocated; none is no limit.
    pub left: Option<usize>,
    /// How often a page was looked at: what work costs, whatever the machine.
    pub looks: Cell<u64>,
}

impl Pages {
    /// An empty store without a limit of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pages that are taken.
    pub fn taken(&self) -> usize {
        self.pages.len() - self.free.len()
    }
}

impl Store for Pages {
    fn allocate(&mut self) -> Option<PageNumber> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        if let Some(page) = self.free.pop() {
            return Some(page);
        }
        self.pages.push(Page::Empty);
        PageNumber::new(self.pages.len() as u32 - 1)
    }

    fn release(&mut self, page: PageNumber) {
        assert!(matches!(self.page(page), Page::Empty));
        self.free.push(page);
        if let Some(left) = &mut self.left {
            *left += 1;
        }
    }

    fn page(&self, page: PageNumber) -> &Page {
        self.looks.set(self.looks.get() + 1);
        self.pages
            .get(page.number() as usize)
            .unwrap_or(&Page::Empty)
    }

    fn page_mut(&mut self, page: PageNumber) -> &mut Page {
        self.looks.set(self.looks.get() + 1);
        &mut self.pages[page.number() as usize]
    }
}
