//! Random calls: bytes become arguments that are mostly sensible.

use adyton_abi::PAGE_SIZE;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::region::Attributes;
use adyton_capability::derive::{Source, Target};
use adyton_capability::device;
use adyton_capability::grant::{ANY_PLACE, Expected};
use adyton_capability::node::Entry;
use adyton_capability::operation::{Grant, Operation};

use crate::reference::{Kind, Node, State};
use crate::support::{CORES, DEVICE_PAGES, DEVICES, POOLS};
use crate::verdict::From;
use crate::world::{Aim, World};

/// A call as bytes: which, and its arguments.
pub type Call = (u8, [u8; 7]);

/// Places that make page tables interesting: about 2 MiB, 1 GiB and 512 GiB boundaries, and one that is refused.
const PLACES: [u64; 12] = [
    0,
    0x1000,
    0x4000,
    0x1f_e000,
    0x20_0000,
    0x3fff_f000,
    0x4000_0000,
    0x7f_ffff_e000,
    0x80_0000_0000,
    0x8000,
    0xffff_ffff_f000,
    0x1_0000_0000_0000,
];

fn place(byte: u8) -> u64 {
    let base = PLACES[usize::from(byte) % PLACES.len()];
    base + u64::from(byte / 64) * PAGE_SIZE
}

/// Mostly all rights, sometimes with one attribute more or one right less.
fn attributes(byte: u8) -> Attributes {
    let rights = match byte % 4 {
        0 => Attributes::READ,
        1 => Attributes::READ | Attributes::WRITE,
        _ => Attributes::RIGHTS,
    };
    let more = match byte / 4 % 8 {
        0 | 1 => Attributes::POOL,
        2 => Attributes::MEASURED,
        3 => Attributes::VITAL,
        4 => Attributes::CLEAN,
        5 => Attributes::POOL | Attributes::VITAL,
        _ => Attributes::NONE,
    };
    rights | more
}

fn flags(byte: u8) -> Flags {
    let mut flags = Flags::MAY_COMPOSE | Flags::MAY_ATTEST;
    if byte % 8 == 7 {
        let without = [
            Flags::MAY_CREATE,
            Flags::MAY_CARVE,
            Flags::MAY_SHARE,
            Flags::MAY_GRANT,
        ];
        let bit = without[usize::from(byte / 8) % 4];
        flags = Flags::from_word(flags.word() & !bit.word()).unwrap();
    }
    if byte.is_multiple_of(2) {
        flags = flags | Flags::CONFIDENTIAL;
    }
    flags
}

impl World {
    fn pick(&self, byte: u8, among: &[usize]) -> Option<usize> {
        among.get(usize::from(byte) % among.len().max(1)).copied()
    }

    /// A domain; every now and then one that is dead.
    fn pick_domain(&self, byte: u8) -> usize {
        let all = 0..self.reference.domains.len();
        let living = all
            .filter(|domain| self.reference.domains[*domain].state != State::Dead || byte == 255);
        self.pick(byte, &living.collect::<Vec<_>>()).unwrap()
    }

    fn pick_claim(&self, byte: u8) -> Option<usize> {
        let all = 0..self.reference.claims.len();
        let living = all.filter(|claim| {
            self.reference.nodes[self.reference.claims[*claim].node].alive || byte == 255
        });
        self.pick(byte, &living.collect::<Vec<_>>())
    }

    /// A domain of the claim, or any.
    fn pick_child(&self, byte: u8, claim: usize) -> usize {
        let all = 0..self.reference.domains.len();
        let children: Vec<usize> = all
            .filter(|domain| {
                let record = &self.reference.domains[*domain];
                record.claim == Some(claim) && record.state != State::Dead
            })
            .collect();
        match self.pick(byte, &children) {
            Some(child) if byte < 240 => child,
            _ => self.pick_domain(byte),
        }
    }

    fn pick_region(&self, byte: u8, claim: usize, unowned: bool) -> Option<usize> {
        let regions = self.reference.living(|node| {
            let wanted = !unowned || node.owner.is_none();
            node.is_region() && node.claim == Some(claim) && wanted
        });
        self.pick(byte, &regions)
    }

    /// A range of the claim, seldom one page beyond it.
    fn range(&self, claim: usize, offset: u8, size: u8) -> (u64, u64) {
        let node = &self.reference.nodes[self.reference.claims[claim].node];
        let pages = node.size / PAGE_SIZE + u64::from(offset == 250);
        let offset = u64::from(offset) % pages;
        let size = 1 + u64::from(size) % 6.min(pages - offset).max(1);
        (node.base + offset * PAGE_SIZE, size * PAGE_SIZE)
    }

