//! Breadth first through everything that can happen, by the number of operations begun.
//!
//! A layer holds the states that so many operations lead to. First it is closed under what belongs to no operation of its own:
//! slices, answers, exits. Then each state begins each operation that it can, which gives the next layer. States are kept as
//! the transition that led to them; a world is made again from its path, most of which it shares with the one before.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::action::{self, Action, Alphabet};
use super::canonical;
use super::check::Breach;
use super::world::{Outcome, World};

/// What changes a world behind the engine's back, as a mistake in it would: called after each transition, with the world before.
pub type Plant = fn(&World, &mut World, Action, &Outcome);

/// What to explore.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub seed: fn() -> World,
    pub alphabet: Alphabet,
}

/// Bounds of one search.
#[derive(Clone, Copy)]
pub struct Limits {
    /// The search ends at so many states.
    pub states: usize,
    /// One state in so many is brought to its end.
    pub ends: usize,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Count {
    pub states: usize,
    pub transitions: usize,
    pub refused: usize,
    pub ends: usize,
    /// States in each layer.
    pub layers: Vec<usize>,
    /// Layers that were explored whole.
    pub operations: usize,
    /// No state was left that had not been explored.
    pub closed: bool,
}

/// What does not hold, and how to get there.
#[derive(Debug)]
pub struct Finding {
    pub breach: Breach,
    pub path: Vec<Action>,
}

/// Keys are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// A state, as the way to it.
#[derive(Clone, Copy)]
struct Step {
    from: u32,
    action: Action,
}

struct Search<'a> {
    scenario: &'a Scenario,
    limits: Limits,
    plant: Option<Plant>,
    seen: HashSet<u64, BuildHasherDefault<Same>>,
    steps: Vec<Step>,
    /// The path to the world that was made last: states and worlds.
    made: Vec<(u32, World)>,
    count: Count,
}

/// Explores the scenario until nothing is left or the limit is reached.
pub fn explore(
    scenario: &Scenario,
    limits: Limits,
    plant: Option<Plant>,
) -> Result<Count, Finding> {
    let world = (scenario.seed)();
    let mut search = Search {
        scenario,
        limits,
        plant,
        seen: HashSet::default(),
        steps: vec![Step {
            from: 0,
            action: Action::Answer(0),
        }],
        made: Vec::new(),
        count: Count::default(),
    };
    let finding = |breach| Finding {
        breach,
        path: Vec::new(),
    };
    world.check().map_err(finding)?;
    search.seen.insert(canonical::key(&world));
    search.made.push((0, world));
    search.layers()?;
    search.count.states = search.steps.len();
    Ok(search.count)
}

impl Search<'_> {
    fn layers(&mut self) -> Result<(), Finding> {
        let mut begin = 0;
        loop {
            let mut next = begin;
            while next < self.steps.len() {
                self.expand(next as u32, false)?;
                next += 1;
                if self.is_full() {
                    return Ok(());
                }
            }
            self.count.layers.push(self.steps.len() - begin);
            let end = self.steps.len();
            for state in begin..end {
                self.expand(state as u32, true)?;
                if self.is_full() {
                    return Ok(());
                }
            }
            self.count.operations += 1;
            if self.steps.len() == end {
                self.count.closed = true;
                return Ok(());
            }
            begin = end;
        }
    }

    fn is_full(&self) -> bool {
        self.steps.len() >= self.limits.states
    }

    /// Lets everything happen in the state that begins an operation, or that does not.
    fn expand(&mut self, state: u32, operations: bool) -> Result<(), Finding> {
        self.make(state);
        let Some((_, world)) = self.made.last().cloned() else {
            return Ok(());
        };
        let before = canonical::key(&world);
        let actions = action::list(&world, &self.scenario.alphabet);
        for action in actions {
            if action.is_operation() != operations {
                continue;
            }
            self.count.transitions += 1;
            let mut after = world.clone();
            let judged = catch_unwind(AssertUnwindSafe(|| {
                self.judge(before, &mut after, &world, action)
            }));
            let new = judged
                .unwrap_or(Err(Breach::Panic))
                .map_err(|breach| self.finding(breach, state, action))?;
            if new {
                self.steps.push(Step {
                    from: state,
                    action,
                });
            }
        }
        Ok(())
    }

    /// Lets one thing happen, and judges the state that it leads to if that is new.
    fn judge(
        &mut self,
        before: u64,
        after: &mut World,
        world: &World,
        action: Action,
    ) -> Result<bool, Breach> {
        let outcome = self.step(after, world, action);
        let key = canonical::key(after);
        if let Outcome::Refused(_) = outcome {
            self.count.refused += 1;
            return if key == before {
                Ok(false)
            } else {
                Err(Breach::Refusal)
            };
        }
        if let Some(breach) = after.ended_badly {
            return Err(breach);
        }
        if !self.seen.insert(key) {
            return Ok(false);
        }
        after.check()?;
        if self.seen.len().is_multiple_of(self.limits.ends) {
            self.count.ends += 1;
            after.clone().check_end(self.plant)?;
        }
        Ok(true)
    }

    fn step(&self, after: &mut World, before: &World, action: Action) -> Outcome {
        let outcome = after.apply(action, &self.scenario.alphabet);
        if let Some(plant) = self.plant {
            plant(before, after, action, &outcome);
        }
        after.fill_secrets();
        outcome
    }

    /// Makes the world of a state again, from the last one that it shares its path with.
    fn make(&mut self, state: u32) {
        let mut path = Vec::new();
        let mut here = state;
        let shared = loop {
            if let Some(index) = self.made.iter().rposition(|(made, _)| *made == here) {
                break index;
            }
            path.push(here);
            here = self.steps[here as usize].from;
        };
        self.made.truncate(shared + 1);
        for state in path.into_iter().rev() {
            let before = &self.made[self.made.len() - 1].1;
            let mut world = before.clone();
            self.step(&mut world, before, self.steps[state as usize].action);
            self.made.push((state, world));
        }
    }

    fn finding(&self, breach: Breach, state: u32, last: Action) -> Finding {
        let mut path = vec![last];
        let mut here = state;
        while here != 0 {
            let step = self.steps[here as usize];
            path.push(step.action);
            here = step.from;
        }
        path.reverse();
        Finding { breach, path }
    }
}
