//! What the reference says to each call: the checks of the engine's documentation, in its order.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::region::Attributes;
use adyton_capability::device;
use adyton_capability::grant::{ANY_PLACE, Expected};
use adyton_capability::node::NodePage;

use crate::reference::{Kind, Node, Reference, State};
use crate::support::COSTS;

pub type Verdict<T> = Result<T, Error>;

/// What a derivation starts from.
#[derive(Clone, Copy, Debug)]
pub enum From {
    Range(u64, u64),
    Region(usize, u64, u64),
}

fn aligned(start: u64, size: u64) -> Verdict<()> {
    if !start.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(Error::Alignment);
    }
    if size == 0 || start.checked_add(size).is_none() {
        return Err(Error::Invalid);
    }
    Ok(())
}

impl Reference {
    fn may(&self, domain: usize, needed: Flags) -> Verdict<()> {
        let domain = &self.domains[domain];
        match domain.state {
            State::Dead => Err(Error::Dead),
            State::Building => Err(Error::WrongState),
            State::Sealed if domain.policy.flags.contains(needed) => Ok(()),
            State::Sealed => Err(Error::Policy),
        }
    }

    /// The claim's owner, if it may do what `needed` says.
    fn authority(&self, claim: usize, needed: Flags) -> Verdict<usize> {
        if !self.nodes[self.claims[claim].node].alive {
            return Err(Error::NotFound);
        }
        let owner = self.claims[claim].domain;
        self.may(owner, needed)?;
        Ok(owner)
    }

    fn derivable(&self, node: usize) -> Verdict<()> {
        if self
            .line(node)
            .iter()
            .any(|above| self.nodes[*above].closed)
        {
            return Err(Error::Closed);
        }
        Ok(())
    }

    fn building(&self, claim: usize, domain: usize) -> Verdict<()> {
        let domain = &self.domains[domain];
        if domain.claim != Some(claim) || domain.state == State::Dead {
            return Err(Error::NotFound);
        }
        if domain.state == State::Sealed {
            return Err(Error::WrongState);
        }
        Ok(())
    }

    fn region_of(&self, claim: usize, node: usize) -> Verdict<&Node> {
        let node = &self.nodes[node];
        if !node.alive || !node.is_region() || node.claim != Some(claim) {
            return Err(Error::NotFound);
        }
        Ok(node)
    }

    fn siblings(&self, parent: usize, base: u64, size: u64) -> Vec<&Node> {
        let overlapping =
            self.living(|node| node.parent == Some(parent) && node.overlaps(base, size));
        overlapping.iter().map(|node| &self.nodes[*node]).collect()
    }

    fn room(&self, claim: usize, more: u64) -> Verdict<()> {
        let record = &self.claims[claim];
        let full = record.pages * NodePage::SLOTS as u64 == self.nodes_of(claim);
        let used = 1 + record.pages + self.claim_passed(claim);
        if record.limit - used < more.saturating_add(u64::from(full)) {
            return Err(Error::Quota);
        }
        Ok(())
    }

    fn place(&self, domain: usize, place: u64, size: u64) -> Verdict<()> {
        aligned(place, size)?;
        if place + size > 1 << 48 {
            return Err(Error::Invalid);
        }
        let taken = self.living(|node| {
            let overlaps = node.place < place + size && place < node.place + node.size;
            node.is_memory_of(domain) && overlaps
        });
        if !taken.is_empty() {
            return Err(Error::Occupied);
        }
        let mut after = self.clone();
        after.nodes.push(Node {
            id: None,
            kind: Kind::Share,
            core: false,
            device: false,
            parent: None,
            base: place,
            size,
            place,
            owner: Some(domain),
            attributes: Attributes::NONE,
            closed: false,
            offered: None,
            claim: None,
            alive: true,
        });
        let needed = after.tables(domain) - self.tables(domain);
        let left = self.left(domain);
        if left < needed {
            Err(Error::Quota)
        } else {
            Ok(())
        }
    }

    /// Pages that the domain has left.
    fn left(&self, domain: usize) -> u64 {
        if domain == 0 {
            return self.first_left;
        }
        self.domains[domain].limit - self.used(domain) - self.passed(domain)
    }

    /// The claim's region and host address.
    pub fn claim(&self, domain: usize, place: u64, size: u64) -> Verdict<(usize, u64)> {
        aligned(place, size)?;
        if self.domains[domain].state == State::Dead {
            return Err(Error::Dead);
        }
        self.may(domain, Flags::MAY_CREATE)?;
        let region = self.region_at(domain, place).ok_or(Error::NotPool)?;
        let node = &self.nodes[region];
        if place + size > node.place + node.size || !node.has(Attributes::POOL) {
            return Err(Error::NotPool);
        }
        self.derivable(region)?;
        let base = node.base + (place - node.place);
        if !self.siblings(region, base, size).is_empty() {
            return Err(Error::Overlap);
        }
        if domain != 0 {
            let whole = self.domains[domain].limit - self.used(domain);
            let share = whole * size / self.pool_bytes(domain);
            if share.min(self.left(domain)) < 2 {
                return Err(Error::Quota);
            }
        }
        Ok((region, base))
    }

