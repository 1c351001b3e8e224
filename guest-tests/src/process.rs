//! What a domain that computes leaves to the rest of the system.

use std::time::{Duration, Instant};

use adyton::{Exit, Flags};
use anyhow::{Result, ensure};

use crate::fixture::{agent, run};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("sleep-is-exact", sleep_is_exact),
    ("threads-share-a-claim", threads_share_a_claim),
    ("exits-on-two-cores", exits_on_two_cores),
];

/// Another process on the same core sleeps as long as it asked for while a domain computes.
fn sleep_is_exact() -> Result<()> {
    raw::stay_on(0)?;
    let mut running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
    let mut copy = running.vcpu().duplicate();
    let child = raw::start_copy(move || i32::from(copy.enter(0).is_ok()))?;
    let before = Instant::now();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = before.elapsed();
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGTERM)?;
    nix::sys::wait::waitpid(child, None)?;
    running.vcpu().abandon()?;
    ensure!(
        took < Duration::from_millis(1500),
        "200 ms of sleep took {took:?}"
    );
    let exit = running.vcpu().enter(1_000_000)?;
    ensure!(exit == Exit::Budget, "{exit:?}");
    Ok(())
}

/// Threads that compose in one claim at once do not disturb each other.
fn threads_share_a_claim() -> Result<()> {
    let running = agent(Flags::CONFIDENTIAL)?;
    let file = crate::fixture::payload("agent")?;
    let claim = &running.claim;
    std::thread::scope(|scope| {
        let build = || -> Result<()> {
            let image = adyton::Image::parse(&file)?;
            let program = adyton::Program::new(image, Flags::CONFIDENTIAL);
            for _ in 0..5 {
                let mut loaded = program.build(claim)?;
                loaded.domain.seal()?;
                crate::fixture::words(loaded.vcpus[0].enter(0)?)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(build)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// Two cores that leave domain 0 for the monitor as often as they can do not disturb each other.
fn exits_on_two_cores() -> Result<()> {
    const EXITS: u32 = 50_000;
    std::thread::scope(|scope| {
        let exit = |core| {
            raw::stay_on(core)?;
            let leaf = std::arch::x86_64::__cpuid(0);
            let same = |_| std::arch::x86_64::__cpuid(0) == leaf;
            ensure!((0..EXITS).all(same), "CPUID changed on core {core}");
            Ok(())
        };
        let threads = [0, 1].map(|core| scope.spawn(move || exit(core)));
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}
