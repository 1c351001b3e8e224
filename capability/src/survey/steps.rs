//! The steps of a survey: first its members, then what is told of each.

use adyton_abi::policy::Flags;
use adyton_abi::record::DomainState;

use super::walk::{Found, Walk, is_aliased};
use super::{Extent, Holdings, Member, Sharing, Statement, Step, Survey};
use crate::domain::Domain;
use crate::engine::Engine;
use crate::identity::PageNumber;
use crate::node::{Kind, Link, Resource};
use crate::records::Records;
use crate::store::Store;
use crate::tree::{Order, Tree, class, key};
use crate::whole_core::is_usable;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Who commands the member.
    Commander,
    /// From whom it has its next region, at or behind this place.
    Origin(u64),
    /// Who has something of the region, or is commanded.
    Below(Link, Walk),
    /// Who reaches the same bytes.
    Beside(Link, Walk),
    /// The first statement.
    Begin,
    /// The next member's ranges of cores are counted: behind this core, so many.
    Count(u64, u64),
    /// Then its whole cores, from this thread on; so many are the ranges of cores.
    CountWhole(u64, u64),
    /// They are told, behind this core.
    Cores(u64),
    /// The region at or behind this place.
    Region(u64),
    /// Its sharers are gathered.
    Gather(Link, Walk),
    /// And told.
    Peers(Option<PageNumber>, u64),
    /// The device at or behind this place.
    Device(u64),
    /// The whole core at or behind this thread.
    WholeCore(u64),
    /// The next member.
    Next,
    /// The last statement.
    End,
}

/// A step without a statement.
const fn on(stage: Stage) -> (Step, Stage) {
    (Step::Onward, stage)
}

const fn tell(statement: Statement, stage: Stage) -> (Step, Stage) {
    (Step::Tell(statement), stage)
}

impl<S: Store> Engine<S> {
    pub(super) fn take_step(&mut self, survey: &mut Survey, stage: Stage) -> (Step, Stage) {
        match stage {
            Stage::Commander => self.find_commander(survey),
            Stage::Origin(place) => self.find_origin(survey, place),
            Stage::Below(region, walk) => self.find_below(survey, region, walk),
            Stage::Beside(region, walk) => {
                let step = self.gather(survey, region, walk);
                match step {
                    Some(walk) => on(Stage::Beside(region, walk)),
                    None => on(Stage::Origin(self.behind(region))),
                }
            }
            Stage::Begin => {
                survey.here = survey.subject;
                tell(Statement::Begin(survey.members), self.begin_member(survey))
            }
            Stage::Count(core, count) => self.count_cores(survey, core, count),
            Stage::CountWhole(thread, cores) => self.count_whole_cores(survey, thread, cores),
            Stage::Cores(core) => match self.next_cores(survey.here, core) {
                Some([first, count]) => tell(
                    Statement::Cores([first, count]),
                    Stage::Cores(first + count),
                ),
                None => tell(
                    Statement::Holdings(self.told_holdings(survey.here)),
                    Stage::Region(0),
                ),
            },
            Stage::Region(place) => self.find_region(survey, place),
            Stage::Gather(region, walk) => match self.gather(survey, region, walk) {
                Some(walk) => on(Stage::Gather(region, walk)),
                None => self.tell_region(survey, region),
            },
            Stage::Peers(Some(peer), behind) => {
                let mark = self.store.domain(peer).mark;
                let next = Stage::Peers(mark.next_peer, behind);
                tell(Statement::Peer(mark.index, mark.rights), next)
            }
            Stage::Peers(None, behind) => on(Stage::Region(behind)),
            Stage::Device(place) => self.find_device(survey, place),
            Stage::WholeCore(thread) => self.find_whole_core(survey, thread),
            Stage::Next => self.next_member(survey),
            Stage::End => tell(Statement::End, Stage::End),
        }
    }

    fn is_opaque(&self, page: PageNumber) -> bool {
        page == self.first_domain
    }

    fn behind(&self, region: Link) -> u64 {
        let node = self.store.node(region);
        node.place.saturating_add(node.size)
    }

