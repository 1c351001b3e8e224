//! A survey: what a domain's closure is, told statement by statement, as evidence has to say it.
//!
//! The closure of a domain is the smallest set that has the domain and, with each member but domain 0, everybody who commands it
//! or is commanded by it, from whom it has memory or who has memory from it, and who reaches a byte that it reaches.
//!
//! A survey finds the members first, each once, in the order in which it comes across them; then it tells of each. It takes no
//! memory: the list of members, and of who shares a region, is threaded through the domains' own records ([`Mark`]). So one
//! survey is under way at a time; a new one ends the one before. Each step is a few logarithmic searches.
//!
//! What must hold: all statements of one survey are about one state of the engine. A step that finds that anything was changed since
//! the beginning says so, and tells nothing more.
//!
//! Memory that is on its way counts as both sides': who may still reach it is told as reaching it.

mod steps;
mod walk;

use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::region::Attributes;

use crate::engine::Engine;
use crate::identity::{DomainId, PageNumber};
use crate::records::Records;
use crate::store::Store;
use steps::Stage;

/// What the survey under way notes in a domain's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The survey that has met the domain last.
    survey: u64,
    /// The domain's number in it.
    index: u64,
    /// The member that was met next.
    next: Option<PageNumber>,
    /// The group of sharers in which it was noted last.
    group: u64,
    /// With what rights.
    rights: Attributes,
    /// The sharer that was noted next.
    next_peer: Option<PageNumber>,
}

impl Mark {
    pub(crate) const NONE: Self = Self {
        survey: 0,
        index: 0,
        next: None,
        group: 0,
        rights: Attributes::NONE,
        next_peer: None,
    };
}

/// Who reaches a region besides its owner, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody, by an unbroken line of carves.
    Exclusive,
    /// Those who are told.
    Shared,
    /// Nobody, and parts of it are carved away at present.
    Lent,
    /// Those who are told, and whoever made it can share it with more.
    Open,
}

/// What is told first of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub index: u64,
    /// Who it is, for whoever knows more of it than the engine.
    pub id: DomainId,
    /// `None` before it is sealed.
    pub measurement: Option<[u8; 32]>,
    /// Its policy.
    pub policy: Policy,
    /// vCPUs.
    pub vcpus: u64,
    /// How many ranges of cores follow.
    pub cores: u64,
    /// How many whole cores are told of at the end.
    pub whole_cores: u64,
}

/// What is told of a domain behind its cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Regions accepted after seal.
    pub epoch: u64,
    /// Which operations that make new edges it may still call; what it may not now, it never may.
    pub still: Flags,
    /// The number of the domain that commands it.
    pub commander: u64,
    /// How many regions follow.
    pub regions: u64,
}

/// A region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Guest-physical address of its first byte.
    pub place: u64,
    /// Bytes.
    pub size: u64,
    /// Rights and attributes.
    pub attributes: Attributes,
    /// Who else reaches it.
    pub sharing: Sharing,
    /// The number of the domain from whose memory it was derived, its own where there is none.
    pub origin: u64,
    /// How many peers follow.
    pub peers: u64,
}

/// One thing that a survey tells. They come in this order: `Begin`; for each domain by rising number `Opaque`, or `Domain` with its
/// `Cores`, its `Holdings`, its `Region`s each with its `Peer`s, its `Devices`, each `Device`, its `WholeCores` if it has any, each
/// `WholeCore`, and `Complete`; last `End`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// How many domains there are.
    Begin(u64),
    /// Domain 0 has this number.
    Opaque(u64),
    /// Another domain.
    Domain(Member),
    /// First and count of a range of cores on which it may run, rising.
    Cores([u64; 2]),
    /// What it has besides.
    Holdings(Holdings),
    /// Memory of it, by rising place.
    Region(Extent),
    /// Who else reaches the region, by number, and with what rights; each once.
    Peer(u64, Attributes),
    /// How many devices it has.
    Devices(u64),
    /// The number of one, in the order of their registers' places ([`crate::device`]).
    Device(u64),
    /// How many whole cores it has to run on: what is on its way to it or from it, or given on, is none.
    WholeCores(u64),
    /// The threads of one.
    WholeCore(u64),
    /// Nothing more of this domain.
    Complete,
    /// Nothing more.
    End,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to tell yet.
    Onward,
    /// This.
    Tell(Statement),
    /// The engine is not what it was: begin again.
    Changed,
}

