//! Boots as a machine repeats them: the events of a log before its monitor ran, changed or as they were, and what is decided about a machine
//! that extends them.

use adyton_evidence::anchors::{Anchors, Firmware};
use adyton_evidence::files::read_anchors;
use adyton_evidence::log::{self, kind};
use adyton_evidence::platform::MONITOR_PCR;
use adyton_evidence::software::{Monitor, STARTED_WITH, Tpm};
use adyton_evidence::verdict::{Machine, Verdict};
use adyton_evidence::{Hash, hash};

use crate::scene::{NONCE, SUBJECT, accepted, anchors_text, composition, judge_by, policy};

/// PCR and type of the events that are a loader's.
pub const COMMAND: (u32, u32) = (8, kind::IPL);
pub const FILE: (u32, u32) = (9, kind::IPL);
pub const IMAGE: (u32, u32) = (4, kind::APPLICATION);

/// An event, as a machine repeats it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub place: (u32, u32),
    pub digest: Hash,
    pub data: Vec<u8>,
}

impl Step {
    pub fn new(place: (u32, u32), digest: Hash, data: &[u8]) -> Self {
        Self {
            place,
            digest,
            data: data.to_vec(),
        }
    }

    /// As GRUB measures a command.
    pub fn command(text: &str) -> Self {
        let data = format!("grub_cmd: {text}\0");
        Self::new(COMMAND, hash(text.as_bytes()), data.as_bytes())
    }

    /// Whether it was extended with this.
    pub fn is(&self, digest: &Hash) -> bool {
        self.digest == *digest
    }

    pub fn is_loaders(&self) -> bool {
        [COMMAND, FILE].contains(&self.place)
    }
}

/// What was extended before the monitor of this log ran.
pub fn read(log: &[u8]) -> Vec<Step> {
    let events = log::events(log).expect("a log");
    let events = events.map(|event| event.expect("an event"));
    events
        .filter(|event| event.is_extended() && event.pcr != MONITOR_PCR)
        .map(|event| Step::new((event.pcr, event.kind), event.digest, event.data))
        .collect()
}

pub fn places(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Vec<usize> {
    let places = 0..steps.len();
    places.filter(|place| wanted(&steps[*place])).collect()
}

/// A monitor on a machine that extends these.
pub fn after(steps: &[Step]) -> Monitor {
    let mut tpm = Tpm::new(1);
    for Step {
        place,
        digest,
        data,
    } in steps
    {
        tpm.event(place.0, place.1, *digest, data);
    }
    Monitor::take_over(tpm, 1, STARTED_WITH)
}

pub fn evidence(steps: &[Step]) -> Vec<u8> {
    after(steps).evidence(NONCE, SUBJECT, &composition())
}

/// The sample's anchors for a machine that extends these, with what `rules` adds.
fn anchors_with(steps: &[Step], rules: &str) -> Anchors {
    let mut anchors = read_anchors(&format!("{}\n{rules}", anchors_text())).expect("anchors");
    let machine = after(steps).tpm;
    let values = Firmware::NEEDED.map(|pcr| (pcr, machine.value(pcr)));
    anchors.firmware[0].values = values.to_vec();
    anchors.monitors[0].image = *images(steps).last().expect("a monitor");
    anchors
}

/// Boot loaders and the monitor, as firmware has measured them.
pub fn images(steps: &[Step]) -> Vec<Hash> {
    let images = places(steps, |step| step.place == IMAGE);
    images.iter().map(|place| steps[*place].digest).collect()
}

/// Judges by anchors that know a machine that extends `steps`.
pub fn judge_on(steps: &[Step], evidence: &[u8], rules: &str) -> Verdict {
    judge_by(evidence, &policy(), &anchors_with(steps, rules))
}

pub fn name(verdict: Verdict) -> Option<String> {
    accepted(&verdict);
    match verdict.seen.expect("seen").machine {
        Machine::Known { loader, .. } => loader,
        Machine::Unknown => None,
    }
}
