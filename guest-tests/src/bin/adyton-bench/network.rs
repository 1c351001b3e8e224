//! A network's work: frames that leave by one interface and come back by another, which the emulator joins by a hub.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::exits::Exits;

/// Bytes of a frame: the header, and as much as Ethernet carries.
const FRAME: usize = 14 + 1500;
/// Where the header says what follows, and the number that IEEE 802 leaves to experiments.
const TYPE: core::ops::Range<usize> = 12..14;
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];
/// Frames under way at a time, how often so many are sent in one measurement, and how often that is repeated.
const BURST: usize = 32;
const BURSTS: usize = 550;
const REPETITIONS: u64 = 5;

/// Sends frames from one interface to the other; how often domain 0 left for the monitor meanwhile, if there is one.
pub fn network() -> Result<()> {
    for module in ["virtio_pci", "virtio_net"] {
        run("modprobe", &[module])?;
    }
    let (mut source, mut sink) = (interface("eth0")?, interface("eth1")?);
    let mut frame = [0xa5; FRAME];
    frame[..TYPE.start].fill(0xff);
    frame[TYPE].copy_from_slice(&EXPERIMENT);
    exchange(&mut source, &mut sink, &frame)?;
    let exits = Exits::so_far();
    let mut fastest = u128::MAX;
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        for _ in 0..BURSTS {
            exchange(&mut source, &mut sink, &frame)?;
        }
        fastest = fastest.min(begin.elapsed().as_nanos());
    }
    println!("ADYTON-BENCH network-25-mib {fastest} ns");
    if let Some(exits) = exits {
        exits.report_per_thousand("frames", REPETITIONS * (BURSTS * BURST) as u64);
    }
    Ok(())
}

/// Sends a burst and takes it in.
fn exchange(source: &mut File, sink: &mut File, frame: &[u8; FRAME]) -> Result<()> {
    for _ in 0..BURST {
        source.write_all(frame).context("a frame was not sent")?;
    }
    let (mut taken, mut seen) = (0, [0; FRAME]);
    while taken < BURST {
        let count = sink.read(&mut seen).context("a frame is missing")?;
        // Linux sends frames of its own now and then.
        if seen[TYPE] == EXPERIMENT {
            ensure!(count == FRAME && seen == *frame, "a frame came changed");
            taken += 1;
        }
    }
    Ok(())
}

/// All frames of an interface; a wait for one ends after five seconds.
fn interface(name: &str) -> Result<File> {
    run("ip", &["link", "set", name, "up"])?;
    let found = getifaddrs()?.find_map(|interface| {
        let address = interface.address?;
        let address = *address.as_link_addr()?;
        (interface.interface_name == name).then_some(address)
    });
    let address = found.with_context(|| format!("there is no {name}"))?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
    bind(socket.as_raw_fd(), &address)?;
    Ok(File::from(socket))
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    ensure!(status.success(), "{program} {} failed", arguments.join(" "));
    Ok(())
}
