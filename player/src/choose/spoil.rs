//! What is wrong with every third call.

use adyton_abi::PAGE_SIZE;
use adyton_abi::call::Call;

use super::Chooser;

impl Chooser<'_> {
    /// Spoils one of the arguments, if that does no harm.
    pub(super) fn spoil(&mut self, call: Call, arguments: &mut [u64; 8]) {
        let index = self.dice.below(8) as usize;
        if self.may_spoil(call, arguments)
            && let Some(argument) = arguments.get_mut(index)
        {
            *argument = self.spoiled(*argument, meaning(call, index));
        }
    }

    /// Not the place of a long range where a fault would do harm: it would end elsewhere.
    fn may_spoil(&self, call: Call, arguments: &[u64; 8]) -> bool {
        const FEW: u64 = 4 * PAGE_SIZE;
        let size = match call {
            Call::Carve | Call::Share | Call::Evidence => arguments[4],
            Call::EnclaveEvidence => arguments[1],
            _ => 0,
        };
        self.ground.unmapped.is_some() || size <= FEW
    }

    /// Something wrong, perhaps not far from what it was.
    fn spoiled(&mut self, old: u64, meaning: Meaning) -> u64 {
        let far = self.ground.unmapped.unwrap_or(self.ground.ordinary.0);
        let long = self.ground.long.unwrap_or(self.ground.ordinary);
        let pages = self.page(None);
        let choices = [
            0,
            1,
            old ^ 1,
            old.wrapping_add(8),
            old.wrapping_add(PAGE_SIZE),
            old.wrapping_sub(PAGE_SIZE),
            old | 1 << 63,
            u64::MAX,
            u64::MAX - 0xfff,
            (1 << 48) - PAGE_SIZE,
            self.dice.word(),
            1 << self.dice.below(64),
            far,
            self.ground.ordinary.0,
            self.ground.ordinary.1,
            long.0,
            long.1,
            pages,
        ];
        let found = self.dice.one_of(&choices);
        // A fault may only be raised where somebody takes it.
        match meaning {
            Meaning::Other => found,
            _ if self.ground.unmapped.is_some() => found,
            Meaning::Address => {
                // With a few pages behind it, whatever size goes with it.
                let start = self.range_address(None);
                self.dice
                    .one_of(&[start | 8, start, self.ground.ordinary.0])
            }
            Meaning::Size => self.dice.one_of(&[0, 8, PAGE_SIZE]),
        }
    }
}

/// What an argument means, as far as it can raise a fault.
#[derive(Clone, Copy)]
enum Meaning {
    Address,
    Size,
    Other,
}

fn meaning(call: Call, index: usize) -> Meaning {
    match (call, index) {
        (Call::Information | Call::Random | Call::Exit, _) => Meaning::Other,
        (_, 0)
        | (Call::Key, 2)
        | (Call::Carve | Call::Share | Call::Vcpu | Call::Evidence, 3)
        | (Call::Grant | Call::Assign, 4) => Meaning::Address,
        (Call::Claim | Call::EnclaveEvidence, 1)
        | (Call::Carve | Call::Share | Call::Evidence, 4) => Meaning::Size,
        _ => Meaning::Other,
    }
}
