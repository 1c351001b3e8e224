//! Who an enclave is: EREPORT, EGETKEY.

use adyton_sgx::leaf::Enclu;
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Keyrequest, Report, Secs, Targetinfo};
use adyton_sgx::{Access, ErrorCode, Secrets};
use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};

use crate::build::absent;
use crate::support::enclave::{BASE, CODE, DATA, Enclave, MORE, PLAIN, SIZE, TCS, secs};
use crate::support::machine::{Target, secrets};
use crate::support::signer::Signer;
use crate::support::world::{
    Answer, GP, OK, World, capabilities, code, epcm_fault, epcm_read_fault,
};
use adyton_sgx::structures::Sigstruct;

/// Operands in the enclave.
const REQUEST: u64 = BASE + DATA;
const DATA_IN: u64 = BASE + DATA + 0x200;
const OUT: u64 = BASE + MORE;
const KEY_OUT: u64 = BASE + MORE + 0x200;

const SEAL: u16 = 4;
pub const REPORT: u16 = 3;
const PROVISION_SEAL: u16 = 2;
const PROVISION: u16 = 1;
const EINITTOKEN: u16 = 0;
/// KEYPOLICY.
const MRENCLAVE: u16 = 1;
const MRSIGNER: u16 = 2;

impl World {
    /// EGETKEY by the thread inside.
    pub fn key(&mut self, enclave: &Enclave, request: &Keyrequest) -> Result<[u8; 16], Answer> {
        self.put_inside(enclave, DATA, &request.0);
        self.put_inside(enclave, KEY_OUT - BASE, &[0xCC; 16]);
        let answer = self.enclu(Enclu::Egetkey, [REQUEST, KEY_OUT, 0]);
        let key: [u8; 16] = self
            .inside(enclave, KEY_OUT - BASE, 16)
            .try_into()
            .expect("a key");
        if answer == OK {
            return Ok(key);
        }
        assert_eq!(key, [0xCC; 16], "nothing is written");
        Err(answer)
    }

    /// EREPORT for a target.
    pub fn report(&mut self, enclave: &Enclave, target: &Targetinfo) -> Report {
        self.put_inside(enclave, DATA, &target.0);
        self.put_inside(enclave, DATA_IN - BASE, &[0x77; 64]);
        let before = self.processor.flags;
        self.enclu(Enclu::Ereport, [REQUEST, DATA_IN, OUT]);
        assert_eq!(self.processor.flags, before);
        let mut report = Report::zeroed();
        let bytes = self.inside(enclave, OUT - BASE, Report::SIZE).to_vec();
        report.0.copy_from_slice(&bytes);
        report
    }

    pub fn identity(&self, enclave: &Enclave) -> Secs {
        let mut secs = Secs::zeroed();
        secs.0
            .copy_from_slice(&self.machine.epc[enclave.secs.0 as usize][..Secs::SIZE]);
        secs
    }
}

pub fn request(name: u16) -> Keyrequest {
    let mut request = Keyrequest::zeroed();
    request.set_keyname(name);
    request.set_attributemask(&[0xFF; 16]);
    request.set_miscmask(u32::MAX);
    request.set_cpusvn(&secrets(7).cpusvn);
    request
}

pub fn target(secs: &Secs) -> Targetinfo {
    let mut target = Targetinfo::zeroed();
    target.set_measurement(secs.mrenclave());
    target.set_attributes(secs.attribute_bytes());
    target.set_miscselect(secs.miscselect());
    target.set_configid(secs.configid());
    target.set_configsvn(secs.configsvn());
    target
}

