//! One mistake for each thing that must hold, and the exploration finds it and names what it breaks.
//!
//! The engine itself is not touched: after each transition the mistake is made in its records, as it would stand there if the engine had
//! made it.

use adyton_abi::PAGE_SIZE;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use crate::Violation;
use crate::engine::Draft;
use crate::node::{Kind, Link, Node, NodePage, Resource, Stage, flag};
use crate::operation::Operation;
use crate::placement;
use crate::records::Records;
use crate::seal::Measuring;
use crate::store::{Page, PageNumber, Store};
use crate::tree::{self, Order};

use super::action::{Action, Alphabet, From};
use super::check::Breach;
use super::search::{Limits, Plant, Scenario, explore};
use super::seeds::{SIBLINGS, nested, siblings};
use super::world::{Outcome, World};

/// A mistake, what it is called, and what it breaks.
struct Mistake {
    name: &'static str,
    breaks: Breach,
    seed: fn() -> World,
    plant: Plant,
}

fn links(world: &World) -> Vec<Link> {
    let pages = world.engine.store.all();
    let nodes = pages.filter_map(|(number, page)| match page {
        Page::Nodes(nodes) => Some((number, nodes)),
        _ => None,
    });
    nodes
        .flat_map(|(number, nodes)| {
            let taken = (0..NodePage::SLOTS).filter(|slot| nodes.get(*slot).is_some());
            taken.map(move |slot| Link::new(number, slot))
        })
        .collect()
}

fn node(world: &World, link: Link) -> &Node {
    world.engine.store.node(link)
}

fn node_mut(world: &mut World, link: Link) -> &mut Node {
    world.engine.store.node_mut(link)
}

/// What the transition made.
fn made(before: &World, after: &World) -> Option<Link> {
    let find = |link: &Link| {
        before
            .engine
            .store
            .find_node(node(after, *link).id)
            .is_none()
    };
    links(after).into_iter().find(find)
}

/// Moves every node that has come to `from` on to another stage.
fn skip(world: &mut World, from: Stage, to: impl Fn(&Node) -> Stage) {
    for link in links(world) {
        let node = node_mut(world, link);
        if node.stage == from {
            let next = to(node);
            node.set_stage(next);
        }
    }
}

/// The node that a carve of this transition made, if it succeeded.
fn carved(before: &World, after: &World, action: Action, owned: bool) -> Option<Link> {
    match action {
        Action::Carve { target, .. } if target.is_some() == owned => made(before, after),
        _ => None,
    }
}

fn overlap(before: &World, after: &mut World, action: Action, _: &Outcome) {
    let Some(link) = carved(before, after, action, false) else {
        return;
    };
    let node = node(after, link);
    let draft = Draft {
        resource: Resource::Memory,
        kind: Kind::Carve,
        base: node.base,
        size: node.size,
        place: 0,
        attributes: node.attributes,
        parent: node.parent,
    };
    let payer = node.payer;
    if let Ok(second) = after.engine.make_node(payer, draft) {
        after.engine.list_unowned(second);
    }
}

fn more_rights(before: &World, after: &mut World, action: Action, _: &Outcome) {
    let from_region = matches!(
        action,
        Action::Share {
            from: From::Region { .. },
            ..
        }
    );
    if let Some(link) = made(before, after).filter(|_| from_region) {
        let node = node_mut(after, link);
        node.attributes = node.attributes | Attributes::EXECUTE;
    }
}

fn out_before_children(_: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Action::Revoke(link) = action
        && node(after, link).children.is_some()
    {
        node_mut(after, link).stage = Stage::Gone;
    }
}

fn behind_the_end(before: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Some(link) = carved(before, after, action, false) {
        node_mut(after, link).size += 64 * PAGE_SIZE;
        tree::refresh(&mut after.engine.store, Order::Siblings, link);
    }
}

fn charged_twice(before: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Some(link) = carved(before, after, action, true) {
        let payer = node(after, link).payer;
        after.engine.store.account_mut(payer).charge(1);
    }
}

fn half_a_page_lower(before: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Some(link) = carved(before, after, action, true) {
        node_mut(after, link).place -= PAGE_SIZE / 2;
    }
}

fn reach_forgotten(before: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Some(link) = carved(before, after, action, true) {
        node_mut(after, link).reach = 0;
    }
}

