//! What can happen in a world: the calls, each with a small alphabet of arguments, the slices of what is on its way, and
//! what cores do.
//!
//! Which actions there are is worked out anew in every state, from what exists there. Pages that nothing was ever derived from are
//! interchangeable: only the first is offered.

use adyton_abi::PAGE_SIZE;
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::claim::Claim;
use crate::domain::Domain;
use crate::identity::PageNumber;
use crate::node::{Kind, Link, Node, Resource, flag};
use crate::records::Records;
use crate::store::Page;
use crate::tree::{Order, Tree};

use super::machine::CORES;
use super::world::World;

/// What is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Pages of the claim, from its beginning.
    Range { first: u8, count: u8 },
    /// The first pages of a region that belongs to nobody.
    Region { region: Link, count: u8 },
}

/// One transition. Domains and claims are named by the page of their record, regions by where their node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The next slice of what this core is about.
    Advance(u8),
    /// The core takes the kick that it was sent.
    Answer(u8),
    /// The core leaves the child that it runs.
    Exit(u8),
    /// The caller is gone, and nobody carries its operation on.
    Abandon(u8),
    /// From here on the core does not answer.
    Silence(u8),
    Enter(u8, PageNumber),
    /// On the core that the domain has as a whole.
    Start(PageNumber),
    Claim {
        domain: PageNumber,
        first: u8,
        count: u8,
    },
    Release(PageNumber),
    Create {
        claim: PageNumber,
        first: u8,
    },
    Vcpu {
        claim: PageNumber,
        domain: PageNumber,
        first: u8,
    },
    Cores(PageNumber),
    Carve {
        claim: PageNumber,
        from: From,
        target: Option<PageNumber>,
        attributes: u8,
    },
    Share {
        claim: PageNumber,
        from: From,
        target: Option<PageNumber>,
    },
    Grant(Link, PageNumber),
    Accept {
        domain: PageNumber,
        offer: Link,
        composed: bool,
    },
    /// The device.
    Assign(PageNumber),
    /// The core that can be given away.
    CarveCore(PageNumber),
    Close(Link),
    Revoke(Link),
    Seal(PageNumber),
    Destroy(PageNumber),
}

impl Action {
    /// Whether it is an operation of its own, not the course of one.
    pub const fn is_operation(self) -> bool {
        !matches!(self, Self::Advance(_) | Self::Answer(_) | Self::Exit(_))
    }
}

/// Which calls a scenario explores, with which arguments.
#[derive(Clone, Copy, Debug)]
pub struct Alphabet {
    /// What carves may have; the first is also what shares have.
    pub attributes: &'static [Attributes],
    pub carve: bool,
    /// Also two pages at once.
    pub wide: bool,
    /// Regions that belong to nobody.
    pub nobody: bool,
    pub share: bool,
    /// Shares out of regions that belong to nobody.
    pub derive: bool,
    pub grant: bool,
    pub accept: bool,
    pub close: bool,
    pub revoke: bool,
    pub seal: bool,
    pub destroy: bool,
    pub enter: bool,
    pub cores: bool,
    pub create: bool,
    pub claim: bool,
    pub release: bool,
    pub silence: bool,
    pub abandon: bool,
    pub assign: bool,
    /// Whole cores: giving them, starting on them.
    pub whole: bool,
    /// Regions beyond which nothing more is derived.
    pub most_regions: usize,
}

impl Alphabet {
    /// No call at all; what scenarios begin with.
    pub const NONE: Self = Self {
        attributes: &[Attributes::RIGHTS],
        carve: false,
        wide: false,
        nobody: false,
        share: false,
        derive: false,
        grant: false,
        accept: false,
        close: false,
        revoke: false,
        seal: false,
        destroy: false,
        enter: false,
        cores: false,
        create: false,
        claim: false,
        release: false,
        silence: false,
        abandon: false,
        assign: false,
        whole: false,
        most_regions: usize::MAX,
    };
}

/// Pages at the beginning of each claim that are for control and exit pages, two for each domain.
pub fn pins(claim_pages: u64) -> u64 {
    if claim_pages >= 8 { 4 } else { 2 }
}

