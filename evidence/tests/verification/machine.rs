//! The machine: another TPM, keys that are not bound, other PCRs, logs that were tampered with, evil first.

use adyton_evidence::bundle::Bundle;
use adyton_evidence::log::kind;
use adyton_evidence::platform::qualifying_data;
use adyton_evidence::software::{Monitor, STARTED_WITH, Tpm, digest, start};
use adyton_evidence::verdict::{Code, Machine, Verdict};
use adyton_evidence::{hash, log};

use crate::scene::{
    NONCE, SUBJECT, accepted, anchors, composition, genuine, judge, judge_by, policy, policy_with,
    refused,
};

fn ask(monitor: &Monitor) -> Verdict {
    judge(&monitor.evidence(NONCE, SUBJECT, &composition()), &policy())
}

/// A monitor on a machine that started `images`.
fn after(images: &[&str]) -> Monitor {
    let mut tpm = Tpm::new(1);
    start(&mut tpm, images);
    Monitor::take_over(tpm, 1, STARTED_WITH)
}

#[test]
fn genuine_evidence_is_accepted_and_named() {
    let verdict = ask(&Monitor::genuine());
    accepted(&verdict);
    let Some(Machine::Known {
        machine,
        firmware,
        loader,
        monitor,
        boot,
    }) = verdict.seen.map(|seen| seen.machine)
    else {
        panic!("the machine is known");
    };
    let names = [machine, firmware, monitor, boot];
    assert_eq!(loader, None);
    assert_eq!(names, ["machine 1", "firmware 1", "monitor 1", "boot 1"]);
}

#[test]
fn a_replay_is_refused() {
    let evidence = Monitor::genuine().evidence(b"yesterday's nonce", SUBJECT, &composition());
    refused(&judge(&evidence, &policy()), Code::StaleNonce);
}

#[test]
fn another_nonce_in_the_quote_alone_is_refused() {
    let monitor = Monitor::genuine();
    let key = monitor.key.verifying_key().to_bytes();
    let old = qualifying_data(&key, b"yesterday's nonce");
    let evidence = monitor.evidence_qualified(NONCE, SUBJECT, &composition(), &old);
    refused(&judge(&evidence, &policy()), Code::KeyNotBound);
}

#[test]
fn another_machines_tpm_is_refused() {
    let mut tpm = Tpm::new(2);
    start(&mut tpm, &["monitor"]);
    let monitor = Monitor::take_over(tpm, 1, STARTED_WITH);
    refused(&ask(&monitor), Code::UnknownAttestationKey);
}

/// A key that the machine's owner made, presented with a quote for the monitor's.
#[test]
fn a_key_that_the_quote_does_not_name_is_refused() {
    let mut monitor = Monitor::genuine();
    let real = monitor.key.verifying_key().to_bytes();
    monitor.key = ed25519_dalek::SigningKey::from_bytes(&[66; 32]);
    let quoted = qualifying_data(&real, NONCE);
    let evidence = monitor.evidence_qualified(NONCE, SUBJECT, &composition(), &quoted);
    refused(&judge(&evidence, &policy()), Code::KeyNotBound);
}

/// Somebody reached the TPM after boot and had it quote for a key of theirs.
#[test]
fn a_key_that_was_not_measured_is_refused() {
    let mut monitor = Monitor::genuine();
    monitor.key = ed25519_dalek::SigningKey::from_bytes(&[66; 32]);
    refused(&ask(&monitor), Code::KeyNotMeasured);
}

#[test]
fn a_quote_over_other_registers_is_refused() {
    for quoted in [
        vec![0, 1, 2, 3, 12],
        vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16],
        vec![],
    ] {
        let mut monitor = Monitor::genuine();
        monitor.tpm.quoted = quoted;
        refused(&ask(&monitor), Code::WrongPcrSelection);
    }
}

#[test]
fn a_key_that_signs_anything_is_refused() {
    let mut anchors = anchors();
    for attributes in [
        1 << 18 | 1 << 1 | 1 << 4 | 1 << 5,
        1 << 16 | 1 << 18 | 1 << 4 | 1 << 5,
        1 << 16 | 1 << 17 | 1 << 18 | 1 << 1 | 1 << 4 | 1 << 5,
    ] {
        let mut monitor = Monitor::genuine();
        monitor.tpm.attributes = attributes;
        anchors.machines[0].key = hash(&monitor.tpm.public());
        let evidence = monitor.evidence(NONCE, SUBJECT, &composition());
        let verdict = judge_by(&evidence, &policy(), &anchors);
        refused(&verdict, Code::UnsuitableAttestationKey);
    }
}

