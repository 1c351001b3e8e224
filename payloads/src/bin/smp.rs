//! vCPUs that meet: each adds to a common counter and waits until it has seen the others at work, which takes
//! that they run at once.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use adyton_runtime::Domain;

adyton_runtime::entry!(main);

static ROUND: AtomicU64 = AtomicU64::new(0);
const ROUNDS: u64 = 1000;

/// Passes a turn round the vCPUs: nobody goes on before its neighbour did.
fn main(domain: &mut Domain) -> u64 {
    let (me, all) = (domain.vcpu(), domain.vcpus());
    for round in 0..ROUNDS {
        let turn = round * all + me;
        while ROUND.load(Ordering::Acquire) != turn {
            core::hint::spin_loop();
        }
        ROUND.store(turn + 1, Ordering::Release);
    }
    ROUND.load(Ordering::Acquire)
}
