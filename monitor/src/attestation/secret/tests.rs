//! The secret in a TPM that is not ours, through reboots, updates, power cuts and whoever else starts on that machine.

use std::collections::BTreeSet;
use std::fs;

use adyton_secrets::index::handle;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;

use super::*;
use crate::tpm::emulator::Emulator;

/// A maintainer, by a small number.
struct Maintainer(SigningKey);

impl Maintainer {
    fn new(seed: u8) -> Self {
        let mut scalar = [0; 32];
        scalar[31] = seed;
        Self(SigningKey::from_bytes(&scalar.into()).expect("a small number"))
    }

    fn key(&self) -> MaintainerKey {
        let point = self.0.verifying_key().to_sec1_point(false);
        MaintainerKey(point.as_bytes()[1..].try_into().expect("two coordinates"))
    }

    /// An approval of the monitor that these images make PCR 4 of.
    fn approve(&self, release: u64, images: &[Hash]) -> String {
        let started = images
            .iter()
            .fold([0; 32], |value, image| hash(&[&value, image]));
        let digest = Policy::of_release(release, started).to_sign();
        let signature: p256::ecdsa::Signature = self.0.sign_prehash(&digest).expect("a digest");
        let approval = Approval {
            release,
            started,
            signature: signature.to_bytes().into(),
        };
        format!("{approval}\n")
    }
}

/// A release: what firmware measures of it.
fn image(release: u64) -> Hash {
    hash(&[b"monitor", &release.to_be_bytes()])
}

/// What the image of a release says, by the maintainer of number 1.
fn imprint(release: u64) -> Imprint {
    Imprint {
        key: Maintainer::new(1).key(),
        release,
    }
}

/// Approvals of releases 1 to 9 by the maintainer of number 1.
fn approvals() -> String {
    let maintainer = Maintainer::new(1);
    let approve = |release| maintainer.approve(release, &[image(release)]);
    (1..10).map(approve).collect()
}

/// Starts anew, with these images in PCR 4.
fn boot(tpm: &mut Emulator, images: &[Hash]) {
    tpm.restart();
    tpm.extend(0, &hash(&[b"firmware"]));
    for image in images {
        tpm.extend(4, image);
    }
}

fn obtained(tpm: &mut Emulator) -> Result<Obtained, Withheld> {
    obtain(tpm, &imprint(1), approvals().as_bytes())
}

/// What a release gets when it starts.
fn release(tpm: &mut Emulator, number: u64) -> Result<Obtained, Withheld> {
    boot(tpm, &[image(number)]);
    obtain(tpm, &imprint(number), approvals().as_bytes())
}

/// The secret, which must be there.
fn secret_of(outcome: Result<Obtained, Withheld>) -> [u8; 32] {
    outcome.expect("a secret").secret
}

fn is_older(outcome: Result<Obtained, Withheld>) -> bool {
    matches!(outcome, Err(Withheld::Older { .. }))
}

#[test]
fn it_survives_reboots_and_updates_and_refuses_what_is_older() {
    let mut tpm = Emulator::new("updates");
    let first = release(&mut tpm, 2).expect("a new secret");
    assert!(first.is_new && first.secret != [0; 32]);
    let again = release(&mut tpm, 2).expect("the same");
    assert!(!again.is_new && again.secret == first.secret);
    // What comes after the monitor changes nothing: a kernel is measured later.
    assert!(secret_of(release(&mut tpm, 5)) == first.secret);
    assert!(is_older(release(&mut tpm, 2)));
    assert!(is_older(release(&mut tpm, 4)));
    assert!(secret_of(release(&mut tpm, 5)) == first.secret);
}

/// The TPM itself refuses an older release, even one that does not look at the counter.
#[test]
fn the_tpm_refuses_what_is_older() {
    let mut tpm = Emulator::new("older");
    secret_of(release(&mut tpm, 1));
    secret_of(release(&mut tpm, 2));
    boot(&mut tpm, &[image(1)]);
    let approvals = approval::read(approvals().as_bytes());
    let machine = registers(&mut tpm, MACHINE_REGISTERS).unwrap();
    let key = Maintainer::new(1).key();
    let mut read = |release: u64, started: u64| {
        boot(&mut tpm, &[image(started)]);
        let approval = *approvals
            .iter()
            .find(|entry| entry.release == release)
            .unwrap();
        let index = Index::secret(Policy::of_secret(&key, &machine).0);
        let mut vault = Vault {
            tpm: &mut tpm,
            key: &key,
            approval,
            index,
        };
        vault.read()
    };
    let refused = |outcome| matches!(outcome, Err(Withheld::Tpm(TpmError::Answer(_))));
    assert!(refused(read(1, 1)));
    // The newer one's approval is for another PCR 4.
    assert!(refused(read(2, 1)));
    assert!(read(2, 2).is_ok());
}

