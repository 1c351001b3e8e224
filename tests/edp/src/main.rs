//! What a program in an enclave does that was written for a server: threads, memory, TCP, arithmetic; and a key that only it gets.
//!
//! Its argument says how many MiB of memory it fills. Every line that it prints is looked at by `tests/guest/edp.sh`.

use std::arch::asm;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

fn main() -> std::io::Result<()> {
    let mebibytes = std::env::args().nth(1);
    let mebibytes = mebibytes.and_then(|text| text.parse().ok()).unwrap_or(16);
    println!("threads {:?}", threads());
    println!("heap {}", heap());
    println!("memory {:016x}", memory(mebibytes));
    println!("tcp {}", tcp()?);
    println!(
        "float {:.6}",
        (1..1000).map(|x| f64::from(x).sqrt().sin()).sum::<f64>()
    );
    println!("sealing-key {}", sealing_key());
    Ok(())
}

/// What six threads sent, and what they added up behind a lock.
fn threads() -> (usize, u64) {
    let (sender, receiver) = mpsc::channel();
    let sum = Arc::new(Mutex::new(0));
    let workers: Vec<_> = (0..6)
        .map(|number| {
            let (sender, sum) = (sender.clone(), Arc::clone(&sum));
            thread::spawn(move || {
                for step in 0..200 {
                    *sum.lock().unwrap() += step;
                    if step % 50 == number {
                        sender.send(step).unwrap();
                    }
                    thread::yield_now();
                }
            })
        })
        .collect();
    drop(sender);
    let messages = receiver.iter().count();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    let sum = *sum.lock().unwrap();
    (messages, sum)
}

fn heap() -> u64 {
    let mut map = HashMap::new();
    for number in 0..2000_u64 {
        map.insert(number, vec![number as u8; 1000]);
    }
    map.values().flatten().map(|byte| u64::from(*byte)).sum()
}

/// Writes to each cache line twice and reads it back.
fn memory(mebibytes: usize) -> u64 {
    let mut words = vec![0_u64; mebibytes << 17];
    for round in 0..2 {
        for (place, word) in (0_u64..).zip(&mut words).step_by(8) {
            *word = word.wrapping_mul(31).wrapping_add(place * 7 + round);
        }
    }
    let lines = words.iter().step_by(8);
    lines.fold(0, |all, word| all.wrapping_mul(31).wrapping_add(*word))
}

/// What comes back over loopback.
fn tcp() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        bytes.reverse();
        stream.write_all(&bytes)
    });
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"ohce!")?;
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes)?;
    server.join().unwrap()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// KEYREQUEST (Intel SDM volume 3D, "Key Request").
#[repr(C, align(512))]
struct KeyRequest {
    name: u16,
    policy: u16,
    rest: [u8; 508],
}

#[repr(C, align(16))]
struct Key([u8; 16]);

/// The key for what this enclave, by its measurement, keeps (EGETKEY); zero bytes of security versions are below any.
fn sealing_key() -> String {
    const EGETKEY: u64 = 1;
    const SEAL: u16 = 4;
    const BY_MEASUREMENT: u16 = 1;
    let request = KeyRequest {
        name: SEAL,
        policy: BY_MEASUREMENT,
        rest: [0; 508],
    };
    let mut key = Key([0; 16]);
    let mut status = EGETKEY;
    // SAFETY: EGETKEY reads the request and writes the key; LLVM keeps RBX for itself.
    unsafe {
        asm!(
            "xchg {request}, rbx", "enclu", "mov rbx, {request}",
            request = inout(reg) &raw const request => _,
            in("rcx") &raw mut key,
            inout("rax") status,
        );
    }
    if status != 0 {
        return format!("refused: {status}");
    }
    key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}
