//! EINIT: every error code, signatures with any bit changed, tokens.

use adyton_sgx::epcm::Part;
use adyton_sgx::keys::{Dependencies, KeyName};
use adyton_sgx::leaf::Encls;
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Einittoken, Secs, Sigstruct};
use adyton_sgx::{Access, ErrorCode, Outcome};
use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};

use crate::build::{NOWHERE, absent};
use crate::support::enclave::{DATA, Enclave, PLAIN, RW, flags, secs};
use crate::support::machine::{PAGE, secrets};
use crate::support::signer::Signer;
use crate::support::world::{Answer, GP, OK, World, code, epc, epcm_fault};
use adyton_sgx::epcm::PageType;

/// A world with an enclave that could be initialized by this signature.
fn ready(attributes: u64) -> (World, Enclave, Sigstruct) {
    let mut world = World::new();
    let mut enclave = world.create(&secs(attributes));
    world.furnish(&mut enclave);
    let signer = Signer::first();
    world.machine.launch_key_hash = signer.identity();
    let mut signature = enclave.unsigned();
    signature.set_isvprodid(3);
    signature.set_isvsvn(4);
    signer.sign(&mut signature);
    (world, enclave, signature)
}

fn attempt(
    world: &mut World,
    enclave: &Enclave,
    signature: &Sigstruct,
    token: &Einittoken,
) -> Answer {
    let signature = world.holding(&signature.0);
    let token = world.holding(&token.0);
    world.encls(Encls::Einit, [signature, epc(enclave.secs), token])
}

#[test]
fn einit_names_the_enclave_and_its_signer() {
    let (mut world, enclave, signature) = ready(PLAIN);
    assert_eq!(world.init(&enclave, &signature), OK);
    assert_eq!(world.slices, 3);
    let mut initialized = Secs::zeroed();
    initialized
        .0
        .copy_from_slice(&world.machine.epc[enclave.secs.0 as usize][..Secs::SIZE]);
    assert_eq!(initialized.mrenclave(), &enclave.measurement());
    assert_eq!(initialized.mrsigner(), &Signer::first().identity());
    assert_eq!((initialized.isvprodid(), initialized.isvsvn()), (3, 4));
    assert!(initialized.has(attribute::INIT));
    assert_eq!(world.init(&enclave, &signature), GP);
}

#[test]
fn einit_checks_its_operands() {
    let (mut world, enclave, signature) = ready(PLAIN);
    let place = world.holding(&signature.0);
    let token = world.memory(1);
    let page = epc(enclave.secs);
    let data = epc(enclave.page(DATA));
    let free = epc(world.free_page());
    for (operands, answer) in [
        ([place + 8, page, token], GP),
        ([place, page + 8, token], GP),
        ([place, page, token + 8], GP),
        ([place, token, token], epcm_fault(token, false)),
        ([place, data, token], epcm_fault(data, false)),
        ([place, free, token], epcm_fault(free, false)),
        ([NOWHERE, page, token], absent(NOWHERE, Access::Read, false)),
        ([place, page, NOWHERE], absent(NOWHERE, Access::Read, false)),
        ([page, page, token], code(ErrorCode::InvalidSigStruct)),
    ] {
        world.refuses(Encls::Einit, operands, answer);
    }
    let entry = world.entry(enclave.secs);
    for part in [false, true] {
        let claim = if part {
            entry.part(Part::Measurement)
        } else {
            entry.claim()
        };
        assert!(claim.is_some());
        assert_eq!(world.encls(Encls::Einit, [place, page, token]), GP);
    }
    assert_eq!(world.encls(Encls::Einit, [place, page, token]), OK);
}

#[test]
fn einit_checks_the_form_of_a_signature() {
    let (mut world, enclave, good) = ready(PLAIN);
    let changes: &[fn(&mut Sigstruct)] = &[
        |signature| signature.0[0] ^= 1,
        |signature| signature.set_vendor(0x8087),
        |signature| signature.0[24] ^= 1,
        |signature| signature.set_exponent(65537),
        |signature| signature.0[44] = 1,
        |signature| signature.0[908] = 1,
        |signature| signature.0[992] = 1,
        |signature| signature.0[1039] = 1,
    ];
    for change in changes {
        let mut wrong = good.clone();
        change(&mut wrong);
        let place = world.holding(&wrong.0);
        let token = world.memory(1);
        let operands = [place, epc(enclave.secs), token];
        world.refuses(Encls::Einit, operands, code(ErrorCode::InvalidSigStruct));
    }
    let mut vendor = good;
    vendor.set_vendor(0x8086);
    Signer::first().sign(&mut vendor);
    assert_eq!(world.init(&enclave, &vendor), OK);
}