#[test]
fn a_reset_of_the_tpm_is_refused() {
    let mut monitor = Monitor::genuine();
    monitor.tpm.resets[0] += 1;
    refused(&ask(&monitor), Code::TpmReset);
}

/// The quote is right, and its signature is that of another quote, of another key, or none.
#[test]
fn a_quote_that_was_signed_otherwise_is_refused() {
    let monitor = Monitor::genuine();
    let key = monitor.key.verifying_key().to_bytes();
    let qualifying = qualifying_data(&key, NONCE);
    let [quote, right] = monitor.tpm.quote(&qualifying);
    let other = monitor.tpm.quote(b"")[1].clone();
    let stranger = Tpm::new(2).quote(&qualifying)[1].clone();
    let ask = |signature: &[u8]| {
        let quoted = [quote.clone(), signature.to_vec()];
        let evidence = monitor.evidence_quoted(NONCE, SUBJECT, &composition(), &quoted);
        judge(&evidence, &policy())
    };
    accepted(&ask(&right));
    for wrong in [
        &other,
        &stranger,
        &vec![],
        &right[..right.len() - 1].to_vec(),
    ] {
        refused(&ask(wrong), Code::WrongQuoteSignature);
    }
}

/// The log and the values tell of an extend that the quoted registers do not have.
#[test]
fn values_that_were_not_quoted_are_refused() {
    let mut monitor = Monitor::genuine();
    let key = monitor.key.verifying_key().to_bytes();
    let earlier = monitor.tpm.quote(&qualifying_data(&key, NONCE));
    monitor
        .tpm
        .event(1, kind::POST_CODE, digest("setting"), b"");
    let evidence = monitor.evidence_quoted(NONCE, SUBJECT, &composition(), &earlier);
    refused(&judge(&evidence, &policy()), Code::PcrMismatch);
}

/// Where each event of a log begins, behind its first record.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let mut rest = log::events(bytes).expect("a log");
    let mut cuts = vec![];
    let whole = bytes.len();
    let mut left = whole;
    // The events tell their lengths: 4 + 4 + 4 + 2 + 32 + 4 and what they say.
    let lengths: Vec<_> = rest
        .by_ref()
        .map(|event| 50 + event.expect("an event").data.len())
        .collect();
    for length in lengths.iter().rev() {
        left -= length;
        cuts.push(left);
    }
    cuts.reverse();
    cuts
}

#[test]
fn a_truncated_log_is_refused() {
    let genuine = Monitor::genuine();
    for cut in cuts(&genuine.tpm.log) {
        let mut monitor = genuine.clone();
        monitor.tpm.log.truncate(cut);
        refused(&ask(&monitor), Code::LogMismatch);
        monitor.tpm.log = genuine.tpm.log[..cut + 3].to_vec();
        refused(&ask(&monitor), Code::MalformedLog);
    }
}

#[test]
fn a_reordered_log_is_refused() {
    let genuine = Monitor::genuine();
    let cuts = cuts(&genuine.tpm.log);
    // The monitor's first two events.
    let [a, b, c] = cuts[cuts.len() - 5..cuts.len() - 2] else {
        panic!("five events");
    };
    let bytes = &genuine.tpm.log;
    let mut monitor = genuine.clone();
    monitor.tpm.log = [&bytes[..a], &bytes[b..c], &bytes[a..b], &bytes[c..]].concat();
    refused(&ask(&monitor), Code::LogMismatch);
}

#[test]
fn an_extended_log_is_refused() {
    let mut monitor = Monitor::genuine();
    let digests = [(0x000b, &[1; 32][..])];
    log::record(
        &mut monitor.tpm.log,
        [4, kind::APPLICATION],
        &digests,
        b"more",
    )
    .expect("memory");
    refused(&ask(&monitor), Code::LogMismatch);
}

#[test]
fn a_log_that_hides_an_extend_is_refused() {
    for pcr in [0, 4, 12] {
        let mut monitor = Monitor::genuine();
        monitor.tpm.extend(pcr, &[1; 32]);
        refused(&ask(&monitor), Code::LogMismatch);
    }
}

/// Code before the monitor replays what the monitor would extend, with a key of its own.
#[test]
fn evil_first_is_refused() {
    refused(&ask(&after(&["evil"])), Code::UnknownBootEvent);
    refused(&ask(&after(&["evil", "monitor"])), Code::UnknownBootEvent);
    refused(&ask(&after(&[])), Code::UnknownBootEvent);
}

/// A monitor that gave up, and code that the firmware started in its place.
#[test]
fn evil_after_the_monitor_is_refused() {
    refused(&ask(&after(&["monitor", "evil"])), Code::CodeAfterMonitor);
    refused(
        &ask(&after(&["monitor", "monitor"])),
        Code::CodeAfterMonitor,
    );
}

