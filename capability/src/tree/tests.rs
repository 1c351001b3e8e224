//! The trees against a sorted list that is searched from end to end.

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;
use proptest::prelude::*;

use super::*;
use crate::account::Costs;
use crate::engine::{Draft, Engine};

#[path = "../../tests/support/pages.rs"]
mod pages;

struct Forest {
    engine: Engine<pages::Pages>,
    parent: Link,
    /// What is in, with its range.
    listed: Vec<(Link, u64, u64)>,
}

impl Forest {
    fn new() -> Self {
        let store = pages::Pages::new();
        let mut engine = Engine::new(store, 1 << 20, Costs::default()).unwrap();
        let attributes = Attributes::RIGHTS | Attributes::POOL;
        let size = 1 << 20;
        let root = engine
            .add_root(Resource::Memory, 0, size, attributes)
            .unwrap();
        let parent = engine.store.find_node(root).unwrap();
        Self {
            engine,
            parent,
            listed: Vec::new(),
        }
    }

    fn insert(&mut self, base: u64, size: u64, kind: Kind) {
        let (base, size) = (base * PAGE_SIZE, size * PAGE_SIZE);
        let draft = Draft {
            resource: Resource::Memory,
            kind,
            base,
            size,
            place: 0,
            attributes: Attributes::READ,
            parent: Some(self.parent),
        };
        let domain = self.engine.first_domain;
        let link = self.engine.make_node(domain, draft).unwrap();
        self.listed.push((link, base, base + size));
    }

    fn remove(&mut self, which: usize) {
        if !self.listed.is_empty() {
            let which = which % self.listed.len();
            let (link, _, _) = self.listed.swap_remove(which);
            self.engine.drop_node(link);
        }
    }

    fn tree(&self) -> Tree<'_, pages::Pages> {
        let root = self.engine.store.node(self.parent).children;
        Tree::new(&self.engine.store, Order::Siblings, root)
    }

    fn keys(&self) -> Vec<(Key, Link)> {
        let node = |link: Link| self.engine.store.node(link);
        let mut keys: Vec<_> = self
            .listed
            .iter()
            .map(|(link, _, _)| (key(Order::Siblings, node(*link)), *link))
            .collect();
        keys.sort_unstable();
        keys
    }

    fn compare(&self) {
        let root = self.engine.store.node(self.parent).children;
        let count = check(&self.engine.store, Order::Siblings, root);
        assert_eq!(count, Ok(self.listed.len()));
        let (tree, keys) = (self.tree(), self.keys());
        let control = |link: &Link| self.engine.store.node(*link).kind == Kind::Control;
        for page in (0..40).step_by(3) {
            let at = (page * PAGE_SIZE, 0);
            let behind = keys.iter().find(|(key, _)| *key >= at);
            assert_eq!(tree.at_or_after(at), behind.map(|(_, link)| *link));
            let before = keys.iter().rev().find(|(key, _)| *key < at);
            assert_eq!(tree.before(at), before.map(|(_, link)| *link));
            let marked = keys.iter().find(|(key, link)| *key >= at && control(link));
            assert_eq!(
                tree.marked(mark::CONTROL, at),
                marked.map(|(_, link)| *link)
            );
            for size in [1, 2, 7] {
                self.compare_overlaps(&keys, at.0, at.0 + size * PAGE_SIZE);
            }
        }
    }

    fn compare_overlaps(&self, keys: &[(Key, Link)], base: u64, end: u64) {
        let overlapping: Vec<Link> = self
            .listed
            .iter()
            .filter(|(_, from, to)| *from < end && base < *to)
            .map(|(link, _, _)| *link)
            .collect();
        assert_eq!(self.tree().overlaps(base, end), !overlapping.is_empty());
        let exclusive = |link: &Link| self.engine.store.node(*link).kind.is_exclusive();
        let found = self.tree().overlaps_exclusive(base, end);
        assert_eq!(found, overlapping.iter().any(exclusive));
        for from in [(0, 0), (base, 0), (base + PAGE_SIZE, 0)] {
            let behind = |(key, link): &&(Key, Link)| *key >= from && overlapping.contains(link);
            let first = keys.iter().find(behind).map(|(_, link)| *link);
            assert_eq!(self.tree().overlapping(from, base, end), first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn searches_find_what_a_list_finds(
        steps in prop::collection::vec((0..4u8, 0..40u64, 1..6u64, any::<usize>()), 1..150)
    ) {
        let mut forest = Forest::new();
        for (what, base, size, which) in steps {
            match what {
                0 => forest.remove(which),
                1 => forest.insert(base, 1, Kind::Control),
                _ => forest.insert(base, size, Kind::Share),
            }
            forest.compare();
        }
    }
}

#[test]
fn a_tree_that_grows_in_order_stays_flat() {
    let mut forest = Forest::new();
    let taken = forest.engine.store.taken();
    for base in 0..4096 {
        forest.insert(base, 1, Kind::Share);
    }
    let root = forest.engine.store.node(forest.parent).children;
    assert!(height(&forest.engine.store, Order::Siblings, root) <= 13);
    for _ in 0..4096 {
        forest.remove(0);
    }
    assert_eq!(forest.engine.store.node(forest.parent).children, None);
    assert_eq!(forest.engine.store.taken(), taken);
}
