//! Enumeration: the records of [`Topic`], one a call, in the words that go on the wire.
//!
//! A cursor is a place, a distance or a name behind the last record, never a host-physical address, so one that is stale
//! or made up finds the next record behind it or none. Each call does a bounded number of logarithmic searches; where it
//! would have to pass by much that is not listed, it returns a cursor without a record.

use adyton_abi::error::Error;
use adyton_abi::record::{DomainState, Topic};

use crate::engine::Engine;
use crate::identity::{DomainId, PageNumber};
use crate::node::{Link, Resource, flag};
use crate::records::Records;
use crate::store::{Counted, Store};
use crate::tree::{self, Order, Tree, class, mark};
use crate::whole_core::is_usable;

/// Things that one call passes by at most.
const PATIENCE: usize = 16;

/// What one call of `enumerate` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The cursor for the next call, 0 when there is nothing more.
    pub next: u64,
    /// Results 2 to 7.
    pub record: Option<[u64; 6]>,
}

/// What stands at a cursor.
enum Found {
    /// A record, and the cursor behind it.
    Record([u64; 6], u64),
    /// Nothing up to this cursor, but there may be behind it.
    Onward(u64),
    /// Nothing.
    End,
}

/// What a topic is about.
#[derive(Clone, Copy)]
struct Question {
    topic: Topic,
    caller: PageNumber,
    /// Guest-physical address in the caller.
    place: u64,
    subject: PageNumber,
}

impl<S: Store> Engine<S> {
    /// Lists for `caller` what `topic` says, about guest-physical `place` of the caller and, where the topic has one,
    /// about the domain `subject`: one that descends from the claim at `place`, or the caller itself, also as 0.
    ///
    /// # Errors
    /// `NotFound`: no pool region, claim or domain like that.
    pub fn enumerate(
        &self,
        caller: DomainId,
        place: u64,
        topic: Topic,
        subject: u64,
        cursor: u64,
    ) -> Result<Listing, Error> {
        let page = self.store.find_domain(caller).ok_or(Error::Dead)?;
        let question = Question {
            topic,
            caller: page,
            place,
            subject: self.subject(caller, page, place, subject, topic)?,
        };
        Ok(match self.look(question, cursor)? {
            Found::End => Listing {
                next: 0,
                record: None,
            },
            Found::Onward(next) => Listing { next, record: None },
            Found::Record(record, behind) => {
                let more = !matches!(self.look(question, behind)?, Found::End);
                Listing {
                    next: if more { behind } else { 0 },
                    record: Some(record),
                }
            }
        })
    }

    fn subject(
        &self,
        caller: DomainId,
        page: PageNumber,
        place: u64,
        subject: u64,
        topic: Topic,
    ) -> Result<PageNumber, Error> {
        let about_domain = matches!(
            topic,
            Topic::Children
                | Topic::Regions
                | Topic::Measurement
                | Topic::Account
                | Topic::Cores
                | Topic::WholeCores
        );
        if !about_domain || subject == 0 || subject == caller.word() {
            return Ok(page);
        }
        let subject = DomainId::from_word(subject);
        let claim = self.claim_at(caller, place).ok_or(Error::NotFound)?;
        if !self.descends_from(subject, claim) {
            return Err(Error::NotFound);
        }
        self.store.find_domain(subject).ok_or(Error::NotFound)
    }

    fn look(&self, question: Question, cursor: u64) -> Result<Found, Error> {
        let Question {
            topic,
            caller,
            place,
            subject,
        } = question;
        Ok(match topic {
            Topic::Pool => self.look_pool(caller, cursor),
            Topic::Claims => {
                let region = self.region_link_at(caller, place).ok_or(Error::NotFound)?;
                self.look_claims(region, place, cursor)
            }
            Topic::Domains => self.look_domains(self.claim_node(caller, place)?, place, cursor),
            Topic::Unowned => self.look_unowned(self.claim_node(caller, place)?, place, cursor),
            Topic::Children => self.look_children(subject, cursor),
            Topic::Regions => self.look_regions(subject, cursor),
            Topic::Measurement => single(cursor, self.measurement_words(subject)),
            Topic::Account => single(cursor, self.account_words(subject)),
            Topic::Offers => self.look_offers(caller, cursor),
            Topic::Cores => self.look_cores(subject, cursor),
            Topic::WholeCores => self.look_whole_cores(subject, cursor),
        })
    }

