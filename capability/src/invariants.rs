//! The invariants, as a check over all records.
//!
//! For tests and for a debug call: it walks everything, each account's pages anew, so it takes quadratic time. It allocates
//! nothing and does not recurse. What cannot be seen in one state (that a sealed domain gets nothing without its call, that
//! success of a revocation is complete in the hardware) is tested with a recording platform in `tests/`.

use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::device;
use crate::engine::Engine;
use crate::identity::PageNumber;
use crate::node::{Kind, Link, Node, Resource, Stage, flag};
use crate::records::Records;
use crate::store::{Page, Store};
use crate::tree::{self, Malformed, Order, Tree, class};

/// What does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Something exclusive overlaps a sibling, or is not counted as exclusive or shared where it must be.
    Exclusivity,
    /// A region has more than what it was derived from.
    Monotony,
    /// Something lives below what has been taken out already.
    Completeness,
    /// Something lies outside what it was derived from: bytes would be lost or made.
    Conservation,
    /// An account differs from what its pages add up to.
    Accounts,
    /// Two things of one domain share a place.
    Placement,
    /// A tree is out of order, out of balance, or does not know what is in it.
    Tree,
    /// Two records disagree about each other.
    Records,
}

impl From<Malformed> for Violation {
    fn from(_: Malformed) -> Self {
        Self::Tree
    }
}

fn ensure(holds: bool, violation: Violation) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(violation) }
}

