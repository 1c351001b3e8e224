//! Domains that must be signed: by whom, for what, since which version.

use adyton_evidence::composition::{Composition, Domain, Signer};
use adyton_evidence::files::{hexadecimal, json, read_policy};
use adyton_evidence::software::digest;
use adyton_evidence::verdict::{Code, Verdict};

use crate::scene::{accepted, changed, composition, genuine, judge, policy_text, refused};

const MEASUREMENT: &str = "name = \"signer\"\nmeasurement";

fn signer() -> Signer {
    Signer {
        key: digest("maintainer"),
        product: 7,
        version: 3,
    }
}

fn signed(signer: Signer) -> Composition {
    changed(0, |tenant| tenant.signer = Some(signer))
}

/// The verdict by a policy that says this of the subject besides its measurement.
fn ask(composition: &Composition, more: &str) -> Verdict {
    let text = policy_text();
    assert!(text.contains(MEASUREMENT), "{text}");
    let with = format!("name = \"signer\"\n{more}\nmeasurement");
    let policy = read_policy(&text.replacen(MEASUREMENT, &with, 1)).expect("a policy");
    judge(&genuine(composition), &policy)
}

fn by(key: &str) -> String {
    format!("signer = [\"{}\"]", hexadecimal(&digest(key)))
}

#[test]
fn the_right_signer_is_accepted_and_no_other() {
    let right = by("maintainer");
    accepted(&ask(&signed(signer()), &right));
    // Nobody asks for a signer.
    accepted(&ask(&signed(signer()), ""));
    refused(&ask(&signed(signer()), &by("somebody")), Code::WrongSigner);
    refused(&ask(&composition(), &right), Code::Unsigned);
    let two = format!(
        "signer = [\"{}\", \"{}\"]",
        hexadecimal(&digest("somebody")),
        hexadecimal(&digest("maintainer"))
    );
    accepted(&ask(&signed(signer()), &two));
}

#[test]
fn product_and_version_count() {
    let more = |more: &str| format!("{}\n{more}", by("maintainer"));
    let ask = |text: &str| ask(&signed(signer()), &more(text));
    accepted(&ask("product = 7\nversion = 3"));
    accepted(&ask("version = 2"));
    refused(&ask("product = 8"), Code::WrongSigner);
    refused(&ask("version = 4"), Code::WrongSigner);
    let text = policy_text().replacen("name = \"signer\"", "name = \"signer\"\nversion = 1", 1);
    assert!(read_policy(&text).is_err());
}

/// Whatever the signer has signed will do where no measurement is given.
#[test]
fn a_signer_stands_for_its_programs() {
    let text = policy_text();
    let start = text.find("measurement = ").expect("a measurement");
    let end = start + text[start..].find('\n').expect("a line");
    let without = |more: &str| {
        let text = format!("{}{more}{}", &text[..start], &text[end..]);
        read_policy(&text).expect("a policy")
    };
    let policy = without(&by("maintainer"));
    let other = changed(0, |tenant| {
        tenant.signer = Some(signer());
        tenant.measurement = Some(digest("update"));
    });
    accepted(&judge(&genuine(&other), &policy));
    refused(&judge(&genuine(&composition()), &policy), Code::Unsigned);
    for nothing in ["", "signer = []"] {
        let verdict = judge(&genuine(&other), &without(nothing));
        refused(&verdict, Code::PolicyAllowsNothing);
    }
}

/// The same for domains besides the subject, which their signer alone makes known.
#[test]
fn others_are_known_by_their_signer() {
    let text = policy_text();
    let name = text.find("name = \"parser\"").expect("the other domain");
    let start = name + text[name..].find("measurement = ").expect("a measurement");
    let end = start + text[start..].find('\n').expect("a line");
    let text = format!("{}{}{}", &text[..start], by("maintainer"), &text[end..]);
    let policy = read_policy(&text).expect("a policy");
    let ask = |signer| {
        let composition = changed(2, |parser| parser.signer = signer);
        judge(&genuine(&composition), &policy)
    };
    accepted(&ask(Some(signer())));
    let other = Signer {
        key: digest("somebody"),
        ..signer()
    };
    for unknown in [None, Some(other)] {
        assert!(ask(unknown).has(Code::NoReferenceValue));
    }
}

/// What `docs/attestation.md` says, to the byte.
#[test]
fn it_is_written_as_specified() {
    let mut bytes = Vec::new();
    signed(signer()).encode(&mut bytes).expect("memory");
    let head = [
        0xa1, 0x19, 0x01, 0x0a, 0xa3, 0x61, 0x30, 0xa3, 0x19, 0x01, 0x07, 0x01,
    ];
    assert_eq!(bytes[..12], head);
    let key = digest("maintainer");
    let claim = [&[0x3a, 0, 1, 0x11, 0x78, 0x83, 0x58, 32][..], &key, &[7, 3]].concat();
    assert_eq!(bytes[12..12 + claim.len()], claim);
    assert_eq!(Composition::decode(&bytes), Ok(signed(signer())));
    // Only sealed domains are signed.
    let mut building = signed(signer());
    if let Some(Domain::Tenant(tenant)) = building.domains.first_mut() {
        tenant.measurement = None;
    }
    let mut bytes = Vec::new();
    building.encode(&mut bytes).expect("memory");
    assert!(Composition::decode(&bytes).is_err());
}

#[test]
fn results_tell_it() {
    let policy = read_policy(&policy_text()).expect("a policy");
    let verdict = judge(&genuine(&signed(signer())), &policy);
    let record = &json(&verdict, &policy)["seen"]["domains"][0]["record"];
    assert_eq!(record["signer"]["version"], 3);
    assert_eq!(record["signer"]["key"], hexadecimal(&digest("maintainer")));
}
