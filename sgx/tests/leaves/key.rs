//! The keys of an enclave: EGETKEY.

use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Keyrequest, Secs, Sigstruct};
use adyton_sgx::{ErrorCode, Secrets};

use crate::report::{
    EINITTOKEN, MRENCLAVE, MRSIGNER, PROVISION, PROVISION_SEAL, REPORT, SEAL, request,
};
use crate::support::enclave::{PLAIN, secs};
use crate::support::machine::secrets;
use crate::support::signer::Signer;
use crate::support::world::{OK, World, capabilities, code};

#[test]
fn egetkey_gives_only_what_an_enclave_may_have() {
    let mut world = World::new();
    let all = PLAIN | attribute::PROVISIONKEY | attribute::EINITTOKEN_KEY | attribute::KSS;
    let mut privileged = secs(all);
    privileged.set_configsvn(3);
    let describe = |signature: &mut Sigstruct| signature.set_isvsvn(4);
    let enclave = world.enclave_of(&privileged, describe);
    world.enter(&enclave);
    let names = [EINITTOKEN, PROVISION, PROVISION_SEAL, SEAL];
    for name in names {
        assert!(world.key(&enclave, &request(name)).is_ok());
        let mut late = request(name);
        late.set_isvsvn(5);
        assert_eq!(
            world.key(&enclave, &late),
            Err(code(ErrorCode::InvalidIsvsvn))
        );
        late.set_isvsvn(4);
        assert!(world.key(&enclave, &late).is_ok());
        for component in 0..16 {
            let mut future = request(name);
            let mut cpusvn = secrets(7).cpusvn;
            cpusvn[component] += 1;
            future.set_cpusvn(&cpusvn);
            assert_eq!(
                world.key(&enclave, &future),
                Err(code(ErrorCode::InvalidCpusvn))
            );
        }
        let mut late = request(name);
        late.set_configsvn(4);
        let expected = matches!(name, SEAL | PROVISION_SEAL);
        assert_eq!(world.key(&enclave, &late).is_err(), expected);
    }
    assert_eq!(
        world.key(&enclave, &request(5)),
        Err(code(ErrorCode::InvalidKeyname))
    );
    let mut plain = World::new();
    let enclave = plain.enclave(PLAIN);
    plain.enter(&enclave);
    for name in [EINITTOKEN, PROVISION, PROVISION_SEAL] {
        let refused = Err(code(ErrorCode::InvalidAttribute));
        assert_eq!(plain.key(&enclave, &request(name)), refused);
    }
    assert!(plain.key(&enclave, &request(SEAL)).is_ok());
    assert!(plain.key(&enclave, &request(REPORT)).is_ok());
}

/// What an enclave's keys may depend on, as it was built.
#[derive(Clone, Copy)]
struct Build {
    secs: fn(&mut Secs),
    signature: fn(&mut Sigstruct),
    signer: fn() -> Signer,
    contents: u8,
    secrets: fn(&mut Secrets),
}

const ALL: u64 = PLAIN | attribute::KSS | attribute::PROVISIONKEY;

const BUILD: Build = Build {
    secs: |_| {},
    signature: |_| {},
    signer: Signer::first,
    contents: 0,
    secrets: |_| {},
};

/// The key that an enclave of this build gets.
fn key_of(build: Build, wanted: &Keyrequest) -> [u8; 16] {
    let mut secrets = secrets(7);
    (build.secrets)(&mut secrets);
    let mut world = World::of(64, secrets, capabilities());
    let mut page = secs(ALL);
    page.set_configid(&[1; 64]);
    page.set_configsvn(2);
    (build.secs)(&mut page);
    let mut enclave = world.create(&page);
    world.furnish(&mut enclave);
    let contents = [build.contents; 4096];
    let kind = crate::support::enclave::flags(adyton_sgx::epcm::PageType::Reg, 3);
    world.add(&mut enclave, 0x9000, kind, &contents);
    let signer = (build.signer)();
    world.machine.launch_key_hash = signer.identity();
    let mut signature = enclave.unsigned();
    signature.set_isvprodid(3);
    signature.set_isvsvn(4);
    signature.set_isvfamilyid(&[5; 16]);
    signature.set_isvextprodid(&[6; 16]);
    (build.signature)(&mut signature);
    signer.sign(&mut signature);
    assert_eq!(world.init(&enclave, &signature), OK);
    world.enter(&enclave);
    world.key(&enclave, wanted).expect("a key")
}

