//! Where a domain has things: which places are free, and what page tables a placement costs.
//!
//! A domain pays for the worst case of its nested page tables: one page for every 2 MiB, 1 GiB and 512 GiB of
//! guest-physical space in which it has anything (the root comes with the domain). The platform builds tables
//! as it needs them and never needs more than that, so it cannot run out.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::identity::PageNumber;
use crate::node::Link;
use crate::records::Records;
use crate::store::Store;
use crate::tree::{self, Order, Tree, class};

/// Guest-physical space of a domain ends here.
pub(crate) const SPACE_END: u64 = 1 << 48;

/// Address bits below one page table entry, of the levels whose tables are charged one by one.
const TABLE_SHIFTS: [u32; 3] = [21, 30, 39];

/// A range of a domain's space, of memory (bytes), cores or threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) class: u64,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Place {
    /// `size` bytes of memory at `start`, if they are whole pages inside the space.
    pub(crate) fn memory(start: u64, size: u64) -> Result<Self, Error> {
        check_range(start, size)?;
        if start + size > SPACE_END {
            return Err(Error::Invalid);
        }
        Ok(Self {
            class: class::MEMORY,
            start,
            size,
        })
    }

    const fn end(self) -> u64 {
        self.start + self.size
    }
}

/// Whether `start .. start + size` is a range of whole pages.
pub(crate) fn check_range(start: u64, size: u64) -> Result<(), Error> {
    if !start.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(Error::Alignment);
    }
    if size == 0 || start.checked_add(size).is_none() {
        return Err(Error::Invalid);
    }
    Ok(())
}

/// The neighbours of a place among a domain's holdings: end of the one before, start of the one behind.
fn neighbours<S: Store>(store: &S, domain: PageNumber, place: Place) -> (Option<u64>, Option<u64>) {
    let holdings = Tree::new(store, Order::Holder, store.domain(domain).holdings);
    let of_class = |link: Link| {
        let node = store.node(link);
        (tree::key(Order::Holder, node).0 == place.class).then_some(node)
    };
    let before = holdings
        .before((place.class, place.start))
        .and_then(of_class)
        .map(|node| node.place + node.size);
    let behind = holdings
        .at_or_after((place.class, place.start))
        .and_then(of_class)
        .map(|node| node.place);
    (before, behind)
}

/// Whether the domain has nothing there.
pub(crate) fn is_free<S: Store>(store: &S, domain: PageNumber, place: Place) -> bool {
    let (before, behind) = neighbours(store, domain, place);
    before.is_none_or(|end| end <= place.start) && behind.is_none_or(|start| start >= place.end())
}

/// Page tables that the domain needs for `place` beside what it has; `place` is not in its holdings.
pub(crate) fn tables<S: Store>(store: &S, domain: PageNumber, place: Place) -> u64 {
    if place.class != class::MEMORY {
        return 0;
    }
    let (before, behind) = neighbours(store, domain, place);
    TABLE_SHIFTS
        .iter()
        .map(|shift| {
            let mut first = place.start >> shift;
            let mut limit = ((place.end() - 1) >> shift) + 1;
            if before.is_some_and(|end| (end - 1) >> shift == first) {
                first += 1;
            }
            if behind.is_some_and(|start| start >> shift == limit - 1) {
                limit -= 1;
            }
            limit.saturating_sub(first)
        })
        .sum()
}

/// Gives the node to the domain at the node's place, and charges the tables. Checked before: the place is free and
/// the account has what it costs.
pub(crate) fn attach<S: Store>(store: &mut S, link: Link, domain: PageNumber) {
    let place = place_of(store, link);
    let cost = tables(store, domain, place);
    let node = store.node_mut(link);
    node.owner = Some(domain);
    let pool = node.attributes.contains(Attributes::POOL);
    let record = store.domain_mut(domain);
    record.account.charge(cost);
    if place.class == class::MEMORY {
        record.regions += 1;
        if pool {
            record.pool_regions += 1;
            record.pool_bytes += place.size;
        }
    }
    let mut root = record.holdings;
    tree::insert(store, Order::Holder, &mut root, link);
    store.domain_mut(domain).holdings = root;
}

/// Takes the node from its owner, which gets back what its tables cost.
pub(crate) fn detach<S: Store>(store: &mut S, link: Link) {
    let Some(domain) = store.node(link).owner else {
        return;
    };
    let place = place_of(store, link);
    let pool = store.node(link).attributes.contains(Attributes::POOL);
    let mut root = store.domain(domain).holdings;
    tree::remove(store, Order::Holder, &mut root, link);
    store.node_mut(link).owner = None;
    store.domain_mut(domain).holdings = root;
    let cost = tables(store, domain, place);
    let record = store.domain_mut(domain);
    record.account.refund(cost);
    if place.class == class::MEMORY {
        record.regions -= 1;
        if pool {
            record.pool_regions -= 1;
            record.pool_bytes -= place.size;
        }
        if record.state == DomainState::Sealing {
            // What was measured so far is no longer what the domain is.
            record.measuring.restart();
        }
    }
}

fn place_of<S: Store>(store: &S, link: Link) -> Place {
    let node = store.node(link);
    let class = tree::class_of(node);
    let size = if class == class::EXIT { 1 } else { node.size };
    Place {
        class,
        start: node.place,
        size,
    }
}