fn counted_twice(before: &World, after: &mut World, action: Action, _: &Outcome) {
    let owner = carved(before, after, action, true).and_then(|link| node(after, link).owner);
    if let Some(owner) = owner {
        after.engine.store.domain_mut(owner).regions += 1;
    }
}

fn not_taken(_: &World, after: &mut World, _: Action, _: &Outcome) {
    skip(after, Stage::Take, |_| Stage::TakeFlush);
}

fn not_unmapped(_: &World, after: &mut World, _: Action, _: &Outcome) {
    let memory = |node: &Node| match node.resource {
        Resource::Memory | Resource::Device => Stage::DropFlush,
        Resource::Core | Resource::WholeCore => Stage::Drop,
    };
    skip(after, Stage::Drop, memory);
}

fn not_flushed_before(_: &World, after: &mut World, _: Action, _: &Outcome) {
    let given = |node: &Node| match node.owner {
        Some(_) => Stage::Give,
        None => Stage::Live,
    };
    skip(after, Stage::TakeFlush, given);
}

fn not_flushed_after(_: &World, after: &mut World, _: Action, _: &Outcome) {
    for link in links(after) {
        let node = node(after, link);
        if node.stage == Stage::DropFlush && node.owner.is_some() {
            placement::detach(&mut after.engine.store, link);
            after.engine.list_unowned(link);
            node_mut(after, link).set_stage(Stage::Scrub);
        }
    }
}

fn given_twice(before: &World, after: &mut World, _: Action, _: &Outcome) {
    for link in links(after) {
        let was = before.engine.store.find_node(node(after, link).id);
        let giving = was.is_some_and(|link| node(before, link).stage == Stage::Give);
        let node = node_mut(after, link);
        if giving && node.stage == Stage::Live && node.resource == Resource::Memory {
            node.stage = Stage::Give;
        }
    }
}

fn not_scrubbed(_: &World, after: &mut World, _: Action, _: &Outcome) {
    skip(after, Stage::Scrub, |_| Stage::Return);
}

fn not_reset_before(_: &World, after: &mut World, _: Action, _: &Outcome) {
    skip(after, Stage::Reset, |_| Stage::Give);
}

fn not_reset_after(_: &World, after: &mut World, _: Action, _: &Outcome) {
    skip(after, Stage::Scrub, |node| match node.resource {
        Resource::Device => Stage::Return,
        _ => Stage::Scrub,
    });
}

fn assigned_twice(before: &World, after: &mut World, action: Action, _: &Outcome) {
    let (Action::Assign(_), Some(link)) = (action, made(before, after)) else {
        return;
    };
    let node = node(after, link);
    let draft = Draft {
        resource: Resource::Device,
        kind: Kind::Carve,
        base: node.base,
        size: node.size,
        place: 0,
        attributes: node.attributes,
        parent: node.parent,
    };
    let payer = node.payer;
    if let Ok(second) = after.engine.make_node(payer, draft) {
        after.engine.list_unowned(second);
    }
}

fn core_goes_back_running(_: &World, after: &mut World, _: Action, _: &Outcome) {
    skip(after, Stage::Drop, |node| match node.resource {
        Resource::WholeCore => Stage::DropFlush,
        _ => Stage::Drop,
    });
}

fn core_given_twice(before: &World, after: &mut World, action: Action, _: &Outcome) {
    let (Action::CarveCore(_), Some(link)) = (action, made(before, after)) else {
        return;
    };
    let node = node(after, link);
    let draft = Draft {
        resource: Resource::WholeCore,
        kind: Kind::Carve,
        base: node.base,
        size: node.size,
        place: node.base,
        attributes: node.attributes,
        parent: node.parent,
    };
    let payer = node.payer;
    if let Ok(second) = after.engine.make_node(payer, draft) {
        after.engine.list_unowned(second);
    }
}

fn not_returned(_: &World, after: &mut World, _: Action, _: &Outcome) {
    skip(after, Stage::Return, |_| Stage::Gone);
}

fn granted_unasked(_: &World, after: &mut World, action: Action, outcome: &Outcome) {
    let (Action::Grant(link, domain), Outcome::Changed) = (action, outcome) else {
        return;
    };
    if !node(after, link).has(flag::OFFERED) {
        return;
    }
    after.engine.withdraw(link);
    after.engine.unlist_unowned(link);
    placement::attach(&mut after.engine.store, link, domain);
    let node = node_mut(after, link);
    node.set_stage(Stage::Give);
    let operation = Operation::Place(node.id);
    after.begin(operation);
}

