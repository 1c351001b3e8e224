//! What surveys tell, against what the reference works out page by page.

use std::collections::{BTreeMap, BTreeSet};

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;
use adyton_capability::survey::{Extent, Holdings, Member, Sharing, Statement, Step, Survey};

use crate::reference::{Kind, State};
use crate::world::World;

/// What was told of one domain.
#[derive(Debug)]
struct Told {
    member: Member,
    holdings: Option<Holdings>,
    cores: Vec<[u64; 2]>,
    regions: Vec<(Extent, Vec<(u64, Attributes)>)>,
    /// How many devices were announced.
    announced: u64,
    devices: Vec<u64>,
}

impl World {
    /// Surveys the closure of every domain.
    pub fn compare_closures(&mut self) {
        for subject in 1..self.reference.domains.len() {
            if self.reference.domains[subject].state != State::Dead {
                self.compare_closure(subject);
            }
        }
    }

    fn compare_closure(&mut self, subject: usize) {
        let mut survey = self
            .engine
            .survey(self.reference.domains[subject].id)
            .unwrap();
        let (count, told) = self.listen(&mut survey);
        let members = self.closure(subject);
        assert_eq!(count, members.len() as u64);
        let mut numbers = BTreeMap::new();
        for member in &members {
            let id = self.reference.domains[*member].id;
            let number = self.engine.number(&survey, id).expect("a member");
            numbers.insert(*member, number);
        }
        assert_eq!(numbers[&subject], 0);
        for member in members.into_iter().filter(|member| *member != 0) {
            let told = &told[&numbers[&member]];
            self.compare_member(member, told, &numbers);
        }
        if count > 2 {
            self.count("larger closure");
        }
    }

    /// All statements of the survey.
    fn listen(&mut self, survey: &mut Survey) -> (u64, BTreeMap<u64, Told>) {
        let (mut count, mut order, mut all) = (0, 0, BTreeMap::<u64, Told>::new());
        let mut here = None;
        for _ in 0..100_000 {
            let statement = match self.engine.survey_step(survey) {
                Step::Onward => continue,
                Step::Changed => panic!("nothing was changed"),
                Step::Tell(statement) => statement,
            };
            match statement {
                Statement::Begin(members) => count = members,
                Statement::Opaque(index) => {
                    assert_eq!(index, order);
                    order += 1;
                }
                Statement::Domain(member) => {
                    assert_eq!(member.index, order);
                    order += 1;
                    here = Some(Told {
                        member,
                        holdings: None,
                        cores: Vec::new(),
                        regions: Vec::new(),
                        announced: 0,
                        devices: Vec::new(),
                    });
                }
                Statement::Cores(range) => here.as_mut().unwrap().cores.push(range),
                Statement::Holdings(told) => here.as_mut().unwrap().holdings = Some(told),
                Statement::Region(extent) => {
                    here.as_mut().unwrap().regions.push((extent, Vec::new()));
                }
                Statement::Peer(domain, rights) => {
                    let regions = &mut here.as_mut().unwrap().regions;
                    regions.last_mut().unwrap().1.push((domain, rights));
                }
                Statement::Devices(count) => here.as_mut().unwrap().announced = count,
                Statement::Device(device) => here.as_mut().unwrap().devices.push(device),
                Statement::WholeCores(_) | Statement::WholeCore(_) => {
                    panic!("nobody is given whole cores here")
                }
                Statement::Complete => {
                    let told = here.take().unwrap();
                    all.insert(told.member.index, told);
                }
                Statement::End => {
                    assert_eq!(order, count);
                    return (count, all);
                }
            }
        }
        panic!("the survey does not end");
    }

    fn commander(&self, domain: usize) -> usize {
        let claim = self.reference.domains[domain].claim;
        claim.map_or(domain, |claim| self.reference.claims[claim].domain)
    }

    fn regions(&self, domain: usize) -> Vec<usize> {
        let mut regions = self.reference.living(|node| node.is_memory_of(domain));
        regions.sort_by_key(|node| self.reference.nodes[*node].place);
        regions
    }

    /// From whose memory the region was derived.
    fn origin(&self, region: usize) -> Option<usize> {
        let line = self.reference.line(region).into_iter().skip(1);
        let nodes = line.map(|node| &self.reference.nodes[node]);
        let mut owners = nodes.filter_map(|node| match node.kind {
            Kind::Claim(claim) => Some(self.reference.claims[claim].domain),
            _ => node.owner,
        });
        owners.next()
    }

    /// Who else reaches a byte that the domain reaches in the region, and with what rights.
    fn peers(&self, domain: usize, region: usize) -> BTreeMap<usize, Attributes> {
        let node = &self.reference.nodes[region];
        let mut peers = BTreeMap::new();
        for page in (node.base..node.end()).step_by(PAGE_SIZE as usize) {
            let reach = self.reference.reach(page);
            let place = node.place + (page - node.base);
            if !reach.contains(&(domain, place, node.rights().word())) {
                continue;
            }
            for (other, _, rights) in reach {
                if other != domain {
                    let rights = Attributes::from_word(rights).unwrap();
                    let known = peers.entry(other).or_insert(Attributes::NONE);
                    *known = *known | rights;
                }
            }
        }
        peers
    }

