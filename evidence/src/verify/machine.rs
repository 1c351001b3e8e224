//! The machine: attestation key, quote, event log.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use super::{Question, Refused, boot, malformed, refuse};
use crate::bundle::Measured;
use crate::hash;
use crate::log::{self, Event};
use crate::platform::{Platform, QUOTED, Values, decode_log, qualifying_data};
use crate::token::{Boot, Token};
use crate::tpm::{Attest, Key, KeyProblem};
use crate::verdict::{Code, Machine};

/// Follows the chain from the anchors to the monitor's key.
pub fn examine(
    token: &Token<'_>,
    key: &[u8; 32],
    sets: Measured<'_>,
    question: &Question<'_>,
) -> Result<Machine, Refused> {
    let Boot::Measured {
        resets,
        platform,
        log,
    } = token.boot
    else {
        return Err(refuse(Code::UnmeasuredBoot, ""));
    };
    for (name, set, digest) in [
        ("platform", sets.platform, platform),
        ("log", sets.log, log),
    ] {
        if hash(set) != digest {
            return Err(refuse(Code::DigestMismatch, name));
        }
    }
    let platform = Platform::decode(sets.platform).map_err(malformed("platform"))?;
    let log = decode_log(sets.log).map_err(malformed("log"))?;
    let machine = attestation_key(&platform, question)?;
    quote(&platform, &qualifying_data(key, token.nonce), resets)?;
    let events = replay(log, &platform.values)?;
    let names = boot::examine(&platform.values, &events, key, token, question)?;
    Ok(Machine::Known {
        machine,
        firmware: names.firmware,
        loader: names.loader,
        monitor: names.monitor,
        boot: names.boot,
    })
}

fn attestation_key(
    platform: &Platform<'_>,
    question: &Question<'_>,
) -> Result<alloc::string::String, Refused> {
    let name = hash(platform.key);
    let mut machines = question.anchors.machines.iter();
    let machine = machines
        .find(|machine| machine.key == name)
        .ok_or_else(|| {
            refuse(
                Code::UnknownAttestationKey,
                super::composition::short(&name),
            )
        })?;
    let key = Key::decode(platform.key).map_err(|problem| {
        let detail = match problem {
            KeyProblem::Kind => "not ECDSA on P-256 with SHA-256",
            KeyProblem::Attributes => "not a restricted signing key that was made in the TPM",
        };
        refuse(Code::UnsuitableAttestationKey, detail)
    })?;
    if key.signed(platform.quote, platform.signature) {
        Ok(machine.name.clone())
    } else {
        Err(refuse(Code::WrongQuoteSignature, machine.name.as_str()))
    }
}

fn quote(platform: &Platform<'_>, qualifying: &[u8; 32], resets: [u32; 2]) -> Result<(), Refused> {
    let attest = Attest::decode(platform.quote).map_err(|_| refuse(Code::MalformedQuote, ""))?;
    if attest.extra != qualifying {
        return Err(refuse(Code::KeyNotBound, ""));
    }
    if !attest.covers_quoted {
        return Err(refuse(Code::WrongPcrSelection, format!("not {QUOTED:?}")));
    }
    let mut values = Sha256::new();
    platform
        .values
        .iter()
        .for_each(|value| values.update(value));
    if attest.digest != <[u8; 32]>::from(values.finalize()) {
        return Err(refuse(Code::PcrMismatch, ""));
    }
    let found = [attest.clock.resets, attest.clock.restarts];
    if found == resets {
        Ok(())
    } else {
        let detail = format!("{resets:?} at boot, {found:?} now");
        Err(refuse(Code::TpmReset, detail))
    }
}

/// The events of each quoted PCR, in order, once they lead to its value.
pub type Replayed<'a> = BTreeMap<u32, Vec<Event<'a>>>;

/// Replays a log.
pub fn replay<'a>(log: &'a [u8], values: &Values) -> Result<Replayed<'a>, Refused> {
    let broken = |_| refuse(Code::MalformedLog, "");
    let mut events = Replayed::new();
    let mut locality = 0;
    for event in log::events(log).map_err(broken)? {
        let event = event.map_err(broken)?;
        if let Some(started) = event.startup_locality() {
            locality = started;
        }
        if event.is_extended() {
            events.entry(event.pcr).or_default().push(event);
        }
    }
    for (pcr, value) in QUOTED.into_iter().zip(values) {
        let mut replayed = [0; 32];
        if let ([.., last], 0) = (&mut replayed, pcr) {
            *last = locality;
        }
        let of_pcr = events.get(&pcr).into_iter().flatten();
        let replayed = of_pcr.fold(replayed, |value, event| {
            log::extended(&value, &event.digest)
        });
        if replayed != *value {
            return Err(refuse(Code::LogMismatch, format!("PCR {pcr}")));
        }
    }
    Ok(events)
}