#[test]
fn nothing_else_gets_it() {
    let mut tpm = Emulator::new("others");
    let secret = secret_of(release(&mut tpm, 1));
    let strange = hash(&[b"another system"]);
    // Another application; one before the monitor; one behind it.
    for images in [
        vec![strange],
        vec![strange, image(1)],
        vec![image(1), strange],
    ] {
        boot(&mut tpm, &images);
        assert!(matches!(obtained(&mut tpm), Err(Withheld::NotApproved(_))));
        // It helps nobody to sign it himself.
        let forged = Maintainer::new(9).approve(1, &images);
        let outcome = obtain(&mut tpm, &imprint(1), forged.as_bytes());
        assert!(matches!(outcome, Err(Withheld::Tpm(TpmError::Answer(_)))));
    }
    // A release whose approval is for another.
    boot(&mut tpm, &[image(1)]);
    let outcome = obtain(&mut tpm, &imprint(2), approvals().as_bytes());
    assert!(matches!(outcome, Err(Withheld::NotApproved(_))));
    // A driver beside the monitor, other firmware, another state of Secure Boot.
    for register in MACHINE_REGISTERS {
        boot(&mut tpm, &[image(1)]);
        tpm.extend(register, &strange);
        assert!(obtained(&mut tpm) == Err(Withheld::Foreign(handle::SECRET)));
    }
    // Whoever comes after the first measurement.
    boot(&mut tpm, &[image(1)]);
    tpm.extend(12, &strange);
    assert!(obtained(&mut tpm) == Err(Withheld::Measured));
    assert!(secret_of(release(&mut tpm, 1)) == secret);
}

/// The same attacks without the monitor's own checks: the TPM must refuse them, with the owner's authority and with tools that are not ours.
#[test]
fn the_tpm_gives_it_to_no_other_system() {
    let mut tpm = Emulator::new("tools");
    let secret = secret_of(release(&mut tpm, 1));
    let index = handle::SECRET;
    let policy = |tpm: &mut Emulator, order: &str| {
        fs::write(tpm.path("key"), tpm2b(&Maintainer::new(1).key().public())).unwrap();
        let approval = approval::read(approvals().as_bytes())[0];
        fs::write(tpm.path("signature"), tss_signature(&approval)).unwrap();
        let approved = Policy::of_release(1, approval.started);
        fs::write(tpm.path("approved"), approved.0).unwrap();
        fs::write(
            tpm.path("to-sign"),
            [&approved.0[..], b"adyton:platform-secret"].concat(),
        )
        .unwrap();
        fs::write(tpm.path("qualification"), b"adyton:platform-secret").unwrap();
        fs::write(tpm.path("limit"), 1_u64.to_be_bytes()).unwrap();
        let lines = [
            "tpm2_flushcontext -t",
            "tpm2_loadexternal -Q -C o -u key -c key.ctx -n key.name",
            "tpm2_verifysignature -Q -c key.ctx -g sha256 -m to-sign -s signature -t ticket -f ecdsa",
            "tpm2_flushcontext -t",
            "tpm2_startauthsession -Q -S session --policy-session",
            &format!(
                "tpm2_policynv -Q -S session -i limit {:#x} ule",
                handle::RELEASE
            ),
            "tpm2_policypcr -Q -S session -l sha256:4,12",
            "tpm2_policyauthorize -Q -S session -i approved -q qualification -n key.name -t ticket",
            "tpm2_policypcr -Q -S session -l sha256:0,2,7",
            &format!("tpm2_nvread -Q -C {index:#x} -P session:session {index:#x} -s 32 -o read"),
        ];
        let done = lines.into_iter().all(|line| tpm.tool(line));
        let _absent = tpm.tool("tpm2_flushcontext session");
        println!("{order}: {done}");
        done
    };
    // The control: as the monitor does it, with the tools of others, it is read.
    boot(&mut tpm, &[image(1)]);
    assert!(policy(&mut tpm, "the monitor"));
    assert!(fs::read(tpm.path("read")).unwrap() == secret);
    boot(&mut tpm, &[hash(&[b"another"])]);
    assert!(!policy(&mut tpm, "another system"));
    boot(&mut tpm, &[image(1)]);
    tpm.extend(12, &image(1));
    assert!(!policy(&mut tpm, "domain 0"));
    boot(&mut tpm, &[image(1)]);
    tpm.extend(2, &image(1));
    assert!(!policy(&mut tpm, "a driver"));
    for way in ["o", &format!("{index:#x}")] {
        assert!(!tpm.tool(&format!("tpm2_nvread -Q -C {way} {index:#x} -s 32")));
        assert!(!tpm.tool(&format!("tpm2_nvwrite -Q -C {way} {index:#x} -i limit")));
    }
}

