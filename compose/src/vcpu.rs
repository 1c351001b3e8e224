//! A vCPU, from its owner's side: entering, the exits, the replies.

use alloc::sync::Arc;
use core::mem::offset_of;

use adyton_abi::exit::{ExitKind, ExitPage, Registers, WORDS};

use crate::calls::{self, Entering, Name};
use crate::domain::Held;
use crate::environment::{Environment, Refusal, Request, Response};
use crate::whole::{self, Place};

/// Why a vCPU came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The domain gave these words, and waits for six in [`Vcpu::reply`].
    Call([u64; WORDS]),
    /// It executed `HLT`.
    Halt,
    /// An exception that its policy sends to its owner. What the policy hides is 0.
    Exception {
        /// Vector.
        vector: u64,
        /// Error code.
        error_code: u64,
        /// CR2.
        address: u64,
    },
    /// An access outside its memory.
    Memory {
        /// A store.
        write: bool,
        /// An instruction fetch.
        execute: bool,
        /// Guest-physical address; 0 where the policy hides it.
        address: u64,
    },
    /// The running time that the entry allowed is used up.
    Budget,
    /// The entry was ended by `abandon`.
    Abandoned,
    /// The vCPU cannot go on.
    Shutdown,
    /// A device access of a VM domain, or what a later version of the monitor reports.
    Other {
        /// Number of the kind.
        kind: u64,
        /// Operands.
        operands: [u64; WORDS],
    },
}

impl Exit {
    /// The exit of the kind with number `kind`.
    #[must_use]
    pub fn new(kind: u64, operands: [u64; WORDS]) -> Self {
        let [first, second, third, ..] = operands;
        match u32::try_from(kind).ok().and_then(ExitKind::from_number) {
            Some(ExitKind::Call) => Self::Call(operands),
            Some(ExitKind::Halt) => Self::Halt,
            Some(ExitKind::Exception) => Self::Exception {
                vector: first,
                error_code: second,
                address: third,
            },
            Some(ExitKind::Memory) => Self::Memory {
                write: first & 1 != 0,
                execute: first & 2 != 0,
                address: second,
            },
            Some(ExitKind::Budget) => Self::Budget,
            Some(ExitKind::Abandoned) => Self::Abandoned,
            Some(ExitKind::Shutdown) => Self::Shutdown,
            _ => Self::Other { kind, operands },
        }
    }
}

/// The right to run one vCPU of a domain. Handles of different vCPUs may be used on different threads at once.
pub struct Vcpu<E: Environment> {
    domain: Arc<Held<E>>,
    /// The domain's place and name, at hand for the hot path.
    place: E,
    name: Name,
    index: u64,
    exit_page: u64,
    sequence: u64,
    token: u64,
}

impl<E: Environment> Vcpu<E> {
    pub(crate) fn new(domain: Arc<Held<E>>, index: u64, exit_page: u64) -> Self {
        let place = domain.claim.environment().clone();
        let token = place.entropy() | 1;
        let name = domain.name;
        Self {
            domain,
            place,
            name,
            index,
            exit_page,
            sequence: 0,
            token,
        }
    }

