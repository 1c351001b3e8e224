//! Calls as a guest makes them: a number and eight words, decoded as the monitor decodes them, then judged by the engine.
//!
//! What the caller's page tables say is the target `walk`; here addresses are taken for host-physical. Whatever the words say, the
//! engine's invariants hold afterwards, and everything can be taken back.
#![no_main]

use adyton_abi::call::{Call, Information};
use adyton_abi::error::Error;
use adyton_abi::exit::ExitKind;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::record::Topic;
use adyton_abi::region::Attributes;
use adyton_capability::derive::{Source, Target};
use adyton_capability::grant::Expected;
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::node::Entry;
use adyton_capability::operation::{Begin, Grant, Operation, Pending};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use support::POOLS;
use support::scene::{Scene, confidential, data, into, pages, range};

#[path = "../../capability/tests/support/mod.rs"]
mod support;

/// A word of a call in two bytes: of what kind, and which. So short that a change of one byte makes another call.
type Word = (u8, u8);

#[derive(Arbitrary, Debug)]
struct Request {
    number: u8,
    caller: u8,
    words: [Word; 8],
    token: u8,
}

struct Machine {
    scene: Scene,
    names: Vec<u64>,
}

impl Machine {
    /// A claim with two domains, one sealed, and a region of each kind.
    fn new() -> Self {
        let mut scene = Scene::new();
        let claim = scene.claim(POOLS[0], 40);
        let one = scene.domain(claim, POOLS[0], confidential());
        let two = scene.domain(claim, POOLS[0] + pages(2), confidential());
        let pool = data() | Attributes::POOL;
        let base = |page| POOLS[0] + pages(page);
        let carve = scene.carve(claim, range(base(8), 8), into(one, 0x40_0000), pool);
        let share = scene.share(claim, range(base(16), 2), into(two, 0x40_0000), data());
        let free = scene.carve(claim, range(base(20), 4), None, data());
        scene.seal(claim, one);
        let first = scene.first.word();
        let regions = [carve.word(), share.word(), free.word()];
        let mut names = vec![first, claim.word(), one.word(), two.word()];
        names.extend(regions);
        Self { scene, names }
    }

