//! A payload and what it gets, made into a domain.

use alloc::vec::Vec;

use adyton_abi::policy::{Flags, Policy};
use adyton_abi::region::Attributes;
use adyton_abi::start::{Range, START_MAGIC, StartPage, WINDOWS};
use adyton_abi::{PAGE_SIZE, VERSION};

use crate::blueprint::{Blueprint, Part};
use crate::calls::Placement;
use crate::claim::{Claim, Failure, Pages};
use crate::convention::OFFER_WINDOW;
use crate::devices::Kind;
use crate::domain::{ALL_RIGHTS, Domain, READ_WRITE};
use crate::environment::{Environment, Refusal};
use crate::image::Image;
use crate::plan::{Plan, Sizes};
use crate::ring::Window;
use crate::tables::{self, LARGE_PAGE};
use crate::vcpu::Vcpu;

/// Most bytes of arguments.
const MOST_ARGUMENTS: u64 = 64 << 10;

/// A payload and what its domain gets. Fields that are not set keep what [`Program::new`] chooses.
#[derive(Clone, Debug)]
pub struct Program<'data> {
    /// The code.
    pub image: Image<'data>,
    /// The argument vector.
    pub arguments: Vec<&'data str>,
    /// Policy.
    pub policy: Policy,
    /// vCPUs.
    pub vcpus: u64,
    /// Bytes of each stack.
    pub stack: u64,
    /// Bytes of private memory besides the image.
    pub heap: u64,
    /// Bytes of its own pool.
    pub pool: u64,
    /// Bytes of each shared window; see [`crate::convention`] for the first and the last.
    pub windows: [u64; WINDOWS],
    /// Which windows the domain may only read.
    pub read_only: [bool; WINDOWS],
    /// Pages of monitor memory; `None`: as many as it needs, and a share for its pool.
    pub quota: Option<u64>,
    /// The cores on which it may be entered, first and count; `None`: all of the caller's; a count of 0: none, so that it only runs on
    /// cores of its own.
    pub cores: Option<(u64, u64)>,
    /// A PCI function that it will be given between [`Program::build`] and its seal, at [`Plan::device`].
    pub device: Option<Kind>,
}

/// Attributes of the part that is measured, of the heap, and of the pool.
const PRIVATE: Attributes = ALL_RIGHTS.union(Attributes::MEASURED);
const HEAP: Attributes = READ_WRITE;
const POOL: Attributes = ALL_RIGHTS.union(Attributes::POOL);

/// Attributes of a device's registers: it is always reset before anybody else gets it.
const DEVICE: Attributes = READ_WRITE
    .union(Attributes::CLEAN)
    .union(Attributes::DEVICE);

/// Exceptions that a confidential payload cannot handle itself: double faults.
const DOUBLE_FAULT: u32 = 1 << 8;

/// The policy that suits `flags`: where the owner sees registers it gets the exceptions as well.
#[must_use]
pub const fn policy(flags: Flags) -> Policy {
    let exceptions = if flags.registers_visible() {
        u32::MAX
    } else {
        DOUBLE_FAULT
    };
    Policy { flags, exceptions }
}

impl<'data> Program<'data> {
    /// `image` with one vCPU, 64 KiB of stack, a console, and nothing else.
    #[must_use]
    pub fn new(image: Image<'data>, flags: Flags) -> Self {
        let mut windows = [0; WINDOWS];
        windows[crate::convention::CONSOLE_WINDOW] = 16 << 10;
        Self {
            image,
            arguments: Vec::new(),
            policy: policy(flags),
            vcpus: 1,
            stack: 64 << 10,
            heap: 0,
            pool: 0,
            windows,
            read_only: [false; WINDOWS],
            quota: None,
            cores: None,
            device: None,
        }
    }

    fn argument_bytes(&self) -> Vec<u8> {
        self.arguments
            .iter()
            .flat_map(|word| word.bytes().chain([0]))
            .collect()
    }