    fn commander(&self, page: PageNumber) -> PageNumber {
        match self.store.domain(page).claim {
            Some(claim) => self.store.claim(claim).domain,
            None => page,
        }
    }
}

/// Finding the members.
impl<S: Store> Engine<S> {
    fn find_commander(&mut self, survey: &mut Survey) -> (Step, Stage) {
        if self.is_opaque(survey.here) {
            return self.next_found(survey);
        }
        let commander = self.commander(survey.here);
        self.meet(survey, commander);
        on(Stage::Origin(0))
    }

    fn next_found(&self, survey: &mut Survey) -> (Step, Stage) {
        match self.store.domain(survey.here).mark.next {
            Some(next) => {
                survey.here = next;
                on(Stage::Commander)
            }
            None => on(Stage::Begin),
        }
    }

    fn find_origin(&mut self, survey: &mut Survey, place: u64) -> (Step, Stage) {
        let Some(region) = self.next_region(survey.here, place) else {
            return self.next_found(survey);
        };
        if let Some(origin) = self.origin(region) {
            self.meet(survey, origin);
        }
        let walk = Walk::new(region, self.store.node(region));
        on(Stage::Below(region, walk))
    }

    fn find_below(&mut self, survey: &mut Survey, region: Link, mut walk: Walk) -> (Step, Stage) {
        match self.walk_on(&mut walk) {
            Found::End => return on(Stage::Beside(region, self.begin_gathering(survey, region))),
            Found::Nothing => {}
            Found::Node(link) => {
                let node = self.store.node(link);
                match (node.kind, node.owner) {
                    (Kind::Control, _) => {
                        if let Some(child) = node.target {
                            self.meet(survey, child);
                        }
                    }
                    (Kind::Exit, _) => {}
                    (Kind::Claim, _) | (_, None) => walk.descend(),
                    (_, Some(owner)) => self.meet(survey, owner),
                }
            }
        }
        on(Stage::Below(region, walk))
    }

    /// Begins to gather who reaches the same bytes as a region of the member's.
    fn begin_gathering(&mut self, survey: &mut Survey, region: Link) -> Walk {
        self.begin_group(survey);
        let head = self.head(region);
        let walk = Walk::new(head, self.store.node(region));
        if head != region {
            self.gather_one(survey, head);
        }
        walk
    }

    fn gather_one(&mut self, survey: &mut Survey, link: Link) {
        let node = self.store.node(link);
        let rights = node.rights();
        if let Some(owner) = node.owner.filter(|owner| *owner != survey.here) {
            self.meet(survey, owner);
            self.note_peer(survey, owner, rights);
        }
    }

    /// A step of gathering; `None` when all are.
    fn gather(&mut self, survey: &mut Survey, region: Link, mut walk: Walk) -> Option<Walk> {
        match self.walk_on(&mut walk) {
            Found::End => return None,
            Found::Nothing => {}
            Found::Node(link) => {
                let node = self.store.node(link);
                if node.resource == Resource::Memory && is_aliased(node) {
                    walk.descend();
                    if link != region {
                        self.gather_one(survey, link);
                    }
                }
            }
        }
        Some(walk)
    }
}

/// Telling.
impl<S: Store> Engine<S> {
    fn begin_member(&self, survey: &Survey) -> Stage {
        if self.is_opaque(survey.here) {
            Stage::Next
        } else {
            Stage::Count(0, 0)
        }
    }

    fn next_member(&self, survey: &mut Survey) -> (Step, Stage) {
        let index = self.index(survey.here);
        let statement = if self.is_opaque(survey.here) {
            Statement::Opaque(index)
        } else {
            Statement::Complete
        };
        let next = match self.store.domain(survey.here).mark.next {
            Some(next) => {
                survey.here = next;
                (survey.devices, survey.whole_cores) = (0, 0);
                self.begin_member(survey)
            }
            None => Stage::End,
        };
        tell(statement, next)
    }

    fn count_cores(&self, survey: &Survey, core: u64, count: u64) -> (Step, Stage) {
        match self.next_cores(survey.here, core) {
            Some([first, cores]) => on(Stage::Count(first + cores, count + 1)),
            None => on(Stage::CountWhole(0, count)),
        }
    }

