//! A composition with the anchors that know its machine and the policy that it satisfies: a signer, and a parser that shares a
//! channel with it.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use super::{Monitor, digest};
use crate::composition::{Composition, Domain, Peer, Region, Sharing, Tenant};
use crate::enclave::{Enclave, attribute};
use crate::files::hexadecimal;
use crate::hash;
use crate::token::Request;

/// The nonce that the samples answer.
pub const NONCE: &[u8] = b"a nonce of a relying party";
/// A request of the subject's.
pub const SUBJECT: Request<'static> = Request::Subject {
    report_data: b"report data",
    key: Some([9; 32]),
};
const READ_WRITE: Attributes = Attributes::READ.union(Attributes::WRITE);
const PRIVATE: Attributes = READ_WRITE
    .union(Attributes::EXECUTE)
    .union(Attributes::CLEAN)
    .union(Attributes::MEASURED);

/// A domain with private memory and a console, commanded by `commander`.
#[must_use]
pub fn tenant(name: &str, commander: u64) -> Tenant {
    Tenant {
        measurement: Some(digest(name)),
        signer: None,
        flags: Flags::CONFIDENTIAL | Flags::MAY_ATTEST,
        exceptions: 0x100,
        vcpus: 1,
        cores: vec![[0, 4]],
        epoch: 0,
        still: Flags::NONE,
        commanders: vec![commander],
        regions: vec![
            Region {
                place: 0x40_0000,
                size: 0x8000,
                attributes: PRIVATE,
                sharing: Sharing::Exclusive,
                origin: commander,
                peers: vec![],
            },
            window(0x100_0000, 0x4000, commander, commander),
        ],
        devices: vec![],
        whole_cores: vec![],
    }
}

/// Memory in common with `peer`.
#[must_use]
pub fn window(place: u64, size: u64, origin: u64, peer: u64) -> Region {
    Region {
        place,
        size,
        attributes: READ_WRITE,
        sharing: Sharing::Shared,
        origin,
        peers: vec![Peer {
            domain: peer,
            rights: READ_WRITE,
        }],
    }
}

/// A signer (0), domain 0 (1), and a parser (2) that shares a channel with the signer.
#[must_use]
pub fn composition() -> Composition {
    let mut signer = tenant("signer", 1);
    let mut parser = tenant("parser", 1);
    signer.regions.push(window(0x200_0000, 0x1000, 1, 2));
    parser.regions.push(window(0x200_0000, 0x1000, 1, 0));
    Composition {
        domains: vec![
            Domain::Tenant(signer),
            Domain::Opaque,
            Domain::Tenant(parser),
        ],
    }
}

/// An enclave that is signed, and says what evidence of a channel would.
#[must_use]
pub fn enclave() -> Enclave {
    let mut data = [0; 64];
    for (place, byte) in data.iter_mut().zip(digest("the key of a server")) {
        *place = byte;
    }
    Enclave {
        measurement: digest("enclave"),
        signer: digest("signer of enclaves"),
        product: 7,
        version: 3,
        flags: attribute::INIT | attribute::MODE64BIT,
        xfrm: 3,
        miscselect: 0,
        cpusvn: [1; 16],
        data,
        separation: None,
    }
}

/// The policy that the sample of an enclave satisfies.
#[must_use]
pub fn enclave_policy() -> String {
    format!(
        r#"
version = 1
name = "a server in an enclave"
security-version = 1

[enclave]
mrenclave = ["{}"]
mrsigner = ["{}"]
isvprodid = 7
isvsvn = 3
"#,
        hexadecimal(&digest("enclave")),
        hexadecimal(&digest("signer of enclaves")),
    )
}

/// Anchors that know the genuine monitor.
#[must_use]
pub fn anchors() -> String {
    let monitor = Monitor::genuine();
    let pcr = |pcr| hexadecimal(&monitor.tpm.value(pcr));
    let hex = |name| hexadecimal(&digest(name));
    format!(
        r#"
version = 1
[[machine]]
name = "machine 1"
key = "{}"
[[monitor]]
name = "monitor 1"
image = "{}"
security-version = 1
[[firmware]]
name = "firmware 1"
pcrs = {{ 0 = "{}", 2 = "{}", 7 = "{}" }}
[[loader]]
name = "loader 1"
images = ["{}"]
commands = ["{}"]
files = ["{}"]
[[boot]]
name = "boot 1"
configuration = "{}"
kernel = "{}"
initrd = "{}"
command-line = "{}"
"#,
        hexadecimal(&hash(&monitor.tpm.public())),
        hex("monitor"),
        pcr(0),
        pcr(2),
        pcr(7),
        hex("loader"),
        hex("chainloader /monitor"),
        hex("grub.cfg"),
        hex("configuration"),
        hex("kernel"),
        hex("initrd"),
        hex("command line"),
    )
}

/// The policy that the sample satisfies.
#[must_use]
pub fn policy() -> String {
    format!(
        r#"
version = 1
name = "signer and parser"
subject = "signer"
security-version = 1

[[domain]]
name = "signer"
measurement = ["{}"]
may = ["attest"]

[[domain]]
name = "parser"
measurement = ["{}"]
may = ["attest"]

[[memory]]
between = ["signer", "domain-0"]
rights = ["rw-", "rw-"]
most = "16K"

[[memory]]
between = ["parser", "domain-0"]
rights = ["rw-", "rw-"]
most = "16K"

[[memory]]
between = ["signer", "parser"]
rights = ["rw-", "rw-"]
most = "4K"

[[command]]
from = "domain-0"
to = "signer"

[[command]]
from = "domain-0"
to = "parser"

[[derivation]]
from = "domain-0"
to = "signer"

[[derivation]]
from = "domain-0"
to = "parser"
"#,
        hexadecimal(&digest("signer")),
        hexadecimal(&digest("parser")),
    )
}
