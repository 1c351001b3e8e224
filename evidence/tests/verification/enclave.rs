//! Evidence of an SGX enclave: what is accepted, and what is not.

use adyton_evidence::bundle::{Bundle, Subject};
use adyton_evidence::cbor::decode::Malformed;
use adyton_evidence::claims::{ENCLAVE_PROFILE_NAME, PROFILE_NAME};
use adyton_evidence::cose::Sign1;
use adyton_evidence::enclave::{Enclave, Separation, attribute};
use adyton_evidence::files::{ear, json, read_policy};
use adyton_evidence::platform::qualifying_data;
use adyton_evidence::policy::Policy;
use adyton_evidence::software::sample::{enclave, enclave_policy};
use adyton_evidence::software::{Monitor, digest};
use adyton_evidence::token::{Request, Token};
use adyton_evidence::verdict::{Code, Verdict};
use adyton_evidence::verify::{Question, verify};
use proptest::prelude::{any, prop_assert_eq, proptest};

use crate::scene::{self, NONCE, SUBJECT, accepted, anchors, composition, judge, refused};

/// A change, and why what is changed is refused.
type Spoilt<T> = (fn(&mut T), Code);

fn policy() -> Policy {
    read_policy(&enclave_policy()).expect("policy")
}

/// The policy's text with one passage changed, read again.
fn policy_with(from: &str, to: &str) -> Policy {
    let text = enclave_policy();
    assert!(text.contains(from), "{from} is not in the policy");
    read_policy(&text.replacen(from, to, 1)).expect("policy")
}

fn evidence(enclave: &Enclave) -> Vec<u8> {
    Monitor::genuine().enclave_evidence(NONCE, enclave)
}

/// The sample, changed.
fn changed(change: impl FnOnce(&mut Enclave)) -> Vec<u8> {
    let mut enclave = enclave();
    change(&mut enclave);
    evidence(&enclave)
}

/// Evidence of a genuine monitor's key over these claims.
fn claiming(request: Request<'_>, claims: &[u8]) -> Vec<u8> {
    let monitor = Monitor::genuine();
    let qualifying = qualifying_data(&monitor.key.verifying_key().to_bytes(), NONCE);
    let quote = monitor.tpm.quote(&qualifying);
    monitor.evidence_claiming(NONCE, request, claims, &quote)
}

fn encoded(enclave: &Enclave) -> Vec<u8> {
    let mut claims = vec![];
    enclave.encode(&mut claims).expect("memory");
    claims
}

/// What it says is what the report said, and what programs are told.
#[test]
fn a_genuine_enclave_is_accepted() {
    let verdict = judge(&evidence(&enclave()), &policy());
    accepted(&verdict);
    let seen = verdict.seen.as_ref().expect("seen");
    assert_eq!(seen.enclave, Some(enclave()));
    assert!(seen.composition.domains.is_empty());
    let told = json(&verdict, &policy());
    assert_eq!(told["seen"]["enclave"]["isvsvn"], 3);
    assert_eq!(told["seen"]["domains"].as_array().map(Vec::len), Some(0));
}

#[test]
fn by_its_signer_alone_it_is_accepted_as_well() {
    let measured = format!("mrenclave = [\"{}\"]\n", hex("enclave"));
    let by_signer = policy_with(&measured, "");
    accepted(&judge(&evidence(&enclave()), &by_signer));
    let newer = changed(|enclave| {
        enclave.measurement = digest("another version");
        enclave.version = 4;
    });
    accepted(&judge(&newer, &by_signer));
    refused(&judge(&newer, &policy()), Code::EnclaveMismatch);
}

fn hex(name: &str) -> String {
    adyton_evidence::files::hexadecimal(&digest(name))
}

