//! How large evidence is, and how long it takes to make and to check. Wall time on the host; `cargo test --release` for honest figures.

use std::time::Instant;

use adyton_evidence::bundle::Bundle;
use adyton_evidence::composition::{Composition, Domain};
use adyton_evidence::policy::Policy;
use adyton_evidence::software::Monitor;

use crate::scene::{NONCE, SUBJECT, accepted, judge, policy, tenant, window};

/// A signer with `count - 1` parsers, which each have a channel to it.
fn wide(count: u64) -> (Composition, Policy) {
    let mut signer = tenant("signer", 1);
    let mut domains = vec![Domain::Opaque];
    for index in 2..=count {
        let mut parser = tenant("parser", 1);
        let place = 0x200_0000 + (index << 12);
        parser.regions.push(window(place, 0x1000, 1, 0));
        signer.regions.push(window(place, 0x1000, 1, index));
        domains.push(Domain::Tenant(parser));
    }
    domains.insert(0, Domain::Tenant(signer));
    let mut policy = policy();
    policy.domains[1].count = [count - 1, count - 1];
    policy.domains[1].count[1] = policy.domains[1].count[1].max(1);
    (Composition { domains }, policy)
}

#[test]
fn size_and_time_grow_with_the_closure() {
    let monitor = Monitor::genuine();
    let mut per_domain = vec![];
    for count in [1, 10, 100, 1000] {
        let (composition, policy) = wide(count);
        let rounds = (1000 / count).clamp(3, 20) as u32;
        let before = Instant::now();
        let mut evidence = vec![];
        for _ in 0..rounds {
            evidence = monitor.evidence(NONCE, SUBJECT, &composition);
        }
        let creation = before.elapsed() / rounds;
        let before = Instant::now();
        for _ in 0..rounds {
            accepted(&judge(&evidence, &policy));
        }
        let verification = before.elapsed() / rounds;
        let log = Bundle::decode(&evidence)
            .expect("a bundle")
            .measured
            .map_or(0, |sets| sets.log.len());
        let size = evidence.len() - log;
        println!("ADYTON-BENCH evidence-size-{count} {size} bytes");
        println!(
            "ADYTON-BENCH evidence-creation-{count} {} microseconds",
            creation.as_micros()
        );
        println!(
            "ADYTON-BENCH evidence-verification-{count} {} microseconds",
            verification.as_micros()
        );
        if count == 1 {
            assert!(size < 4096, "a leaf has {size} bytes");
        }
        if count >= 100 {
            per_domain.push(verification.as_nanos() as f64 / count as f64);
        }
    }
    // Ten times the domains cost about ten times as much: generous, since other programs run as well.
    assert!(per_domain[1] < 4.0 * per_domain[0], "{per_domain:?}");
}