const BUILDS: [(&str, Build); 11] = [
    (
        "contents",
        Build {
            contents: 1,
            ..BUILD
        },
    ),
    (
        "signer",
        Build {
            signer: Signer::second,
            ..BUILD
        },
    ),
    (
        "fuses",
        Build {
            secrets: |secrets| secrets.seal_fuses = [1; 16],
            ..BUILD
        },
    ),
    (
        "owner",
        Build {
            secrets: |secrets| secrets.owner_epoch = [1; 16],
            ..BUILD
        },
    ),
    (
        "machine",
        Build {
            secrets: |secrets| secrets.root = [1; 16],
            ..BUILD
        },
    ),
    (
        "debug",
        Build {
            secs: |secs| secs.set_attributes(ALL | attribute::DEBUG),
            ..BUILD
        },
    ),
    (
        "xfrm",
        Build {
            secs: |secs| secs.set_xfrm(3),
            ..BUILD
        },
    ),
    (
        "config",
        Build {
            secs: |secs| secs.set_configid(&[9; 64]),
            ..BUILD
        },
    ),
    (
        "product",
        Build {
            signature: |signature| signature.set_isvprodid(9),
            ..BUILD
        },
    ),
    (
        "family",
        Build {
            signature: |signature| signature.set_isvfamilyid(&[9; 16]),
            ..BUILD
        },
    ),
    (
        "extended",
        Build {
            signature: |signature| signature.set_isvextprodid(&[9; 16]),
            ..BUILD
        },
    ),
];

/// Names of the builds that get another key for a request.
fn separated(wanted: &Keyrequest) -> Vec<&'static str> {
    let first = key_of(BUILD, wanted);
    assert_eq!(first, key_of(BUILD, wanted), "keys stay the same");
    let differs = BUILDS
        .iter()
        .filter(|(_, build)| key_of(*build, wanted) != first);
    differs.map(|(name, _)| *name).collect()
}

#[test]
fn keys_depend_on_what_the_request_says_and_on_nothing_else() {
    let policy = |name, policy| {
        let mut wanted = request(name);
        wanted.set_keypolicy(policy);
        separated(&wanted).join(" ")
    };
    let machine = "fuses owner machine";
    assert_eq!(
        policy(SEAL, MRSIGNER),
        format!("signer {machine} debug xfrm product")
    );
    assert_eq!(
        policy(SEAL, MRENCLAVE),
        format!("contents {machine} debug xfrm product")
    );
    assert_eq!(policy(SEAL, 0), format!("{machine} debug xfrm product"));
    assert_eq!(
        policy(SEAL, MRENCLAVE | MRSIGNER | 0x38),
        format!("contents signer {machine} debug xfrm config product family extended")
    );
    assert_eq!(policy(SEAL, 1 << 2), format!("{machine} debug xfrm"));
    assert_eq!(policy(PROVISION, 0), "signer machine debug xfrm product");
    assert_eq!(
        policy(PROVISION_SEAL, 0),
        "signer fuses machine debug xfrm product"
    );
    assert_eq!(
        policy(REPORT, 0),
        format!("contents {machine} debug xfrm config")
    );
    // A mask of nothing still says whether the enclave can be debugged.
    let mut masked = request(SEAL);
    masked.set_attributemask(&[0; 16]);
    assert_eq!(
        separated(&masked).join(" "),
        format!("{machine} debug product")
    );
}

#[test]
fn each_field_of_a_request_makes_another_key() {
    let names = [SEAL, PROVISION_SEAL, PROVISION, REPORT];
    let keys: Vec<_> = names.map(|name| key_of(BUILD, &request(name))).into();
    for (number, key) in keys.iter().enumerate() {
        assert!(!keys[..number].contains(key), "names separate keys");
    }
    type Change = (&'static str, fn(&mut Keyrequest));
    let changes: [Change; 7] = [
        ("keyid", |request| request.set_keyid(&[1; 32])),
        ("isvsvn", |request| request.set_isvsvn(1)),
        ("cpusvn", |request| request.set_cpusvn(&[0; 16])),
        ("miscmask", |request| request.set_miscmask(0)),
        ("attributemask", |request| {
            request.set_attributemask(&[0xF7; 16])
        }),
        ("policy", |request| request.set_keypolicy(MRSIGNER)),
        ("configsvn", |request| {
            request.set_keypolicy(1 << 3);
            request.set_configsvn(1);
        }),
    ];
    let depends = |name| {
        let first = key_of(BUILD, &request(name));
        let differs = changes.iter().filter(|(_, change)| {
            let mut changed = request(name);
            change(&mut changed);
            key_of(BUILD, &changed) != first
        });
        differs.map(|(field, _)| *field).collect::<Vec<_>>()
    };
    assert_eq!(
        depends(SEAL),
        [
            "keyid",
            "isvsvn",
            "cpusvn",
            "miscmask",
            "attributemask",
            "policy",
            "configsvn"
        ]
    );
    assert_eq!(
        depends(PROVISION_SEAL),
        [
            "isvsvn",
            "cpusvn",
            "miscmask",
            "attributemask",
            "policy",
            "configsvn"
        ]
    );
    assert_eq!(
        depends(PROVISION),
        ["isvsvn", "cpusvn", "miscmask", "attributemask"]
    );
    assert_eq!(depends(REPORT), ["keyid"]);
}