#[test]
fn who_deletes_it_destroys_it() {
    let mut tpm = Emulator::new("deleted");
    let first = secret_of(release(&mut tpm, 3));
    boot(&mut tpm, &[]);
    assert!(tpm.tool(&format!("tpm2_nvundefine -Q -C o {:#x}", handle::SECRET)));
    let second = release(&mut tpm, 3).expect("another");
    assert!(second.is_new && second.secret != first);
    // The counter begins where it was, whoever deletes it: nothing older gets the secret.
    boot(&mut tpm, &[]);
    assert!(tpm.tool(&format!("tpm2_nvundefine -Q -C o {:#x}", handle::RELEASE)));
    assert!(is_older(release(&mut tpm, 3)));
    assert!(secret_of(release(&mut tpm, 5)) == second.secret);
    assert!(is_older(release(&mut tpm, 1)));
}

/// Another system defines the index before the monitor does, so that it could write or read it.
#[test]
fn a_planted_secret_is_not_believed() {
    let mut tpm = Emulator::new("planted");
    secret_of(release(&mut tpm, 1));
    let machine = registers(&mut tpm, MACHINE_REGISTERS).unwrap();
    let policy = Policy::of_secret(&Maintainer::new(1).key(), &machine);
    fs::write(tpm.path("policy"), policy.0).unwrap();
    fs::write(tpm.path("known"), [7; 32]).unwrap();
    let index = handle::SECRET;
    boot(&mut tpm, &[]);
    assert!(tpm.tool(&format!("tpm2_nvundefine -Q -C o {index:#x}")));
    let define = |more: &str| {
        format!(
            "tpm2_nvdefine -Q -C o {index:#x} -s 32 -L policy -a policyread|policywrite|no_da{more}"
        )
    };
    assert!(tpm.tool(&define("|ownerwrite")));
    assert!(tpm.tool(&format!("tpm2_nvwrite -Q -C o {index:#x} -i known")));
    assert!(release(&mut tpm, 1) == Err(Withheld::Foreign(index)));
    boot(&mut tpm, &[]);
    assert!(tpm.tool(&format!("tpm2_nvundefine -Q -C o {index:#x}")));
    // As the monitor would have defined it, it cannot be written, and is taken.
    assert!(tpm.tool(&define("")));
    assert!(!tpm.tool(&format!("tpm2_nvwrite -Q -C o {index:#x} -i known")));
    let taken = release(&mut tpm, 1).expect("a secret");
    assert!(taken.is_new && taken.secret != [7; 32]);
}

/// An index that looks like the counter but can be written is no counter.
#[test]
fn a_planted_counter_is_not_believed() {
    let mut tpm = Emulator::new("counter");
    secret_of(release(&mut tpm, 2));
    boot(&mut tpm, &[]);
    let index = handle::RELEASE;
    fs::write(tpm.path("one"), 1_u64.to_be_bytes()).unwrap();
    assert!(tpm.tool(&format!("tpm2_nvundefine -Q -C o {index:#x}")));
    let attributes = "authread|authwrite|ownerread|no_da";
    assert!(tpm.tool(&format!(
        "tpm2_nvdefine -Q -C o {index:#x} -s 8 -a {attributes}"
    )));
    assert!(tpm.tool(&format!("tpm2_nvwrite -Q -C {index:#x} {index:#x} -i one")));
    assert!(release(&mut tpm, 1) == Err(Withheld::Foreign(index)));
    assert!(release(&mut tpm, 2) == Err(Withheld::Foreign(index)));
}

