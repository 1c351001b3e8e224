//! Greets, repeats its arguments, and copies its input to its output.

#![no_std]
#![no_main]

use adyton_runtime::{Domain, console, println};

adyton_runtime::entry!(main);

fn main(domain: &mut Domain) -> u64 {
    println!("Hello from inside a security domain.");
    for word in domain.words() {
        println!("argument: {word}");
    }
    let mut bytes = [0; 256];
    loop {
        match console::read(&mut bytes) {
            0 => return 0,
            count => console::write(bytes.get(..count).unwrap_or_default()),
        }
    }
}