/// A survey under way.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Its number, never used before.
    number: u64,
    /// Changes of the store when it began.
    changes: u64,
    subject: PageNumber,
    /// The member that was met last.
    last: PageNumber,
    /// Members met.
    members: u64,
    /// The member that it is at.
    here: PageNumber,
    /// Groups of sharers so far.
    groups: u64,
    /// Of the present one: the first, the last, how many.
    first_peer: Option<PageNumber>,
    last_peer: Option<PageNumber>,
    peers: u64,
    /// Devices of the member that it is at.
    devices: u64,
    /// Its whole cores.
    whole_cores: u64,
    stage: Stage,
}

impl<S: Store> Engine<S> {
    /// Begins a survey of the closure of `subject`; one that is under way is over with that.
    ///
    /// # Errors
    /// `Dead`; `Unsupported` for domain 0, of which nothing can be told.
    pub fn survey(&mut self, subject: DomainId) -> Result<Survey, Error> {
        let page = self.store.find_domain(subject).ok_or(Error::Dead)?;
        if page == self.first_domain {
            return Err(Error::Unsupported);
        }
        self.surveys += 1;
        let number = self.surveys;
        let mut survey = Survey {
            number,
            changes: self.store.changes(),
            subject: page,
            last: page,
            members: 0,
            here: page,
            groups: 0,
            first_peer: None,
            last_peer: None,
            peers: 0,
            devices: 0,
            whole_cores: 0,
            stage: Stage::Commander,
        };
        self.meet(&mut survey, page);
        Ok(survey)
    }

    /// Takes the survey a step further.
    pub fn survey_step(&mut self, survey: &mut Survey) -> Step {
        if survey.number != self.surveys || survey.changes != self.store.changes() {
            return Step::Changed;
        }
        let (step, stage) = self.take_step(survey, survey.stage);
        survey.stage = stage;
        step
    }

    /// The number that the survey under way has given the domain, if it has met it.
    #[must_use]
    pub fn number(&self, survey: &Survey, domain: DomainId) -> Option<u64> {
        let mark = self.store.domain(self.store.find_domain(domain)?).mark;
        (mark.survey == survey.number).then_some(mark.index)
    }

    /// Makes the domain a member, unless it is one.
    fn meet(&mut self, survey: &mut Survey, page: PageNumber) {
        if self.store.domain(page).mark.survey == survey.number {
            return;
        }
        let store = self.store.inner_mut();
        store.domain_mut(page).mark = Mark {
            survey: survey.number,
            index: survey.members,
            ..Mark::NONE
        };
        if survey.members > 0 {
            store.domain_mut(survey.last).mark.next = Some(page);
        }
        survey.last = page;
        survey.members += 1;
    }

    /// Notes a sharer of the present group.
    fn note_peer(&mut self, survey: &mut Survey, page: PageNumber, rights: Attributes) {
        let store = self.store.inner_mut();
        let mark = &mut store.domain_mut(page).mark;
        if mark.group == survey.groups {
            mark.rights = mark.rights | rights;
            return;
        }
        mark.group = survey.groups;
        mark.rights = rights;
        mark.next_peer = None;
        match survey.last_peer {
            Some(last) => store.domain_mut(last).mark.next_peer = Some(page),
            None => survey.first_peer = Some(page),
        }
        survey.last_peer = Some(page);
        survey.peers += 1;
    }

    fn begin_group(&self, survey: &mut Survey) {
        survey.groups += 1;
        survey.first_peer = None;
        survey.last_peer = None;
        survey.peers = 0;
    }

    fn index(&self, page: PageNumber) -> u64 {
        self.store.domain(page).mark.index
    }
}