#[test]
fn another_enclave_is_refused_for_what_it_is() {
    let spoilt: [Spoilt<Enclave>; 12] = [
        (
            |enclave| enclave.measurement[31] ^= 1,
            Code::EnclaveMismatch,
        ),
        (|enclave| enclave.signer[0] ^= 0x80, Code::SignerMismatch),
        (|enclave| enclave.product = 8, Code::ProductMismatch),
        (|enclave| enclave.version = 2, Code::OldEnclave),
        (
            |enclave| enclave.flags |= attribute::DEBUG,
            Code::DebugEnclave,
        ),
        (
            |enclave| enclave.flags |= attribute::PROVISIONKEY,
            Code::EnclaveAttributes,
        ),
        (
            |enclave| enclave.flags &= !attribute::MODE64BIT,
            Code::EnclaveAttributes,
        ),
        (|enclave| enclave.flags |= 1 << 40, Code::EnclaveAttributes),
        (|enclave| enclave.xfrm = 7, Code::EnclaveAttributes),
        (|enclave| enclave.xfrm = 1, Code::EnclaveAttributes),
        (|enclave| enclave.miscselect = 1, Code::EnclaveAttributes),
        (|enclave| separate(enclave, |_| ()), Code::EnclaveAttributes),
    ];
    for (change, code) in spoilt {
        refused(&judge(&changed(change), &policy()), code);
    }
    accepted(&judge(&changed(|enclave| enclave.version = 4), &policy()));
}

fn separate(enclave: &mut Enclave, change: impl FnOnce(&mut Separation)) {
    let mut separation = Separation::NONE;
    change(&mut separation);
    enclave.flags |= attribute::KSS;
    enclave.separation = Some(separation);
}

/// Whoever creates an enclave chooses its configuration: unless the policy gives it, it must be none.
#[test]
fn what_is_configured_must_be_given() {
    let with = |change: fn(&mut Separation)| changed(|enclave| separate(enclave, change));
    let separated = policy_with("isvsvn = 3", "isvsvn = 3\nmay = [\"kss\"]");
    accepted(&judge(&with(|_| ()), &separated));
    accepted(&judge(&evidence(&enclave()), &separated));
    let spoilt: [Spoilt<Separation>; 3] = [
        (|kss| kss.configuration[63] = 1, Code::EnclaveConfiguration),
        (|kss| kss.family[0] = 1, Code::ProductMismatch),
        (|kss| kss.product[0] = 1, Code::ProductMismatch),
    ];
    for (change, code) in spoilt {
        refused(&judge(&with(change), &separated), code);
    }
    let text = format!(
        "isvsvn = 3\nattributes = [\"mode64bit\", \"kss\"]\nconfigid = \"{}\"\nconfigsvn = 5\nisvfamilyid = \"{}\"\nisvextprodid = \"{}\"",
        "07".repeat(64),
        "08".repeat(16),
        "09".repeat(16)
    );
    let configured = policy_with("isvsvn = 3", &text);
    let right = |kss: &mut Separation| {
        *kss = Separation {
            configuration: [7; 64],
            configuration_version: 5,
            family: [8; 16],
            product: [9; 16],
        };
    };
    accepted(&judge(&with(right), &configured));
    let old = changed(|enclave| {
        separate(enclave, |kss| {
            right(kss);
            kss.configuration_version = 4;
        });
    });
    refused(&judge(&old, &configured), Code::EnclaveConfiguration);
    assert!(!judge(&evidence(&enclave()), &configured).is_accepted());
}

#[test]
fn a_policy_may_bear_with_more() {
    let debug = changed(|enclave| enclave.flags |= attribute::DEBUG);
    let policy = policy_with("isvsvn = 3", "isvsvn = 3\ndebug = true");
    accepted(&judge(&debug, &policy));
    let more = changed(|enclave| {
        enclave.flags |= attribute::AEXNOTIFY;
        enclave.xfrm = 0xe7;
        enclave.miscselect = 1;
    });
    let text = "isvsvn = 3\nmay = [\"aexnotify\"]\nxfrm-may = 0xe4\nmiscselect = 1";
    accepted(&judge(&more, &policy_with("isvsvn = 3", text)));
    assert!(!judge(&more, &self::policy()).is_accepted());
}

