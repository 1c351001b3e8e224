//! What was booted: firmware, what it started, and what the monitor started with.
//!
//! The position of an event says what it is; the words beside its digest are nobody's but the writer's, and count only where the digest is
//! theirs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::machine::Replayed;
use super::{Question, Refused, loader, refuse};
use crate::anchors::{Anchors, Firmware};
use crate::log::{Event, kind};
use crate::platform::{EVENTS, LOADER_PCRS, MONITOR_PCR, QUOTED, STARTED_PCR, Values};
use crate::token::Token;
use crate::verdict::Code;
use crate::verify::composition::short;
use crate::{anchors, hash};

/// What the anchors call what was found.
pub struct Names {
    pub firmware: String,
    pub loader: Option<String>,
    pub monitor: String,
    pub boot: String,
}

/// Compares with the reference values.
pub fn examine(
    values: &Values,
    events: &Replayed<'_>,
    key: &[u8; 32],
    token: &Token<'_>,
    question: &Question<'_>,
) -> Result<Names, Refused> {
    let of = |pcr| events.get(&pcr).map_or(&[][..], Vec::as_slice);
    let anchors = question.anchors;
    let firmware = firmware(values, anchors)?;
    let (monitor, images) = started(of(STARTED_PCR), anchors)?;
    let loader = loader::examine(&images, &LOADER_PCRS.map(of), &anchors.loaders)?;
    let least = question.policy.security_version;
    if monitor.security_version < least || token.security_version != monitor.security_version {
        let versions = [token.security_version, monitor.security_version];
        let detail = format!("states and has {versions:?}, the policy demands {least}");
        return Err(refuse(Code::OldMonitor, detail));
    }
    let boot = started_with(of(MONITOR_PCR), key, question)?;
    Ok(Names {
        firmware,
        loader,
        monitor: monitor.name.clone(),
        boot,
    })
}

fn firmware(values: &Values, anchors: &Anchors) -> Result<String, Refused> {
    let value = |pcr: u32| {
        let mut found = QUOTED.into_iter().zip(values);
        found
            .find(|(index, _)| *index == pcr)
            .map(|(_, value)| value)
    };
    let complete = |firmware: &&Firmware| {
        let has = |pcr: &u32| firmware.values.iter().any(|(index, _)| index == pcr);
        Firmware::NEEDED.iter().all(has)
    };
    let known: Vec<_> = anchors.firmware.iter().filter(complete).collect();
    if known.is_empty() {
        return Err(refuse(Code::NoFirmwareReference, ""));
    }
    let matches = |firmware: &&&Firmware| {
        let mut wanted = firmware.values.iter();
        wanted.all(|(pcr, reference)| value(*pcr) == Some(reference))
    };
    match known.iter().find(matches) {
        Some(firmware) => Ok(firmware.name.clone()),
        None => {
            let found = Firmware::NEEDED.map(|pcr| {
                let value = value(pcr).map(short);
                format!("PCR {pcr}: {}", value.unwrap_or_default())
            });
            Err(refuse(Code::FirmwareMismatch, found.join(", ")))
        }
    }
}

/// What the firmware says that it does, again for each boot option that it tries.
const ACTIONS: [&[u8]; 2] = [
    b"Calling EFI Application from Boot Option",
    b"Returning from EFI Application from Boot Option",
];

/// What an event in PCR 4 is.
#[derive(PartialEq, Eq)]
enum Started {
    Action,
    Separator,
    Other,
}

fn classify(event: &Event<'_>) -> Started {
    if ACTIONS.iter().any(|action| hash(action) == event.digest) {
        Started::Action
    } else if event.digest == hash(&[0; 4]) {
        Started::Separator
    } else {
        Started::Other
    }
}

/// The monitor, which must be the last that the firmware started, and what was started before it.
fn started<'a, 'b>(
    events: &[Event<'b>],
    anchors: &'a Anchors,
) -> Result<(&'a anchors::Monitor, Vec<Event<'b>>), Refused> {
    if anchors.monitors.is_empty() {
        return Err(refuse(Code::NoMonitorReference, ""));
    }
    let monitor = |event: &Event<'_>| {
        let mut known = anchors.monitors.iter();
        known.find(|monitor| event.kind == kind::APPLICATION && monitor.image == event.digest)
    };
    let place = events.iter().position(|event| monitor(event).is_some());
    let (before, rest) = events.split_at(place.unwrap_or(events.len()));
    let mut parts = before.split(|event| classify(event) == Started::Separator);
    let (early, images, more) = (parts.next(), parts.next(), parts.next());
    let is_odd = |event: &&Event<'_>| classify(event) != Started::Action;
    // Only what the firmware says that it does may stand in front of the separator, of which there is one.
    let odd = early.unwrap_or_default().iter().find(is_odd);
    let found = rest.first().and_then(monitor);
    let (None, Some(images), None, Some(found)) = (odd, images, more, found) else {
        let event = odd.or_else(|| before.iter().rfind(is_odd));
        let detail = event.map_or_else(
            || "no monitor at all".into(),
            |event| format!("type {:#x}, digest {}", event.kind, short(&event.digest)),
        );
        return Err(refuse(Code::UnknownBootEvent, detail));
    };
    if let Some(event) = rest.get(1) {
        return Err(refuse(Code::CodeAfterMonitor, short(&event.digest)));
    }
    let images = images.iter().filter(is_odd).copied();
    Ok((found, images.collect()))
}

/// The five events of the monitor.
fn started_with(
    events: &[Event<'_>],
    key: &[u8; 32],
    question: &Question<'_>,
) -> Result<String, Refused> {
    let labelled = events.iter().map(|event| (event.kind, event.data));
    let expected = EVENTS.iter().map(|label| (kind::IPL, label.as_bytes()));
    let digests: Vec<_> = events.iter().map(|event| event.digest).collect();
    let (true, [configuration, domain_0 @ .., measured]) = (labelled.eq(expected), &*digests)
    else {
        let detail = format!("{} events in PCR {MONITOR_PCR}", events.len());
        return Err(refuse(Code::MonitorEvents, detail));
    };
    if *measured != hash(key) {
        return Err(refuse(Code::KeyNotMeasured, ""));
    }
    if question.anchors.boots.is_empty() {
        return Err(refuse(Code::NoBootReference, ""));
    }
    let boots = question.anchors.boots.iter();
    let mut configured = boots
        .filter(|boot| boot.configuration == *configuration)
        .peekable();
    if configured.peek().is_none() {
        return Err(refuse(Code::ConfigurationMismatch, short(configuration)));
    }
    let any = question.policy.any_domain_0;
    let suits = |boot: &&anchors::Boot| {
        let pinned = boot.domain_0.as_ref();
        any || pinned.is_some_and(|pinned| pinned == domain_0)
    };
    match configured.find(suits) {
        Some(boot) => Ok(boot.name.clone()),
        None => {
            let found: Vec<_> = domain_0.iter().map(short).collect();
            Err(refuse(Code::DomainZeroMismatch, found.join(", ")))
        }
    }
}
