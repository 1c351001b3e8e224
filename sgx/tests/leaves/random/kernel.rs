//! What the operating system plays.

use adyton_sgx::EpcPage;
use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::Encls;
use adyton_sgx::platform::attribute;

use super::{Game, PLACES, Stored};
use crate::support::enclave::{BASE, Enclave, HOLE, OK_SILENT, PLAIN, RW, SIZE, flags, secs};
use crate::support::machine::Target;
use crate::support::signer::Signer;
use crate::support::world::{Answer, OK, epc};

impl Game {
    pub fn play_kernel(&mut self) {
        match self.dice.below(27) {
            0 => self.build(),
            1 => self.create(),
            2 | 3 => self.add(),
            4 => self.initialize(),
            5 => self.remove(),
            6 => self.tear_down(),
            7 | 8 => self.block(),
            9 | 10 => self.track(),
            11..=13 => self.write_out(),
            14..=17 => self.load_back(),
            18 | 19 => self.augment(),
            20 | 21 => self.modify(),
            22 => self.debug(),
            23 => self.look(),
            24 => self.extend(),
            25 => self.nonsense(),
            _ => self.versions(),
        }
    }

    /// Any leaf with anything.
    fn nonsense(&mut self) {
        let leaf = self.dice.pick(&Encls::ALL).unwrap_or(Encls::Eremove);
        let operands = [(); 3].map(|()| match self.dice.below(5) {
            0 => self.world.memory(1),
            1 => self.dice.next(),
            2 => BASE + self.dice.below(PLACES * SIZE),
            _ => epc(self.any_page()) + 8 * self.dice.below(3) * self.dice.below(2),
        });
        self.exactly(leaf, operands);
    }

    fn attributes(&mut self) -> u64 {
        let choices = [
            PLAIN,
            PLAIN,
            PLAIN | attribute::DEBUG,
            PLAIN | attribute::DEBUG | attribute::PROVISIONKEY,
        ];
        self.dice.pick(&choices).unwrap_or(PLAIN)
    }

    fn secs_at_place(&mut self) -> adyton_sgx::structures::Secs {
        let mut page = secs(self.attributes());
        page.set_baseaddr(BASE + self.dice.below(PLACES) * SIZE);
        page
    }

    /// A whole enclave, if there is room.
    fn build(&mut self) {
        if self.free() < 10 {
            return self.tear_down();
        }
        let page = self.secs_at_place();
        let enclave = self
            .world
            .enclave_of(&page, |signature| signature.set_isvsvn(2));
        for leaf in [Encls::Ecreate, Encls::Eadd, Encls::Eextend, Encls::Einit] {
            self.seen.note(&format!("{leaf:?}"), OK);
        }
        self.enclaves.push(enclave);
    }

    fn create(&mut self) {
        let mut page = self.secs_at_place();
        if self.dice.once_in(3) {
            page.set_size(SIZE * self.dice.below(4));
        }
        let target = self.page_where(|attributes| !attributes.valid);
        let source = self.world.holding(&page.0);
        let secinfo = self.world.secinfo(flags(PageType::Secs, 0));
        let info = self.world.page_info(0, source, secinfo, 0);
        self.system(Encls::Ecreate, [info, epc(target), 0]);
    }

    fn add(&mut self) {
        let owner = self.page_where(|attributes| attributes.is(PageType::Secs));
        let target = self.page_where(|attributes| !attributes.valid);
        let kinds = [PageType::Reg, PageType::Reg, PageType::Tcs, PageType::Va];
        let kind = self.dice.pick(&kinds).unwrap_or(PageType::Reg);
        let rights = if kind == PageType::Tcs {
            0
        } else {
            self.dice.below(8)
        };
        let source = self.world.holding(&[0; 4096]);
        let secinfo = self.world.secinfo(flags(kind, rights));
        let address = BASE + self.dice.below(PLACES * 20) * 4096;
        let info = self.world.page_info(address, source, secinfo, epc(owner));
        self.system(Encls::Eadd, [info, epc(target), 0]);
    }

    fn extend(&mut self) {
        let page = self.page_where(|attributes| attributes.is(PageType::Reg));
        let owner = self.world.entry(page).attributes().secs;
        let chunk = self.dice.below(16) * 256;
        self.system(Encls::Eextend, [epc(owner), epc(page) + chunk, 0]);
    }

