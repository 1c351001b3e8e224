//! Which tests a filter means.

use super::definition::{Boot, Tier};

/// The name of the test that every boot has: domain 0 comes up.
pub const BOOT: &str = "boot";

/// What was asked for on the command line.
pub enum Selection {
    /// All of a tier.
    Tier(Tier),
    /// A full name, or a part of one.
    Name(String),
}

impl Selection {
    /// Reads the command's argument.
    pub fn new(filter: Option<&str>) -> Self {
        match filter {
            None => Self::Tier(Tier::Default),
            Some("quick") => Self::Tier(Tier::Quick),
            Some("all") => Self::Tier(Tier::All),
            Some(name) => Self::Name(name.to_owned()),
        }
    }

    /// Keeps of `boots` those tests that are meant. A full name means itself alone, even when it
    /// is a part of others.
    pub fn boots(&self, boots: &[Boot]) -> Vec<Chosen> {
        let all = boots.iter().map(Chosen::whole);
        match self {
            Self::Tier(tier) => all.filter(|chosen| chosen.boot.tier <= *tier).collect(),
            Self::Name(name) => {
                let exact: Vec<Chosen> = all
                    .clone()
                    .filter_map(|chosen| chosen.keep(|full| full == name))
                    .collect();
                if exact.is_empty() {
                    all.filter_map(|chosen| chosen.keep(|full| full.contains(name)))
                        .collect()
                } else {
                    exact
                }
            }
        }
    }

    /// Whether a step on the host is meant.
    pub fn has_step(&self, step: &str) -> bool {
        match self {
            Self::Tier(_) => true,
            Self::Name(name) => name == step,
        }
    }

    /// Whether this is the run whose result is kept.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Tier(Tier::All))
    }
}

/// A boot and those of its tests that will run.
#[derive(Clone)]
pub struct Chosen {
    /// The boot, with only the chosen tests and goals.
    pub boot: Boot,
    /// Whether coming up counts as a test.
    pub counts_boot: bool,
}

impl Chosen {
    fn whole(boot: &Boot) -> Self {
        Self {
            boot: boot.clone(),
            counts_boot: true,
        }
    }

    /// The tests whose full names are wanted. A goal needs all tests of its boot, which measure.
    fn keep(mut self, wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let boot = &mut self.boot;
        let full = |name: &str| format!("{}/{name}", boot.name);
        self.counts_boot = wanted(&full(BOOT));
        boot.goals
            .retain(|goal| wanted(&format!("{}/{}", boot.name, goal.name)));
        if boot.goals.is_empty() {
            boot.tests
                .retain(|test| wanted(&format!("{}/{}", boot.name, test.name)));
        }
        (self.counts_boot || !boot.tests.is_empty()).then_some(self)
    }

    /// Full names of what will be counted.
    pub fn names(&self) -> Vec<String> {
        let boot = self.counts_boot.then_some(BOOT).into_iter();
        let tests = self.boot.tests.iter().map(|test| test.name.as_str());
        let goals = self.boot.goals.iter().map(|goal| goal.name.as_str());
        boot.chain(tests)
            .chain(goals)
            .map(|name| format!("{}/{name}", self.boot.name))
            .collect()
    }
}
