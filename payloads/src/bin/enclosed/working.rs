//! What the program can do.

use core::arch::x86_64::_rdtsc;

use crate::agreement::{REQUEST, call};
use crate::border::Host;

/// Rows and columns of a matrix.
const ORDER: usize = 64;
/// Words of a cache line.
const LINE: usize = 8;

/// Raises a matrix to a power, modulo 2^64: 96 KiB of memory, again and again.
pub fn multiply(memory: &mut [u64], times: u64) -> u64 {
    let (left, rest) = memory.split_at_mut(ORDER * ORDER);
    let (right, rest) = rest.split_at_mut(ORDER * ORDER);
    let product = &mut rest[..ORDER * ORDER];
    for (place, number) in (1_u64..).zip(left.iter_mut().zip(right.iter_mut())) {
        *number.0 = place;
        *number.1 = place * place + 1;
    }
    for _ in 0..times {
        for (row, factors) in product
            .chunks_exact_mut(ORDER)
            .zip(left.chunks_exact(ORDER))
        {
            row.fill(0);
            for (factor, other) in factors.iter().zip(right.chunks_exact(ORDER)) {
                for (sum, number) in row.iter_mut().zip(other) {
                    *sum = sum.wrapping_add(factor.wrapping_mul(*number));
                }
            }
        }
        left.copy_from_slice(product);
    }
    left.iter()
        .fold(0, |all, number| all.rotate_left(1) ^ number)
}

/// Changes every word of so many bytes, in order.
pub fn stream(memory: &mut [u64], size: u64, times: u64) -> u64 {
    let words = &mut memory[..size as usize / 8];
    let mut last = 1;
    for _ in 0..times {
        for word in words.iter_mut() {
            *word = word.wrapping_mul(31).wrapping_add(last);
            last = *word >> 3;
        }
    }
    last
}

/// Each cache line gets the number of the next one, so that one way leads through all of them (Sattolo's algorithm).
pub fn shuffle(memory: &mut [u64], size: u64) -> u64 {
    let lines = size as usize / 8 / LINE;
    for number in 0..lines {
        memory[number * LINE] = number as u64;
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in (1..lines).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memory.swap(number * LINE, (state % number as u64) as usize * LINE);
    }
    lines as u64
}

/// Follows that way.
pub fn chase(memory: &[u64], steps: u64) -> u64 {
    let mut number = 0;
    for _ in 0..steps {
        number = memory[number as usize * LINE];
    }
    number
}

/// Answers so many requests, by so many bytes each; how many bytes have come.
pub fn serve(host: Host, memory: &mut [u64], [descriptor, count, size]: [u64; 3]) -> u64 {
    let (request, rest) = memory.split_at_mut(REQUEST as usize / 8);
    let answer = &mut rest[..size as usize / 8];
    let mut came = 0;
    for number in 0..count {
        let place = host.place_for(request);
        came += host.ask(call::READ, [descriptor, place, REQUEST]);
        host.take(request);
        answer[0] = request[0].wrapping_add(number);
        let place = host.show(answer);
        if host.ask(call::WRITE, [descriptor, place, size]) != size {
            return 0;
        }
    }
    came
}

/// Asks for nothing.
pub fn ask(host: Host, times: u64) -> u64 {
    (0..times).fold(0, |all, number| {
        all + host.ask(call::NOTHING, [number, 0, 0])
    })
}

/// Notes how many ticks have passed between two looks at the clock, where these were more than any of its own could take; the address where
/// the host finds these numbers.
pub fn interruptions(host: Host, memory: &mut [u64], count: u64) -> u64 {
    const OWN: u64 = 200;
    // SAFETY: reads a counter.
    let now = || unsafe { _rdtsc() };
    let mut last = now();
    let noted = &mut memory[..count as usize];
    for place in noted.iter_mut() {
        loop {
            let passed = now() - last;
            last += passed;
            if passed > OWN {
                *place = passed;
                break;
            }
        }
    }
    host.show(noted)
}
