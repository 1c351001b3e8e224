//! What must be true after every step.

use adyton_sgx::epcm::{Attributes, PageType, audit};
use adyton_sgx::structures::Secs;
use adyton_sgx::{EpcPage, EpcmEntry, Thread};

use super::{Cached, Game, PAGES};

impl Game {
    pub fn check(&self) {
        let threads = self.threads();
        let epcm = self.world.machine.platform.epcm;
        let census = audit(epcm, |page, offset, bytes| {
            let contents = &self.world.machine.epc[page.0 as usize];
            bytes.copy_from_slice(&contents[offset..offset + bytes.len()]);
        });
        let inside = census.map(|census| census.threads);
        assert_eq!(inside, Ok(threads.len() as u64));
        let mut children = [0; PAGES as usize];
        for number in 0..PAGES {
            let page = EpcPage(number);
            let entry = self.world.entry(page);
            let attributes = entry.attributes();
            assert!(entry.is_unclaimed(), "{page:?} is claimed");
            if attributes.valid {
                self.check_page(page, entry, attributes);
                if attributes.kind.is_child() {
                    children[attributes.secs.0 as usize] += 1;
                }
            }
        }
        for number in 0..PAGES {
            let page = EpcPage(number);
            let entry = self.world.entry(page);
            if entry.attributes().is(PageType::Secs) {
                assert_eq!(entry.children(), children[number as usize], "{page:?}");
                let inside = threads
                    .iter()
                    .filter(|(thread, _)| thread.secs == page)
                    .count();
                assert_eq!(entry.tracking().threads(), inside as u64, "{page:?}");
            } else {
                assert_eq!(children[number as usize], 0, "{page:?} is no SECS");
            }
        }
        for (thread, cache) in threads {
            self.check_thread(&thread, cache);
        }
    }

    fn check_page(&self, page: EpcPage, entry: &EpcmEntry, attributes: Attributes) {
        let rights = attributes.read || attributes.write || attributes.execute;
        assert!(
            attributes.kind == PageType::Reg || !rights,
            "{page:?} {attributes:?}"
        );
        assert!(
            attributes.read || !attributes.write,
            "{page:?} {attributes:?}"
        );
        assert!(
            !(attributes.pending && attributes.modified),
            "{page:?} {attributes:?}"
        );
        if !attributes.kind.is_child() {
            let flags = attributes.pending || attributes.modified || attributes.restricted;
            assert!(!flags && !attributes.blocked, "{page:?} {attributes:?}");
            assert_eq!(entry.address(), 0);
            return;
        }
        let mut secs = Secs::zeroed();
        let contents = &self.world.machine.epc[attributes.secs.0 as usize];
        secs.0.copy_from_slice(&contents[..Secs::SIZE]);
        let offset = entry.address().wrapping_sub(secs.baseaddr());
        assert!(
            offset < secs.size() && offset.is_multiple_of(4096),
            "{page:?}"
        );
        if attributes.kind == PageType::Tcs && !attributes.modified {
            let state = self.world.machine.epc[page.0 as usize][0];
            let users = self.threads();
            let users = users.iter().filter(|(thread, _)| thread.tcs == page);
            assert_eq!(usize::from(state), users.count(), "{page:?}");
        }
    }

    /// All that the thread uses is its enclave's, at the address where it uses it.
    fn check_thread(&self, thread: &Thread, cache: &[Cached]) {
        let belongs = |page: EpcPage| {
            let attributes = self.world.entry(page).attributes();
            attributes.valid && attributes.kind.is_child() && attributes.secs == thread.secs
        };
        assert!(belongs(thread.tcs) && belongs(thread.gpr), "{thread:?}");
        assert_eq!(self.world.entry(thread.tcs).address(), thread.tcs_address);
        let frame = &thread.xsave[..thread.xsave_count];
        assert!(frame.iter().all(|page| belongs(*page)), "{thread:?}");
        for cached in cache {
            assert!(belongs(cached.page), "{cached:?} of {thread:?}");
            assert_eq!(self.world.entry(cached.page).address(), cached.address);
        }
    }

    /// What an enclave has accepted holds for every core that is inside.
    pub fn check_accepted(&self, page: EpcPage) {
        let attributes = self.world.entry(page).attributes();
        for (thread, cache) in self.threads() {
            for cached in cache.iter().filter(|cached| cached.page == page) {
                let more =
                    cached.write && !attributes.write || cached.execute && !attributes.execute;
                let usable = attributes.kind == PageType::Reg;
                assert!(
                    usable && !more,
                    "{cached:?} of {thread:?} outlives {attributes:?}"
                );
            }
        }
    }
}
