//! What a domain is measured by, known before it is built.

use alloc::vec::Vec;

use adyton_abi::policy::Policy;
use adyton_abi::region::Attributes;
use adyton_abi::start::Range;

use crate::calls::Entry;

/// Everything of a domain that its measurement covers; see
/// [`Program::blueprint`](crate::program::Program::blueprint).
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Policy.
    pub policy: Policy,
    /// How each vCPU starts.
    pub entries: Vec<Entry>,
    /// Its regions, by rising place.
    pub parts: Vec<Part>,
}

/// A region.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it lies in the domain.
    pub range: Range,
    /// Rights and attributes that it is asked for with.
    pub attributes: Attributes,
    /// Whether it is shared, not carved.
    pub shared: bool,
    /// Of a device's registers its kind, see [`Kind::word`](crate::devices::Kind::word); of memory 0.
    pub device: u64,
    /// What it holds, where that is measured.
    pub contents: Vec<u8>,
}