    pub fn call(&mut self, (which, bytes): Call) {
        match which % 32 {
            0..=2 => self.call_claim(bytes),
            3..=4 => self.call_create(bytes),
            5..=6 => self.nest(bytes),
            7..=9 => self.call_vcpu(bytes),
            10..=13 => self.call_derive(Kind::Carve, bytes),
            14..=16 => self.call_derive(Kind::Share, bytes),
            17..=19 => self.call_grant(bytes),
            20..=21 => self.call_accept(bytes),
            22 => self.call_close(bytes),
            23..=24 => self.call_revoke(bytes),
            25..=28 => self.call_seal(bytes),
            29 => self.call_destroy(bytes),
            30 => self.call_release(bytes),
            31 if bytes[6].is_multiple_of(2) => self.call_cores(bytes),
            _ => self.call_assign(bytes),
        };
    }

    /// All the calls that make a sealed domain with a pool of its own, most often in the domain that was made last.
    fn nest(&mut self, bytes: [u8; 7]) -> Option<()> {
        let pooled: Vec<usize> = (0..self.reference.domains.len())
            .filter(|domain| {
                let sealed = self.reference.domains[*domain].state == State::Sealed;
                sealed && self.reference.pool_bytes(*domain) > 0
            })
            .collect();
        let last = pooled
            .last()
            .copied()
            .filter(|_| !bytes[0].is_multiple_of(4));
        let owner = last.or_else(|| self.pick(bytes[0], &pooled))?;
        let pool = self
            .reference
            .living(|node| node.is_memory_of(owner) && node.has(Attributes::POOL));
        let region = self.pick(bytes[1], &pool)?;
        let (start, size) = (
            self.reference.nodes[region].place,
            self.reference.nodes[region].size,
        );
        let size = if bytes[1].is_multiple_of(2) {
            size
        } else {
            size / 2 / PAGE_SIZE * PAGE_SIZE
        };
        let claim = self.reference.claims.len();
        self.make_claim(owner, start, size)?;
        let base = self.reference.nodes[self.reference.claims[claim].node].base;
        let left = self.reference.claims[claim].limit / 2;
        let child = self.reference.domains.len();
        let flags = flags(bytes[2] & !7);
        self.make_domain(
            claim,
            base,
            Policy {
                flags,
                exceptions: 0,
            },
            left,
        )?;
        self.make_vcpu(claim, child, base + PAGE_SIZE, Entry::default())?;
        let rest = (base + 2 * PAGE_SIZE, size.checked_sub(3 * PAGE_SIZE)?);
        let from = (
            From::Range(rest.0, rest.1),
            Source::Range {
                base: rest.0,
                size: rest.1,
            },
        );
        let pool = Attributes::RIGHTS | Attributes::POOL;
        self.make_region(
            claim,
            Kind::Carve,
            from,
            Some((child, place(bytes[3]))),
            pool,
        )?;
        self.make_sealed(claim, child)
    }

    fn call_claim(&mut self, bytes: [u8; 7]) -> Option<()> {
        let domain = self.pick_domain(bytes[0]);
        let pool = self.reference.living(|node| {
            node.is_memory_of(domain) && (node.has(Attributes::POOL) || bytes[1] == 255)
        });
        let region = self.pick(bytes[1], &pool);
        let (start, pages) = region.map_or((POOLS[0], 8), |region| {
            let node = &self.reference.nodes[region];
            (node.place, node.size / PAGE_SIZE)
        });
        let offset = u64::from(bytes[2]) % pages;
        let size = (1 + u64::from(bytes[3]) % 24).min(pages - offset + u64::from(bytes[4] == 0));
        self.make_claim(domain, start + offset * PAGE_SIZE, size * PAGE_SIZE)
    }

    fn call_create(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let (base, _) = self.range(claim, bytes[1], 0);
        let policy = Policy {
            flags: flags(bytes[2]),
            exceptions: u32::from(bytes[3]),
        };
        self.make_domain(claim, base, policy, u64::from(bytes[4]) % 200)
    }