fn policy_changed(_: &World, after: &mut World, action: Action, outcome: &Outcome) {
    if let (Action::Grant(_, domain), Outcome::Changed) = (action, outcome) {
        let policy = &mut after.engine.store.domain_mut(domain).policy;
        policy.flags = policy.flags | Flags::DEBUG;
    }
}

fn epoch_kept(before: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Action::Accept { domain, .. } = action {
        let epoch = before.engine.store.domain(domain).epoch;
        after.engine.store.domain_mut(domain).epoch = epoch;
    }
}

fn cores_not_denied(_: &World, after: &mut World, _: Action, _: &Outcome) {
    let cores = |node: &Node| match node.resource {
        Resource::Core => Stage::DropFlush,
        Resource::Memory | Resource::Device | Resource::WholeCore => Stage::Drop,
    };
    skip(after, Stage::Drop, cores);
}

fn not_stopped(_: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Action::Destroy(domain) = action {
        after.engine.store.domain_mut(domain).stopped = true;
    }
}

fn refused_and_changed(_: &World, after: &mut World, _: Action, outcome: &Outcome) {
    if let (Outcome::Refused(_), Some(first)) = (outcome, PageNumber::new(0)) {
        after.engine.store.domain_mut(first).account.limit += 1;
    }
}

fn vital_forgotten(_: &World, after: &mut World, _: Action, _: &Outcome) {
    for link in links(after) {
        node_mut(after, link).set_course(|course| course.awaits = 0);
    }
}

fn quarantined_for_nothing(_: &World, after: &mut World, _: Action, _: &Outcome) {
    for link in links(after) {
        if node(after, link).stage == Stage::Take {
            after.engine.quarantine(link);
        }
    }
}

fn measured_before_loss(before: &World, after: &mut World, _: Action, _: &Outcome) {
    let pages: Vec<PageNumber> = after.engine.store.all().map(|(number, _)| number).collect();
    for page in pages {
        let Page::Domain(was) = before.engine.store.page(page) else {
            continue;
        };
        let was = was.measuring;
        if let Page::Domain(domain) = after.engine.store.page_mut(page)
            && domain.measuring == Measuring::Begin
        {
            domain.measuring = was;
        }
    }
}

fn page_lost(_: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Action::Revoke(_) = action {
        after.engine.store.allocate();
    }
}

fn scrubbed_for_ever(before: &World, after: &mut World, _: Action, _: &Outcome) {
    for link in links(after) {
        let was = before.engine.store.find_node(node(after, link).id);
        let scrubbed = was.is_some_and(|link| node(before, link).stage == Stage::Scrub);
        if scrubbed && node(after, link).stage == Stage::Return {
            node_mut(after, link).set_stage(Stage::Scrub);
        }
    }
}

fn record_dropped(_: &World, after: &mut World, action: Action, _: &Outcome) {
    if let Action::Destroy(domain) = action {
        *after.engine.store.page_mut(domain) = Page::Empty;
    }
}

const fn mistake(name: &'static str, breaks: Breach, seed: fn() -> World, plant: Plant) -> Mistake {
    Mistake {
        name,
        breaks,
        seed,
        plant,
    }
}

