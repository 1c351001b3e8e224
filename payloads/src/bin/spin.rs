//! Computes without ever exiting of its own accord, for about as many millions of steps as the first
//! argument says (0: for ever), then reports how many it did.

#![no_std]
#![no_main]

use adyton_runtime::{Domain, println};

adyton_runtime::entry!(main);

fn main(domain: &mut Domain) -> u64 {
    let wanted = domain.number(0).unwrap_or(0);
    let mut state = 1_u64;
    let mut millions = 0;
    while wanted == 0 || millions < wanted {
        for _ in 0..1_000_000 {
            state = core::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005) + 1);
        }
        millions += 1;
    }
    println!("{millions} million steps");
    0
}
