//! The engine's own check sees each contradiction: one record is changed at a time, in a world where all is well.

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;

use crate::Violation;
use crate::claim::Claim;
use crate::domain::Domain;
use crate::node::{Kind, Link, Node, NodePage, Resource, Stage, flag};
use crate::records::Records;
use crate::store::{Page, PageNumber};
use crate::tree::{self, Order};

use super::seeds::{nested, siblings};
use super::world::{POOL, World};

/// A change, and the check that it breaks.
type Change = (&'static str, Violation, fn() -> World, fn(&mut World));

/// Changes the first node of which this holds.
fn node(world: &mut World, holds: impl Fn(&Node) -> bool, change: impl FnOnce(&mut Node)) {
    let mut found = None;
    for (number, page) in world.engine.store.all() {
        let Page::Nodes(nodes) = page else { continue };
        for slot in 0..NodePage::SLOTS {
            if nodes.get(slot).is_some_and(&holds) && found.is_none() {
                found = Some(Link::new(number, slot));
            }
        }
    }
    let link = found.unwrap();
    change(world.engine.store.node_mut(link));
    if world.engine.store.node(link).kind != Kind::Root {
        tree::refresh(&mut world.engine.store, Order::Siblings, link);
        tree::refresh(&mut world.engine.store, Order::Holder, link);
    }
}

fn at(page: u64, kind: Kind) -> impl Fn(&Node) -> bool {
    move |node| node.base == POOL + page * PAGE_SIZE && node.kind == kind
}

fn core_root(node: &Node) -> bool {
    node.kind == Kind::Root && node.resource == Resource::Core
}

fn records(world: &World, wanted: fn(&Page) -> bool) -> Vec<PageNumber> {
    let pages = world.engine.store.all();
    let found = pages.filter(|(_, page)| wanted(page));
    found.map(|(number, _)| number).collect()
}

/// Changes the domain that was made as the first, second, …; domain 0 is the first.
fn domain(world: &mut World, index: usize, change: impl FnOnce(&mut Domain)) {
    let page = records(world, |page| matches!(page, Page::Domain(_)))[index];
    change(world.engine.store.domain_mut(page));
}

fn claim(world: &mut World, change: impl FnOnce(&mut Claim)) {
    let page = records(world, |page| matches!(page, Page::Claim(_)))[0];
    change(world.engine.store.claim_mut(page));
}

const CHANGES: &[Change] = &[
    ("no size", Violation::Conservation, siblings, |world| {
        node(world, core_root, |node| node.size = 0);
    }),
    (
        "a share without size",
        Violation::Conservation,
        siblings,
        |world| {
            node(world, at(6, Kind::Share), |node| node.size = 0);
        },
    ),
    (
        "a deep root without children",
        Violation::Records,
        siblings,
        |world| {
            let (memory, attributes) = (Resource::Memory, Attributes::RIGHTS);
            let added = world
                .engine
                .add_root(memory, 1 << 40, PAGE_SIZE, attributes);
            assert!(added.is_ok());
            assert_eq!(world.engine.check_invariants(), Ok(()));
            node(world, |node| node.base == 1 << 40, |node| node.depth = 1);
        },
    ),
    (
        "open pages of another's",
        Violation::Accounts,
        siblings,
        |world| {
            let other = records(world, |page| matches!(page, Page::Domain(_)))[0];
            let page = world.engine.store.domain(other).open_pages;
            assert!(page.is_some());
            claim(world, |claim| claim.open_pages = page);
        },
    ),
    (
        "what belongs to nobody in another's claim",
        Violation::Records,
        nested,
        |world| {
            let claims = records(world, |page| matches!(page, Page::Claim(_)));
            let has = |page: &&PageNumber| world.engine.store.claim(**page).unowned.is_some();
            let from = *claims.iter().find(has).unwrap();
            let to = *claims.iter().find(|page| **page != from).unwrap();
            let region = world.engine.store.claim(from).unowned;
            world.engine.store.claim_mut(to).unowned = region;
        },
    ),
    ("another payer", Violation::Records, siblings, |world| {
        let other = records(world, |page| matches!(page, Page::Claim(_)))[0];
        node(world, core_root, |node| node.payer = other);
    }),
    (
        "on its way out, alive",
        Violation::Completeness,
        siblings,
        |world| {
            node(world, at(6, Kind::Share), |node| node.stage = Stage::Drop);
        },
    ),
    ("another parent", Violation::Records, siblings, |world| {
        node(world, at(6, Kind::Share), |node| node.parent = None);
    }),
    (
        "carve over carve",
        Violation::Exclusivity,
        siblings,
        |world| {
            node(world, at(5, Kind::Carve), |node| node.base -= PAGE_SIZE);
        },
    ),
    (
        "share over carve",
        Violation::Exclusivity,
        siblings,
        |world| {
            node(world, at(6, Kind::Share), |node| node.base -= PAGE_SIZE);
        },
    ),
    (
        "carve over share",
        Violation::Exclusivity,
        siblings,
        |world| {
            node(world, at(5, Kind::Carve), |node| node.size += PAGE_SIZE);
        },
    ),
    (
        "before its parent",
        Violation::Conservation,
        siblings,
        |world| {
            node(world, at(0, Kind::Control), |node| node.base -= PAGE_SIZE);
        },
    ),
    (
        "behind its parent",
        Violation::Conservation,
        siblings,
        |world| {
            node(world, at(6, Kind::Share), |node| node.size += 2 * PAGE_SIZE);
        },
    ),
    (
        "another resource",
        Violation::Conservation,
        siblings,
        |world| {
            node(world, at(5, Kind::Carve), |node| {
                node.resource = Resource::Core
            });
        },
    ),
    ("too deep", Violation::Records, siblings, |world| {
        node(world, at(5, Kind::Carve), |node| node.depth += 1);
    }),
    ("a deep root", Violation::Records, siblings, |world| {
        node(world, core_root, |node| node.depth = 1);
    }),
    (
        "more rights than the parent",
        Violation::Monotony,
        nested,
        |world| {
            node(world, at(8, Kind::Carve), |node| {
                node.attributes = Attributes::READ
            });
        },
    ),
    (
        "pool out of what is none",
        Violation::Monotony,
        nested,
        |world| {
            node(world, at(8, Kind::Carve), |node| {
                node.attributes = node.attributes | Attributes::EXECUTE | Attributes::POOL;
            });
            node(world, at(8, Kind::Share), |node| {
                node.attributes = Attributes::RIGHTS | Attributes::POOL;
            });
            domain(world, 2, |domain| {
                domain.pool_regions += 1;
                domain.pool_bytes += PAGE_SIZE;
            });
        },
    ),
    ("a clean share", Violation::Exclusivity, siblings, |world| {
        node(world, at(6, Kind::Share), |node| {
            node.attributes = node.attributes | Attributes::CLEAN;
        });
    }),
    (
        "a measured share",
        Violation::Exclusivity,
        siblings,
        |world| {
            node(world, at(6, Kind::Share), |node| {
                node.attributes = node.attributes | Attributes::MEASURED;
            });
        },
    ),
    (
        "a carve too many",
        Violation::Exclusivity,
        siblings,
        |world| {
            node(world, at(0, Kind::Root), |node| node.carves += 1);
        },
    ),
    (
        "a share too few",
        Violation::Exclusivity,
        siblings,
        |world| {
            node(world, at(0, Kind::Root), |node| node.shares -= 1);
        },
    ),
    ("a claim elsewhere", Violation::Records, siblings, |world| {
        node(world, at(0, Kind::Claim), |node| node.place += PAGE_SIZE);
    }),
    (
        "a claim of another's",
        Violation::Records,
        nested,
        |world| {
            let other = records(world, |page| matches!(page, Page::Domain(_)))[2];
            claim(world, |claim| claim.domain = other);
        },
    ),
    (
        "an offer that is none",
        Violation::Records,
        siblings,
        |world| {
            node(world, at(5, Kind::Carve), |node| {
                node.flags &= !flag::OFFERED
            });
        },
    ),
    (
        "an offer to nobody",
        Violation::Records,
        siblings,
        |world| {
            node(world, at(5, Kind::Carve), |node| node.target = None);
        },
    ),
    (
        "a control page of nobody's",
        Violation::Records,
        siblings,
        |world| {
            node(world, at(0, Kind::Control), |node| node.target = None);
        },
    ),
    (
        "a domain more in a claim",
        Violation::Records,
        siblings,
        |world| {
            claim(world, |claim| claim.domains += 1);
        },
    ),
    (
        "a domain in no claim",
        Violation::Records,
        siblings,
        |world| {
            domain(world, 1, |domain| {
                domain.claim = None;
                domain.account.used = 1;
            });
        },
    ),
    (
        "a domain without control page",
        Violation::Records,
        siblings,
        |world| {
            domain(world, 1, |domain| domain.control = None);
        },
    ),
    (
        "a claim that used more",
        Violation::Accounts,
        siblings,
        |world| {
            claim(world, |claim| claim.account.used += 1);
        },
    ),
    (
        "a claim that passed on less",
        Violation::Accounts,
        siblings,
        |world| {
            claim(world, |claim| claim.account.passed -= 1);
        },
    ),
    (
        "a claim beyond its limit",
        Violation::Accounts,
        siblings,
        |world| {
            claim(world, |claim| claim.account.limit = claim.account.used);
            let limit = 0;
            domain(world, 0, |domain| domain.account.passed = limit);
        },
    ),
    (
        "a domain that used more",
        Violation::Accounts,
        siblings,
        |world| {
            domain(world, 1, |domain| domain.account.used += 1);
        },
    ),
    (
        "a domain that passed on more",
        Violation::Accounts,
        nested,
        |world| {
            domain(world, 1, |domain| domain.account.passed += 1);
        },
    ),
    (
        "a domain beyond its limit",
        Violation::Accounts,
        siblings,
        |world| {
            domain(world, 0, |domain| {
                domain.account.limit = domain.account.passed
            });
        },
    ),
    ("a region too many", Violation::Records, siblings, |world| {
        domain(world, 1, |domain| domain.regions += 1);
    }),
    (
        "a pool region too many",
        Violation::Records,
        siblings,
        |world| {
            domain(world, 1, |domain| domain.pool_regions += 1);
        },
    ),
    (
        "a byte of pool too many",
        Violation::Records,
        siblings,
        |world| {
            domain(world, 1, |domain| domain.pool_bytes += 1);
        },
    ),
    (
        "a byte claimed too many",
        Violation::Records,
        siblings,
        |world| {
            domain(world, 1, |domain| domain.claimed_bytes += 1);
        },
    ),
    ("a vCPU too many", Violation::Accounts, siblings, |world| {
        domain(world, 1, |domain| domain.vcpus += 1);
    }),
    (
        "sealed without vCPU",
        Violation::Records,
        siblings,
        |world| {
            let costs = 2;
            domain(world, 1, |domain| {
                domain.vcpus = 0;
                domain.account.used -= costs;
            });
        },
    ),
    (
        "an owner who does not have it",
        Violation::Records,
        siblings,
        |world| {
            let other = records(world, |page| matches!(page, Page::Domain(_)))[0];
            node(world, at(6, Kind::Share), |node| node.owner = Some(other));
        },
    ),
];

#[test]
fn the_check_sees_every_contradiction() {
    let mut unseen = Vec::new();
    for (name, violation, seed, change) in CHANGES {
        let mut world = seed();
        assert_eq!(world.engine.check_invariants(), Ok(()), "{name}");
        change(&mut world);
        let seen = world.engine.check_invariants();
        if seen != Err(*violation) {
            unseen.push((name, seen));
        }
    }
    assert!(unseen.is_empty(), "{unseen:?}");
}