    fn count_whole_cores(&self, survey: &mut Survey, thread: u64, cores: u64) -> (Step, Stage) {
        match self.whole_core_at_or_after(survey.here, thread) {
            Some(core) => {
                survey.whole_cores += u64::from(is_usable(core));
                on(Stage::CountWhole(core.end(), cores))
            }
            None => tell(
                Statement::Domain(self.member(survey, cores)),
                Stage::Cores(0),
            ),
        }
    }

    fn next_cores(&self, page: PageNumber, core: u64) -> Option<[u64; 2]> {
        let holdings = self.store.domain(page).holdings;
        let holdings = Tree::new(&self.store, Order::Holder, holdings);
        let node = self.store.node(holdings.at_or_after((class::CORE, core))?);
        (key(Order::Holder, node).0 == class::CORE).then_some([node.base, node.size])
    }

    fn member(&self, survey: &Survey, cores: u64) -> Member {
        let record = self.store.domain(survey.here);
        Member {
            index: record.mark.index,
            id: record.id,
            measurement: is_measured(record).then_some(record.measurement),
            policy: record.policy,
            vcpus: record.vcpus.into(),
            cores,
            whole_cores: survey.whole_cores,
        }
    }

    fn told_holdings(&self, page: PageNumber) -> Holdings {
        let record = self.store.domain(page);
        Holdings {
            epoch: record.epoch.into(),
            still: record.policy.flags.intersection(Flags::MAY_COMPOSE),
            commander: self.index(self.commander(page)),
            regions: record.regions.into(),
        }
    }

    fn find_region(&mut self, survey: &mut Survey, place: u64) -> (Step, Stage) {
        match self.next_region(survey.here, place) {
            Some(region) => {
                let walk = self.begin_gathering(survey, region);
                on(Stage::Gather(region, walk))
            }
            None => tell(Statement::Devices(survey.devices), Stage::Device(0)),
        }
    }

    fn find_device(&self, survey: &mut Survey, place: u64) -> (Step, Stage) {
        let region = match survey.devices {
            0 => None,
            _ => self.next_region(survey.here, place),
        };
        let Some(region) = region else {
            return match survey.whole_cores {
                0 => on(Stage::Next),
                cores => tell(Statement::WholeCores(cores), Stage::WholeCore(0)),
            };
        };
        let next = Stage::Device(self.behind(region));
        let node = self.store.node(region);
        if node.resource != Resource::Device {
            return on(next);
        }
        survey.devices -= 1;
        tell(Statement::Device(node.base), next)
    }

    fn find_whole_core(&self, survey: &Survey, thread: u64) -> (Step, Stage) {
        match self.whole_core_at_or_after(survey.here, thread) {
            Some(core) if is_usable(core) => {
                let next = Stage::WholeCore(core.end());
                tell(Statement::WholeCore(core.size), next)
            }
            Some(core) => on(Stage::WholeCore(core.end())),
            None => on(Stage::Next),
        }
    }

    fn tell_region(&self, survey: &mut Survey, region: Link) -> (Step, Stage) {
        let node = self.store.node(region);
        if node.resource == Resource::Device {
            survey.devices += 1;
        }
        let head = self.head(region);
        let sharing = if self.is_open(head) {
            Sharing::Open
        } else if survey.peers > 0 || head != region || node.shares > 0 {
            Sharing::Shared
        } else if node.carves > 0 {
            Sharing::Lent
        } else {
            Sharing::Exclusive
        };
        let origin = self.origin(region).unwrap_or(survey.here);
        let extent = Extent {
            place: node.place,
            size: node.size,
            attributes: node.attributes,
            sharing,
            origin: self.index(origin),
            peers: survey.peers,
        };
        let next = Stage::Peers(survey.first_peer, self.behind(region));
        tell(Statement::Region(extent), next)
    }
}

/// Whether the domain's measurement is valid.
fn is_measured(domain: &Domain) -> bool {
    match domain.state {
        DomainState::Sealed => true,
        DomainState::Dying => domain.measurement != [0; 32],
        DomainState::Building | DomainState::Sealing => false,
    }
}
