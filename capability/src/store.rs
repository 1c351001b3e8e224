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
