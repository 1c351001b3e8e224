//! The next call: arguments that should do, of which one is spoiled now and then.

mod spoil;

use adyton_abi::PAGE_SIZE;
use adyton_abi::call::{CLAIM_OPERATION, Call, Information};
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_compose::environment::Request;

use crate::dice::Dice;
use crate::world::{Domain, Ground, Region, VCPUS, World};

/// How often each call is made. What takes away is rarer than what makes, or nothing would ever grow.
const WEIGHTS: &[(Call, u64)] = &[
    (Call::Information, 2),
    (Call::Claim, 3),
    (Call::Release, 1),
    (Call::Create, 6),
    (Call::Vcpu, 7),
    (Call::Carve, 10),
    (Call::Share, 6),
    (Call::Derive, 6),
    (Call::Grant, 6),
    (Call::Accept, 6),
    (Call::Close, 2),
    (Call::Revoke, 4),
    (Call::Seal, 4),
    (Call::Destroy, 2),
    (Call::Enter, 10),
    (Call::Abandon, 3),
    (Call::Exit, 1),
    (Call::Enumerate, 4),
    (Call::Random, 2),
    (Call::DebugRead, 3),
    (Call::Cores, 6),
    (Call::Quote, 1),
    (Call::Key, 1),
    (Call::Counter, 2),
    (Call::Enrol, 1),
    (Call::EventLog, 1),
    (Call::Evidence, 1),
    (Call::EnclaveEvidence, 1),
    (Call::Report, 1),
    (Call::Check, 1),
    (Call::CarveCore, 2),
    (Call::Start, 2),
    (Call::Assign, 2),
    (Call::Configure, 1),
];

/// Running time of an entry in ticks: whatever a domain of random parts does, it comes back.
const LIMIT: u64 = 200_000;

/// What a domain is given first, so that debug reads and entries find something.
pub const FIRST_PLACE: u64 = 0x10_0000;
/// Where a domain finds a device's registers.
const DEVICE_PLACE: u64 = 0x4000_0000;

/// Rights that are often right.
const ATTRIBUTES: [u64; 8] = [3, 7, 3 | 8, 7 | 8, 7 | 16, 7 | 8 | 16, 3 | 32, 1];

pub(crate) fn call(ground: Ground, world: &World, dice: &mut Dice) -> Request {
    let wanted = weighted(dice);
    let mut chooser = Chooser {
        ground,
        world,
        dice,
    };
    // Where what it needs is not there yet, something is made first.
    let (call, mut arguments) = [wanted, Call::Carve]
        .into_iter()
        .find_map(|call| Some((call, chooser.arguments(call)?)))
        .unwrap_or_else(|| (Call::Create, chooser.create()));
    if chooser.dice.once_in(3) {
        chooser.spoil(call, &mut arguments);
    }
    // What a monitor under test does when asked is for tests to ask.
    if call == Call::Information && arguments[0] == Information::Selfcheck as u64 {
        arguments[0] = Information::Counter as u64;
    }
    let token = if dice.once_in(50) {
        0
    } else {
        dice.word().max(1)
    };
    Request {
        call,
        arguments,
        token,
    }
}

fn weighted(dice: &mut Dice) -> Call {
    let all = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut left = dice.below(all);
    for &(call, weight) in WEIGHTS {
        if left < weight {
            return call;
        }
        left -= weight;
    }
    Call::Random
}

struct Chooser<'a> {
    ground: Ground,
    world: &'a World,
    dice: &'a mut Dice,
}