/// What is signed beside MRENCLAVE must fit, too.
#[test]
fn einit_refuses_an_enclave_that_is_not_what_was_signed() {
    type Change = fn(&mut Sigstruct);
    let cases: [(Change, ErrorCode); 6] = [
        (
            |signature| signature.0[960] ^= 1,
            ErrorCode::InvalidMeasurement,
        ),
        (
            |signature| signature.set_isvfamilyid(&[1; 16]),
            ErrorCode::InvalidSigStruct,
        ),
        (
            |signature| {
                signature.set_attributes(attribute::DEBUG);
                signature.set_attributemask(attribute::DEBUG);
            },
            ErrorCode::InvalidAttribute,
        ),
        (
            |signature| signature.set_attributemask(PLAIN),
            ErrorCode::InvalidAttribute,
        ),
        (
            |signature| signature.set_xfrmmask(4),
            ErrorCode::InvalidAttribute,
        ),
        (
            |signature| signature.set_miscmask(1),
            ErrorCode::InvalidAttribute,
        ),
    ];
    let (mut world, enclave, good) = ready(PLAIN);
    for (change, error) in cases {
        let mut wrong = good.clone();
        change(&mut wrong);
        Signer::first().sign(&mut wrong);
        assert_eq!(world.init(&enclave, &wrong), code(error));
    }
    let mut exact = good;
    exact.set_attributes(PLAIN);
    exact.set_attributemask(u64::MAX);
    exact.set_xfrm(7);
    exact.set_xfrmmask(u64::MAX);
    exact.set_miscselect(1);
    exact.set_miscmask(u32::MAX);
    Signer::first().sign(&mut exact);
    assert_eq!(world.init(&enclave, &exact), OK);
}

#[test]
fn einit_refuses_a_signature_with_any_bit_changed() {
    let (mut world, enclave, good) = ready(PLAIN);
    let place = world.holding(&good.0);
    let token = world.memory(1);
    let operands = [place, epc(enclave.secs), token];
    for byte in 0..Sigstruct::SIZE {
        // In the long numbers one bit of each byte, elsewhere all.
        let number = (128..512).contains(&byte) || (516..900).contains(&byte) || byte >= 1040;
        let bits = if number { byte % 8..byte % 8 + 1 } else { 0..8 };
        for bit in bits {
            world.put(place + byte as u64, &[good.0[byte] ^ 1 << bit]);
            let answer = world.encls(Encls::Einit, operands);
            let known = [ErrorCode::InvalidSigStruct, ErrorCode::InvalidSignature].map(code);
            assert!(known.contains(&answer), "byte {byte} bit {bit}: {answer:?}");
        }
        world.put(place + byte as u64, &[good.0[byte]]);
    }
    assert_eq!(world.encls(Encls::Einit, operands), OK);
}

#[test]
fn numbers_of_a_signature_cannot_be_extreme() {
    let (mut world, enclave, good) = ready(PLAIN);
    let changes: &[fn(&mut Sigstruct)] = &[
        |signature| signature.set_modulus(&[0; 384]),
        |signature| signature.set_modulus(&[0xFF; 384]),
        |signature| signature.set_signature(&[0xFF; 384]),
        |signature| signature.set_signature(&[0; 384]),
        |signature| signature.set_signature(&signature.modulus().clone()),
        |signature| signature.set_q1(&[0xFF; 384]),
        |signature| signature.set_q1(&[0; 384]),
        |signature| signature.set_q2(&[0xFF; 384]),
        |signature| signature.set_q2(&[0; 384]),
    ];
    for change in changes {
        let mut wrong = good.clone();
        change(&mut wrong);
        assert_eq!(
            world.init(&enclave, &wrong),
            code(ErrorCode::InvalidSignature)
        );
    }
    assert_eq!(world.init(&enclave, &good), OK);
}

#[test]
fn without_a_token_only_the_launch_key_signs() {
    let (mut world, enclave, mut signature) = ready(PLAIN);
    Signer::second().sign(&mut signature);
    assert_eq!(
        world.init(&enclave, &signature),
        code(ErrorCode::InvalidEinittoken)
    );
    world.machine.launch_key_hash = Signer::second().identity();
    assert_eq!(world.init(&enclave, &signature), OK);

    // An attribute that only the launch key's enclaves may have, a token or not.
    let (mut world, enclave, mut signature) = ready(PLAIN | attribute::EINITTOKEN_KEY);
    Signer::second().sign(&mut signature);
    assert_eq!(
        world.init(&enclave, &signature),
        code(ErrorCode::InvalidAttribute)
    );
    Signer::first().sign(&mut signature);
    assert_eq!(world.init(&enclave, &signature), OK);
}