    fn pin(&self, claim: usize, base: u64) -> Verdict<()> {
        aligned(base, PAGE_SIZE)?;
        let parent = self.claims[claim].node;
        self.derivable(parent)?;
        let node = &self.nodes[parent];
        if base < node.base || base + PAGE_SIZE > node.end() {
            return Err(Error::Invalid);
        }
        if self.siblings(parent, base, PAGE_SIZE).is_empty() {
            Ok(())
        } else {
            Err(Error::Overlap)
        }
    }

    pub fn create(&self, claim: usize, base: u64, policy: Policy, quota: u64) -> Verdict<()> {
        let owner = self.authority(claim, Flags::MAY_CREATE)?;
        let allowed = self.domains[owner].policy.flags | Flags::CONFIDENTIAL | Flags::DEBUG;
        if !allowed.contains(policy.flags) {
            return Err(Error::Policy);
        }
        self.pin(claim, base)?;
        if quota < 1 + COSTS.domain {
            return Err(Error::Quota);
        }
        self.room(claim, quota)
    }

    pub fn vcpu(&self, claim: usize, domain: usize, base: u64) -> Verdict<()> {
        self.authority(claim, Flags::MAY_CREATE)?;
        self.building(claim, domain)?;
        self.pin(claim, base)?;
        if self.left(domain) < COSTS.vcpu {
            return Err(Error::Quota);
        }
        self.room(claim, 0)
    }

    /// The node that the derivation makes.
    pub fn derive(
        &self,
        claim: usize,
        kind: Kind,
        from: From,
        target: Option<(usize, u64)>,
        asked: Attributes,
    ) -> Verdict<Node> {
        let carve = kind == Kind::Carve;
        let flag = if carve {
            Flags::MAY_CARVE
        } else {
            Flags::MAY_SHARE
        };
        self.authority(claim, flag)?;
        let (parent, base, size) = self.source(claim, from)?;
        self.derivable(parent)?;
        if let Some((domain, _)) = target {
            self.building(claim, domain)?;
        }
        let attributes = self.attributes(parent, carve, asked)?;
        let overlapping = self.siblings(parent, base, size);
        if overlapping
            .iter()
            .any(|other| carve || other.kind != Kind::Share)
        {
            return Err(Error::Overlap);
        }
        if let Some((domain, place)) = target {
            self.place(domain, place, size)?;
        }
        self.room(claim, 0)?;
        Ok(Node {
            id: None,
            kind,
            core: false,
            device: false,
            parent: Some(parent),
            base,
            size,
            place: target.map_or(0, |(_, place)| place),
            owner: target.map(|(domain, _)| domain),
            attributes,
            closed: false,
            offered: None,
            claim: Some(claim),
            alive: true,
        })
    }

    fn source(&self, claim: usize, from: From) -> Verdict<(usize, u64, u64)> {
        match from {
            From::Range(base, size) => {
                aligned(base, size)?;
                let parent = self.claims[claim].node;
                let node = &self.nodes[parent];
                if base < node.base || base + size > node.end() {
                    return Err(Error::Invalid);
                }
                Ok((parent, base, size))
            }
            From::Region(region, offset, size) => {
                aligned(offset, size)?;
                let node = self.region_of(claim, region)?;
                if node.core || node.device || offset + size > node.size {
                    return Err(Error::Invalid);
                }
                if node.owner.is_some() || node.offered.is_some() {
                    return Err(Error::WrongState);
                }
                Ok((region, node.base + offset, size))
            }
        }
    }

    fn attributes(&self, parent: usize, carve: bool, asked: Attributes) -> Verdict<Attributes> {
        let asked = asked.without(Attributes::NOBODY);
        let wants = |attribute| asked.contains(attribute);
        if !wants(Attributes::READ) {
            return Err(Error::Invalid);
        }
        let above = &self.nodes[parent];
        let refused = !above
            .rights()
            .contains(asked.intersection(Attributes::RIGHTS))
            || wants(Attributes::POOL)
                && !(carve && wants(Attributes::WRITE) && above.has(Attributes::POOL))
            || wants(Attributes::MEASURED) && !carve
            || carve && above.kind == Kind::Share
            || wants(Attributes::CLEAN) && !carve;
        if refused {
            return Err(Error::Rights);
        }
        Ok(asked)
    }