    /// Where everything will lie.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut windows = self.windows;
        if let (Some(device), Some(window)) = (self.device, windows.get_mut(OFFER_WINDOW)) {
            *window = device.size;
        }
        let sizes = Sizes {
            vcpus: self.vcpus,
            stack: self.stack,
            heap: self.heap,
            pool: self.pool,
            windows,
            arguments: self.argument_bytes().len() as u64,
        };
        Plan::new(&self.image, &sizes)
    }

    /// Bytes of a claim that has room for this payload alone.
    #[must_use]
    pub fn claim_size(&self) -> u64 {
        // The claim's first page, and what aligning the pool costs.
        let slack = PAGE_SIZE + if self.pool == 0 { 0 } else { LARGE_PAGE };
        (self.plan().memory() + slack).next_multiple_of(LARGE_PAGE)
    }

    /// Pages of monitor memory that the domain needs: its record and contexts, its tables, and for its
    /// pool as much as the monitor's usual ratio.
    fn needed_quota(&self, plan: &Plan) -> u64 {
        let ranges = [plan.private, plan.heap, plan.pool]
            .into_iter()
            .chain(plan.windows);
        let tables: u64 = ranges.map(|range| range.size / LARGE_PAGE + 3).sum();
        let pool = self.pool / PAGE_SIZE / 8;
        self.quota.unwrap_or(16 + 8 * self.vcpus + tables + pool)
    }

    /// Builds the domain in `claim`, ready to be sealed.
    ///
    /// # Errors
    /// No room in the claim, or what the monitor refuses; nothing is left behind then.
    pub fn build<E: Environment>(&self, claim: &Claim<E>) -> Result<Loaded<E>, Failure> {
        let arguments = self.argument_bytes();
        if arguments.len() as u64 > MOST_ARGUMENTS {
            return Err(Failure::Arguments(MOST_ARGUMENTS));
        }
        let plan = self.plan();
        let private = claim.pages(plan.private.size)?;
        let quota = self.needed_quota(&plan);
        private.zero();
        self.render(&plan, &arguments, quota, |offset, bytes| {
            private.write(offset, bytes);
        });
        let domain = Domain::create(claim, self.policy, quota)?;
        let vcpus = plan.entries.iter().map(|&entry| domain.add_vcpu(entry));
        let vcpus = vcpus.collect::<Result<Vec<_>, _>>()?;
        self.allow_cores(&domain)?;
        give(&domain, private, plan.private, PRIVATE)?;
        for (range, attributes) in [(plan.heap, HEAP), (plan.pool, POOL)] {
            if range.size != 0 {
                let pages = roomy(claim, range.size)?;
                give(&domain, pages, range, attributes)?;
            }
        }
        let windows = self.share_windows(&domain, &plan)?;
        Ok(Loaded {
            vcpus,
            windows,
            plan,
            domain,
        })
    }

    fn allow_cores<E: Environment>(&self, domain: &Domain<E>) -> Result<(), Refusal> {
        match self.cores {
            Some((_, 0)) => Ok(()),
            Some((first, count)) => domain.cores(first, count).map(drop),
            // To the call, a count of 0 means all of the caller's.
            None => domain.cores(0, 0).map(drop),
        }
    }

    fn share_windows<E: Environment>(
        &self,
        domain: &Domain<E>,
        plan: &Plan,
    ) -> Result<Vec<(usize, Window<E>)>, Failure> {
        let mut windows = Vec::new();
        for (index, range) in plan.shared() {
            let pages = domain.claim().pages(range.size)?;
            pages.zero();
            domain.share(Placement {
                from: pages.address(),
                size: range.size,
                place: range.base,
                attributes: self.window_attributes(index),
            })?;
            let place = domain.claim().environment().clone();
            let window = Window::new(place, pages.address(), range.size, Some(domain.owner()));
            windows.push((index, window));
            domain.keep(pages);
        }
        Ok(windows)
    }

    /// What the measured part holds where it is not zero: `put` gets an offset and the bytes there.
    fn render(&self, plan: &Plan, arguments: &[u8], quota: u64, mut put: impl FnMut(u64, &[u8])) {
        let at = |address: u64| address - plan.private.base;
        for segment in &self.image.segments {
            put(at(segment.address), segment.contents);
        }
        if !arguments.is_empty() {
            put(at(plan.arguments.base), arguments);
        }
        for (table, index) in tables::build(&plan.mappings, plan.tables).iter().zip(0..) {
            let page = at(plan.tables) + index * PAGE_SIZE;
            let entries = table.iter().zip((0..).step_by(8));
            for (&entry, offset) in entries.filter(|(entry, _)| **entry != 0) {
                put(page + offset, &entry.to_le_bytes());
            }
        }
        for (word, offset) in start_page(plan, quota).into_iter().zip((0..).step_by(8)) {
            put(at(plan.start) + offset, &word.to_le_bytes());
        }
    }

    /// What the domain will be measured by, without building it.
    ///
    /// # Errors
    /// [`Failure::Arguments`].
    pub fn blueprint(&self) -> Result<Blueprint, Failure> {
        let arguments = self.argument_bytes();
        if arguments.len() as u64 > MOST_ARGUMENTS {
            return Err(Failure::Arguments(MOST_ARGUMENTS));
        }
        let plan = self.plan();
        let mut contents = alloc::vec![0; plan.private.size as usize];
        let quota = self.needed_quota(&plan);
        self.render(&plan, &arguments, quota, |offset, bytes| {
            let from = offset as usize;
            let place = contents.get_mut(from..from + bytes.len());
            // The plan has room for everything that it places.
            place
                .into_iter()
                .for_each(|place| place.copy_from_slice(bytes));
        });
        let part = |range: Range, attributes, shared| Part {
            range,
            attributes,
            shared,
            device: 0,
            contents: Vec::new(),
        };
        let windows = plan
            .shared()
            .map(|(index, range)| part(range, self.window_attributes(index), true));
        let mut parts: Vec<_> = windows.collect();
        parts.push(part(plan.heap, HEAP, false));
        parts.push(part(plan.pool, POOL, false));
        parts.push(Part {
            contents,
            ..part(plan.private, PRIVATE, false)
        });
        if let Some(device) = self.device {
            parts.push(Part {
                device: device.word(),
                ..part(plan.device(), DEVICE, false)
            });
        }
        parts.retain(|part| part.range.size != 0);
        parts.sort_by_key(|part| part.range.base);
        Ok(Blueprint {
            policy: self.policy,
            entries: plan.entries,
            parts,
        })
    }

    fn window_attributes(&self, index: usize) -> Attributes {
        if self.read_only.get(index).is_some_and(|&only| only) {
            Attributes::READ
        } else {
            READ_WRITE
        }
    }
}