impl<S: Store> Engine<S> {
    /// Checks everything.
    ///
    /// # Errors
    /// The first thing found that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        self.check_domain(self.first_domain)?;
        self.for_each_node(|link| self.check_node(link))
    }

    /// Visits every node, parents before children.
    pub(crate) fn for_each_node(
        &self,
        mut visit: impl FnMut(Link) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let roots = self.store.domain(self.first_domain).holdings;
        let roots = Tree::new(&self.store, Order::Holder, roots);
        let mut next_root = roots.first();
        while let Some(root) = next_root {
            next_root = roots.next(root);
            if self.store.node(root).kind != Kind::Root {
                continue;
            }
            let mut here = Some(root);
            while let Some(link) = here {
                visit(link)?;
                here = self.following(link);
            }
        }
        Ok(())
    }

    /// The node after `link` in the walk through one root's tree.
    fn following(&self, link: Link) -> Option<Link> {
        let children =
            |link| Tree::new(&self.store, Order::Siblings, self.store.node(link).children);
        if let Some(child) = children(link).first() {
            return Some(child);
        }
        let mut here = link;
        while let Some(parent) = self.store.node(here).parent {
            if let Some(next) = children(parent).next(here) {
                return Some(next);
            }
            here = parent;
        }
        None
    }

    fn check_node(&self, link: Link) -> Result<(), Violation> {
        let node = self.store.node(link);
        ensure(node.size > 0, Violation::Conservation)?;
        let payer = self.store.node_page(link.page()).payer;
        ensure(payer == node.payer, Violation::Records)?;
        ensure(
            node.stage <= Stage::Live || node.has(flag::DYING),
            Violation::Completeness,
        )?;
        self.check_children(link)?;
        self.check_derived_counts(link)?;
        match node.parent {
            Some(parent) => self.check_child(node, self.store.node(parent))?,
            None => ensure(
                node.kind == Kind::Root && node.depth == 0,
                Violation::Records,
            )?,
        }
        match node.kind {
            Kind::Claim => self.check_claim(link),
            Kind::Control => match node.target {
                Some(domain) => {
                    let back = self.store.domain(domain).control == Some(link);
                    ensure(back, Violation::Records)?;
                    self.check_domain(domain)
                }
                None => ensure(node.has(flag::DYING), Violation::Records),
            },
            _ => Ok(()),
        }
    }

    /// Exclusive siblings overlap nothing; nothing lives below what was taken out.
    fn check_children(&self, link: Link) -> Result<(), Violation> {
        let node = self.store.node(link);
        tree::check(&self.store, Order::Siblings, node.children)?;
        let children = Tree::new(&self.store, Order::Siblings, node.children);
        let (mut reach, mut exclusive_reach) = (0, 0);
        let mut here = children.first();
        while let Some(child) = here {
            let child_node = self.store.node(child);
            ensure(child_node.parent == Some(link), Violation::Records)?;
            let out = node.stage > Stage::Live && child_node.is_workable();
            ensure(!out, Violation::Completeness)?;
            let exclusive = child_node.kind.is_exclusive();
            let free_from = if exclusive { reach } else { exclusive_reach };
            ensure(child_node.base >= free_from, Violation::Exclusivity)?;
            reach = reach.max(child_node.end());
            if exclusive {
                exclusive_reach = child_node.end();
            }
            here = children.next(child);
        }
        Ok(())
    }

    fn check_child(&self, node: &Node, parent: &Node) -> Result<(), Violation> {
        let inside = parent.base <= node.base && node.end() <= parent.end();
        ensure(inside, Violation::Conservation)?;
        ensure(node.resource == parent.resource, Violation::Conservation)?;
        ensure(node.depth == parent.depth + 1, Violation::Records)?;
        let reduced = parent.rights().contains(node.rights())
            && (parent.is_pool() || !node.is_pool())
            && (node.kind != Kind::Share || !node.is_pool());
        ensure(reduced, Violation::Monotony)?;
        let exclusive = Attributes::MEASURED | Attributes::CLEAN;
        let alone =
            node.kind != Kind::Share || node.attributes.intersection(exclusive) == Attributes::NONE;
        ensure(alone, Violation::Exclusivity)?;
        let fits = match (node.kind, parent.kind) {
            (Kind::Claim, Kind::Root | Kind::Carve) => parent.is_pool(),
            (Kind::Control | Kind::Exit, Kind::Claim) => true,
            (Kind::Carve, Kind::Claim | Kind::Carve) => true,
            (Kind::Share, Kind::Claim | Kind::Carve | Kind::Share) => true,
            (Kind::Share, Kind::Root) => node.resource == Resource::Core,
            (Kind::Carve, Kind::Root) => {
                matches!(node.resource, Resource::Device | Resource::WholeCore)
            }
            _ => false,
        };
        let whole = node.resource != Resource::Device
            || device::is_whole(node.base, node.size)
                && (parent.kind == Kind::Root || parent.size == node.size);
        // All threads of a core go together.
        let whole = whole
            && (node.resource != Resource::WholeCore
                || node.kind == Kind::Carve
                    && (node.base, node.size) == (parent.base, parent.size));
        ensure(fits && whole, Violation::Records)
    }

    fn check_derived_counts(&self, link: Link) -> Result<(), Violation> {
        let node = self.store.node(link);
        if matches!(node.kind, Kind::Claim | Kind::Control | Kind::Exit) {
            return Ok(());
        }
        let (mut carves, mut shares) = (0, 0);
        let mut count = |parent: Link| {
            let children = Tree::new(
                &self.store,
                Order::Siblings,
                self.store.node(parent).children,
            );
            let mut here = children.first();
            while let Some(child) = here {
                match self.store.node(child).kind {
                    Kind::Carve => carves += 1,
                    Kind::Share => shares += 1,
                    _ => {}
                }
                here = children.next(child);
            }
        };
        count(link);
        let children = Tree::new(&self.store, Order::Siblings, node.children);
        let mut here = children.first();
        while let Some(child) = here {
            if self.store.node(child).kind == Kind::Claim {
                count(child);
            }
            here = children.next(child);
        }
        let right = (carves, shares) == (node.carves, node.shares);
        ensure(right, Violation::Exclusivity)
    }

    fn check_claim(&self, link: Link) -> Result<(), Violation> {
        let node = self.store.node(link);
        let claim = self.store.claim(node.payer);
        ensure(claim.node() == link, Violation::Records)?;
        let region = node.parent.map(|parent| self.store.node(parent));
        let home = region.is_some_and(|region| {
            let same = region.owner == Some(claim.domain);
            same && node.place - region.place == node.base - region.base
        });
        ensure(home, Violation::Records)?;
        tree::check(&self.store, Order::Holder, claim.unowned)?;
        self.check_listed(Order::Holder, claim.unowned, |other| {
            other.owner.is_none() && other.payer == node.payer
        })?;
        let (mut domains, mut passed) = (0, 0);
        let children = Tree::new(&self.store, Order::Siblings, node.children);
        let mut here = children.first();
        while let Some(child) = here {
            if let (Kind::Control, Some(domain)) =
                (self.store.node(child).kind, self.store.node(child).target)
            {
                domains += 1;
                passed += self.store.domain(domain).account.limit;
                let lives = self.store.domain(domain).claim == Some(node.payer);
                ensure(lives, Violation::Records)?;
            }
            here = children.next(child);
        }
        ensure(claim.domains == domains, Violation::Records)?;
        let used = 1 + self.node_pages(node.payer)?;
        let account = claim.account;
        let right = account.used == used && account.passed == passed;
        let within = account.limit >= used + passed;
        ensure(right && within, Violation::Accounts)
    }

    fn check_domain(&self, page: PageNumber) -> Result<(), Violation> {
        let domain = self.store.domain(page);
        tree::check(&self.store, Order::Holder, domain.holdings)?;
        tree::check(&self.store, Order::Offers, domain.offers)?;
        self.check_listed(Order::Holder, domain.holdings, |node| {
            node.owner == Some(page)
        })?;
        self.check_listed(Order::Offers, domain.offers, |node| {
            node.target == Some(page) && node.has(flag::OFFERED) && node.owner.is_none()
        })?;
        let sums = self.sum_holdings(page)?;
        let counted = (domain.regions, domain.pool_regions, domain.pool_bytes)
            == (sums.regions, sums.pool_regions, sums.pool_bytes);
        ensure(counted, Violation::Records)?;
        ensure(domain.claimed_bytes == sums.claimed, Violation::Records)?;
        let own = match domain.claim {
            Some(_) => 1 + self.costs.domain + u64::from(domain.vcpus) * self.costs.vcpu,
            None => 1 + self.node_pages(page)?,
        };
        let account = domain.account;
        let right = account.used == own + sums.tables && account.passed == sums.passed;
        let within = account.limit >= account.used + account.passed;
        ensure(right && within, Violation::Accounts)?;
        let policy =
            domain.state != DomainState::Sealed || domain.claim.is_none() || domain.vcpus > 0;
        ensure(policy, Violation::Records)
    }

    fn check_listed(
        &self,
        order: Order,
        root: Option<Link>,
        belongs: impl Fn(&Node) -> bool,
    ) -> Result<(), Violation> {
        let tree = Tree::new(&self.store, order, root);
        let mut here = tree.first();
        while let Some(link) = here {
            ensure(belongs(self.store.node(link)), Violation::Records)?;
            here = tree.next(link);
        }
        Ok(())
    }

    fn sum_holdings(&self, page: PageNumber) -> Result<Sums, Violation> {
        let mut sums = Sums::default();
        let tree = Tree::new(&self.store, Order::Holder, self.store.domain(page).holdings);
        let mut here = tree.first();
        while let Some(link) = here {
            let node = self.store.node(link);
            if tree::key(Order::Holder, node).0 == class::MEMORY {
                sums.add(node)?;
                self.sum_claims(link, &mut sums);
            }
            here = tree.next(link);
        }
        Ok(sums)
    }

    fn sum_claims(&self, region: Link, sums: &mut Sums) {
        let children = Tree::new(
            &self.store,
            Order::Siblings,
            self.store.node(region).children,
        );
        let mut here = children.first();
        while let Some(link) = here {
            let node = self.store.node(link);
            if node.kind == Kind::Claim {
                sums.claimed += node.size;
                sums.passed += self.store.claim(node.payer).account.limit;
            }
            here = children.next(link);
        }
    }

    /// Pages of nodes that the payer pays for.
    fn node_pages(&self, payer: PageNumber) -> Result<u64, Violation> {
        let mut pages = 0;
        self.for_each_node(|link| {
            let nodes = self.store.node_page(link.page());
            if nodes.payer == payer && nodes.first() == Some(link.slot()) {
                pages += 1;
            }
            Ok(())
        })?;
        let mut open = self.store.open_pages(payer);
        while let Some(page) = open {
            let Page::Nodes(nodes) = self.store.page(page) else {
                return Err(Violation::Records);
            };
            let right = nodes.payer == payer && !nodes.is_full() && !nodes.is_empty();
            ensure(right, Violation::Accounts)?;
            open = nodes.next;
        }
        Ok(pages)
    }
}

/// What a domain's regions add up to.
#[derive(Default)]
struct Sums {
    regions: u32,
    pool_regions: u32,
    pool_bytes: u64,
    claimed: u64,
    passed: u64,
    tables: u64,
    end: u64,
}

impl Sums {
    fn add(&mut self, node: &Node) -> Result<(), Violation> {
        let end = node.place + node.size;
        ensure(self.end <= node.place, Violation::Placement)?;
        for shift in [21, 30, 39] {
            let first = node.place >> shift;
            let counted = self.end > 0 && (self.end - 1) >> shift == first;
            self.tables += ((end - 1) >> shift) - first + u64::from(!counted);
        }
        self.end = end;
        self.regions += 1;
        if node.is_pool() {
            self.pool_regions += 1;
            self.pool_bytes += node.size;
        }
        Ok(())
    }
}