/// Evil code whose event bears another type than that of an application.
#[test]
fn an_event_of_another_type_is_refused() {
    let mut tpm = Tpm::new(1);
    start(&mut tpm, &[]);
    tpm.event(4, kind::SEPARATOR, digest("evil"), &[0; 4]);
    tpm.event(4, kind::APPLICATION, digest("monitor"), b"");
    let monitor = Monitor::take_over(tpm, 1, STARTED_WITH);
    refused(&ask(&monitor), Code::UnknownBootEvent);
}

/// The firmware tries boot options in turn; one that starts nothing leaves words and no application.
#[test]
fn a_boot_option_that_failed_is_accepted() {
    let mut tpm = Tpm::new(1);
    start(&mut tpm, &[]);
    for action in ["Returning from", "Calling"] {
        let action = format!("{action} EFI Application from Boot Option");
        tpm.event(4, kind::ACTION, digest(&action), action.as_bytes());
    }
    let mut twice = tpm.clone();
    tpm.event(4, kind::APPLICATION, digest("monitor"), b"");
    accepted(&ask(&Monitor::take_over(tpm, 1, STARTED_WITH)));
    twice.event(4, kind::SEPARATOR, hash(&[0; 4]), &[0; 4]);
    twice.event(4, kind::APPLICATION, digest("monitor"), b"");
    let monitor = Monitor::take_over(twice, 1, STARTED_WITH);
    refused(&ask(&monitor), Code::UnknownBootEvent);
}

/// Applications in front of the separator, or no separator at all.
#[test]
fn a_boot_without_separator_is_refused() {
    let mut tpm = Tpm::new(1);
    for pcr in [0, 2, 7] {
        tpm.event(pcr, kind::POST_CODE, digest("firmware"), b"firmware");
        tpm.event(pcr, kind::SEPARATOR, hash(&[0; 4]), &[0; 4]);
    }
    let mut late = tpm.clone();
    tpm.event(4, kind::APPLICATION, digest("monitor"), b"");
    let monitor = Monitor::take_over(tpm, 1, STARTED_WITH);
    refused(&ask(&monitor), Code::UnknownBootEvent);
    late.event(4, kind::APPLICATION, digest("evil"), b"");
    late.event(4, kind::SEPARATOR, hash(&[0; 4]), &[0; 4]);
    late.event(4, kind::APPLICATION, digest("monitor"), b"");
    let monitor = Monitor::take_over(late, 1, STARTED_WITH);
    refused(&ask(&monitor), Code::UnknownBootEvent);
}

#[test]
fn a_token_that_was_signed_otherwise_is_refused() {
    let evidence = genuine(&composition());
    let bundle = Bundle::decode(&evidence).expect("a bundle");
    let mut token = bundle.token.to_vec();
    *token.last_mut().expect("a signature") ^= 1;
    let mut forged = vec![];
    let bundle = Bundle {
        token: &token,
        ..bundle
    };
    bundle.encode(&mut forged).expect("memory");
    refused(&judge(&forged, &policy()), Code::WrongSignature);
}

#[test]
fn other_firmware_is_refused() {
    for pcr in [0, 2, 7] {
        let mut tpm = Tpm::new(1);
        tpm.event(pcr, kind::POST_CODE, digest("option ROM"), b"");
        start(&mut tpm, &["monitor"]);
        let monitor = Monitor::take_over(tpm, 1, STARTED_WITH);
        refused(&ask(&monitor), Code::FirmwareMismatch);
    }
}

/// What varies between machines of one kind does not matter, where the anchor does not say so.
#[test]
fn other_settings_are_accepted() {
    let mut tpm = Tpm::new(1);
    tpm.event(1, kind::POST_CODE, digest("setting"), b"");
    start(&mut tpm, &["monitor"]);
    accepted(&ask(&Monitor::take_over(tpm, 1, STARTED_WITH)));
}

fn loaded(commands: &[&str], files: &[&str]) -> Monitor {
    let mut tpm = Tpm::new(1);
    start(&mut tpm, &["loader", "monitor"]);
    for (pcr, names) in [(8, commands), (9, files)] {
        for name in names {
            tpm.event(pcr, kind::IPL, digest(name), name.as_bytes());
        }
    }
    Monitor::take_over(tpm, 1, STARTED_WITH)
}

