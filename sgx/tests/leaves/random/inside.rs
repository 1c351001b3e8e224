//! What programs and enclaves play.

use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::Enclu;
use adyton_sgx::structures::{Keyrequest, Secinfo, Targetinfo, secinfo_flags};
use adyton_sgx::{Access, EpcPage, Event, Machine, Thread};

use super::{Cached, Game, PLACES};
use crate::support::enclave::{AEP, BASE, DATA, MORE, OUTSIDE, RW, SIZE, TCS, flags};
use crate::support::machine::secrets;
use crate::support::world::OK;

impl Game {
    pub fn play_entry(&mut self) {
        let enclave = self.dice.below(PLACES) * SIZE;
        let thread = if self.dice.once_in(10) {
            self.dice.below(16) * 4096
        } else {
            TCS
        };
        let leaf = if self.dice.once_in(3) {
            Enclu::Eresume
        } else {
            Enclu::Eenter
        };
        let address = BASE + enclave + thread;
        if leaf == Enclu::Eenter && !self.dice.once_in(3) {
            self.enter_again(address);
        } else {
            self.user(leaf, [address, AEP, 0]);
        }
        self.cache().clear();
    }

    /// An EENTER, by a precedent if there is one that fits, which must come to the same.
    fn enter_again(&mut self, address: u64) {
        let noted = self.noted.remove(&address);
        if let Some(noted) = noted
            && self.world.is_like(&noted)
        {
            if self.world.repeat(&noted) {
                self.seen.repeated += 1;
                self.noted.insert(address, noted);
                return;
            }
            self.seen.not_repeated += 1;
        }
        let (_, noted) = self.world.enter_noting(address);
        if let Some(noted) = noted {
            self.noted.insert(address, noted);
        }
    }

    pub fn play_inside(&mut self) {
        let Some(thread) = self.world.thread else {
            return;
        };
        match self.dice.below(20) {
            0..=5 => self.touch(&thread),
            6..=8 => self.accept(&thread),
            9 => self.accept_copy(&thread),
            10 => self.extend_rights(&thread),
            11 => self.report(&thread),
            12 | 13 => self.key(&thread),
            14 => drop(self.user(Enclu::Edeccssa, [0; 3])),
            15 | 16 => self.interrupt(),
            _ => drop(self.user(Enclu::Eexit, [OUTSIDE, 0, 0])),
        }
    }

    fn interrupt(&mut self) {
        let vector = self.dice.below(20) as u8;
        let event = match vector {
            14 => Event::Exception {
                vector,
                error: 6,
                address: BASE + DATA,
            },
            0..8 => Event::Exception {
                vector,
                error: 0,
                address: 0,
            },
            _ => Event::Other,
        };
        self.world.event(event);
    }

    fn address(&mut self, thread: &Thread) -> u64 {
        thread.base + self.dice.below(SIZE / 4096) * 4096
    }

    /// A load or a store: by what the core holds already, or by a walk.
    fn touch(&mut self, thread: &Thread) {
        let address = self.address(thread);
        let value = self.dice.below(u64::MAX).to_le_bytes();
        let held = self
            .cache()
            .iter()
            .copied()
            .find(|cached| cached.address == address);
        let Some(cached) = held.or_else(|| self.translate(thread, address)) else {
            return;
        };
        if held.is_none() {
            self.cache().push(cached);
        }
        // Frames are left alone, so that most threads can be resumed; operands are written where they belong.
        let offset = 512 * self.dice.below(4) as usize + 256;
        if cached.write && address - thread.base != TCS {
            self.world.machine.store(cached.page, 2048 + offset, &value);
        }
    }

    fn translate(&mut self, thread: &Thread, address: u64) -> Option<Cached> {
        self.world.machine.mode.privilege = 3;
        let page = self.world.machine.epc_page(address, Access::Read).ok()??;
        let attributes = self.world.entry(page).access(thread.secs, address)?;
        attributes.read.then_some(Cached {
            address,
            page,
            write: attributes.write,
            execute: attributes.execute,
        })
    }

    /// Writes operands to a page of the enclave's, if it can; where.
    fn operand(&mut self, thread: &Thread, offset: u64, bytes: &[u8]) -> u64 {
        let address = thread.base + offset;
        let cached = self.translate(thread, address & !0xFFF);
        if let Some(cached) = cached.filter(|cached| cached.write) {
            self.world
                .machine
                .store(cached.page, (offset % 4096) as usize, bytes);
        }
        address
    }

    fn secinfo(&mut self, thread: &Thread, flags: u64) -> u64 {
        let mut secinfo = Secinfo::zeroed();
        secinfo.set_flags(flags);
        self.operand(thread, MORE, &secinfo.0)
    }

    /// A page of the enclave's in a certain state, by the EPCM.
    fn own_page(
        &mut self,
        thread: &Thread,
        wanted: impl Fn(adyton_sgx::epcm::Attributes) -> bool,
    ) -> (EpcPage, u64) {
        let secs = thread.secs;
        let page = self.page_where(|attributes| {
            attributes.valid
                && attributes.kind.is_child()
                && attributes.secs == secs
                && wanted(attributes)
        });
        let address = self.world.entry(page).address();
        let inside = thread.contains(address);
        (
            page,
            if inside {
                address
            } else {
                self.address(thread)
            },
        )
    }

    fn accept(&mut self, thread: &Thread) {
        let (page, address) = self.own_page(thread, |attributes| {
            attributes.pending || attributes.modified || attributes.restricted
        });
        let mut attributes = self.world.entry(page).attributes();
        attributes.blocked = false;
        let mut request = attributes.secinfo_flags();
        if self.dice.once_in(6) {
            request ^= 1 << self.dice.below(6);
        }
        let secinfo = self.secinfo(thread, request);
        if self.user(Enclu::Eaccept, [secinfo, address, 0]) == OK {
            self.check_accepted(page);
        }
    }

    fn accept_copy(&mut self, thread: &Thread) {
        let (_, target) = self.own_page(thread, |attributes| attributes.pending);
        let (_, source) = self.own_page(thread, |attributes| {
            attributes.is(PageType::Reg) && attributes.read
        });
        let secinfo = self.secinfo(thread, flags(PageType::Reg, RW));
        self.user(Enclu::Eacceptcopy, [secinfo, target, source]);
    }

    fn extend_rights(&mut self, thread: &Thread) {
        let (_, target) = self.own_page(thread, |attributes| attributes.is(PageType::Reg));
        let rights = self.dice.pick(&[secinfo_flags::R, RW, 7]).unwrap_or(RW);
        let secinfo = self.secinfo(thread, flags(PageType::Reg, rights));
        self.user(Enclu::Emodpe, [secinfo, target, 0]);
    }

    fn report(&mut self, thread: &Thread) {
        let target = self.operand(thread, DATA, &Targetinfo::zeroed().0);
        let base = thread.base;
        self.user(
            Enclu::Ereport,
            [target, base + DATA + 0x200, base + MORE + 0x200],
        );
    }

    fn key(&mut self, thread: &Thread) {
        let mut request = Keyrequest::zeroed();
        request.set_keyname(self.dice.below(6) as u16);
        request.set_isvsvn(self.dice.below(4) as u16);
        let mut cpusvn = secrets(7).cpusvn;
        cpusvn[3] += u8::from(self.dice.once_in(5));
        request.set_cpusvn(&cpusvn);
        let request = self.operand(thread, DATA, &request.0);
        self.user(Enclu::Egetkey, [request, thread.base + MORE + 0x200, 0]);
    }
}