    /// Whether the grant takes effect at once; otherwise it is an offer.
    pub fn grant(&self, claim: usize, region: usize, target: usize, place: u64) -> Verdict<bool> {
        self.authority(claim, Flags::MAY_GRANT)?;
        let node = self.region_of(claim, region)?;
        let derived = self.living(|other| other.parent == Some(region));
        if node.core || node.owner.is_some() || node.offered.is_some() || !derived.is_empty() {
            return Err(Error::WrongState);
        }
        let domain = &self.domains[target];
        if domain.state == State::Dead {
            return Err(Error::NotFound);
        }
        if domain.state == State::Building && domain.claim == Some(claim) {
            self.place(target, place, node.size)?;
            return Ok(true);
        }
        if place != ANY_PLACE {
            aligned(place, node.size)?;
            if place + node.size > 1 << 48 {
                return Err(Error::Invalid);
            }
        }
        let measured = node.has(Attributes::MEASURED) && domain.state == State::Sealed;
        if node.has(Attributes::VITAL) || measured {
            return Err(Error::Rights);
        }
        Ok(false)
    }

    pub fn accept(
        &self,
        domain: usize,
        composer: Option<usize>,
        offer: usize,
        expected: Expected,
    ) -> Verdict<()> {
        match composer {
            Some(claim) => {
                self.authority(claim, Flags::MAY_CREATE)?;
                self.building(claim, domain)?;
            }
            None => self.may(domain, Flags::MAY_ACCEPT)?,
        }
        let node = &self.nodes[offer];
        if !node.alive || node.offered != Some(domain) {
            return Err(Error::NotFound);
        }
        let placed = node.place == ANY_PLACE || node.place == expected.place;
        if expected.size != node.size || expected.attributes != node.attributes || !placed {
            return Err(Error::Mismatch);
        }
        if node.has(Attributes::MEASURED) && self.domains[domain].state == State::Sealed {
            return Err(Error::Rights);
        }
        self.place(domain, expected.place, expected.size)
    }

    /// The range of the owner's from which the cores come.
    pub fn cores(&self, claim: usize, domain: usize, first: u64, count: u64) -> Verdict<usize> {
        let owner = self.authority(claim, Flags::MAY_SHARE)?;
        self.derivable(self.claims[claim].node)?;
        self.building(claim, domain)?;
        if count == 0 {
            return Err(Error::Invalid);
        }
        let holds = |node: &Node, domain| node.core && node.owner == Some(domain);
        let around = self
            .living(|node| holds(node, owner) && node.base <= first && first + count <= node.end());
        let parent = *around.first().ok_or(Error::Rights)?;
        self.derivable(parent)?;
        let taken = self.living(|node| holds(node, domain) && node.overlaps(first, count));
        if !taken.is_empty() {
            return Err(Error::Occupied);
        }
        self.room(claim, 0)?;
        Ok(parent)
    }

    /// The right that the device comes from, and its number.
    pub fn assign(
        &self,
        claim: usize,
        place: u64,
        size: u64,
        target: (usize, u64),
        asked: Attributes,
    ) -> Verdict<(usize, u64)> {
        let owner = self.authority(claim, Flags::MAY_CARVE)?;
        self.derivable(self.claims[claim].node)?;
        aligned(target.1, size)?;
        let has = self.living(|node| {
            let machine = node.kind == Kind::Root;
            let here = if machine {
                node.place <= place && place < node.place + node.size
            } else {
                node.place == place
            };
            node.device && node.owner == Some(owner) && here
        });
        let parent = *has.first().ok_or(Error::NotFound)?;
        self.derivable(parent)?;
        let node = &self.nodes[parent];
        let base = node.base + (place - node.place);
        let whole = (base - device::FIRST).is_multiple_of(device::SPAN) && size <= device::SPAN;
        let fits = node.kind == Kind::Root || node.size == size;
        if !whole || !fits || !asked.contains(Attributes::READ | Attributes::WRITE) {
            return Err(Error::Invalid);
        }
        let allowed = Attributes::READ | Attributes::WRITE | Attributes::CLEAN | Attributes::VITAL;
        if !allowed.contains(asked) {
            return Err(Error::Rights);
        }
        self.building(claim, target.0)?;
        if !self.siblings(parent, base, size).is_empty() {
            return Err(Error::Overlap);
        }
        self.place(target.0, target.1, size)?;
        self.room(claim, 0)?;
        Ok((parent, base))
    }

    pub fn seal(&self, claim: usize, domain: usize) -> Verdict<()> {
        self.authority(claim, Flags::MAY_CREATE)?;
        self.building(claim, domain)?;
        if self.vcpus(domain) == 0 {
            return Err(Error::WrongState);
        }
        Ok(())
    }

    pub fn close(&self, claim: usize, region: usize) -> Verdict<()> {
        if !self.nodes[self.claims[claim].node].alive {
            return Err(Error::NotFound);
        }
        self.region_of(claim, region).map(|_| ())
    }

    pub fn destroy(&self, claim: usize, domain: usize) -> Verdict<usize> {
        if !self.nodes[self.claims[claim].node].alive {
            return Err(Error::NotFound);
        }
        let record = &self.domains[domain];
        if record.claim != Some(claim) || record.state == State::Dead {
            return Err(Error::NotFound);
        }
        record.control.ok_or(Error::NotFound)
    }
}
