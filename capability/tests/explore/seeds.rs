//! Where explorations begin: worlds in which much is there already.

use adyton_abi::PAGE_SIZE;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::region::Attributes;

use crate::identity::PageNumber;
use crate::node::{Kind, Link};
use crate::store::Page;

use super::action::{Action, Alphabet, From};
use super::machine::CORES;
use super::search::Scenario;
use super::world::{Outcome, POOL, World};

/// Read and write.
const DATA: Attributes = Attributes::READ.union(Attributes::WRITE);

/// What regions of a seed may be: data, or a pool of one's own.
const SEEDED: &[Attributes] = &[DATA, DATA.union(Attributes::POOL)];

/// A world being built, by the same actions that are explored.
struct Builder {
    world: World,
    alphabet: Alphabet,
}

impl Builder {
    fn new(pool_pages: u64) -> Self {
        Self {
            world: World::new(pool_pages),
            alphabet: Alphabet {
                attributes: SEEDED,
                ..Alphabet::NONE
            },
        }
    }

    /// Does it, and all that follows.
    fn act(&mut self, action: Action) {
        let outcome = self.world.apply(action, &self.alphabet);
        assert_eq!(outcome, Outcome::Changed, "{action:?}");
        self.world.fill_secrets();
        while self.world.flights.iter().any(Option::is_some) {
            for core in 0..CORES {
                if self.world.machine.is_awaited(core) {
                    self.world.machine.answer(core);
                }
                self.world.advance(core, 1);
                self.world.fill_secrets();
                assert_eq!(self.world.ended_badly, None);
            }
        }
        // What the last step sealed is remembered with the next action.
        self.world.apply(Action::Answer(0), &self.alphabet);
        self.world.check().unwrap();
    }

    fn newest(&self, wanted: impl Fn(&Page) -> bool) -> PageNumber {
        let pages = self.world.engine.store.all();
        let found = pages
            .filter(|(_, page)| wanted(page))
            .map(|(number, _)| number);
        found.last().unwrap()
    }

    fn claim(&mut self, domain: PageNumber, first: u8, count: u8) -> PageNumber {
        self.act(Action::Claim {
            domain,
            first,
            count,
        });
        self.newest(|page| matches!(page, Page::Claim(_)))
    }

    /// A domain with a vCPU, whose control page is the `first` of the claim.
    fn domain(&mut self, claim: PageNumber, base: u64, flags: Flags) -> PageNumber {
        let policy = Policy {
            flags,
            exceptions: 0,
        };
        self.world.create(claim, base, policy).unwrap();
        let domain = self.newest(|page| matches!(page, Page::Domain(_)));
        let claim_base = match self
            .world
            .engine
            .store
            .all()
            .find(|(number, _)| *number == claim)
        {
            Some((_, Page::Claim(record))) => {
                let facts = self.world.engine.claim_facts(record.id).unwrap();
                facts.base
            }
            _ => unreachable!(),
        };
        let first = ((base - claim_base) / PAGE_SIZE + 1) as u8;
        self.act(Action::Vcpu {
            claim,
            domain,
            first,
        });
        domain
    }

    fn carve(
        &mut self,
        claim: PageNumber,
        first: u8,
        count: u8,
        target: Option<PageNumber>,
        attributes: u8,
    ) {
        let from = From::Range { first, count };
        self.act(Action::Carve {
            claim,
            from,
            target,
            attributes,
        });
    }

    fn share(&mut self, claim: PageNumber, first: u8, count: u8, target: Option<PageNumber>) {
        let from = From::Range { first, count };
        self.act(Action::Share {
            claim,
            from,
            target,
        });
    }

    /// The region that belongs to nobody and begins at this page of the pool.
    fn unowned(&self, index: u64) -> Link {
        let base = POOL + index * PAGE_SIZE;
        let mut found = None;
        for (number, page) in self.world.engine.store.all() {
            let Page::Nodes(nodes) = page else { continue };
            for slot in 0..crate::node::NodePage::SLOTS {
                let wanted = nodes.get(slot).is_some_and(|node| {
                    node.base == base && node.owner.is_none() && node.kind == Kind::Carve
                });
                if wanted {
                    found = Some(Link::new(number, slot));
                }
            }
        }
        found.unwrap()
    }
}

/// Domain 0's record.
fn first() -> PageNumber {
    PageNumber::new(0).unwrap()
}

fn page(index: u64) -> u64 {
    POOL + index * PAGE_SIZE
}

/// A confidential domain that is sealed and may run, another one that is being composed, and four pages of data: one carved for the first, one
/// that belongs to nobody and is offered to it, one shared with the second, one free.
pub fn siblings() -> World {
    let mut builder = Builder::new(8);
    let claim = builder.claim(first(), 0, 8);
    let all = Flags::CONFIDENTIAL | Flags::MAY_COMPOSE;
    let sealed = builder.domain(claim, page(0), all);
    let other = builder.domain(claim, page(2), Flags::MAY_COMPOSE);
    builder.carve(claim, 4, 1, Some(sealed), 0);
    builder.act(Action::Cores(sealed));
    builder.act(Action::Seal(sealed));
    builder.carve(claim, 5, 1, None, 0);
    let offered = builder.unowned(5);
    builder.act(Action::Grant(offered, sealed));
    builder.share(claim, 6, 1, Some(other));
    builder.world
}

