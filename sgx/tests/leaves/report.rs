//! Who an enclave is: EREPORT; and the operands of EREPORT and EGETKEY.

use adyton_sgx::Access;
use adyton_sgx::leaf::Enclu;
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Keyrequest, Report, Secs, Targetinfo};
use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};

use crate::build::absent;
use crate::support::enclave::{BASE, CODE, DATA, Enclave, MORE, PLAIN, SIZE, TCS, secs};
use crate::support::machine::{Target, secrets};
use crate::support::signer::Signer;
use crate::support::world::{Answer, GP, OK, World, capabilities, epcm_fault, epcm_read_fault};

/// Operands in the enclave.
pub const REQUEST: u64 = BASE + DATA;
pub const DATA_IN: u64 = BASE + DATA + 0x200;
pub const OUT: u64 = BASE + MORE;
pub const KEY_OUT: u64 = BASE + MORE + 0x200;

pub const SEAL: u16 = 4;
pub const REPORT: u16 = 3;
pub const PROVISION_SEAL: u16 = 2;
pub const PROVISION: u16 = 1;
pub const EINITTOKEN: u16 = 0;
/// KEYPOLICY.
pub const MRENCLAVE: u16 = 1;
pub const MRSIGNER: u16 = 2;

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
pub fn verifies(world: &mut World, verifier: &Enclave, report: &Report) -> bool {
    let mut wanted = request(REPORT);
    wanted.set_keyid(report.keyid());
    let key = world.key(verifier, &wanted).expect("a report key");
    &cmac(key, report.body()) == report.mac()
}

/// An enclave of another configuration, of which nothing but that differs.
pub fn configured() -> Secs {
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