/// Every bit of the claims, and of all that stands around them.
#[test]
fn every_flipped_bit_is_refused() {
    let (anchors, policy) = (anchors(), policy());
    let question = question(None, None, &anchors, &policy);
    let mut evidence = evidence(&enclave());
    accepted(&verify(&evidence, &question));
    for bit in 0..evidence.len() * 8 {
        evidence[bit / 8] ^= 1 << (bit % 8);
        assert!(!verify(&evidence, &question).is_accepted(), "bit {bit}");
        evidence[bit / 8] ^= 1 << (bit % 8);
    }
    let claims = encoded(&enclave());
    let first = evidence.len() - claims.len();
    assert_eq!(evidence[first..], claims, "they stand at the end");
    for bit in 0..claims.len() * 8 {
        let mut spoilt = evidence.clone();
        spoilt[first + bit / 8] ^= 1 << (bit % 8);
        refused(&verify(&spoilt, &question), Code::DigestMismatch);
    }
}

fn question<'a>(
    report_data: Option<&'a [u8]>,
    key: Option<&'a [u8; 32]>,
    anchors: &'a adyton_evidence::anchors::Anchors,
    policy: &'a Policy,
) -> Question<'a> {
    Question {
        nonce: NONCE,
        report_data,
        key,
        anchors,
        policy,
    }
}

#[test]
fn what_it_bound_is_compared() {
    let (anchors, policy) = (anchors(), policy());
    let evidence = evidence(&enclave());
    let key = digest("the key of a server");
    let ask = |data: Option<&[u8]>, key: Option<&[u8; 32]>| -> Verdict {
        verify(&evidence, &question(data, key, &anchors, &policy))
    };
    accepted(&ask(None, Some(&key)));
    accepted(&ask(Some(&key), Some(&key)));
    accepted(&ask(Some(&enclave().data), None));
    refused(&ask(Some(&key[..31]), None), Code::ReportDataMismatch);
    refused(&ask(Some(&[]), None), Code::ReportDataMismatch);
    refused(&ask(Some(&[0; 65]), None), Code::ReportDataMismatch);
    refused(&ask(Some(&[0; 64]), None), Code::ReportDataMismatch);
    refused(&ask(None, Some(&[9; 32])), Code::BoundKeyMismatch);
}

/// A domain's evidence is never an enclave's, nor the other way round, whatever the policy.
#[test]
fn kinds_are_not_taken_for_each_other() {
    let domain = scene::genuine(&composition());
    let about_enclave = evidence(&enclave());
    accepted(&judge(&domain, &scene::policy()));
    refused(&judge(&domain, &policy()), Code::WrongSubject);
    refused(&judge(&about_enclave, &scene::policy()), Code::WrongSubject);
    // Under the other's token.
    let mut claims = vec![];
    composition().encode(&mut claims).expect("memory");
    let mixed = claiming(Request::Enclave, &claims);
    refused(&judge(&mixed, &policy()), Code::Malformed);
    let mixed = claiming(SUBJECT, &encoded(&enclave()));
    refused(&judge(&mixed, &scene::policy()), Code::Malformed);
    // Under the other's name.
    for (evidence, policy, subject) in [
        (&domain, scene::policy(), Subject::Enclave),
        (&about_enclave, policy(), Subject::Domain),
    ] {
        let mut bundle = Bundle::decode(evidence).expect("a bundle");
        bundle.subject = subject;
        let mut renamed = vec![];
        bundle.encode(&mut renamed).expect("memory");
        refused(&judge(&renamed, &policy), Code::DigestMismatch);
    }
}