    fn word(&self, (kind, value): Word) -> u64 {
        let number = u64::from(value);
        match kind % 8 {
            0 | 1 => number,
            2 => POOLS[0] + pages(number % 64),
            3 => pages(number % 64),
            // Beyond, between, and wild.
            4 => POOLS[0] + pages(number % 64) + u64::from(kind),
            5 => u64::MAX >> (number % 64),
            6 => (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            _ => self.names[usize::from(value) % self.names.len()],
        }
    }

    fn play(&mut self, request: &Request) -> Result<(), Error> {
        let words = [0, 1, 2, 3, 4, 5, 6, 7].map(|index| self.word(request.words[index]));
        let number = adyton_abi::call::CALL_BASE + u64::from(request.number % 32);
        let Some(call) = Call::from_number(number) else {
            return Err(Error::Unsupported);
        };
        assert_eq!(call as u64, number);
        let caller =
            DomainId::from_word(self.names[usize::from(request.caller) % self.names.len()]);
        let claim = ClaimId::from_word(words[0]);
        if self.scene.engine.claim_facts(claim).is_some() {
            self.scene
                .engine
                .check_key(claim, [words[1], words[2]])
                .unwrap_or(());
            let mut arguments = [0; 10];
            arguments[..8].copy_from_slice(&words);
            let token = u64::from(request.token) + 1;
            match self.scene.engine.begin(claim, token, &arguments)? {
                Begin::New | Begin::Busy => {}
                Begin::Continue(operation) => return self.finish(operation),
            }
            let operation = self.decide(call, caller, claim, &words)?;
            let pending = operation.map(|operation| Pending {
                arguments,
                token,
                operation,
            });
            if let Some(pending) = pending {
                self.scene.engine.set_pending(claim, pending);
                let ended = self.finish(pending.operation);
                if request.token & 1 == 0 {
                    self.scene.engine.clear_pending(claim);
                }
                return ended;
            }
            return Ok(());
        }
        match self.decide(call, caller, claim, &words)? {
            Some(operation) => self.finish(operation),
            None => Ok(()),
        }
    }

    fn finish(&mut self, operation: Operation) -> Result<(), Error> {
        if let Operation::Place(node) = operation {
            self.names.push(node.word());
        }
        self.scene.finish(operation).map(drop)
    }

    fn decide(
        &mut self,
        call: Call,
        caller: DomainId,
        claim: ClaimId,
        words: &[u64; 8],
    ) -> Result<Option<Operation>, Error> {
        let engine = &mut self.scene.engine;
        let [_, _, _, three, four, five, six, seven] = *words;
        let domain = DomainId::from_word(seven);
        let region = NodeId::from_word(three);
        let attributes = || Attributes::from_word(six).ok_or(Error::Invalid);
        let target = |word: Attributes| {
            (!word.contains(Attributes::NOBODY)).then_some(Target {
                domain,
                place: five,
            })
        };
        let operation = match call {
            Call::Claim => {
                let claim = engine.claim(caller, three, four, [1, 2])?;
                self.names.push(claim.word());
                return Ok(None);
            }
            Call::Release => engine.release(claim)?,
            Call::Create => {
                let policy = Policy {
                    flags: Flags::from_word(four).ok_or(Error::Invalid)?,
                    exceptions: five as u32,
                };
                let domain = engine.create(claim, three, policy, six)?;
                self.names.push(domain.word());
                return Ok(None);
            }
            Call::Vcpu => {
                engine.add_vcpu(claim, domain, three, Entry::default())?;
                return Ok(None);
            }
            Call::Cores => engine.derive_cores(claim, domain, three, four)?,
            Call::Carve | Call::Share => {
                let word = attributes()?;
                let source = Source::Range {
                    base: three,
                    size: four,
                };
                let word_alone = word.without(Attributes::NOBODY);
                if call == Call::Carve {
                    engine.carve(claim, source, target(word), word_alone)?
                } else {
                    engine.share(claim, source, target(word), word_alone)?
                }
            }
            Call::Derive => {
                let word = attributes()?;
                let source = Source::Region {
                    region,
                    offset: four,
                    size: five,
                };
                let goal = Target {
                    domain,
                    place: words[1],
                };
                engine.share(claim, source, Some(goal), word)?
            }
            Call::Grant => match engine.grant(claim, region, domain, four)? {
                Grant::Granted(operation) => operation,
                Grant::Offered => return Ok(None),
            },
            Call::Accept => {
                let expected = Expected {
                    place: four,
                    size: five,
                    attributes: attributes()?,
                };
                let composer = engine.claim_facts(claim).map(|_| claim);
                engine.accept(domain, composer, region, expected)?
            }
            Call::Close => {
                engine.close(claim, region)?;
                return Ok(None);
            }
            Call::Revoke => engine.revoke(claim, region)?,
            Call::Seal => engine.seal(claim, domain)?,
            Call::Destroy => engine.destroy(claim, domain)?,
            Call::Enumerate => {
                let topic = Topic::from_number(three).ok_or(Error::Invalid)?;
                engine.enumerate(caller, words[0], topic, four, five)?;
                return Ok(None);
            }
            _ => {
                look(engine, words);
                return Ok(None);
            }
        };
        Ok(Some(operation))
    }
}

/// What only looks: nothing that it is asked for makes it panic.
fn look(engine: &adyton_capability::Engine<support::pages::Pages>, words: &[u64; 8]) {
    let [_, _, _, three, four, five, ..] = *words;
    let domain = DomainId::from_word(three);
    let _ = (
        Information::from_number(three),
        ExitKind::from_number(three as u32),
        engine.domain_facts(domain),
        engine.region_facts(NodeId::from_word(three)),
        engine.region_at(domain, four),
        engine.domain_at(domain, four),
        engine.claim_at(domain, four),
        engine.claim_of(domain),
        engine.exit_page(domain, four as u32),
        engine.may_run_on(domain, four),
        engine.domain_by_control(ClaimId::from_word(four), five),
        engine.descends_from(domain, ClaimId::from_word(four)),
    );
}

fuzz_target!(|requests: Vec<Request>| {
    let mut machine = Machine::new();
    for request in requests.iter().take(100) {
        // Refusals are judged by the invariants alone: the target `operations` knows which are right.
        let _ = machine.play(request);
        machine.scene.engine.check_invariants().unwrap();
    }
});