/// As [`siblings`], and the second domain is sealed too; what the first has been given it has accepted.
pub fn both_sealed() -> World {
    let mut builder = Builder {
        world: siblings(),
        ..Builder::new(8)
    };
    let claim = builder.newest(|page| matches!(page, Page::Claim(_)));
    let other = builder.newest(|page| matches!(page, Page::Domain(_)));
    let sealed = builder.first_sealed();
    let offer = builder.unowned(5);
    builder.act(Action::Accept {
        domain: sealed,
        offer,
        composed: false,
    });
    builder.act(Action::Cores(other));
    builder.act(Action::Seal(other));
    builder.carve(claim, 7, 1, None, 0);
    builder.world
}

/// A domain with a pool of four pages, in which it has a claim and a confidential domain with one page carved and one free; beside it one
/// that is being composed and shares a page that belongs to nobody.
pub fn nested() -> World {
    let mut builder = Builder::new(10);
    let claim = builder.claim(first(), 0, 10);
    let outer = builder.domain(claim, page(0), Flags::MAY_COMPOSE);
    let beside = builder.domain(claim, page(2), Flags::CONFIDENTIAL | Flags::MAY_COMPOSE);
    builder.carve(claim, 4, 4, Some(outer), 1);
    builder.act(Action::Cores(outer));
    builder.act(Action::Seal(outer));
    let inside = builder.claim(outer, 4, 4);
    let inner = builder.domain(inside, page(4), Flags::CONFIDENTIAL | Flags::MAY_COMPOSE);
    builder.act(Action::Cores(inner));
    builder.carve(inside, 2, 1, Some(inner), 0);
    builder.carve(claim, 8, 1, None, 0);
    let region = builder.unowned(8);
    builder.act(Action::Share {
        claim,
        from: From::Region { region, count: 1 },
        target: Some(beside),
    });
    builder.world
}

impl Builder {
    fn first_sealed(&self) -> PageNumber {
        let sealed = self.world.sealed.first().unwrap().domain;
        let mut pages = self.world.engine.store.all();
        let found = pages.find(|(_, page)| match page {
            Page::Domain(domain) => domain.id == sealed,
            _ => false,
        });
        found.unwrap().0
    }
}

/// One domain of two cores, and a claim of four pages of data beside its pins: small enough to be explored to the end.
pub fn small() -> World {
    let mut builder = Builder::new(4);
    let claim = builder.claim(first(), 0, 4);
    builder.domain(claim, page(0), Flags::CONFIDENTIAL | Flags::MAY_COMPOSE);
    builder.world
}

/// No calls, and regions of data.
const DATA_ONLY: Alphabet = Alphabet {
    attributes: &[DATA],
    ..Alphabet::NONE
};

/// What [`super::planted`] explores.
pub const SIBLINGS: Alphabet = Alphabet {
    attributes: &[DATA],
    carve: true,
    nobody: true,
    share: true,
    grant: true,
    accept: true,
    revoke: true,
    seal: true,
    destroy: true,
    enter: true,
    ..Alphabet::NONE
};

/// All scenarios. Each leaves out what others explore, so that many operations of it can be explored whole.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "carve, grant, accept, revoke",
        seed: siblings,
        alphabet: Alphabet {
            carve: true,
            nobody: true,
            grant: true,
            accept: true,
            revoke: true,
            most_regions: 6,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "share, close, seal, revoke",
        seed: siblings,
        alphabet: Alphabet {
            share: true,
            derive: true,
            close: true,
            seal: true,
            revoke: true,
            most_regions: 6,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "enter, accept, revoke, destroy",
        seed: both_sealed,
        alphabet: Alphabet {
            grant: true,
            accept: true,
            enter: true,
            revoke: true,
            destroy: true,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "vital, measured, wide",
        seed: siblings,
        alphabet: Alphabet {
            attributes: &[
                DATA.union(Attributes::VITAL),
                DATA.union(Attributes::MEASURED),
            ],
            carve: true,
            wide: true,
            seal: true,
            revoke: true,
            most_regions: 6,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "nested",
        seed: nested,
        alphabet: Alphabet {
            share: true,
            revoke: true,
            release: true,
            most_regions: 7,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "callers that are gone",
        seed: siblings,
        alphabet: Alphabet {
            carve: true,
            accept: true,
            revoke: true,
            destroy: true,
            abandon: true,
            most_regions: 6,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "a core that does not answer",
        seed: both_sealed,
        alphabet: Alphabet {
            enter: true,
            accept: true,
            revoke: true,
            destroy: true,
            silence: true,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "a device",
        seed: siblings,
        alphabet: Alphabet {
            assign: true,
            enter: true,
            seal: true,
            revoke: true,
            destroy: true,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "a device, and callers that are gone",
        seed: siblings,
        alphabet: Alphabet {
            assign: true,
            seal: true,
            revoke: true,
            destroy: true,
            abandon: true,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "a whole core",
        seed: siblings,
        alphabet: Alphabet {
            whole: true,
            enter: true,
            seal: true,
            revoke: true,
            destroy: true,
            abandon: true,
            silence: true,
            ..DATA_ONLY
        },
    },
    Scenario {
        name: "from one domain",
        seed: small,
        alphabet: Alphabet {
            create: true,
            claim: true,
            release: true,
            cores: true,
            destroy: true,
            seal: true,
            carve: true,
            revoke: true,
            most_regions: 2,
            ..DATA_ONLY
        },
    },
];