    /// A second handle of the same vCPU, as another thread or a signal handler would have it: while one of
    /// them enters, the other gets `BUSY`.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let mut copy = Self::new(Arc::clone(&self.domain), self.index, self.exit_page);
        copy.sequence = self.sequence;
        copy
    }

    /// Index of the vCPU in its domain.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Number of the last exit that this handle has seen.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Makes this handle answer the exit with the number `sequence` next.
    pub fn resume_after(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// Runs the vCPU on this core until it exits. `limit`: running time in TSC ticks, 0 for none.
    ///
    /// # Errors
    /// What the monitor refuses: `BUSY` while another entry of this vCPU is unfinished, `STALE` when
    /// another handle has answered the last exit.
    #[inline]
    pub fn enter(&mut self, limit: u64) -> Result<Exit, Refusal> {
        let request = self.request(limit);
        let response = self.execute(&request);
        let [kind, _, operands @ ..] = request.outcome(response)?;
        Ok(Exit::new(kind, operands))
    }

    /// Enters and returns the bare registers of the call: status, then kind, sequence, operands. For the
    /// shortest round trips.
    #[inline(always)]
    pub fn enter_raw(&mut self, limit: u64) -> Response {
        let request = self.request(limit);
        self.execute(&request)
    }

    /// Odd numbers from a random one on: never 0, and none used before.
    #[inline(always)]
    fn next_token(&mut self) {
        self.token = self.token.wrapping_add(2);
    }

    #[inline(always)]
    fn request(&mut self, limit: u64) -> Request {
        self.next_token();
        let Self {
            index,
            sequence,
            token,
            ..
        } = *self;
        Entering {
            vcpu: index,
            sequence,
            limit,
            token,
        }
        .request(self.name)
    }

    #[inline(always)]
    fn execute(&mut self, request: &Request) -> Response {
        let response = self.place.call(request);
        if response.status == 0 {
            self.sequence = response.results[1];
        }
        response
    }

    /// Starts the vCPU on a core that its domain has as a whole. It runs there until [`Self::ended`] says otherwise, or
    /// [`Self::abandon`] stops it.
    ///
    /// # Errors
    /// What the monitor refuses: `BUSY` while the vCPU is somewhere else or another runs on that core, `STALE` as for [`Self::enter`],
    /// `NOT_FOUND` where the core is not the domain's.
    pub fn start(&mut self, at: Place) -> Result<(), Refusal> {
        self.next_token();
        let request = whole::start(self.name, self.index, self.sequence, at);
        let request = request.with_token(self.token);
        request.outcome(self.place.call(&request)).map(drop)
    }

    /// The exit that the vCPU which was started has come to, by its exit page; none while it runs. The next start or entry answers it.
    pub fn ended(&mut self) -> Option<Exit> {
        let sequence = self.reported_sequence();
        if sequence == self.sequence {
            return None;
        }
        self.sequence = sequence;
        let kind = self.load(0) >> (8 * offset_of!(ExitPage, kind));
        let first = offset_of!(ExitPage, operands);
        let operands = core::array::from_fn(|index| self.load(first + 8 * index));
        Some(Exit::new(kind, operands))
    }

    /// Leaves `words` as the reply that the next entry delivers.
    #[inline]
    pub fn reply(&mut self, words: [u64; WORDS]) {
        for (index, word) in words.into_iter().enumerate() {
            self.store(offset_of!(ExitPage, reply) + 8 * index, word);
        }
    }

    /// Replies to the last exit and enters again.
    ///
    /// # Errors
    /// As [`Vcpu::enter`].
    #[inline]
    pub fn answer(&mut self, words: [u64; WORDS], limit: u64) -> Result<Exit, Refusal> {
        self.reply(words);
        self.enter(limit)
    }

    /// Registers at the last exit; zero where the policy hides them.
    #[must_use]
    pub fn registers(&self) -> Registers {
        let word = |offset| self.load(offset_of!(ExitPage, registers) + offset);
        Registers {
            general: core::array::from_fn(|index| word(8 * index)),
            rip: word(offset_of!(Registers, rip)),
            rflags: word(offset_of!(Registers, rflags)),
        }
    }

    /// Has the next entry load `registers`, where the policy lets the owner set them.
    pub fn set_registers(&mut self, registers: &Registers) {
        let base = offset_of!(ExitPage, registers);
        for (index, word) in registers.general.into_iter().enumerate() {
            self.store(base + 8 * index, word);
        }
        self.store(base + offset_of!(Registers, rip), registers.rip);
        self.store(base + offset_of!(Registers, rflags), registers.rflags);
        self.store(offset_of!(ExitPage, set_registers), 1);
    }

    /// The number of the last exit, as the exit page tells it.
    #[must_use]
    pub fn reported_sequence(&self) -> u64 {
        self.load(offset_of!(ExitPage, sequence))
    }

    /// Ends the unfinished entry of a caller that is gone, or stops the vCPU where it was started on a whole core; the next entry or
    /// start continues it.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn abandon(&mut self) -> Result<(), Refusal> {
        self.sequence = calls::abandon(&self.place, self.name, self.index)?;
        Ok(())
    }

    fn load(&self, offset: usize) -> u64 {
        self.place.load(self.exit_page + offset as u64)
    }

    fn store(&self, offset: usize, word: u64) {
        self.place.store(self.exit_page + offset as u64, word);
    }
}
