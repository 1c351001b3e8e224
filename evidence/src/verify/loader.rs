//! A boot loader between firmware and the monitor: known by its images in PCR 4, and held to what it does (PCR 8) and reads (PCR 9).
//!
//! What must hold: the monitor is not all that such a loader can start or change before it does, so one of which nobody says what it does
//! is refused.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Refused, refuse};
use crate::anchors::{Loader, LoaderEvent};
use crate::log::{Event, kind};
use crate::verdict::Code;
use crate::verify::composition::short;

/// Most characters of a command that a refusal shows.
const SHOWN: usize = 72;

/// The name of the loader that was started as `images`, in order, and did what its anchor says: `done` are the events of the PCRs for its
/// commands and for its files. None where firmware started the monitor itself.
pub fn examine(
    images: &[Event<'_>],
    done: &[&[Event<'_>]; 2],
    loaders: &[Loader],
) -> Result<Option<String>, Refused> {
    let Some(first) = images.first() else {
        let mut events = done.iter().flat_map(|events| events.iter());
        return match events.next() {
            None => Ok(None),
            Some(event) => {
                let detail = format!("no loader was started, and there is {}", told(event));
                Err(refuse(Code::LoaderMismatch, detail))
            }
        };
    };
    let unknown = |event: &Event<'_>| refuse(Code::UnknownBootEvent, short(&event.digest));
    let mut others = images.iter();
    if let Some(event) = others.find(|event| event.kind != kind::APPLICATION) {
        return Err(unknown(event));
    }
    let digests = || images.iter().map(|image| &image.digest);
    let known = loaders
        .iter()
        .filter(|loader| digests().eq(&loader.images))
        .collect::<Vec<_>>();
    let Some(named) = known.first() else {
        return Err(unknown(first));
    };
    let mut mismatch = None;
    for loader in &known {
        let Some(rules) = &loader.rules else {
            continue;
        };
        let [commands, files] = done;
        let difference = difference("command", commands, &rules.commands)
            .or_else(|| difference("file", files, &rules.files));
        let Some(difference) = difference else {
            return Ok(Some(loader.name.clone()));
        };
        mismatch.get_or_insert_with(|| format!("{}: {difference}", loader.name));
    }
    Err(match mismatch {
        Some(detail) => refuse(Code::LoaderMismatch, detail),
        None => refuse(Code::LoaderWithoutRules, named.name.as_str()),
    })
}

/// Where events and rules part, in words.
fn difference(what: &str, events: &[Event<'_>], rules: &[LoaderEvent]) -> Option<String> {
    let mut both = events.iter().zip(rules);
    let place = both.position(|(event, rule)| event.digest != rule.digest);
    let place = place.unwrap_or_else(|| events.len().min(rules.len()));
    let number = place + 1;
    match (events.get(place), rules.get(place)) {
        (None, None) => None,
        (Some(event), None) => Some(format!("{what} {number} is one too many: {}", told(event))),
        (None, Some(rule)) => Some(format!("{what} {number} is missing: {}", expected(rule))),
        (Some(event), Some(rule)) => Some(format!(
            "{what} {number} is {}, and should be {}",
            told(event),
            expected(rule)
        )),
    }
}

/// What an event says, with its digest where that does not prove it.
fn told(event: &Event<'_>) -> String {
    match (event.command(), event.text()) {
        (Some(command), _) => shown(command),
        (None, Some(text)) => format!("{} ({})", shown(text), short(&event.digest)),
        (None, None) => short(&event.digest),
    }
}

fn expected(rule: &LoaderEvent) -> String {
    if rule.text.is_empty() {
        short(&rule.digest)
    } else {
        shown(&rule.text)
    }
}

/// Words of somebody else's, so that a terminal obeys none of them.
fn shown(text: &str) -> String {
    let mut shown = text.escape_debug().take(SHOWN).collect::<String>();
    if text.escape_debug().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}