    fn call_vcpu(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let domain = self.pick_child(bytes[1], claim);
        let (base, _) = self.range(claim, bytes[2], 0);
        let entry = Entry {
            rip: u64::from(bytes[3]),
            rsp: u64::from(bytes[4]),
            cr3: 1,
            argument: 2,
        };
        self.make_vcpu(claim, domain, base, entry)
    }

    fn call_derive(&mut self, kind: Kind, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let (base, size) = self.range(claim, bytes[1], bytes[2]);
        let unowned = self.pick_region(bytes[2], claim, bytes[2] < 250);
        let (from, source) = match unowned.filter(|_| bytes[3].is_multiple_of(2)) {
            None => (From::Range(base, size), Source::Range { base, size }),
            Some(region) => {
                let pages = self.reference.nodes[region].size.div_ceil(PAGE_SIZE);
                let offset = u64::from(bytes[1]) % pages * PAGE_SIZE;
                let size = PAGE_SIZE * (1 + u64::from(bytes[3] / 2) % 4);
                let name = self.reference.nodes[region].id?;
                let source = Source::Region {
                    region: name,
                    offset,
                    size,
                };
                (From::Region(region, offset, size), source)
            }
        };
        let to_nobody = bytes[4].is_multiple_of(3);
        let target = (!to_nobody).then(|| (self.pick_child(bytes[4], claim), place(bytes[5])));
        self.make_region(claim, kind, (from, source), target, attributes(bytes[6]))
    }

    fn call_grant(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let region = self.pick_region(bytes[1], claim, bytes[1] < 250)?;
        let target = if bytes[2].is_multiple_of(2) {
            self.pick_child(bytes[2], claim)
        } else {
            self.pick_domain(bytes[2])
        };
        let place = if bytes[3].is_multiple_of(3) {
            ANY_PLACE
        } else {
            place(bytes[3])
        };
        let id = self.reference.claims[claim].id;
        let name = self.reference.nodes[region].id?;
        let goal = self.reference.domains[target].id;
        let (at_once, grant) = self.play(
            |reference| reference.grant(claim, region, target, place),
            |engine| engine.grant(id, name, goal, place),
        )?;
        self.reference.force_clean(region, target);
        let node = &mut self.reference.nodes[region];
        node.place = place;
        match grant {
            Grant::Granted(operation) => {
                assert!(at_once);
                node.owner = Some(target);
                self.begin(operation, Aim::Place(region));
                self.count("grant");
            }
            Grant::Offered => {
                assert!(!at_once);
                node.offered = Some(target);
                self.count("offer");
            }
        }
        Some(())
    }

    fn call_accept(&mut self, bytes: [u8; 7]) -> Option<()> {
        let offers = self.reference.living(|node| node.offered.is_some());
        let offer = self.pick(bytes[0], &offers)?;
        let node = &self.reference.nodes[offer];
        let domain = match node.offered {
            Some(domain) if bytes[1] < 240 => domain,
            _ => self.pick_domain(bytes[1]),
        };
        let name = node.id?;
        let mut expected = Expected {
            place: if node.place == ANY_PLACE {
                place(bytes[2])
            } else {
                node.place
            },
            size: node.size,
            attributes: node.attributes,
        };
        match bytes[3] {
            0..10 => expected.size += PAGE_SIZE,
            10..20 => expected.attributes = attributes(bytes[4]),
            20..30 => expected.place += PAGE_SIZE,
            _ => {}
        }
        let record = &self.reference.domains[domain];
        let building = record.state == State::Building && bytes[5] < 240;
        let composer = record.claim.filter(|_| building);
        let by = composer.map(|claim| self.reference.claims[claim].id);
        let id = record.id;
        let ((), operation) = self.play(
            |reference| reference.accept(domain, composer, offer, expected),
            |engine| engine.accept(id, by, name, expected),
        )?;
        let again = self.engine.accept(id, by, name, expected);
        assert_eq!(again, Ok(operation), "a repeated call carries on");
        let node = &mut self.reference.nodes[offer];
        node.offered = None;
        node.owner = Some(domain);
        node.place = expected.place;
        let record = &mut self.reference.domains[domain];
        let sealed = record.state == State::Sealed;
        record.epoch += u32::from(sealed);
        self.count(if sealed { "accept sealed" } else { "accept" });
        self.begin(operation, Aim::Place(offer));
        Some(())
    }

    fn call_close(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let region = self.pick_region(bytes[1], claim, false)?;
        let id = self.reference.claims[claim].id;
        let name = self.reference.nodes[region].id?;
        self.play(
            |reference| reference.close(claim, region),
            |engine| engine.close(id, name),
        )?;
        self.reference.nodes[region].closed = true;
        self.count("close");
        Some(())
    }

