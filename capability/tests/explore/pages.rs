//! A store whose copies share what neither has changed: the exploration copies a world for every transition.

use std::rc::Rc;

use crate::store::{Page, PageNumber, Store};

/// Pages, and which of them are free.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pages: Vec<Rc<Page>>,
    free: Vec<PageNumber>,
}

impl Pages {
    /// Pages that are taken.
    pub fn taken(&self) -> usize {
        self.pages.len() - self.free.len()
    }

    /// All pages, taken or not.
    pub fn all(&self) -> impl Iterator<Item = (PageNumber, &Page)> {
        let numbered = (0..).zip(&self.pages);
        numbered.filter_map(|(number, page)| Some((PageNumber::new(number)?, &**page)))
    }
}

impl Store for Pages {
    fn allocate(&mut self) -> Option<PageNumber> {
        if let Some(page) = self.free.pop() {
            return Some(page);
        }
        self.pages.push(Rc::new(Page::Empty));
        PageNumber::new(self.pages.len() as u32 - 1)
    }

    fn release(&mut self, page: PageNumber) {
        assert!(matches!(self.page(page), Page::Empty));
        self.free.push(page);
        // The lowest free page is taken next, so that one state has one layout.
        self.free.sort_by(|one, other| other.cmp(one));
    }

    fn page(&self, page: PageNumber) -> &Page {
        match self.pages.get(page.number() as usize) {
            Some(page) => page,
            None => &Page::Empty,
        }
    }

    fn page_mut(&mut self, page: PageNumber) -> &mut Page {
        Rc::make_mut(&mut self.pages[page.number() as usize])
    }
}