/// Works out what can happen.
struct Listing<'a> {
    world: &'a World,
    alphabet: &'a Alphabet,
    actions: Vec<Action>,
    domains: Vec<(PageNumber, &'a Domain)>,
    claims: Vec<(PageNumber, &'a Claim)>,
    regions: Vec<(Link, &'a Node)>,
}

/// Everything that can happen in the world. Some of it is refused.
pub fn list(world: &World, alphabet: &Alphabet) -> Vec<Action> {
    let mut listing = Listing {
        world,
        alphabet,
        actions: Vec::with_capacity(48),
        domains: Vec::new(),
        claims: Vec::new(),
        regions: Vec::new(),
    };
    listing.look();
    listing.courses();
    listing.entries();
    if world.has_caller() {
        listing.domain_calls();
        listing.claim_calls();
        listing.region_calls();
    }
    listing.actions
}

impl Listing<'_> {
    fn look(&mut self) {
        for (number, page) in self.world.engine.store.all() {
            match page {
                Page::Domain(domain) => self.domains.push((number, domain)),
                Page::Claim(claim) => self.claims.push((number, claim)),
                Page::Nodes(nodes) => {
                    for slot in 0..crate::node::NodePage::SLOTS {
                        let Some(node) = nodes.get(slot) else {
                            continue;
                        };
                        if matches!(node.kind, Kind::Carve | Kind::Share) {
                            self.regions.push((Link::new(number, slot), node));
                        }
                    }
                }
                Page::Empty => {}
            }
        }
    }

    fn add(&mut self, allowed: bool, action: Action) {
        if allowed {
            self.actions.push(action);
        }
    }

    fn courses(&mut self) {
        let alphabet = self.alphabet;
        let machine = &self.world.machine;
        for core in 0..CORES as u8 {
            let at = core as usize;
            let flies = self.world.flights[at].is_some();
            let loud = machine.silent & 1 << core == 0;
            let away = machine.running[at] != self.world.first;
            self.add(flies, Action::Advance(core));
            self.add(machine.is_awaited(at) && loud, Action::Answer(core));
            self.add(away && loud && !flies, Action::Exit(core));
            self.add(flies && alphabet.abandon, Action::Abandon(core));
            let quiet = alphabet.silence && machine.silent == 0 && !flies;
            self.add(quiet, Action::Silence(core));
        }
    }

    fn entries(&mut self) {
        let domains = core::mem::take(&mut self.domains);
        for (page, domain) in &domains {
            for core in 0..CORES as u8 {
                let may = self.alphabet.enter && self.world.may_enter(domain, core.into());
                self.add(may, Action::Enter(core, *page));
            }
            let may = self.alphabet.whole && self.world.may_start(domain);
            self.add(may, Action::Start(*page));
        }
        self.domains = domains;
    }

    fn domain_calls(&mut self) {
        let alphabet = self.alphabet;
        let domains = core::mem::take(&mut self.domains);
        for (page, domain) in &domains {
            let child = domain.claim.is_some();
            let building = domain.state == DomainState::Building;
            self.add(child && building && alphabet.seal, Action::Seal(*page));
            self.add(child && alphabet.destroy, Action::Destroy(*page));
            self.add(child && building && alphabet.cores, Action::Cores(*page));
            self.add(child && building && alphabet.assign, Action::Assign(*page));
            let core = building && alphabet.whole && self.world.is_offline();
            self.add(child && core, Action::CarveCore(*page));
            if alphabet.claim && domain.state == DomainState::Sealed {
                self.claim_calls_of(*page);
            }
            let offers = Tree::new(&self.world.engine.store, Order::Offers, domain.offers);
            let mut here = offers.first();
            while let Some(offer) = here {
                let accept = Action::Accept {
                    domain: *page,
                    offer,
                    composed: building,
                };
                self.add(alphabet.accept, accept);
                here = offers.next(offer);
            }
        }
        self.domains = domains;
    }

    /// Claims the whole of a pool region in which nothing is.
    fn claim_calls_of(&mut self, domain: PageNumber) {
        let store = &self.world.engine.store;
        let holdings = Tree::new(store, Order::Holder, store.domain(domain).holdings);
        let mut here = holdings.first();
        while let Some(link) = here {
            let node = store.node(link);
            if node.is_pool() && node.children.is_none() {
                let first = self.world.page_index(node.base);
                let count = (node.size / PAGE_SIZE) as u8;
                self.actions.push(Action::Claim {
                    domain,
                    first,
                    count,
                });
            }
            here = holdings.next(link);
        }
    }

    fn claim_calls(&mut self) {
        let claims = core::mem::take(&mut self.claims);
        for (page, claim) in &claims {
            self.add(self.alphabet.release, Action::Release(*page));
            self.pins(*page, claim);
            let room = self.regions.len() < self.alphabet.most_regions;
            if room && self.world.engine.store.domain(claim.domain).state == DomainState::Sealed {
                self.derivations(*page, claim);
            }
        }
        self.claims = claims;
    }

    fn node_of(&self, claim: &Claim) -> &Node {
        self.world.engine.store.node(claim.node())
    }

    /// Whether something overlaps the pages of the claim.
    fn is_taken(&self, claim: &Claim, first: u64, count: u64, exclusively: bool) -> bool {
        let node = self.node_of(claim);
        let tree = Tree::new(&self.world.engine.store, Order::Siblings, node.children);
        let base = node.base + first * PAGE_SIZE;
        let end = base + count * PAGE_SIZE;
        if exclusively {
            tree.overlaps_exclusive(base, end)
        } else {
            tree.overlaps(base, end)
        }
    }

    fn pins(&mut self, page: PageNumber, claim: &Claim) {
        if !self.alphabet.create {
            return;
        }
        let slots = pins(self.node_of(claim).size / PAGE_SIZE) / 2;
        if let Some(free) = (0..slots).find(|slot| !self.is_taken(claim, slot * 2, 2, false)) {
            let first = (free * 2) as u8;
            self.actions.push(Action::Create { claim: page, first });
        }
        for (domain, record) in self.domains.clone() {
            let Some(control) = record.control.filter(|_| record.claim == Some(page)) else {
                continue;
            };
            let base = self.world.engine.store.node(control).base;
            let first = ((base - self.node_of(claim).base) / PAGE_SIZE + 1) as u8;
            let bare = record.state == DomainState::Building && record.vcpus == 0;
            let vcpu = Action::Vcpu {
                claim: page,
                domain,
                first,
            };
            self.add(bare, vcpu);
        }
    }

    /// Whom this claim may derive for: nobody, and what it composes.
    fn targets(&self, page: PageNumber) -> Vec<Option<PageNumber>> {
        let composed = self.domains.iter().filter(|(_, domain)| {
            domain.claim == Some(page) && domain.state == DomainState::Building
        });
        let nobody = self.alphabet.nobody.then_some(None);
        nobody
            .into_iter()
            .chain(composed.map(|(domain, _)| Some(*domain)))
            .collect()
    }

    fn derivations(&mut self, page: PageNumber, claim: &Claim) {
        let pages = self.node_of(claim).size / PAGE_SIZE;
        let data = || pins(pages)..pages;
        let fresh = data().find(|first| !self.is_taken(claim, *first, 1, false));
        let shared = data().find(|first| {
            self.is_taken(claim, *first, 1, false) && !self.is_taken(claim, *first, 1, true)
        });
        let two = |first: u64| first + 2 <= pages && !self.is_taken(claim, first, 2, false);
        let wide = fresh.filter(|first| self.alphabet.wide && two(*first));
        let range = |first: u64, count| From::Range {
            first: first as u8,
            count,
        };
        let alone: Vec<From> = fresh
            .map(|first| range(first, 1))
            .into_iter()
            .chain(wide.map(|first| range(first, 2)))
            .collect();
        let again = shared.map(|first| range(first, 1));
        for target in self.targets(page) {
            for from in &alone {
                if self.alphabet.carve {
                    self.carves(page, *from, target);
                }
            }
            for from in alone.iter().copied().chain(again) {
                let share = Action::Share {
                    claim: page,
                    from,
                    target,
                };
                self.add(self.alphabet.share, share);
            }
        }
    }

    fn carves(&mut self, claim: PageNumber, from: From, target: Option<PageNumber>) {
        for attributes in 0..self.alphabet.attributes.len() as u8 {
            self.actions.push(Action::Carve {
                claim,
                from,
                target,
                attributes,
            });
        }
    }

    fn region_calls(&mut self) {
        let alphabet = self.alphabet;
        let regions = core::mem::take(&mut self.regions);
        for (link, node) in &regions {
            self.add(alphabet.revoke, Action::Revoke(*link));
            let memory = node.resource == Resource::Memory;
            let open = !node.has(flag::CLOSED);
            self.add(alphabet.close && memory && open, Action::Close(*link));
            if !memory || node.owner.is_some() || node.has(flag::OFFERED | flag::DYING) {
                continue;
            }
            for (domain, record) in self.domains.clone() {
                let child = record.claim.is_some() && node.children.is_none();
                self.add(alphabet.grant && child, Action::Grant(*link, domain));
            }
            if alphabet.derive && regions.len() < alphabet.most_regions {
                let count = (node.size / PAGE_SIZE) as u8;
                for target in self.targets(node.payer).into_iter().flatten() {
                    self.actions.push(Action::Share {
                        claim: node.payer,
                        from: From::Region {
                            region: *link,
                            count,
                        },
                        target: Some(target),
                    });
                }
            }
        }
        self.regions = regions;
    }
}