    /// The edges of every domain but domain 0, in both directions.
    fn closure(&self, subject: usize) -> BTreeSet<usize> {
        let mut edges = BTreeSet::new();
        let living = |domain: &usize| self.reference.domains[*domain].state != State::Dead;
        for domain in (1..self.reference.domains.len()).filter(living) {
            edges.insert((domain, self.commander(domain)));
            for region in self.regions(domain) {
                edges.extend(self.origin(region).map(|origin| (domain, origin)));
                let peers = self.peers(domain, region).into_keys();
                edges.extend(peers.map(|peer| (domain, peer)));
            }
        }
        let mut members = BTreeSet::from([subject]);
        loop {
            let before = members.len();
            for (a, b) in &edges {
                let inside = |end: &usize| *end != 0 && members.contains(end);
                if inside(a) || inside(b) {
                    members.extend([*a, *b]);
                }
            }
            if members.len() == before {
                return members;
            }
        }
    }

    fn compare_member(&self, domain: usize, told: &Told, numbers: &BTreeMap<usize, u64>) {
        let record = &self.reference.domains[domain];
        let facts = self.engine.domain_facts(record.id).unwrap();
        let sealed = record.state == State::Sealed;
        assert_eq!(told.member.measurement, sealed.then_some(facts.measurement));
        assert_eq!(told.member.policy, record.policy);
        assert_eq!(told.member.vcpus, self.reference.vcpus(domain));
        let holdings = told.holdings.unwrap();
        assert_eq!(holdings.epoch, u64::from(record.epoch));
        assert!(record.policy.flags.contains(holdings.still));
        assert_eq!(holdings.commander, numbers[&self.commander(domain)]);
        assert_eq!(told.member.cores, told.cores.len() as u64);
        let mut cores = self
            .reference
            .living(|node| node.core && node.owner == Some(domain));
        cores.sort_by_key(|node| self.reference.nodes[*node].base);
        let cores: Vec<_> = cores
            .into_iter()
            .map(|node| {
                [
                    self.reference.nodes[node].base,
                    self.reference.nodes[node].size,
                ]
            })
            .collect();
        assert_eq!(told.cores, cores);
        let regions = self.regions(domain);
        assert_eq!(holdings.regions, regions.len() as u64);
        assert_eq!(told.regions.len(), regions.len());
        let nodes = regions.iter().map(|node| &self.reference.nodes[*node]);
        let devices: Vec<_> = nodes
            .filter(|node| node.device)
            .map(|node| node.base)
            .collect();
        assert_eq!(told.devices, devices);
        assert_eq!(told.announced, devices.len() as u64);
        for (region, (extent, peers)) in regions.into_iter().zip(&told.regions) {
            self.compare_extent(domain, region, extent, peers, numbers);
        }
    }

    fn compare_extent(
        &self,
        domain: usize,
        region: usize,
        extent: &Extent,
        peers: &[(u64, Attributes)],
        numbers: &BTreeMap<usize, u64>,
    ) {
        let node = &self.reference.nodes[region];
        assert_eq!(
            (extent.place, extent.size, extent.attributes),
            (node.place, node.size, node.attributes)
        );
        let origin = self.origin(region).unwrap_or(domain);
        assert_eq!(extent.origin, numbers[&origin]);
        assert_eq!(extent.peers, peers.len() as u64);
        let told: BTreeMap<_, _> = peers.iter().copied().collect();
        assert_eq!(told.len(), peers.len(), "a peer is told twice");
        let expected: BTreeMap<_, _> = self
            .peers(domain, region)
            .into_iter()
            .map(|(peer, rights)| (numbers[&peer], rights))
            .collect();
        assert_eq!(told, expected);
        let unbroken = self.reference.line(region).iter().all(|node| {
            let kind = self.reference.nodes[*node].kind;
            kind != Kind::Share
        });
        let alone = matches!(extent.sharing, Sharing::Exclusive | Sharing::Lent);
        assert!(!alone || unbroken && peers.is_empty());
        assert_eq!(extent.sharing == Sharing::Open, self.is_open(region));
    }

    /// Whether its maker could share the region with somebody else although the maker does not reach it.
    fn is_open(&self, region: usize) -> bool {
        let line = self.reference.line(region);
        let carve = line.iter().position(|node| {
            let kind = self.reference.nodes[*node].kind;
            matches!(kind, Kind::Carve | Kind::Root)
        });
        let line = &line[carve.unwrap_or(0)..];
        let owner = self.reference.nodes[line[0]].owner;
        owner.is_none() && !line.iter().any(|node| self.reference.nodes[*node].closed)
    }
}