const MISTAKES: &[Mistake] = &[
    mistake(
        "carve looks for no overlap",
        Breach::Engine(Violation::Exclusivity),
        siblings,
        overlap,
    ),
    mistake(
        "share gives more than there is",
        Breach::Engine(Violation::Monotony),
        nested,
        more_rights,
    ),
    mistake(
        "taken out before what was derived",
        Breach::Engine(Violation::Completeness),
        nested,
        out_before_children,
    ),
    mistake(
        "carve ends behind its source",
        Breach::Engine(Violation::Conservation),
        siblings,
        behind_the_end,
    ),
    mistake(
        "charged twice",
        Breach::Engine(Violation::Accounts),
        siblings,
        charged_twice,
    ),
    mistake(
        "placed over something",
        Breach::Engine(Violation::Placement),
        siblings,
        half_a_page_lower,
    ),
    mistake(
        "tree not kept",
        Breach::Engine(Violation::Tree),
        siblings,
        reach_forgotten,
    ),
    mistake(
        "counted twice",
        Breach::Engine(Violation::Records),
        siblings,
        counted_twice,
    ),
    mistake(
        "carve does not unmap",
        Breach::Exclusivity,
        siblings,
        not_taken,
    ),
    mistake(
        "revoke does not unmap",
        Breach::Completeness,
        siblings,
        not_unmapped,
    ),
    mistake(
        "carve does not flush",
        Breach::Flush,
        siblings,
        not_flushed_before,
    ),
    mistake(
        "revoke does not flush",
        Breach::Flush,
        siblings,
        not_flushed_after,
    ),
    mistake("mapped twice", Breach::Completeness, siblings, given_twice),
    mistake(
        "revoke does not scrub",
        Breach::Secrecy,
        siblings,
        not_scrubbed,
    ),
    mistake(
        "a device comes with what its last holder began",
        Breach::Reset,
        siblings,
        not_reset_before,
    ),
    mistake(
        "a device goes back as its holder left it",
        Breach::Reset,
        siblings,
        not_reset_after,
    ),
    mistake(
        "a device is given to two domains",
        Breach::Engine(Violation::Exclusivity),
        siblings,
        assigned_twice,
    ),
    mistake(
        "a core goes back while it runs",
        Breach::Cores,
        siblings,
        core_goes_back_running,
    ),
    mistake(
        "a core is given to two domains",
        Breach::Engine(Violation::Exclusivity),
        siblings,
        core_given_twice,
    ),
    mistake(
        "revoke gives nothing back",
        Breach::Agreement,
        siblings,
        not_returned,
    ),
    mistake(
        "grant to a sealed domain",
        Breach::Consent,
        siblings,
        granted_unasked,
    ),
    mistake(
        "policy changes after seal",
        Breach::Frozen,
        siblings,
        policy_changed,
    ),
    mistake(
        "accept keeps the epoch",
        Breach::Epoch,
        siblings,
        epoch_kept,
    ),
    mistake(
        "cores are not denied",
        Breach::Cores,
        siblings,
        cores_not_denied,
    ),
    mistake(
        "destroy does not stop",
        Breach::Retired,
        siblings,
        not_stopped,
    ),
    mistake(
        "a refused call changes something",
        Breach::Refusal,
        siblings,
        refused_and_changed,
    ),
    mistake(
        "a vital region leaves its domain",
        Breach::Success,
        siblings,
        vital_forgotten,
    ),
    mistake(
        "quarantine without need",
        Breach::Failure,
        siblings,
        quarantined_for_nothing,
    ),
    mistake(
        "loss does not restart a measurement",
        Breach::Measurement,
        siblings,
        measured_before_loss,
    ),
    mistake("a page is lost", Breach::Leak, siblings, page_lost),
    mistake(
        "scrubbing never ends",
        Breach::Stuck,
        siblings,
        scrubbed_for_ever,
    ),
    mistake(
        "a record goes too early",
        Breach::Panic,
        siblings,
        record_dropped,
    ),
];

/// What carves may have.
const ATTRIBUTES: &[Attributes] = &[
    Attributes::READ.union(Attributes::WRITE),
    Attributes::READ
        .union(Attributes::WRITE)
        .union(Attributes::VITAL),
];

/// States within which each mistake is found.
const STATES: usize = 60_000;

#[test]
fn every_planted_mistake_is_found() {
    let alphabet = Alphabet {
        attributes: ATTRIBUTES,
        derive: true,
        assign: true,
        whole: true,
        ..SIBLINGS
    };
    for mistake in MISTAKES {
        let scenario = Scenario {
            name: mistake.name,
            seed: mistake.seed,
            alphabet,
        };
        let limits = Limits {
            states: STATES,
            ends: if mistake.breaks == Breach::Stuck {
                1
            } else {
                usize::MAX
            },
        };
        let finding = match explore(&scenario, limits, Some(mistake.plant)) {
            Ok(count) => panic!("{}: not found in {count:?}", mistake.name),
            Err(finding) => finding,
        };
        println!(
            "planted: {}: found as {:?} after {} transitions",
            mistake.name,
            finding.breach,
            finding.path.len()
        );
        assert_eq!(
            finding.breach, mistake.breaks,
            "{}: {:?}",
            mistake.name, finding.path
        );
    }
}
