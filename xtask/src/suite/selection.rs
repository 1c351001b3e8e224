//! Which tests a filter means.

use super::definition::{Boot, Tier};
use super::host::Step;

/// The name of the test that every boot has: domain 0 comes up.
pub const BOOT: &str = "boot";

/// The name of the test that looks at a boot's memory when it has ended.
pub const MEMORY: &str = "memory";

/// Whether a test is meant, by its boot's name and its full name.
type Rule<'name> = dyn Fn(&str, &str) -> bool + 'name;

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

    /// Keeps of `boots` those tests that are meant. A full name of a test or a boot means itself
    /// alone, even when it is a part of others.
    pub fn boots(&self, boots: &[Boot]) -> Vec<Chosen> {
        let name = match self {
            Self::Tier(tier) => {
                let whole = boots.iter().filter(|boot| boot.tier <= *tier);
                return whole.map(Chosen::whole).collect();
            }
            Self::Name(name) => name,
        };
        let rules: [&Rule; 3] = [
            &|_, test| test == name,
            &|boot, _| boot == name,
            &|_, test| test.contains(name.as_str()),
        ];
        let meant = |rule: &&Rule| -> Vec<Chosen> {
            let whole = boots.iter().map(Chosen::whole);
            whole.filter_map(|chosen| chosen.keep(rule)).collect()
        };
        rules
            .iter()
            .map(meant)
            .find(|chosen| !chosen.is_empty())
            .unwrap_or_default()
    }

    /// Whether a step on the host is meant.
    pub fn has_step(&self, step: &Step) -> bool {
        match self {
            Self::Tier(tier) => step.tiers.contains(tier),
            Self::Name(name) => name == step.name,
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
    /// The boot, with only the chosen tests, goals and looks at its memory.
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

    /// The tests that a rule on boot names and full names accepts. A goal needs all tests of its
    /// boot, which measure, and a look at its memory those that fill it.
    fn keep(mut self, rule: &Rule) -> Option<Self> {
        let boot = self.boot.name.clone();
        let wanted = |name: &str| rule(&boot, &format!("{boot}/{name}"));
        self.counts_boot = wanted(BOOT);
        self.boot.goals.retain(|goal| wanted(&goal.name));
        self.boot.memory = self.boot.memory.filter(|_| wanted(MEMORY));
        if self.boot.goals.is_empty() && self.boot.memory.is_none() {
            self.boot.tests.retain(|test| wanted(&test.name));
        }
        (self.counts_boot || !self.boot.tests.is_empty()).then_some(self)
    }

    /// Full names of what will be counted.
    pub fn names(&self) -> Vec<String> {
        let boot = self.counts_boot.then_some(BOOT).into_iter();
        let tests = self.boot.tests.iter().map(|test| test.name.as_str());
        let goals = self.boot.goals.iter().map(|goal| goal.name.as_str());
        let memory = self.boot.memory.is_some().then_some(MEMORY);
        boot.chain(tests)
            .chain(goals)
            .chain(memory)
            .map(|name| format!("{}/{name}", self.boot.name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Boot, Selection};
    use crate::guest::Settings;
    use crate::suite::definition::{Test, Tier};

    fn boot(name: &str, tier: Tier, tests: &[&str]) -> Boot {
        let test = |name: &&str| Test {
            name: (*name).to_owned(),
            run: String::new(),
            time_limit: 1,
            ends: None,
            expect: Vec::new(),
        };
        Boot {
            name: name.to_owned(),
            tier,
            time_limit: 1,
            settings: Settings::default(),
            tests: tests.iter().map(test).collect(),
            goals: Vec::new(),
            memory: None,
            compare: false,
        }
    }

    fn names(filter: Option<&str>) -> Vec<String> {
        let boots = [
            boot("small", Tier::Quick, &["idle", "idle-long"]),
            boot("small-pc", Tier::All, &["idle"]),
        ];
        Selection::new(filter)
            .boots(&boots)
            .iter()
            .flat_map(super::Chosen::names)
            .collect()
    }

    #[test]
    fn tiers_include_smaller_ones() {
        assert_eq!(names(Some("quick")).len(), 3);
        assert_eq!(names(None).len(), 3);
        assert_eq!(names(Some("all")).len(), 5);
    }

    #[test]
    fn full_names_come_before_parts() {
        assert_eq!(names(Some("small/idle")), ["small/idle"]);
        assert_eq!(
            names(Some("small")),
            ["small/boot", "small/idle", "small/idle-long"]
        );
        assert_eq!(names(Some("idle")).len(), 3);
        assert!(names(Some("other")).is_empty());
    }
}