pub fn cmac(key: [u8; 16], bytes: &[u8]) -> [u8; 16] {
    let mut mac = Cmac::<Aes128>::new(&key.into());
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// Whether the enclave that asks for its report key finds the report genuine.
fn verifies(world: &mut World, verifier: &Enclave, report: &Report) -> bool {
    let mut wanted = request(REPORT);
    wanted.set_keyid(report.keyid());
    let key = world.key(verifier, &wanted).expect("a report key");
    &cmac(key, report.body()) == report.mac()
}

/// An enclave of another configuration, of which nothing but that differs.
fn configured() -> Secs {
    let mut secs = secs(PLAIN | attribute::KSS);
    secs.set_configid(&[5; 64]);
    secs.set_configsvn(6);
    secs
}

#[test]
fn a_report_says_who_made_it() {
    let mut world = World::new();
    let enclave = world.enclave_of(&configured(), |signature| {
        signature.set_isvprodid(0x1234);
        signature.set_isvsvn(0x56);
        signature.set_isvfamilyid(&[8; 16]);
        signature.set_isvextprodid(&[9; 16]);
    });
    world.enter(&enclave);
    let secs = world.identity(&enclave);
    let report = world.report(&enclave, &target(&secs));
    assert!(report.is_reserved_zero());
    assert_eq!(report.mrenclave(), &enclave.measurement());
    assert_eq!(report.mrsigner(), &Signer::first().identity());
    assert_eq!(
        report.attributes()[0],
        (PLAIN | attribute::KSS | attribute::INIT) as u8
    );
    assert_eq!(report.attributes()[8..], [7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        (report.isvprodid(), report.isvsvn(), report.configsvn()),
        (0x1234, 0x56, 6)
    );
    assert_eq!(
        (report.configid(), report.reportdata()),
        (&[5; 64], &[0x77; 64])
    );
    assert_eq!(
        (report.isvfamilyid(), report.isvextprodid()),
        (&[8; 16], &[9; 16])
    );
    assert_eq!(
        (report.cpusvn(), report.miscselect()),
        (&secrets(7).cpusvn, 1)
    );
    assert!(verifies(&mut world, &enclave, &report));
}

#[test]
fn a_report_cannot_be_forged_or_shown_to_somebody_else() {
    let mut world = World::new();
    let prover = world.enclave(PLAIN);
    let mut second = secs(PLAIN);
    second.set_ssaframesize(2);
    second.set_baseaddr(BASE);
    let mut verifier = world.create(&second);
    world.furnish(&mut verifier);
    let mut signature = verifier.unsigned();
    Signer::first().sign(&mut signature);
    assert_eq!(world.init(&verifier, &signature), OK);
    let wanted = target(&world.identity(&verifier));
    let map = |world: &mut World, enclave: &Enclave| {
        for (offset, page) in enclave.pages.clone() {
            world.map(BASE + offset, Target::Epc(page));
        }
    };
    map(&mut world, &prover);
    world.enter(&prover);
    let report = world.report(&prover, &wanted);
    assert!(
        !verifies(&mut world, &prover, &report),
        "it is for the other"
    );
    world.leave();
    map(&mut world, &verifier);
    // Two pages a frame, of which the last of the second has no page: one frame is enough.
    let thread_page = verifier.page(TCS);
    world.machine.epc[thread_page.0 as usize][28] = 1;
    world.enter(&verifier);
    assert!(verifies(&mut world, &verifier, &report));
    for byte in 0..Report::SIZE {
        let mut forged = report.clone();
        forged.0[byte] ^= 1;
        assert!(!verifies(&mut world, &verifier, &forged), "byte {byte}");
    }
    // A report of the same enclave on another machine.
    let mut elsewhere = World::with(64, 8, capabilities());
    let twin = elsewhere.enclave(PLAIN);
    elsewhere.enter(&twin);
    let foreign = elsewhere.report(&twin, &wanted);
    assert_eq!(foreign.mrenclave(), report.mrenclave());
    assert!(!verifies(&mut world, &verifier, &foreign));
    for change in [
        (|target| target.set_measurement(&[0; 32])) as fn(&mut Targetinfo),
        |target| target.set_attributes(&[0; 16]),
        |target| target.set_miscselect(0),
        |target| target.set_configsvn(1),
        |target| target.set_configid(&[1; 64]),
    ] {
        let mut other = wanted.clone();
        change(&mut other);
        world.leave();
        map(&mut world, &prover);
        world.enter(&prover);
        let report = world.report(&prover, &other);
        world.leave();
        map(&mut world, &verifier);
        world.enter(&verifier);
        assert!(!verifies(&mut world, &verifier, &report));
    }
}

#[test]
fn ereport_and_egetkey_check_their_operands() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    world.augment(&mut enclave, 0x8000);
    world.map(BASE + 0xA000, Target::Memory(0));
    world.map(BASE + 0xC000, Target::Epc(enclave.page(DATA)));
    let outside = world.memory(1);
    for leaf in [Enclu::Ereport, Enclu::Egetkey] {
        world.refuses_user(leaf, [REQUEST, DATA_IN, OUT], GP);
    }
    world.enter(&enclave);
    world.put_inside(&enclave, DATA, &request(SEAL).0);
    // The first operand is read, the last written.
    let unreadable = |world: &mut World, leaf, at: usize| {
        let good = [
            REQUEST,
            if leaf == Enclu::Egetkey {
                KEY_OUT
            } else {
                DATA_IN
            },
            OUT,
        ];
        let written = at == 2 || leaf == Enclu::Egetkey && at == 1;
        let fault = if written { epcm_fault } else { epcm_read_fault };
        let access = if written { Access::Write } else { Access::Read };
        let mut cases = vec![
            (good[at] + 8, GP),
            (outside, GP),
            (BASE + SIZE, GP),
            (BASE + 0xA000, fault(BASE + 0xA000, true)),
            (BASE + 0xC000, fault(BASE + 0xC000, true)),
            (BASE + TCS, fault(BASE + TCS, true)),
            (BASE + 0x8000, fault(BASE + 0x8000, true)),
            (BASE + 0x9000, absent(BASE + 0x9000, access, true)),
        ];
        if written {
            cases.push((BASE + CODE, epcm_fault(BASE + CODE, true)));
        }
        for (address, answer) in cases {
            let mut operands = good;
            operands[at] = address;
            world.refuses_user(leaf, operands, answer);
        }
    };
    for at in 0..2 {
        unreadable(&mut world, Enclu::Egetkey, at);
    }
    let zero = Targetinfo::zeroed();
    world.put_inside(&enclave, DATA, &zero.0);
    for at in 0..3 {
        unreadable(&mut world, Enclu::Ereport, at);
    }
    for reserved in [48, 56, 128, 511] {
        world.put_inside(&enclave, DATA + reserved, &[1]);
        world.refuses_user(Enclu::Ereport, [REQUEST, DATA_IN, OUT], GP);
        world.put_inside(&enclave, DATA + reserved, &[0]);
    }
    let changes: [fn(&mut Keyrequest); 6] = [
        |request| request.0[6] = 1,
        |request| request.0[78] = 1,
        |request| request.0[511] = 1,
        |request| request.set_keypolicy(1 << 6),
        // These need KSS.
        |request| request.set_keypolicy(1 << 2),
        |request| request.set_configsvn(1),
    ];
    for change in changes {
        let mut wrong = request(SEAL);
        change(&mut wrong);
        assert_eq!(world.key(&enclave, &wrong), Err(GP));
    }
    assert!(world.key(&enclave, &request(SEAL)).is_ok());
}

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