/// A token as a launch enclave of the first signer's would make it for an enclave of the second's.
fn token(enclave: &Enclave) -> Einittoken {
    let mut token = Einittoken::zeroed();
    token.set_valid(1);
    let mut attributes = [0; 16];
    attributes[0] = PLAIN as u8;
    attributes[8] = 7;
    token.set_attributes(&attributes);
    token.set_mrenclave(&enclave.measurement());
    token.set_mrsigner(&Signer::second().identity());
    token.set_cpusvnle(&secrets(7).cpusvn);
    token.set_keyid(&[9; 32]);
    token
}

/// The MAC of a token, with a key derived as EGETKEY does for the launch enclave.
fn authorize(token: &mut Einittoken) {
    let secrets = secrets(7);
    let mut key = Dependencies::of(KeyName::Einittoken, &secrets);
    key.set_isvprodid(token.isvprodidle());
    key.set_isvsvn(token.isvsvnle());
    key.set_attributes(&token.maskedattributesle().clone());
    key.set_mrsigner(&Signer::first().identity());
    key.set_keyid(&token.keyid().clone());
    key.set_cpusvn(&token.cpusvnle().clone());
    key.set_miscselect(token.maskedmiscselectle());
    let mut mac = Cmac::<Aes128>::new(&key.derive(&secrets).into());
    mac.update(&token.0[..Einittoken::BODY]);
    token.set_mac(&mac.finalize().into_bytes().into());
}

#[test]
fn a_token_lets_other_signers_in() {
    let (mut world, enclave, mut signature) = ready(PLAIN);
    Signer::second().sign(&mut signature);
    type Change = fn(&mut Einittoken);
    let authorized: [(Change, ErrorCode); 8] = [
        (
            |token| token.set_mrenclave(&[0; 32]),
            ErrorCode::InvalidMeasurement,
        ),
        (
            |token| token.set_mrsigner(&[0; 32]),
            ErrorCode::InvalidMeasurement,
        ),
        (
            |token| token.set_attributes(&[0; 16]),
            ErrorCode::InvalidAttribute,
        ),
        (|token| token.set_valid(3), ErrorCode::InvalidEinittoken),
        (|token| token.0[4] = 1, ErrorCode::InvalidEinittoken),
        (|token| token.0[212] = 1, ErrorCode::InvalidEinittoken),
        (
            |token| token.set_cpusvnle(&[0xFF; 16]),
            ErrorCode::InvalidCpusvn,
        ),
        (
            |token| {
                let mut attributes = [0; 16];
                attributes[0] = attribute::DEBUG as u8;
                token.set_maskedattributesle(&attributes);
            },
            ErrorCode::InvalidEinittoken,
        ),
    ];
    for (change, error) in authorized {
        let mut wrong = token(&enclave);
        change(&mut wrong);
        authorize(&mut wrong);
        assert_eq!(
            attempt(&mut world, &enclave, &signature, &wrong),
            code(error)
        );
    }
    let mut good = token(&enclave);
    authorize(&mut good);
    for byte in 0..Einittoken::SIZE {
        let mut forged = good.clone();
        forged.0[byte] ^= 0x10;
        let answer = attempt(&mut world, &enclave, &signature, &forged);
        assert!(
            matches!(answer, Answer::Code(1.., true, false)),
            "byte {byte}: {answer:?}"
        );
    }
    assert_eq!(attempt(&mut world, &enclave, &signature, &good), OK);
}

/// The operands are copied once: whoever changes them in between gains nothing, and whoever changes the enclave begins anew.
#[test]
fn between_slices_nothing_can_be_exchanged() {
    let (mut world, mut enclave, good) = ready(PLAIN);
    let place = world.holding(&good.0);
    let token = world.memory(1);
    let operands = [place, epc(enclave.secs), token];
    assert_eq!(world.encls_slice(Encls::Einit, operands), Outcome::Again);
    let mut other = good.clone();
    other.set_isvsvn(99);
    world.put(place, &other.0);
    assert_eq!(world.encls_slice(Encls::Einit, operands), Outcome::Again);
    let contents = [5; PAGE as usize];
    world.add(&mut enclave, 0x7000, flags(PageType::Reg, RW), &contents);
    // The stamp has changed, so the signature is read again, and found forged.
    assert_eq!(
        world.encls(Encls::Einit, operands),
        code(ErrorCode::InvalidSignature)
    );
    world.put(place, &good.0);
    assert_eq!(
        world.encls(Encls::Einit, operands),
        code(ErrorCode::InvalidMeasurement)
    );

    let (mut world, enclave, good) = ready(PLAIN);
    let place = world.holding(&good.0);
    let token = world.memory(1);
    let operands = [place, epc(enclave.secs), token];
    assert_eq!(world.encls_slice(Encls::Einit, operands), Outcome::Again);
    assert_eq!(world.encls_slice(Encls::Einit, operands), Outcome::Again);
    world.put(place, &other.0);
    assert_eq!(world.encls_slice(Encls::Einit, operands), Outcome::Complete);
    assert_eq!(world.machine.epc[enclave.secs.0 as usize][258], 4);
}