    /// EINIT with a signature of something else, or a broken one.
    fn initialize(&mut self) {
        let owner = self.page_where(|attributes| attributes.is(PageType::Secs));
        let Some(enclave) = self.enclaves.first().cloned() else {
            return;
        };
        let contents = &self.world.machine.epc[owner.0 as usize][..64];
        let raw = contents[48] & 1 == 0;
        let mut signature = enclave.unsigned();
        if raw && self.dice.once_in(2) {
            // As it is now.
            let mut state = adyton_sgx::structures::Secs::zeroed();
            state
                .0
                .copy_from_slice(&self.world.machine.epc[owner.0 as usize][..512]);
            signature.set_enclavehash(&crate::random::kernel::finish(&state));
        }
        let signer = if self.dice.once_in(3) {
            Signer::second()
        } else {
            Signer::first()
        };
        if self.dice.once_in(3) {
            signature.set_attributemask(attribute::DEBUG);
            signature.set_attributes(attribute::DEBUG);
        }
        signer.sign(&mut signature);
        let broken = self.dice.below(1808 * 2) as usize;
        if let Some(byte) = signature.0.get_mut(broken) {
            *byte ^= 1;
        }
        let place = self.world.holding(&signature.0);
        let token = self.world.memory(1);
        if self.dice.once_in(4) {
            self.world.put(token, &[1]);
            self.world
                .put(token + 192, &[self.dice.below(2) as u8 * 0xFF]);
        }
        self.system(Encls::Einit, [place, epc(owner), token]);
    }

    fn remove(&mut self) {
        let target = self.page_where(|attributes| attributes.valid);
        self.system(Encls::Eremove, [0, epc(target), 0]);
    }

    /// Removes all of an enclave that can be removed.
    fn tear_down(&mut self) {
        let owner = self.page_where(|attributes| attributes.is(PageType::Secs));
        for number in 0..super::PAGES {
            let page = EpcPage(number);
            let attributes = self.world.entry(page).attributes();
            if attributes.valid && attributes.kind.is_child() && attributes.secs == owner {
                self.system(Encls::Eremove, [0, epc(page), 0]);
            }
        }
        self.system(Encls::Eremove, [0, epc(owner), 0]);
        self.forget_enclaves();
    }

    fn forget_enclaves(&mut self) {
        let world = &self.world;
        self.enclaves.retain(|enclave| {
            let contents = &world.machine.epc[enclave.secs.0 as usize];
            world.entry(enclave.secs).attributes().is(PageType::Secs)
                && contents[8..16] == enclave.base.to_le_bytes()
        });
    }

    fn block(&mut self) {
        let target = self.page_where(|attributes| {
            attributes.valid && attributes.kind.is_child() && !attributes.blocked
        });
        self.system(Encls::Eblock, [0, epc(target), 0]);
    }

    fn track(&mut self) {
        let target = self.page_where(|attributes| attributes.is(PageType::Secs));
        let leaf = if self.dice.once_in(3) {
            Encls::Etrackc
        } else {
            Encls::Etrack
        };
        let target = if leaf == Encls::Etrackc {
            self.any_page()
        } else {
            target
        };
        self.system(leaf, [0, epc(target), 0]);
    }

    fn versions(&mut self) {
        let target = self.page_where(|attributes| !attributes.valid);
        self.system(Encls::Epa, [PageType::Va as u64, epc(target), 0]);
    }

    /// A slot: most times one that is empty.
    fn slot(&mut self) -> u64 {
        let array = self.page_where(|attributes| attributes.is(PageType::Va));
        let contents = self.world.machine.epc[array.0 as usize];
        let empty = contents.chunks_exact(8).position(|slot| slot == [0; 8]);
        let offset = match empty {
            Some(index) if !self.dice.once_in(8) => index as u64 * 8,
            _ => self.dice.below(64) * 8,
        };
        epc(array) + offset
    }

    fn write_out(&mut self) {
        let blocked = self.dice.below(8) != 0;
        let page =
            self.page_where(|attributes| attributes.valid && (attributes.blocked || !blocked));
        let slot = self.slot();
        let Some(out) = self.takeable_room() else {
            return;
        };
        let attributes = self.world.entry(page).attributes();
        let contents = self.world.machine.epc[page.0 as usize];
        self.world.put(out.info, &[0; 8]);
        self.world.tidy(out);
        self.world.put(out.info + 24, &[0; 8]);
        let answer = self.exactly(Encls::Ewb, [out.info, epc(page), slot]);
        // With a remark it has happened, too.
        if !matches!(answer, Answer::Code(_, false, _)) {
            self.rooms.push(out);
            return;
        }
        let copy = [(out.info, 8), (out.source, 4096), (out.pcmd, 128)];
        let copy = copy.map(|(address, length)| self.world.get(address, length));
        assert_ne!(copy[1], contents, "encrypted");
        self.stored.push(Stored {
            out,
            contents: Some(Box::new(contents)),
            copy,
            kind: attributes.kind,
            secs: attributes.secs,
            slot,
        });
        self.forget_enclaves();
    }

