//! Devices: which numbers stand for which PCI function, and giving a function to a domain.
//!
//! A function is a stretch of numbers of its own, [`SPAN`] long, which no physical address can be; its registers are the first of
//! them, as many bytes as they take. So a function goes through the same trees, accounts and stages as memory: whoever has a
//! part has the whole, exclusively, its registers have a place in the domain as a region has, and it comes back before
//! what it was derived from. What is special: it is reset before anybody gets it, and it goes only to a domain that is being composed.

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use crate::derive::Target;
use crate::engine::{Draft, Engine};
use crate::identity::{ClaimId, DomainId, PageNumber};
use crate::lookup::RegionFacts;
use crate::node::{Kind, Link, Resource, Stage};
use crate::operation::Operation;
use crate::placement;
use crate::records::Records;
use crate::store::Store;

/// Numbers that stand for one function: more than the bytes that its registers can take.
pub const SPAN: u64 = 1 << 40;

/// The number of the first function.
pub const FIRST: u64 = 1 << 63;

/// How many functions there can be: 256 buses of 256.
pub const COUNT: u64 = 1 << 16;

/// The number of a function (bus << 8 | device << 3 | function).
#[must_use]
pub const fn number(function: u16) -> u64 {
    FIRST + function as u64 * SPAN
}

/// The function that a number stands for.
#[must_use]
pub const fn function(number: u64) -> u16 {
    (number.wrapping_sub(FIRST) / SPAN) as u16
}

/// Whether the stretch is the registers of one function, from the first on.
pub(crate) const fn is_whole(base: u64, size: u64) -> bool {
    base >= FIRST && (base - FIRST).is_multiple_of(SPAN) && size <= SPAN
}

/// What a function may be asked to bear: what it is anyway, and `VITAL`.
const ALLOWED: Attributes = Attributes::READ
    .union(Attributes::WRITE)
    .union(Attributes::CLEAN)
    .union(Attributes::VITAL);

impl<S: Store> Engine<S> {
    /// Gives a function to a domain that is being composed, with `size` bytes of registers at the target's place. The claim's owner loses it
    /// meanwhile. `place` says which: for domain 0 its [`number`], for another owner where its registers are.
    ///
    /// # Errors
    /// `NotFound` (no such device of the owner's, or domain), `Dead`, `Policy`, `Alignment`, `Invalid` (not a whole function, or
    /// without READ and WRITE, which is all or nothing), `Rights` (more than READ, WRITE, CLEAN and VITAL), `WrongState`, `Busy`, `Closed`, `Overlap` (it is somebody's),
    /// `Occupied`, `Quota`, `Exhausted`.
    pub fn assign(
        &mut self,
        claim: ClaimId,
        place: u64,
        size: u64,
        target: Target,
        attributes: Attributes,
    ) -> Result<Operation, Error> {
        let (page, owner) = self.authorize(claim, Flags::MAY_CARVE)?;
        self.check_derivable(self.store.claim(page).node())?;
        placement::check_range(target.place, size)?;
        let parent = self.device_of(owner, place).ok_or(Error::NotFound)?;
        self.check_derivable(parent)?;
        let node = self.store.node(parent);
        let base = node.base + (place - node.place);
        let whole = is_whole(base, size) && (node.kind == Kind::Root || node.size == size);
        if !whole || !attributes.contains(Attributes::READ | Attributes::WRITE) {
            return Err(Error::Invalid);
        }
        if !ALLOWED.contains(attributes) {
            return Err(Error::Rights);
        }
        let domain = self.building_in(page, target.domain)?;
        self.check_overlap(parent, Kind::Carve, base, size)?;
        self.check_place(domain, target.place, size)?;
        let draft = Draft {
            resource: Resource::Device,
            kind: Kind::Carve,
            base,
            size,
            place: target.place,
            attributes: attributes | Attributes::CLEAN | Attributes::DEVICE,
            parent: Some(parent),
        };
        self.place_carve(page, domain, draft)
    }

    /// Makes what was carved as a whole, for the domain to have once its holder has lost it.
    pub(crate) fn place_carve(
        &mut self,
        claim: PageNumber,
        domain: PageNumber,
        draft: Draft,
    ) -> Result<Operation, Error> {
        self.check_node_room(claim, 0)?;
        let link = self.make_node(claim, draft)?;
        placement::attach(&mut self.store, link, domain);
        self.store.node_mut(link).stage = Stage::Take;
        Ok(Operation::Place(self.store.node(link).id))
    }

    /// The owner's right over the device that begins at `place`.
    fn device_of(&self, owner: PageNumber, place: u64) -> Option<Link> {
        if owner == self.first_domain {
            return self.machine_devices_link_at(owner, place);
        }
        let link = self.region_link_at(owner, place)?;
        let node = self.store.node(link);
        (node.resource == Resource::Device && node.place == place).then_some(link)
    }

    /// The device of the domain whose registers hold guest-physical `place`.
    #[must_use]
    pub fn device_at(&self, domain: DomainId, place: u64) -> Option<RegionFacts> {
        self.region_at(domain, place)
            .filter(|facts| facts.resource == Resource::Device)
    }

    /// Who has the device with this number: domain 0, or who it was given to last on its way down.
    #[must_use]
    pub fn device_holder(&self, number: u64) -> Option<DomainId> {
        let mut here = self.machine_devices_link_at(self.first_domain, number)?;
        while let Some(child) = self.child_at(here, number) {
            here = child;
        }
        Some(self.store.domain(self.store.node(here).owner?).id)
    }

    /// The device that was derived from all of domain 0's with this number, if one was: who has it, and where.
    #[must_use]
    pub fn device_facts(&self, number: u64) -> Option<RegionFacts> {
        let root = self.machine_devices_link_at(self.first_domain, number)?;
        let link = self.child_at(root, number)?;
        self.region_facts(self.store.node(link).id)
    }
}
