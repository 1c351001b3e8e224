//! Which composition, or which enclave, a relying party wants, and nothing else.

use alloc::string::String;
use alloc::vec::Vec;

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use crate::Hash;
use crate::composition::Signer;
use crate::enclave::Separation;

/// The flags that say what a domain may call.
pub const ABILITIES: Flags = Flags::MAY_COMPOSE.union(Flags::MAY_ATTEST);

/// A policy. What it does not allow is refused.
#[derive(Clone, Debug)]
pub struct Policy {
    /// For people and results.
    pub name: String,
    /// Whether a boot that nobody measured is good enough.
    pub unmeasured: bool,
    /// Whether domain 0 may be any kernel with any command line.
    pub any_domain_0: bool,
    /// Whether a machine is good enough whose devices nobody keeps out of memory.
    pub unprotected: bool,
    /// The least security version of the monitor.
    pub security_version: u64,
    /// Whether evidence that the owner fetched is good enough.
    pub owner: bool,
    /// Index of the rule for the subject.
    pub subject: usize,
    /// Most levels of domains below domain 0.
    pub most_depth: u64,
    /// The domains that there may be.
    pub domains: Vec<Rule>,
    /// The edges that there may be.
    pub edges: Vec<EdgeRule>,
    /// Which enclave; then there are no domains and no edges.
    pub enclave: Option<EnclaveRule>,
}

/// What an enclave must be. All that is given must hold, and a measurement or a signer must be given.
#[derive(Clone, Debug)]
pub struct EnclaveRule {
    /// MRENCLAVE is one of these.
    pub measurements: Option<Vec<Hash>>,
    /// Who signed it, and what.
    pub signed: Option<Signed>,
    /// The least ISVSVN.
    pub version: u16,
    /// Flags of ATTRIBUTES that it must have, besides INIT and DEBUG.
    pub flags: u64,
    /// Flags that it may have besides.
    pub may: u64,
    /// Whether a debugger may read it.
    pub debug: bool,
    /// XFRM that it must have.
    pub xfrm: u64,
    /// XFRM that it may have besides.
    pub xfrm_may: u64,
    /// MISCSELECT that it may have.
    pub miscselect: u32,
    /// What an enclave with KSS must have; its configuration's version at least. One without has zeros.
    pub separation: Separation,
}

/// An enclave that is known by its signer.
#[derive(Clone, Debug)]
pub struct Signed {
    /// MRSIGNER is one of these.
    pub signers: Vec<Hash>,
    /// ISVPRODID.
    pub product: u16,
}

/// What a domain must be.
#[derive(Clone, Debug)]
pub struct Rule {
    /// For people and for edges.
    pub name: String,
    /// Its measurement is one of these. If there is none, whatever the signer has signed will do.
    pub measurements: Vec<Hash>,
    /// Who must have signed it.
    pub signer: Option<SignerRule>,
    /// Whether its owner may see its registers.
    pub sandbox: bool,
    /// Whether its owner may read its memory.
    pub debug: bool,
    /// What it may call at most.
    pub may: Flags,
    /// What it may still do at most.
    pub still: Flags,
    /// Whether it may have accepted memory since it was sealed.
    pub changed: bool,
    /// Whether memory that it shares may yet be shared with others by its maker.
    pub open: bool,
    /// Most vCPUs.
    pub most_vcpus: u64,
    /// How many cores of its own it must have at least, and may have at most.
    pub whole_cores: [u64; 2],
    /// Whether it may also be entered on cores where others run.
    pub shared_cores: bool,
    /// How many such domains there must be at least, and may be at most.
    pub count: [u64; 2],
}

/// Who must have signed a domain.
#[derive(Clone, Debug)]
pub struct SignerRule {
    /// SHA-256 of the public key is one of these.
    pub keys: Vec<Hash>,
    /// The product, if it matters.
    pub product: Option<u64>,
    /// The least version.
    pub version: u64,
}

impl SignerRule {
    /// Whether it is met.
    #[must_use]
    pub fn allows(&self, signer: &Signer) -> bool {
        self.keys.contains(&signer.key)
            && self.product.is_none_or(|product| product == signer.product)
            && signer.version >= self.version
    }
}

/// One end of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Domain 0.
    Zero,
    /// A domain for which this rule stands.
    Rule(usize),
}

/// Which edges there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeRule {
    /// Memory in common.
    Memory {
        /// Who.
        ends: [End; 2],
        /// Most rights of each.
        rights: [Attributes; 2],
        /// Most bytes.
        most: u64,
    },
    /// Commanding.
    Command {
        /// Who commands.
        from: End,
        /// Whom.
        to: usize,
    },
    /// Memory derived.
    Derivation {
        /// From whose memory.
        from: End,
        /// For whom.
        to: usize,
    },
    /// A device.
    Device {
        /// Vendor and device id.
        device: [u16; 2],
        /// Whose it is.
        domain: usize,
    },
}
