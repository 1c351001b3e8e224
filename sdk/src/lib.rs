//! Create, compose, enter and inspect security domains from Linux user space.
//!
//! A [`Pool`] is a dax device that this process may read and write; a [`Claim`] is a range of it that belongs to
//! this process; a [`Program`] builds a [`Domain`] in a claim, whose [`Vcpu`]s run it. Dropping a domain destroys it,
//! dropping a claim releases it; neither does in a copy of the process that `fork` made. While a claim
//! lives this process holds a lock on its range of the device, so that [`Pool::collect`] can tell the claims of
//! the dead from those of the living.
//!
//! What must hold: no Rust reference ever points into pool memory, which the monitor may take away
//! and others may change.
#![deny(unsafe_code)]

mod call;
mod console;
mod device;
mod division;
mod enclaves;
mod error;
mod function;
mod liveness;
mod map;
mod measurement;
mod monitor;
mod note;
mod pool;

pub use adyton_abi as abi;
pub use adyton_abi::policy::{Flags, Policy};
pub use adyton_abi::region::{Attributes, RegionName};
pub use adyton_compose::calls::{Acceptance, Entry, Key, Name, Placement};
pub use adyton_compose::claim::Failure;
pub use adyton_compose::convention;
pub use adyton_compose::devices;
pub use adyton_compose::environment::{Environment, Refusal, Request, Response};
pub use adyton_compose::evidence::{Asked, check, evidence, report};
pub use adyton_compose::image::{Image, ImageError, Segment};
pub use adyton_compose::program::policy;
pub use adyton_compose::tables::Access;
pub use adyton_compose::vcpu::Exit;
pub use adyton_compose::whole;
pub use adyton_compose::{calls, domain, domain::ALL_RIGHTS, domain::READ_WRITE, listing, tables};
pub use console::{Console, Outcome};
pub use device::{Device, prepare};
pub use division::divide;
pub use enclaves::{Enclave, enclave_evidence, enclaves};
pub use error::Error;
pub use function::Function;
pub use map::Linux;
pub use measurement::measurement;
pub use monitor::{Blocked, Monitor};
pub use note::Note;
pub use pool::{Claimed, Pool};

/// A claimed range of the pool.
pub type Claim = adyton_compose::claim::Claim<Linux>;
/// A run of pages of a claim.
pub type Pages = adyton_compose::claim::Pages<Linux>;
/// A domain that this process composes and commands.
pub type Domain = adyton_compose::domain::Domain<Linux>;
/// The right to run one vCPU.
pub type Vcpu = adyton_compose::vcpu::Vcpu<Linux>;
/// Memory that a domain and this process share.
pub type Window = adyton_compose::ring::Window<Linux>;
/// A payload and what its domain gets.
pub type Program<'data> = adyton_compose::program::Program<'data>;
/// A domain built from a program.
pub type Loaded = adyton_compose::program::Loaded<Linux>;
