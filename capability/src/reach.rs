//! What a domain reaches by what the engine says: its regions without what was carved out of them.
//!
//! For an audit that compares it with the tables that the hardware walks. It allocates nothing and does not recurse.

use adyton_abi::region::Attributes;

use crate::engine::Engine;
use crate::identity::DomainId;
use crate::node::{Kind, Link, Resource, Stage, flag};
use crate::records::Records;
use crate::store::Store;
use crate::tree::{self, Order, Tree, class};

/// A part of a domain's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Guest-physical address.
    pub place: u64,
    /// Host-physical address, or where it lies in a device.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// What the domain may do there; nothing where it is carved away.
    pub rights: Attributes,
    /// What it is a part of: memory, or the registers of a device.
    pub resource: Resource,
    /// Whether this is so now: a part that is on its way in or out, or quarantined, is neither.
    pub settled: bool,
}

impl<S: Store> Engine<S> {
    /// Visits every part of the domain's regions, in order of place; nothing for a domain that is not there.
    pub fn for_each_reach(&self, domain: DomainId, mut visit: impl FnMut(Reach)) {
        let Some(page) = self.store.find_domain(domain) else {
            return;
        };
        let holdings = Tree::new(&self.store, Order::Holder, self.store.domain(page).holdings);
        let mut next = holdings.first();
        while let Some(link) = next {
            let node = self.store.node(link);
            if tree::key(Order::Holder, node).0 == class::MEMORY {
                self.reach_of(link, &mut visit);
            }
            next = holdings.next(link);
        }
    }

    fn reach_of(&self, region: Link, visit: &mut impl FnMut(Reach)) {
        let node = self.store.node(region);
        let part = |base: u64, end: u64, rights, settled| Reach {
            place: node.place + (base - node.base),
            base,
            size: end - base,
            rights,
            resource: node.resource,
            settled,
        };
        if !self.is_in_place(region) {
            visit(part(node.base, node.end(), node.rights(), false));
            return;
        }
        let mut done = node.base;
        self.for_each_carve(region, |carve| {
            let carved = self.store.node(carve);
            if done < carved.base {
                visit(part(done, carved.base, node.rights(), true));
            }
            let settled = self.is_in_place(carve);
            visit(part(carved.base, carved.end(), Attributes::NONE, settled));
            done = carved.end();
        });
        if done < node.end() {
            visit(part(done, node.end(), node.rights(), true));
        }
    }

    fn is_in_place(&self, link: Link) -> bool {
        let node = self.store.node(link);
        node.stage == Stage::Live && !node.has(flag::DYING) && !node.has(flag::QUARANTINED)
    }

    /// Visits what was carved out of the region, directly or in a claim, in order.
    fn for_each_carve(&self, region: Link, mut visit: impl FnMut(Link)) {
        let each = |parent: Link, visit: &mut dyn FnMut(Link)| {
            let children = self.store.node(parent).children;
            let children = Tree::new(&self.store, Order::Siblings, children);
            let mut next = children.first();
            while let Some(child) = next {
                visit(child);
                next = children.next(child);
            }
        };
        each(region, &mut |child| match self.store.node(child).kind {
            Kind::Carve => visit(child),
            Kind::Claim => each(child, &mut |grandchild| {
                if self.store.node(grandchild).kind == Kind::Carve {
                    visit(grandchild);
                }
            }),
            _ => {}
        });
    }
}