impl Chooser<'_> {
    fn arguments(&mut self, call: Call) -> Option<[u64; 8]> {
        Some(match call {
            Call::Claim => plain([self.range_address(None), self.ground.size, 0, 0]),
            Call::Release => {
                let page = self.page(None);
                plain([page, 0, 0, 0])
            }
            Call::Information => {
                let topics = [
                    0,
                    1,
                    2,
                    3,
                    4,
                    5,
                    Information::Counter as u64,
                    Information::Device as u64,
                    99,
                ];
                let (topic, selector) = (self.dice.one_of(&topics), self.dice.below(12));
                plain([topic, selector, 0, 0])
            }
            Call::Random => [0; 8],
            Call::Quote | Call::EventLog => {
                let ((page, _), offset) = (self.answers(), self.dice.below(9000));
                plain([page, offset, 0, 0])
            }
            Call::Report | Call::Check => {
                // Where no other answer overwrites it.
                let page = match self.ground.answers {
                    Some((address, size)) if !self.dice.once_in(8) => address + size,
                    _ => self.page(None),
                };
                plain([page, 0, 0, 0])
            }
            Call::Configure => self.configure()?,
            Call::Key => {
                let binding = self.dice.one_of(&[0, 0, 1, 2]);
                // By the measurement there is none to show.
                let signature = match binding {
                    0 => 0,
                    _ => self.page(None),
                };
                plain([binding, 0, signature, 0])
            }
            Call::Counter => self.counter(),
            Call::Enrol => {
                let ((page, _), step) = (self.answers(), self.dice.below(3));
                plain([page, step, 0, 0])
            }
            Call::EnclaveEvidence => {
                let (page, size) = self.answers();
                plain([page, size, 0, 0])
            }
            Call::Exit => {
                let word = self.dice.word();
                plain([adyton_compose::convention::PAYLOAD, word, 0, 0])
            }
            Call::Enumerate => self.enumerate(),
            Call::Create => self.create(),
            Call::Grant => self.grant()?,
            Call::Accept => self.accept()?,
            Call::Derive => self.derive()?,
            Call::Close | Call::Revoke => self.withdrawal(call)?,
            Call::Carve | Call::Share => self.derivation(call)?,
            Call::Vcpu
            | Call::Seal
            | Call::Destroy
            | Call::Enter
            | Call::Abandon
            | Call::DebugRead
            | Call::CarveCore
            | Call::Start
            | Call::Assign
            | Call::Evidence
            | Call::Cores => self.command(call)?,
        })
    }

    fn named(&self, name: u64, range: usize, rest: [u64; 5]) -> [u64; 8] {
        let [low, high] = self.world.key(range);
        let [a, b, c, d, e] = rest;
        [name, low, high, a, b, c, d, e]
    }

    /// A range, one that is claimed if possible.
    fn range(&mut self) -> usize {
        let first = self.dice.below(self.ground.ranges) as usize;
        let count = self.ground.ranges as usize;
        let claimed = |range: &usize| self.world.keys.get(*range).is_some_and(Option::is_some);
        let after = (0..count).map(|step| (first + step) % count.max(1));
        after.into_iter().find(claimed).unwrap_or(first)
    }

    fn range_address(&mut self, range: Option<usize>) -> u64 {
        let range = match range {
            Some(range) => range as u64,
            None => self.dice.below(self.ground.ranges),
        };
        self.ground.base + range * self.ground.size
    }

    fn page(&mut self, range: Option<usize>) -> u64 {
        let pages = self.ground.size / PAGE_SIZE;
        self.range_address(range) + self.dice.below(pages) * PAGE_SIZE
    }

    /// Where a call may answer, and into how many bytes: mostly where a question was asked.
    fn answers(&mut self) -> (u64, u64) {
        match self.ground.answers {
            Some((address, size)) if !self.dice.once_in(8) => {
                let size = self.dice.one_of(&[0, PAGE_SIZE, size, size, size]);
                (address, size)
            }
            _ => {
                let size = self.dice.one_of(&[0, PAGE_SIZE, u64::MAX << 12]);
                (self.page(None), size)
            }
        }
    }

    /// Mostly a register that is read, and mostly by a domain that has a device.
    fn configure(&mut self) -> Option<[u64; 8]> {
        let page = match self.ground.device {
            Some((_, address)) if !self.dice.once_in(8) => address,
            _ => self.page(None),
        };
        let offset = self.dice.below(64) * 4;
        let [width, write, value] = [
            self.dice.one_of(&[1, 2, 4]),
            self.dice.one_of(&[0, 0, 1]),
            self.dice.word() >> 32,
        ];
        let makes_sense = self.ground.is_inside || self.dice.once_in(4);
        makes_sense.then_some([page, offset, width, write, value, 0, 0, 0])
    }

    /// About itself, or in domain 0 about one that was sealed.
    fn counter(&mut self) -> [u64; 8] {
        let range = self.range();
        let page = self.page(Some(range));
        let subject = self.domain(|domain| domain.is_sealed);
        let (control, range) = subject.map_or((page, range), |it| (it.control, it.range));
        let (operation, selector) = (self.dice.below(6), self.dice.one_of(&[0, 0, 1, 20]));
        self.named(control, range, [operation, selector, 0, 0, 0])
    }

    fn domain(&mut self, wanted: impl Fn(&Domain) -> bool) -> Option<Domain> {
        pick(&self.world.domains, self.dice, wanted)
    }

    fn region(&mut self, wanted: impl Fn(&Region) -> bool) -> Option<Region> {
        pick(&self.world.regions, self.dice, wanted)
    }

    /// A few pages, not beyond the end of the range.
    fn pages(&mut self, range: usize) -> (u64, u64) {
        let page = self.page(Some(range));
        let end = self.range_address(Some(range)) + self.ground.size;
        let size = PAGE_SIZE * self.dice.one_of(&[1, 1, 1, 2, 4]);
        (page, size.min(end - page))
    }

    fn create(&mut self) -> [u64; 8] {
        const ALL: u64 = 0xff;
        let range = self.range();
        let page = self.page(Some(range));
        let confidential = Flags::CONFIDENTIAL.word();
        let debug = confidential | Flags::DEBUG.word();
        let flags = self.dice.one_of(&[0, confidential, debug, debug, ALL, 0]);
        let exceptions = self.dice.one_of(&[0, u64::from(u32::MAX)]);
        let quota = self.dice.one_of(&[16, 24, 32, 32, 1, 1 << 40]);
        self.named(page, range, [flags, exceptions, quota, 0, 0])
    }

    fn derivation(&mut self, call: Call) -> Option<[u64; 8]> {
        let attributes = self.dice.one_of(&ATTRIBUTES);
        if self.dice.once_in(3) {
            let range = self.range();
            let (page, size) = self.pages(range);
            let clean = Attributes::NOBODY.word() | attributes & !(16 | 32);
            return Some(self.named(page, range, [page, size, 0, clean, 0]));
        }
        let domain = self.domain(|domain| !domain.is_sealed)?;
        let (page, size) = match (self.dice.below(24), self.ground.long) {
            (0, _) => self.ground.ordinary,
            (1, Some(long)) => long,
            _ => self.pages(domain.range),
        };
        // What is measured or clean can only be carved.
        let attributes = if call == Call::Share {
            attributes & 7
        } else {
            attributes
        };
        let place = domain.next_place;
        Some(self.named(
            domain.control,
            domain.range,
            [page, size, place, attributes, 0],
        ))
    }

    fn derive(&mut self) -> Option<[u64; 8]> {
        let source = self.region(|region| region.is_nobodys && region.offer.is_none());
        let target = source.and_then(|source| {
            self.domain(|domain| !domain.is_sealed && domain.range == source.range)
        });
        let (Some(source), Some(target)) = (source, target) else {
            return None;
        };
        let rights = source.attributes & 7 & self.dice.one_of(&[1, 3, 7, 7]);
        let rest = [source.name, 0, source.size, target.next_place, rights];
        Some(self.named(target.control, target.range, rest))
    }

    fn grant(&mut self) -> Option<[u64; 8]> {
        let source = self.region(|region| region.is_nobodys && region.offer.is_none())?;
        // Mostly an offer that its holder can accept.
        let elsewhere = self.dice.below(4) != 0;
        let target =
            self.domain(|domain| !domain.is_sealed && (domain.range != source.range) == elsewhere);
        let (control, place) = target.map_or_else(
            || (self.page(None), FIRST_PLACE),
            |target| (target.control, target.next_place),
        );
        let page = self.page(Some(source.range));
        Some(self.named(page, source.range, [source.name, control, place, 0, 0]))
    }

    fn accept(&mut self) -> Option<[u64; 8]> {
        let offer = self.region(|region| region.offer.is_some());
        let (region, (control, place)) = offer.and_then(|it| Some((it, it.offer?)))?;
        let domain = self.domain(|domain| domain.control == control);
        let range = domain.map_or(0, |domain| domain.range);
        let rest = [region.name, place, region.size, region.attributes, 0];
        if self.ground.is_inside && self.dice.once_in(4) {
            let [a, b, c, d, e] = rest;
            return Some([0, 0, 0, a, b, c, d, e]);
        }
        Some(self.named(control, range, rest))
    }

    fn withdrawal(&mut self, call: Call) -> Option<[u64; 8]> {
        let region = self.region(|region| region.is_nobodys || call == Call::Revoke)?;
        let page = self.page(Some(region.range));
        Some(self.named(page, region.range, [region.name, 0, 0, 0, 0]))
    }

    fn command(&mut self, call: Call) -> Option<[u64; 8]> {
        let domain = match call {
            Call::Vcpu | Call::Cores | Call::Assign => self.domain(|domain| !domain.is_sealed),
            Call::CarveCore => self.domain(|domain| !domain.is_sealed && domain.vcpus > 0),
            Call::Seal => {
                // A core is too rare to be left to a domain that never starts.
                let ready = self.domain(|domain| !domain.is_sealed && domain.core.is_some());
                ready.or_else(|| self.domain(|domain| !domain.is_sealed))
            }
            Call::Enter | Call::Evidence => self.domain(|domain| domain.is_sealed),
            Call::Start => {
                let ready = self.domain(|domain| domain.is_sealed && domain.core.is_some());
                if ready.is_none() && !self.dice.once_in(8) {
                    return None;
                }
                ready
            }
            _ => None,
        };
        let domain = domain.or_else(|| self.domain(|_| true))?;
        let vcpu = self.dice.below(domain.vcpus.max(1)).min(VCPUS as u64 - 1);
        let sequence = domain.sequences.get(vcpu as usize).copied().unwrap_or(0);
        let rest = match call {
            Call::Assign => {
                let (function, registers) = match self.ground.device {
                    Some(device) if self.dice.once_in(2) => device,
                    _ => (self.dice.below(64) * 8, self.page(Some(domain.range))),
                };
                [function, registers, DEVICE_PLACE, 3, 0]
            }
            Call::Vcpu => {
                let exit_page = self.page(Some(domain.range));
                [exit_page, FIRST_PLACE, FIRST_PLACE, FIRST_PLACE, 0]
            }
            Call::Cores => {
                let count = self.dice.one_of(&[0, 0, 1]);
                [self.dice.below(2), count, 0, 0, 0]
            }
            Call::CarveCore => [self.dice.below(3), 0, 0, 0, 0],
            Call::Start => {
                let any = self.region(|_| true).map_or(0, |region| region.name);
                let region = domain.core.unwrap_or(any);
                let (notice, thread) = (
                    self.dice.one_of(&[0, 0, 0xfd]),
                    self.dice.one_of(&[0, 0, 1]),
                );
                [vcpu, region, sequence, notice, thread]
            }
            Call::Enter => [vcpu, sequence, LIMIT, 0, 0],
            Call::Abandon => [self.dice.one_of(&[0, 1, CLAIM_OPERATION]), 0, 0, 0, 0],
            Call::Evidence => {
                let (page, size) = self.answers();
                if self.ground.is_inside && !self.dice.once_in(4) {
                    return Some([0, 0, 0, page, size, 0, 0, 0]);
                }
                [page, size, 0, 0, 0]
            }
            Call::DebugRead => [FIRST_PLACE + self.dice.below(500) * 8, 0, 0, 0, 0],
            _ => [0; 5],
        };
        Some(self.named(domain.control, domain.range, rest))
    }

    fn enumerate(&mut self) -> [u64; 8] {
        let page = self.page(None);
        let (topic, cursor) = (self.dice.below(11), self.dice.below(2));
        let subject = if self.dice.once_in(2) {
            0
        } else {
            self.dice.word()
        };
        plain([page, topic, subject, cursor])
    }
}

fn plain([a, b, c, d]: [u64; 4]) -> [u64; 8] {
    [a, b, c, d, 0, 0, 0, 0]
}

fn pick<T: Copy>(places: &[Option<T>], dice: &mut Dice, wanted: impl Fn(&T) -> bool) -> Option<T> {
    let first = dice.below(places.len() as u64) as usize;
    let after = places.iter().cycle().skip(first).take(places.len());
    after.flatten().find(|found| wanted(found)).copied()
}