    fn claim_node(&self, caller: PageNumber, place: u64) -> Result<Link, Error> {
        let claim = self.claim_page_at(caller, place).ok_or(Error::NotFound)?;
        Ok(self.store.claim(claim).node())
    }

    fn holdings(&self, domain: PageNumber) -> Tree<'_, Counted<S>> {
        Tree::new(
            &self.store,
            Order::Holder,
            self.store.domain(domain).holdings,
        )
    }

    fn children(&self, link: Link) -> Tree<'_, Counted<S>> {
        Tree::new(&self.store, Order::Siblings, self.store.node(link).children)
    }

    fn look_pool(&self, domain: PageNumber, cursor: u64) -> Found {
        let found = self
            .holdings(domain)
            .marked(mark::POOL, (class::MEMORY, cursor));
        let Some(link) = found else {
            return Found::End;
        };
        let node = self.store.node(link);
        let quota = self.share_of_account(domain, node.size);
        let record = [node.place, node.size, quota, 0, 0, 0];
        Found::Record(record, node.place + node.size)
    }

    fn look_claims(&self, region: Link, place: u64, cursor: u64) -> Found {
        let base = self.store.node(region).base;
        let from = (base.saturating_add(cursor), 0);
        let Some(link) = self.children(region).marked(mark::CLAIM, from) else {
            return Found::End;
        };
        let node = self.store.node(link);
        let claim = self.store.claim(node.payer);
        let record = [
            node.place.wrapping_sub(place),
            node.size,
            claim.account.limit,
            claim.account.used,
            u64::from(claim.domains),
            0,
        ];
        Found::Record(record, node.end() - base)
    }

    fn look_domains(&self, claim: Link, place: u64, cursor: u64) -> Found {
        let node = self.store.node(claim);
        let from = (node.base.saturating_add(cursor), 0);
        let Some(link) = self.children(claim).marked(mark::CONTROL, from) else {
            return Found::End;
        };
        let control = self.store.node(link);
        let offset = control.base - node.base;
        let behind = offset + control.size;
        match control.target {
            Some(domain) => {
                let distance = (node.place + offset).wrapping_sub(place);
                Found::Record(self.domain_words(domain, distance), behind)
            }
            None => Found::Onward(behind),
        }
    }

    fn domain_words(&self, domain: PageNumber, distance: u64) -> [u64; 6] {
        let record = self.store.domain(domain);
        [
            record.id.word(),
            distance,
            record.state as u64,
            record.policy.flags.word(),
            u64::from(record.vcpus),
            u64::from(record.epoch),
        ]
    }

    /// The cursor is a guest-physical address of the subject: its domains have their control pages in its pool.
    fn look_children(&self, domain: PageNumber, cursor: u64) -> Found {
        let mut cursor = cursor;
        for _ in 0..PATIENCE {
            let Some(region) = self.pool_at_or_after(domain, cursor) else {
                return Found::End;
            };
            let node = self.store.node(region);
            let from = node.base + cursor.saturating_sub(node.place);
            let within = self.claim_link_at(region, from);
            let claim = within.or_else(|| self.children(region).marked(mark::CLAIM, (from, 0)));
            let Some(claim) = claim else {
                cursor = node.place + node.size;
                continue;
            };
            let pins = self.children(claim);
            match pins.marked(mark::CONTROL, (from, 0)) {
                Some(pin) => {
                    let pin = self.store.node(pin);
                    let behind = node.place + (pin.end() - node.base);
                    return match pin.target {
                        Some(child) => Found::Record(self.domain_words(child, 0), behind),
                        None => Found::Onward(behind),
                    };
                }
                None => cursor = node.place + (self.store.node(claim).end() - node.base),
            }
        }
        Found::Onward(cursor)
    }

    fn pool_at_or_after(&self, domain: PageNumber, place: u64) -> Option<Link> {
        let within = self.region_link_at(domain, place);
        within
            .filter(|link| self.store.node(*link).is_pool())
            .or_else(|| {
                self.holdings(domain)
                    .marked(mark::POOL, (class::MEMORY, place))
            })
    }

    fn look_regions(&self, domain: PageNumber, cursor: u64) -> Found {
        let Some(link) = self.next_region(domain, cursor) else {
            return Found::End;
        };
        let node = self.store.node(link);
        let source = self
            .lender(link)
            .map(|link| self.store.node(link).id.word());
        let record = [
            node.id.word(),
            node.place,
            node.size,
            node.attributes.word(),
            self.sharing(link) as u64,
            source.unwrap_or(0),
        ];
        Found::Record(record, node.place + node.size)
    }

    fn measurement_words(&self, domain: PageNumber) -> [u64; 6] {
        let record = self.store.domain(domain);
        let mut words = [0; 6];
        for (word, chunk) in words.iter_mut().zip(record.measurement.as_chunks().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        words[4] = u64::from(record.state == DomainState::Sealed);
        words
    }

    /// The low half of the fifth word, the entries, is the platform's to count.
    fn account_words(&self, domain: PageNumber) -> [u64; 6] {
        let record = self.store.domain(domain);
        [
            record.account.limit,
            record.account.used,
            record.account.passed,
            u64::from(record.vcpus),
            u64::from(record.epoch) << 32,
            u64::from(record.policy.exceptions),
        ]
    }

    fn look_unowned(&self, claim: Link, place: u64, cursor: u64) -> Found {
        let home = self.store.node(claim);
        let root = self.store.claim(home.payer).unowned;
        let tree = Tree::new(&self.store, Order::Holder, root);
        let Some(link) = tree.at_or_after((0, cursor)) else {
            return Found::End;
        };
        let node = self.store.node(link);
        let behind = node.id.word() + 1;
        if node.resource != Resource::Memory {
            return Found::Onward(behind);
        }
        let distance = (home.place + (node.base - home.base)).wrapping_sub(place);
        let record = [
            node.id.word(),
            distance,
            node.size,
            node.attributes.word(),
            self.sharing(link) as u64,
            u64::from(node.has(flag::CLOSED)),
        ];
        Found::Record(record, behind)
    }

    fn look_offers(&self, domain: PageNumber, cursor: u64) -> Found {
        let root = self.store.domain(domain).offers;
        let tree = Tree::new(&self.store, Order::Offers, root);
        let Some(link) = tree.at_or_after((0, cursor)) else {
            return Found::End;
        };
        let node = self.store.node(link);
        let giver = self.store.claim(node.payer).domain;
        let record = [
            node.id.word(),
            node.size,
            node.attributes.word(),
            self.store.domain(giver).id.word(),
            node.place,
            0,
        ];
        Found::Record(record, node.id.word() + 1)
    }

    fn look_cores(&self, domain: PageNumber, cursor: u64) -> Found {
        let Some(link) = self.holdings(domain).at_or_after((class::CORE, cursor)) else {
            return Found::End;
        };
        let node = self.store.node(link);
        if tree::key(Order::Holder, node).0 != class::CORE {
            return Found::End;
        }
        let record = [node.base, node.size, 0, 0, 0, 0];
        Found::Record(record, node.end())
    }

    fn look_whole_cores(&self, domain: PageNumber, cursor: u64) -> Found {
        let Some(core) = self.whole_core_at_or_after(domain, cursor) else {
            return Found::End;
        };
        let usable = is_usable(core).into();
        let record = [core.id.word(), core.base, core.size, usable, 0, 0];
        Found::Record(record, core.end())
    }
}

/// The one record of a topic that has one.
const fn single(cursor: u64, record: [u64; 6]) -> Found {
    if cursor == 0 {
        Found::Record(record, 1)
    } else {
        Found::End
    }
}