/// The words of the start page, in the order of [`StartPage`].
fn start_page(plan: &Plan, quota: u64) -> Vec<u64> {
    let words = |range: Range| [range.base, range.size];
    let mut page = Vec::from([START_MAGIC, VERSION.into()]);
    page.extend(words(plan.heap));
    page.extend(words(plan.pool));
    page.extend([quota, plan.entries.len() as u64]);
    page.extend(plan.windows.into_iter().flat_map(words));
    page.extend(words(plan.arguments));
    page
}

const _: () = {
    assert!(core::mem::offset_of!(StartPage, heap) == 16);
    assert!(core::mem::offset_of!(StartPage, pool) == 32);
    assert!(core::mem::offset_of!(StartPage, quota) == 48);
    assert!(core::mem::offset_of!(StartPage, windows) == 64);
    assert!(core::mem::offset_of!(StartPage, arguments) == 64 + 16 * WINDOWS);
};

fn give<E: Environment>(
    domain: &Domain<E>,
    pages: Pages<E>,
    range: Range,
    attributes: Attributes,
) -> Result<(), Refusal> {
    let placement = Placement {
        from: pages.address(),
        size: range.size,
        place: range.base,
        attributes,
    };
    domain.carve(placement)?;
    domain.keep(pages);
    Ok(())
}

/// Pages for much memory: aligned so that large pages can map it, where the claim has room for that.
fn roomy<E: Environment>(claim: &Claim<E>, size: u64) -> Result<Pages<E>, Failure> {
    if size < LARGE_PAGE {
        return claim.pages(size);
    }
    claim
        .aligned_pages(size, LARGE_PAGE)
        .or_else(|_| claim.pages(size))
}

/// A domain built from a program: not sealed yet, so that more can be added.
pub struct Loaded<E: Environment> {
    /// Its vCPUs by index.
    pub vcpus: Vec<Vcpu<E>>,
    /// The domain.
    pub domain: Domain<E>,
    /// The windows that it shares with its owner, with their numbers.
    pub windows: Vec<(usize, Window<E>)>,
    /// Where everything lies in it.
    pub plan: Plan,
}

impl<E: Environment> Loaded<E> {
    /// The window with the number `index`, if the program has one.
    #[must_use]
    pub fn window(&self, index: usize) -> Option<&Window<E>> {
        self.windows
            .iter()
            .find(|(number, _)| *number == index)
            .map(|(_, window)| window)
    }
}

#[cfg(test)]
mod tests;