    fn call_revoke(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let region = self.pick_region(bytes[1], claim, false)?;
        let id = self.reference.claims[claim].id;
        let name = self.reference.nodes[region].id?;
        let (_, operation) = self.play(
            |reference| reference.close(claim, region),
            |engine| engine.revoke(id, name),
        )?;
        self.count("revoke");
        self.revoked(region, operation);
        Some(())
    }

    fn call_seal(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let domain = self.pick_child(bytes[1], claim);
        self.make_sealed(claim, domain)
    }

    fn call_destroy(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let domain = self.pick_child(bytes[1], claim);
        let id = self.reference.claims[claim].id;
        let child = self.reference.domains[domain].id;
        let (control, operation) = self.play(
            |reference| reference.destroy(claim, domain),
            |engine| engine.destroy(id, child),
        )?;
        self.count("destroy");
        self.revoked(control, operation);
        Some(())
    }

    fn call_release(&mut self, bytes: [u8; 7]) -> Option<()> {
        if bytes[1] > 80 {
            return None;
        }
        let claim = self.pick_claim(bytes[0])?;
        let node = self.reference.claims[claim].node;
        if !self.reference.nodes[node].alive {
            return None;
        }
        let operation = self.engine.release(self.reference.claims[claim].id);
        self.count("release");
        self.revoked(node, operation.ok()?);
        Some(())
    }

    /// A device of the claim's owner: the machine's, or one that it was given.
    fn call_assign(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let domain = self.pick_child(bytes[1], claim);
        let owner = self.reference.claims[claim].domain;
        let own = self
            .reference
            .living(|node| node.device && node.owner == Some(owner) && node.kind != Kind::Root);
        let own = self.pick(bytes[2], &own).filter(|_| bytes[2] < 250);
        let (from, pages) = own.map_or_else(
            || {
                let number = device::number(u16::from(bytes[2]) % (DEVICES as u16 + 1));
                let odd = u64::from(bytes[2] == 249) * PAGE_SIZE;
                (number + odd, 1 + u64::from(bytes[3]) % DEVICE_PAGES)
            },
            |node| {
                let node = &self.reference.nodes[node];
                (
                    node.place,
                    node.size / PAGE_SIZE + u64::from(bytes[3] == 255),
                )
            },
        );
        let size = pages * PAGE_SIZE;
        let asked = attributes(bytes[5]);
        let asked = if bytes[4] < 200 {
            asked.intersection(Attributes::VITAL) | Attributes::READ | Attributes::WRITE
        } else {
            asked
        };
        let place = place(bytes[4]);
        let id = self.reference.claims[claim].id;
        let target = Target {
            domain: self.reference.domains[domain].id,
            place,
        };
        let ((parent, base), operation) = self.play(
            |reference| reference.assign(claim, from, size, (domain, place), asked),
            |engine| engine.assign(id, from, size, target, asked),
        )?;
        let node = Node {
            device: true,
            parent: Some(parent),
            size,
            attributes: asked | Attributes::CLEAN | Attributes::DEVICE,
            ..self.pin(claim, Kind::Carve, base, Some(domain), place)
        };
        if let Operation::Place(name) = operation {
            // The machine's devices have a name that only this tells.
            let facts = self.engine.region_facts(name);
            self.reference.nodes[parent].id = facts.and_then(|facts| facts.source);
        }
        self.count("assign");
        if own.is_some() {
            self.count("assign in a domain");
        }
        self.add_region(node, operation);
        Some(())
    }

    fn call_cores(&mut self, bytes: [u8; 7]) -> Option<()> {
        let claim = self.pick_claim(bytes[0])?;
        let domain = self.pick_child(bytes[1], claim);
        let first = u64::from(bytes[2]) % (CORES + 1);
        let count = u64::from(bytes[3]) % 4;
        let id = self.reference.claims[claim].id;
        let child = self.reference.domains[domain].id;
        let (parent, operation) = self.play(
            |reference| reference.cores(claim, domain, first, count),
            |engine| engine.derive_cores(id, child, first, count),
        )?;
        let node = Node {
            core: true,
            parent: Some(parent),
            size: count,
            ..self.pin(claim, Kind::Share, first, Some(domain), first)
        };
        self.count("cores");
        self.add_region(node, operation);
        Some(())
    }
}