#[test]
fn another_maintainer_gets_another_secret_or_none() {
    let mut tpm = Emulator::new("maintainers");
    secret_of(release(&mut tpm, 1));
    boot(&mut tpm, &[image(1)]);
    let other = Maintainer::new(2);
    let approval = other.approve(1, &[image(1)]);
    let mut by = |key| obtain(&mut tpm, &Imprint { key, release: 1 }, approval.as_bytes());
    assert!(by(other.key()) == Err(Withheld::Foreign(handle::SECRET)));
    assert!(by(MaintainerKey([0; 64])) == Err(Withheld::NoMaintainer));
}

/// The power goes after each command in turn: the next boot gets a secret, and the one that was there before, if there was one.
#[test]
fn the_power_may_go_at_any_time() {
    let mut tpm = Emulator::new("power");
    let mut seen = BTreeSet::new();
    for commands in 0.. {
        boot(&mut tpm, &[]);
        for index in [handle::SECRET, handle::RELEASE] {
            let undefine = storage::undefine(index);
            let _absent = tpm.run(&undefine, command::done);
        }
        // The counter goes on from boot to boot, so that the release must too.
        let number = 3 + 3 * u64::from(commands);
        let maintainer = Maintainer::new(1);
        let approvals: String = [number, number + 1]
            .map(|number| maintainer.approve(number, &[image(number)]))
            .concat();
        let attempt = |tpm: &mut Emulator, number: u64, left: Option<u32>| {
            boot(tpm, &[image(number)]);
            tpm.left = left;
            obtain(tpm, &imprint(number), approvals.as_bytes())
        };
        let outcome = attempt(&mut tpm, number, Some(commands));
        let whole = outcome.is_ok();
        let next = secret_of(attempt(&mut tpm, number, None));
        assert!(outcome.is_err() || secret_of(outcome) == next);
        // The same while a newer release takes over.
        let outcome = attempt(&mut tpm, number + 1, Some(commands));
        assert!(secret_of(attempt(&mut tpm, number + 1, None)) == next);
        assert!(outcome.is_err() || secret_of(outcome) == next);
        assert!(seen.insert(next));
        if whole {
            break;
        }
    }
    assert!(seen.len() > 15, "{} commands", seen.len());
}

/// The digests are what tpm2-tools come to.
#[test]
fn the_policy_is_what_others_come_to() {
    let mut tpm = Emulator::new("trial");
    secret_of(release(&mut tpm, 1));
    let key = Maintainer::new(1).key();
    let approval = approval::read(approvals().as_bytes())[0];
    boot(&mut tpm, &[image(1)]);
    fs::write(tpm.path("limit"), 1_u64.to_be_bytes()).unwrap();
    fs::write(tpm.path("key"), tpm2b(&key.public())).unwrap();
    fs::write(tpm.path("qualification"), b"adyton:platform-secret").unwrap();
    for line in [
        "tpm2_startauthsession -Q -S trial",
        &format!(
            "tpm2_policynv -Q -S trial -i limit {:#x} ule",
            handle::RELEASE
        ),
        "tpm2_policypcr -Q -S trial -l sha256:4,12 -L release",
        "tpm2_flushcontext trial",
        "tpm2_loadexternal -Q -C o -u key -c key.ctx -n key.name",
        "tpm2_flushcontext -t",
        "tpm2_startauthsession -Q -S trial",
        "tpm2_policyauthorize -Q -S trial -i release -q qualification -n key.name",
        "tpm2_policypcr -Q -S trial -l sha256:0,2,7 -L secret",
        "tpm2_flushcontext trial",
    ] {
        assert!(tpm.tool(line), "{line}");
    }
    let read = |name: &str| fs::read(tpm.path(name)).unwrap();
    assert_eq!(read("key.name"), key.name());
    assert_eq!(read("release"), Policy::of_release(1, approval.started).0);
    let machine = registers(&mut tpm, MACHINE_REGISTERS).unwrap();
    let secret = fs::read(tpm.path("secret")).unwrap();
    assert_eq!(secret, Policy::of_secret(&key, &machine).0);
}

/// With its size in front, as tpm2-tools keep it in files.
fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// DER, as tpm2-tools take a plain signature.
fn tss_signature(approval: &Approval) -> Vec<u8> {
    let signature = p256::ecdsa::Signature::from_slice(&approval.signature).expect("two scalars");
    signature.to_der().as_bytes().to_vec()
}
