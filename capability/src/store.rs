//! Where the engine keeps its records: pages that somebody paid for.
//!
//! The monitor implements [`Store`] over frames of its reserve, tests over a vector. The engine
//! charges an account before it allocates, and gives every page back when it refunds it, so a store
//! that has as many pages as domain 0's account began with never runs out.

use crate::claim::Claim;
use crate::domain::Domain;
pub use crate::identity::PageNumber;
use crate::node::NodePage;

/// Contents of one page.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[allow(
    clippy::large_enum_variant,
    reason = "it stands for a page: always in place, never moved about"
)]
pub enum Page {
    /// Nothing.
    Empty,
    /// Nodes of the forest, all paid by one account.
    Nodes(NodePage),
    /// The record of one domain.
    Domain(Domain),
    /// The record of one claim.
    Claim(Claim),
}

const _: () = assert!(core::mem::size_of::<Page>() <= 4096);

/// A set of pages.
///
/// Names come from callers, so `page` may be asked for any page; `page_mut` is asked only for pages that
/// `allocate` returned and that were not released since.
pub trait Store {
    /// Takes a free page; its contents are [`Page::Empty`].
    fn allocate(&mut self) -> Option<PageNumber>;
    /// Gives a page back; its contents are [`Page::Empty`].
    fn release(&mut self, page: PageNumber);
    /// Looks at a page; [`Page::Empty`] where the engine has none, also behind the store's end.
    fn page(&self, page: PageNumber) -> &Page;
    /// Changes a page.
    fn page_mut(&mut self, page: PageNumber) -> &mut Page;
}

/// A store that counts how often a record may have been changed: what was read is still so while the count is the same.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Counted<S> {
    inner: S,
    changes: u64,
}

impl<S: Store> Counted<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner, changes: 0 }
    }

    /// How many changes there may have been.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    /// The store itself: for what is no record, and for marks that nobody else reads.
    pub(crate) const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: Store> Store for Counted<S> {
    fn allocate(&mut self) -> Option<PageNumber> {
        self.inner.allocate()
    }

    fn release(&mut self, page: PageNumber) {
        self.inner.release(page);
    }

    #[inline]
    fn page(&self, page: PageNumber) -> &Page {
        self.inner.page(page)
    }

    #[inline]
    fn page_mut(&mut self, page: PageNumber) -> &mut Page {
        self.changes += 1;
        self.inner.page_mut(page)
    }
}

/// Tests look at the store as it is.
#[cfg(test)]
impl<S> core::ops::Deref for Counted<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.inner
    }
}