    fn load_back(&mut self) {
        let Some(chosen) = self.dice.pick(&(0..self.stored.len()).collect::<Vec<_>>()) else {
            return;
        };
        let stored = self.stored[chosen].clone();
        let [info, source, pcmd] = &stored.copy;
        for (address, bytes) in [
            (stored.out.info, info),
            (stored.out.source, source),
            (stored.out.pcmd, pcmd),
        ] {
            self.world.put(address, bytes);
        }
        if self.dice.once_in(10) {
            let byte = stored.out.source + self.dice.below(4096);
            let old = self.world.get(byte, 1)[0];
            self.world.put(byte, &[old ^ 1]);
        }
        let owner = if stored.kind.is_child() {
            let same = self.dice.below(5) != 0;
            let other = self.page_where(|attributes| attributes.is(PageType::Secs));
            epc(if same { stored.secs } else { other })
        } else {
            0
        };
        let target = self.page_where(|attributes| !attributes.valid);
        let slot = if self.dice.once_in(10) {
            self.slot()
        } else {
            stored.slot
        };
        let leaf = [
            Encls::Eldu,
            Encls::Eldu,
            Encls::Elduc,
            Encls::Eldb,
            Encls::Eldbc,
        ];
        let leaf = self.dice.pick(&leaf).unwrap_or(Encls::Eldu);
        let operands = self.world.back(stored.out, target, owner, slot);
        if self.exactly(leaf, operands) != OK {
            return;
        }
        let expected = self.stored[chosen].contents.take();
        let expected = expected.expect("no page comes back twice");
        assert_eq!(
            self.world.machine.epc[target.0 as usize], *expected,
            "as it was"
        );
        let stored = self.stored.swap_remove(chosen);
        // An old copy stays for a while, to be tried again.
        if self.dice.once_in(2) {
            self.stored.push(stored);
        } else {
            self.rooms.push(stored.out);
        }
        let attributes = self.world.entry(target).attributes();
        if attributes.kind.is_child() {
            self.world
                .map(self.world.entry(target).address(), Target::Epc(target));
            self.note_page(attributes.secs, target);
        }
    }

    /// A page of an enclave has a new place.
    pub fn note_page(&mut self, secs: EpcPage, page: EpcPage) {
        let address = self.world.entry(page).address();
        for enclave in self
            .enclaves
            .iter_mut()
            .filter(|enclave| enclave.secs == secs)
        {
            let offset = address.wrapping_sub(enclave.base);
            enclave.pages.retain(|(at, _)| *at != offset);
            enclave.pages.push((offset, page));
        }
    }

    fn some_enclave(&mut self) -> Option<Enclave> {
        self.forget_enclaves();
        let numbers: Vec<usize> = (0..self.enclaves.len()).collect();
        let number = self.dice.pick(&numbers)?;
        self.enclaves.get(number).cloned()
    }

    fn augment(&mut self) {
        let Some(enclave) = self.some_enclave() else {
            return;
        };
        let target = self.page_where(|attributes| !attributes.valid);
        let address = enclave.base + HOLE + self.dice.below(10) * 4096;
        let info = self.world.page_info(address, 0, 0, epc(enclave.secs));
        if self.system(Encls::Eaug, [info, epc(target), 0]) == OK_SILENT {
            self.world.map(address, Target::Epc(target));
            self.note_page(enclave.secs, target);
        }
    }

    fn modify(&mut self) {
        let page = self.page_where(|attributes| attributes.is(PageType::Reg));
        if self.dice.once_in(2) {
            let rights = self.dice.pick(&[0, 1, RW, 5, 2]).unwrap_or(RW);
            let secinfo = self.world.secinfo(flags(PageType::Reg, rights));
            self.system(Encls::Emodpr, [secinfo, epc(page), 0]);
        } else {
            let kind =
                self.dice
                    .pick(&[PageType::Trim, PageType::Tcs, PageType::Trim, PageType::Reg]);
            let secinfo = self.world.secinfo(flags(kind.unwrap_or(PageType::Trim), 0));
            self.system(Encls::Emodt, [secinfo, epc(page), 0]);
        }
        self.follow();
    }

    /// A system that means it goes on with ETRACK.
    fn follow(&mut self) {
        if self.dice.once_in(2) {
            self.track();
        }
    }

    fn debug(&mut self) {
        let page = self
            .page_where(|attributes| attributes.is(PageType::Reg) || attributes.is(PageType::Tcs));
        let place = epc(page) + self.dice.below(512) * 8;
        let leaf = if self.dice.once_in(2) {
            Encls::Edbgrd
        } else {
            Encls::Edbgwr
        };
        self.system(leaf, [self.dice.0, place, 0]);
    }

    fn look(&mut self) {
        let place = self.world.memory(1);
        let target = if self.dice.once_in(8) {
            place
        } else {
            epc(self.any_page())
        };
        self.system(Encls::Erdinfo, [place, target, 0]);
    }
}

/// What the measurement of a SECS that is not initialized will be.
pub fn finish(secs: &adyton_sgx::structures::Secs) -> [u8; 32] {
    adyton_sgx::measurement::Measurement::load(secs).finish()
}
