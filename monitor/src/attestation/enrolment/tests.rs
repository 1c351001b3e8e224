//! Challenges by tpm2-tools, to a TPM that is not ours.

use std::fs;

use super::*;
use crate::tpm::Exchange;
use crate::tpm::emulator::Emulator;

fn carry_out(tpm: &mut Emulator, mut errand: Errand, key: u32) -> Result<Message, TpmError> {
    loop {
        let answer = tpm.exchange(&errand.command(key));
        let answer: Message = answer.into_iter().collect();
        if errand.answered(&answer)? {
            return errand.result();
        }
    }
}

/// The attestation key: its handle, and its name in hexadecimal.
fn attestation_key(tpm: &mut Emulator) -> (u32, String) {
    let made = tpm.run(&command::create_attestation_key(), |answer| {
        let (handle, public) = command::created_key(answer)?;
        Ok((
            handle,
            adyton_secrets::index::name(&adyton_secrets::hash(&[public])),
        ))
    });
    let (handle, name) = made.unwrap();
    (
        handle,
        name.iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

/// A credential for the key with this name.
fn challenge(tpm: &mut Emulator, name: &str) -> Challenge {
    fs::write(tpm.path("known"), b"a secret").unwrap();
    for line in [
        "tpm2_createek -Q -G rsa -c ek.ctx -u ek.pub",
        "tpm2_flushcontext -Q -t",
        &format!("tpm2_makecredential -Q -T none -u ek.pub -s known -n {name} -o credential"),
    ] {
        assert!(tpm.tool(line), "{line}");
    }
    // A magic number and a version, then TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
    let file = fs::read(tpm.path("credential")).unwrap();
    let sized = |bytes: &[u8]| {
        let (size, rest) = bytes.split_at(2);
        let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
        (rest[..size].to_vec(), rest[size..].to_vec())
    };
    let (credential, rest) = sized(&file[8..]);
    let (secret, _) = sized(&rest);
    Challenge {
        credential: credential.into_iter().collect(),
        secret: secret.into_iter().collect(),
    }
}

#[test]
fn a_challenge_for_the_attestation_key_is_answered() {
    let mut tpm = Emulator::new("challenge");
    // Tools remove what others left, so the name is found out first.
    let (_, name) = attestation_key(&mut tpm);
    let challenge = challenge(&mut tpm, &name);
    let (key, again) = attestation_key(&mut tpm);
    assert_eq!(name, again);
    for _ in 0..5 {
        let answer = carry_out(&mut tpm, Errand::activation(challenge.clone()), key).unwrap();
        assert_eq!(&answer[HEAD..], b"a secret");
    }
    // A changed challenge is refused, and leaves nothing behind: keys and sessions have few places.
    for _ in 0..5 {
        let mut bad = challenge.clone();
        bad.credential[40] ^= 1;
        assert!(carry_out(&mut tpm, Errand::activation(bad), key).is_err());
    }
    assert!(carry_out(&mut tpm, Errand::activation(challenge), key).is_ok());
}

#[test]
fn a_challenge_for_another_key_is_not_answered() {
    let mut tpm = Emulator::new("other-key");
    let (_, name) = attestation_key(&mut tpm);
    let other = format!("000b{}", "11".repeat(32));
    assert_ne!(name, other);
    let challenge = challenge(&mut tpm, &other);
    let (key, _) = attestation_key(&mut tpm);
    assert!(carry_out(&mut tpm, Errand::activation(challenge), key).is_err());
}

#[test]
fn the_key_is_forgotten_though_the_session_is_not() {
    let mut tpm = Emulator::new("no-session");
    // Keys have three places.
    for _ in 0..5 {
        let challenge = Challenge {
            credential: [0; 40].into_iter().collect(),
            secret: [0; 40].into_iter().collect(),
        };
        let mut errand = Errand::activation(challenge);
        while errand.step != Step::ForgetSession {
            let answer = tpm.exchange(&errand.command(0x8000_0000));
            assert_eq!(errand.answered(&answer.into_iter().collect()), Ok(false));
        }
        // Somebody else has ended it.
        let flushed = tpm.run(&session::flush(errand.session), command::done);
        assert_eq!(flushed, Ok(()));
        let outcome = carry_out(&mut tpm, errand, 0);
        assert!(matches!(
            outcome,
            Err(TpmError::Answer(AnswerError::Code(_)))
        ));
    }
}

#[test]
fn the_certificate_is_shown_in_parts() {
    let mut tpm = Emulator::new("certificate");
    let none = carry_out(&mut tpm, Errand::certificate(0), 0);
    assert!(matches!(none, Err(TpmError::Answer(AnswerError::Code(_)))));
    let whole: Vec<u8> = (0..700_u32).map(|index| index as u8).collect();
    fs::write(tpm.path("certificate"), &whole).unwrap();
    let index = CERTIFICATE;
    let attributes = "ownerwrite|ownerread|authread|no_da";
    assert!(tpm.tool(&format!(
        "tpm2_nvdefine -Q -C o {index:#x} -s 700 -a {attributes}"
    )));
    assert!(tpm.tool(&format!("tpm2_nvwrite -Q -C o {index:#x} -i certificate")));
    let mut found = Vec::new();
    while found.len() < whole.len() {
        let errand = Errand::certificate(found.len() as u16);
        let part = carry_out(&mut tpm, errand, 0).unwrap();
        assert_eq!(part[..HEAD], 700_u16.to_be_bytes());
        found.extend_from_slice(&part[HEAD..]);
    }
    assert_eq!(found, whole);
    assert!(carry_out(&mut tpm, Errand::certificate(700), 0).is_err());
}