#[test]
fn a_boot_loader_must_have_done_what_is_known() {
    let (command, file) = ("chainloader /monitor", "grub.cfg");
    accepted(&ask(&loaded(&[command], &[file])));
    refused(
        &ask(&loaded(&[command, "insmod evil"], &[file])),
        Code::LoaderMismatch,
    );
    refused(
        &ask(&loaded(&[command], &[file, "evil.mod"])),
        Code::LoaderMismatch,
    );
    refused(&ask(&loaded(&[], &[])), Code::LoaderMismatch);
    let mut alone = Monitor::genuine();
    alone.tpm.event(9, kind::IPL, digest("file"), b"");
    refused(&ask(&alone), Code::LoaderMismatch);
}

#[test]
fn other_starts_are_refused() {
    let with = |started_with| {
        let mut tpm = Tpm::new(1);
        start(&mut tpm, &["monitor"]);
        Monitor::take_over(tpm, 1, started_with)
    };
    let [configuration, kernel, initrd, line] = STARTED_WITH;
    refused(
        &ask(&with(["debug", kernel, initrd, line])),
        Code::ConfigurationMismatch,
    );
    for other in [
        [configuration, "other", initrd, line],
        [configuration, kernel, "other", line],
        [configuration, kernel, initrd, "other"],
    ] {
        refused(&ask(&with(other)), Code::DomainZeroMismatch);
        let evidence = with(other).evidence(NONCE, SUBJECT, &composition());
        let any = policy_with(
            "security-version = 1",
            "security-version = 1\ndomain-0 = \"any\"",
        );
        accepted(&judge(&evidence, &any));
    }
}

#[test]
fn a_monitor_that_extends_otherwise_is_refused() {
    let mut more = Monitor::genuine();
    more.tpm
        .event(12, kind::IPL, digest("more"), b"adyton:more");
    refused(&ask(&more), Code::MonitorEvents);
    let mut twice = after(&["monitor"]);
    twice = Monitor::take_over(twice.tpm, 2, STARTED_WITH);
    refused(&ask(&twice), Code::MonitorEvents);
}

#[test]
fn an_old_monitor_is_refused() {
    let evidence = genuine(&composition());
    let newer = policy_with("security-version = 1", "security-version = 2");
    refused(&judge(&evidence, &newer), Code::OldMonitor);
    let mut liar = Monitor::genuine();
    liar.security_version = 2;
    let evidence = liar.evidence(NONCE, SUBJECT, &composition());
    refused(&judge(&evidence, &newer), Code::OldMonitor);
}

#[test]
fn an_unmeasured_boot_is_refused_unless_the_policy_says_otherwise() {
    let mut monitor = Monitor::genuine();
    monitor.measured = false;
    let evidence = monitor.evidence(NONCE, SUBJECT, &composition());
    refused(&judge(&evidence, &policy()), Code::UnmeasuredBoot);
    let lenient = policy_with("version = 1", "version = 1\nunmeasured = true");
    let verdict = judge(&evidence, &lenient);
    accepted(&verdict);
    let machine = verdict.seen.map(|seen| seen.machine);
    assert!(matches!(machine, Some(Machine::Unknown)));
}

/// No reference value is not the same as one that does not match, and both are refused.
#[test]
fn missing_anchors_are_refused_each_for_its_own_reason() {
    type Remove = fn(&mut adyton_evidence::anchors::Anchors);
    let cases: [(Remove, Code); 4] = [
        (
            |anchors| anchors.machines.clear(),
            Code::UnknownAttestationKey,
        ),
        (
            |anchors| anchors.firmware.clear(),
            Code::NoFirmwareReference,
        ),
        (|anchors| anchors.monitors.clear(), Code::NoMonitorReference),
        (|anchors| anchors.boots.clear(), Code::NoBootReference),
    ];
    for (remove, code) in cases {
        let mut anchors = anchors();
        remove(&mut anchors);
        let verdict = judge_by(&genuine(&composition()), &policy(), &anchors);
        refused(&verdict, code);
    }
}

/// Parts of two genuine answers do not make a third.
#[test]
fn parts_of_other_evidence_are_refused() {
    let monitor = Monitor::genuine();
    let right = monitor.evidence(NONCE, SUBJECT, &composition());
    let other = monitor.evidence(
        b"another nonce",
        SUBJECT,
        &crate::scene::changed(0, |signer| signer.vcpus = 9),
    );
    let [right, other] = [&right, &other].map(|bytes| Bundle::decode(bytes).expect("a bundle"));
    let mut mixed = vec![];
    for swapped in [
        Bundle {
            claims: other.claims,
            ..right
        },
        Bundle {
            measured: other.measured,
            ..right
        },
        Bundle {
            measured: None,
            ..right
        },
    ] {
        mixed.clear();
        swapped.encode(&mut mixed).expect("memory");
        refused(&judge(&mixed, &policy()), Code::DigestMismatch);
    }
    mixed.clear();
    right.encode(&mut mixed).expect("memory");
    accepted(&judge(&mixed, &policy()));
}
