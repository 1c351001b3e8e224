//! Typed views of a store: every record by its page, every node by its link or its name.
//!
//! A view of the wrong type means that the engine's own records contradict each other. No argument of a call leads
//! there: names that come from outside go through the `find_` functions, which answer `None`.

use crate::account::Account;
use crate::claim::Claim;
use crate::domain::Domain;
use crate::identity::{ClaimId, DomainId, NodeId, PageNumber};
use crate::node::{Link, Node, NodePage};
use crate::store::{Page, Store};

#[cold]
#[inline(never)]
fn contradiction() -> ! {
    panic!("the engine's records contradict each other")
}

/// Records in a store.
pub(crate) trait Records: Store {
    #[inline]
    fn node_page(&self, page: PageNumber) -> &NodePage {
        match self.page(page) {
            Page::Nodes(nodes) => nodes,
            _ => contradiction(),
        }
    }

    #[inline]
    fn node_page_mut(&mut self, page: PageNumber) -> &mut NodePage {
        match self.page_mut(page) {
            Page::Nodes(nodes) => nodes,
            _ => contradiction(),
        }
    }

    #[inline]
    fn node(&self, link: Link) -> &Node {
        match self.node_page(link.page()).get(link.slot()) {
            Some(node) => node,
            None => contradiction(),
        }
    }

    #[inline]
    fn node_mut(&mut self, link: Link) -> &mut Node {
        match self.node_page_mut(link.page()).get_mut(link.slot()) {
            Some(node) => node,
            None => contradiction(),
        }
    }

    fn domain(&self, page: PageNumber) -> &Domain {
        match self.page(page) {
            Page::Domain(domain) => domain,
            _ => contradiction(),
        }
    }

    fn domain_mut(&mut self, page: PageNumber) -> &mut Domain {
        match self.page_mut(page) {
            Page::Domain(domain) => domain,
            _ => contradiction(),
        }
    }

    fn claim(&self, page: PageNumber) -> &Claim {
        match self.page(page) {
            Page::Claim(claim) => claim,
            _ => contradiction(),
        }
    }

    fn claim_mut(&mut self, page: PageNumber) -> &mut Claim {
        match self.page_mut(page) {
            Page::Claim(claim) => claim,
            _ => contradiction(),
        }
    }

    /// The account of a claim or a domain.
    fn account(&self, payer: PageNumber) -> &Account {
        match self.page(payer) {
            Page::Claim(claim) => &claim.account,
            Page::Domain(domain) => &domain.account,
            _ => contradiction(),
        }
    }

    fn account_mut(&mut self, payer: PageNumber) -> &mut Account {
        match self.page_mut(payer) {
            Page::Claim(claim) => &mut claim.account,
            Page::Domain(domain) => &mut domain.account,
            _ => contradiction(),
        }
    }

    /// First page of nodes with room, of a claim or a domain.
    fn open_pages(&self, payer: PageNumber) -> Option<PageNumber> {
        match self.page(payer) {
            Page::Claim(claim) => claim.open_pages,
            Page::Domain(domain) => domain.open_pages,
            _ => contradiction(),
        }
    }

    fn set_open_pages(&mut self, payer: PageNumber, first: Option<PageNumber>) {
        match self.page_mut(payer) {
            Page::Claim(claim) => claim.open_pages = first,
            Page::Domain(domain) => domain.open_pages = first,
            _ => contradiction(),
        }
    }

    /// The node named `id`, if it lives.
    fn find_node(&self, id: NodeId) -> Option<Link> {
        let page = id.page()?;
        match self.page(page) {
            Page::Nodes(nodes) => Some(Link::new(page, nodes.find(id)?)),
            _ => None,
        }
    }

    /// The domain named `id`, if it lives.
    fn find_domain(&self, id: DomainId) -> Option<PageNumber> {
        let page = id.page()?;
        match self.page(page) {
            Page::Domain(domain) if domain.id == id => Some(page),
            _ => None,
        }
    }

    /// The claim named `id`, if it lives.
    fn find_claim(&self, id: ClaimId) -> Option<PageNumber> {
        let page = id.page()?;
        match self.page(page) {
            Page::Claim(claim) if claim.id == id => Some(page),
            _ => None,
        }
    }
}

impl<S: Store + ?Sized> Records for S {}
