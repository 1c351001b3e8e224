//! What a verifier answers: accepted or not, why not, and what was seen.

use alloc::string::String;
use alloc::vec::Vec;

use crate::Hash;
use crate::closure::Closure;
use crate::composition::Composition;
use crate::enclave::Enclave;

mod code;

pub use code::Code;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The evidence as a whole, or the machine.
    Whole,
    /// The domain with this index.
    Domain(u64),
    /// The edge with this index in [`Closure::edges`].
    Edge(usize),
    /// The enclave.
    Enclave,
}

/// One reason to refuse.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub code: Code,
    /// What it is about.
    pub about: About,
    /// What was found, and what was expected.
    pub detail: String,
}

/// What is known of the machine.
#[derive(Clone, Debug)]
pub enum Machine {
    /// Nothing: the boot was not measured.
    Unknown,
    /// Its chain holds; names are those of the anchors.
    Known {
        /// The machine.
        machine: String,
        /// Its firmware.
        firmware: String,
        /// The boot loader that started its monitor, unless the firmware did.
        loader: Option<String>,
        /// Its monitor.
        monitor: String,
        /// What the monitor started with.
        boot: String,
    },
}

/// What evidence that is genuine says.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The machine.
    pub machine: Machine,
    /// Interface version and security version of the monitor.
    pub monitor: [u64; 2],
    /// Whether an IOMMU keeps devices out of domains' memory.
    pub protected: bool,
    /// Whether the owner asked, not the subject.
    pub by_owner: bool,
    /// What the subject bound.
    pub report_data: Vec<u8>,
    /// Digest of a key that the subject bound.
    pub key: Option<Hash>,
    /// The domains.
    pub composition: Composition,
    /// Their edges.
    pub closure: Closure,
    /// Which rule of the policy stands for each domain.
    pub rules: Vec<Option<usize>>,
    /// Which rule of the policy allows each edge.
    pub allowed: Vec<Option<usize>>,
    /// The enclave, where the evidence is about one: then there are no domains, and what it bound is in its report.
    pub enclave: Option<Enclave>,
}

/// The answer.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong; accepted if nothing is, and everything was looked at.
    pub findings: Vec<Finding>,
    /// What was seen, where the evidence is genuine and makes sense.
    pub seen: Option<Seen>,
}

impl Verdict {
    /// Nothing was looked at behind this.
    pub(crate) fn refused(finding: Finding) -> Self {
        Self {
            findings: alloc::vec![finding],
            seen: None,
        }
    }

    /// Whether the policy holds, on a machine that can be trusted with it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.findings.is_empty() && self.seen.is_some()
    }

    /// Whether something is refused for this reason.
    #[must_use]
    pub fn has(&self, code: Code) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }
}