/// Nothing in the token speaks for an enclave.
#[test]
fn a_token_about_an_enclave_binds_nothing() {
    let evidence = evidence(&enclave());
    let bundle = Bundle::decode(&evidence).expect("a bundle");
    let signed = Sign1::decode(bundle.token).expect("a token");
    let token = Token::decode(signed.payload).expect("claims");
    assert_eq!(token.request, Request::Enclave);
    // The same with who asked, under the enclave's profile and under the domain's.
    for (request, name) in [(SUBJECT, "sgx-enclave"), (Request::Enclave, "composition")] {
        let mut payload = vec![];
        Token { request, ..token }
            .encode(&mut payload)
            .expect("memory");
        assert!(Token::decode(&payload).is_ok());
        let wrong = replaced(&payload, request.subject().set(), name);
        assert!(Token::decode(&wrong).is_err());
        let profiles = [PROFILE_NAME, ENCLAVE_PROFILE_NAME];
        let [own, other] = match request.subject() {
            Subject::Domain => profiles,
            Subject::Enclave => [profiles[1], profiles[0]],
        };
        let wrong = replaced(&payload, own, other);
        assert_eq!(Token::decode(&wrong).err(), Some(Malformed::Range));
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut parts = bytes.windows(from.len());
    let place = parts.position(|part| part == from.as_bytes());
    let mut bytes = bytes.to_vec();
    bytes[place.expect("it is there")..][..to.len()].copy_from_slice(to.as_bytes());
    bytes
}

/// Flags and claims that contradict each other, claims that are missing or beyond their fields.
#[test]
fn claims_that_make_no_sense_are_refused() {
    let spoilt: [fn(&mut Enclave); 3] = [
        |enclave| enclave.flags &= !attribute::INIT,
        |enclave| enclave.flags |= attribute::KSS,
        |enclave| enclave.separation = Some(Separation::NONE),
    ];
    for change in spoilt {
        refused(&judge(&changed(change), &policy()), Code::Malformed);
    }
    let good = encoded(&enclave());
    // The state of debugging is the first claim's value: a map of two, a number of two bytes, the value.
    assert_eq!(good[..5], [0xa2, 0x19, 0x01, 0x07, 1]);
    for value in [0, 2] {
        let mut claims = good.clone();
        claims[4] = value;
        assert!(Enclave::decode(&claims).is_err(), "dbgstat {value}");
    }
    for key in 0..8 {
        assert!(
            Enclave::decode(&without(&good, key)).is_err(),
            "claim {key}"
        );
    }
}

/// The claims with a key of the map replaced by one that does not exist, or comes behind.
fn without(claims: &[u8], key: u8) -> Vec<u8> {
    // The map of eight claims begins behind the key -70011.
    let head = 1 + 3 + 1 + 5;
    assert_eq!(claims[head], 0xa8);
    let mut decoder = minicbor::Decoder::new(&claims[head..]);
    decoder.map().expect("a map");
    let mut kept = vec![0xa7];
    for _ in 0..8 {
        let begin = decoder.position();
        let found = decoder.u8().expect("a key");
        decoder.skip().expect("a value");
        if found != key {
            kept.extend(&claims[head + begin..head + decoder.position()]);
        }
    }
    [&claims[..head], &kept].concat()
}

#[test]
fn policies_that_name_nobody_are_refused() {
    let evidence = evidence(&enclave());
    let mut nobody = policy();
    let rule = nobody.enclave.as_mut().expect("a rule");
    (rule.measurements, rule.signed) = (None, None);
    refused(&judge(&evidence, &nobody), Code::EmptyPolicy);
    for none in ["mrenclave", "mrsigner"] {
        let text = enclave_policy();
        let line = text.lines().find(|line| line.starts_with(none));
        let line = line.expect("a line");
        let nothing = policy_with(line, &format!("{none} = []"));
        refused(&judge(&evidence, &nothing), Code::PolicyAllowsNothing);
    }
    let mut both = scene::policy();
    both.enclave = policy().enclave;
    refused(&judge(&evidence, &both), Code::PolicyAllowsNothing);
}

#[test]
fn misspelt_words_are_errors() {
    assert!(read_policy(&enclave_policy()).is_ok());
    for (right, wrong) in [
        ("mrenclave", "mr-enclave"),
        ("isvprodid = 7\n", ""),
        ("isvsvn = 3", ""),
        ("mrsigner", "# mrsigner"),
        ("isvsvn = 3", "isvsvn = 65536"),
        ("isvsvn = 3", "isvsvn = 3\nattributes = [\"debug\"]"),
        ("isvsvn = 3", "isvsvn = 3\nconfigid = \"00\""),
        ("[enclave]", "[enclaves]"),
        ("[enclave]", "[[enclave]]"),
        (
            "security-version = 1",
            "security-version = 1\nsubject = \"enclave\"",
        ),
    ] {
        let text = enclave_policy();
        assert!(text.contains(right), "{right}");
        let text = text.replacen(right, wrong, 1);
        assert!(read_policy(&text).is_err(), "{text}");
    }
}

/// A machine that cannot be trusted with a domain cannot be trusted with an enclave.
#[test]
fn the_machine_matters_as_it_does_for_domains() {
    let judged = |change: fn(&mut Monitor), policy: &Policy| {
        let mut monitor = Monitor::genuine();
        change(&mut monitor);
        judge(&monitor.enclave_evidence(NONCE, &enclave()), policy)
    };
    refused(
        &judged(|monitor| monitor.protected = false, &policy()),
        Code::Unprotected,
    );
    refused(
        &judged(|monitor| monitor.measured = false, &policy()),
        Code::UnmeasuredBoot,
    );
    let lenient = policy_with(
        "security-version = 1",
        "security-version = 1\nwithout-iommu = true\nunmeasured = true",
    );
    accepted(&judged(|monitor| monitor.protected = false, &lenient));
    accepted(&judged(|monitor| monitor.measured = false, &lenient));
    let other = Monitor::genuine().enclave_evidence(b"another nonce", &enclave());
    refused(&judge(&other, &policy()), Code::StaleNonce);
}

#[test]
fn a_result_speaks_of_the_enclave() {
    use adyton_evidence::files::from_hexadecimal;
    use base64ct::{Base64UrlUnpadded, Encoding};
    // PKCS#8 of an Ed25519 key whose bytes are all 1 (RFC 8410).
    let head = from_hexadecimal("302e020100300506032b657004220420").expect("digits");
    let der = base64ct::Base64::encode_string(&[&head[..], &[1; 32]].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    let status = |evidence: &[u8]| {
        let policy = policy();
        let token = ear(&judge(evidence, &policy), &policy, NONCE, 0, &pem).expect("a token");
        let claims = token.split('.').nth(1).expect("claims");
        let bytes = Base64UrlUnpadded::decode_vec(claims).expect("base64");
        let claims: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        claims["submods"]["enclave"]["ear_status"].clone()
    };
    assert_eq!(status(&evidence(&enclave())), "affirming");
    let debug = changed(|enclave| enclave.flags |= attribute::DEBUG);
    assert_eq!(status(&debug), "contraindicated");
}

proptest! {
    /// Changed bytes are refused, or are what the encoder writes.
    #[test]
    fn changed_claims_are_read_without_harm(place in any::<usize>(), with in any::<u8>(), kss in any::<bool>()) {
        let mut enclave = enclave();
        if kss {
            separate(&mut enclave, |_| ());
        }
        let mut bytes = encoded(&enclave);
        prop_assert_eq!(Enclave::decode(&bytes), Ok(enclave));
        let place = place % bytes.len();
        bytes[place] = with;
        if let Ok(read) = Enclave::decode(&bytes) {
            prop_assert_eq!(encoded(&read), bytes);
        }
    }
}
