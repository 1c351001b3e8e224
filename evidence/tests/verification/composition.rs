//! The composition: domains that are not what they should be, and edges that should not be there.

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_evidence::composition::{Composition, Device, Domain, Sharing};
use adyton_evidence::policy::Policy;
use adyton_evidence::software::{Monitor, digest};
use adyton_evidence::token::Request;
use adyton_evidence::verdict::{Code, Verdict};
use adyton_evidence::verify::{Question, verify};

use crate::scene::{
    NONCE, SUBJECT, accepted, anchors, changed, composition, genuine, judge, policy, policy_with,
    refused, tenant, window,
};

fn ask(composition: &Composition) -> Verdict {
    judge(&genuine(composition), &policy())
}

fn ask_with(composition: &Composition, policy: &Policy) -> Verdict {
    judge(&genuine(composition), policy)
}

#[test]
fn another_program_is_refused() {
    let other = changed(0, |signer| signer.measurement = Some(digest("evil")));
    refused_with_edges(&ask(&other), Code::MeasurementMismatch);
    let unknown = changed(2, |parser| parser.measurement = Some(digest("evil")));
    let verdict = ask(&unknown);
    assert!(verdict.has(Code::NoReferenceValue) && verdict.has(Code::MissingDomain));
    assert!(!verdict.has(Code::MeasurementMismatch));
}

/// The reason is given, besides the edges of a domain that no rule stands for.
#[track_caller]
fn refused_with_edges(verdict: &Verdict, code: Code) {
    assert!(
        !verdict.is_accepted() && verdict.has(code),
        "{:?}",
        verdict.findings
    );
}

#[test]
fn the_parser_is_no_signer() {
    let mut swapped = composition();
    swapped.domains.swap(0, 2);
    for (index, channel) in [(0, 2), (2, 0)] {
        if let Domain::Tenant(tenant) = &mut swapped.domains[index] {
            tenant.regions[2].peers[0].domain = channel;
        }
    }
    accepted(&ask(&composition()));
    refused_with_edges(&ask(&swapped), Code::MeasurementMismatch);
    let other_subject = policy_with("subject = \"signer\"", "subject = \"parser\"");
    accepted(&ask_with(&swapped, &other_subject));
}

#[test]
fn an_unsealed_domain_is_refused() {
    let unsealed = changed(2, |parser| parser.measurement = None);
    refused_with_edges(&ask(&unsealed), Code::NotSealed);
}

#[test]
fn a_debug_domain_is_refused() {
    let debug = changed(0, |signer| signer.flags = signer.flags | Flags::DEBUG);
    refused(&ask(&debug), Code::DebugDomain);
    let lenient = policy_with("name = \"signer\"", "name = \"signer\"\ndebug = true");
    accepted(&ask_with(&debug, &lenient));
}

#[test]
fn a_sandbox_is_not_confidential() {
    let sandbox = changed(0, |signer| signer.flags = Flags::MAY_ATTEST);
    refused(&ask(&sandbox), Code::NotConfidential);
    let lenient = policy_with("name = \"signer\"", "name = \"signer\"\nkind = \"sandbox\"");
    accepted(&ask_with(&sandbox, &lenient));
}

#[test]
fn abilities_need_permission() {
    let able = changed(2, |parser| parser.flags = parser.flags | Flags::MAY_SHARE);
    refused(&ask(&able), Code::ForbiddenAbility);
    let lenient = policy_with("name = \"parser\"\n", "name = \"parser\"\nstill = []\n");
    refused(&ask_with(&able, &lenient), Code::ForbiddenAbility);
}

#[test]
fn mutable_edges_need_permission() {
    let mutable = changed(0, |signer| signer.still = Flags::MAY_ACCEPT);
    refused(&ask(&mutable), Code::MutableDomain);
    let lenient = policy_with(
        "name = \"signer\"",
        "name = \"signer\"\nstill = [\"accept\"]",
    );
    accepted(&ask_with(&mutable, &lenient));
    let other = policy_with(
        "name = \"signer\"",
        "name = \"signer\"\nstill = [\"share\"]",
    );
    refused(&ask_with(&mutable, &other), Code::MutableDomain);
}

#[test]
fn a_domain_that_changed_after_seal_is_refused() {
    let newer = changed(0, |signer| signer.epoch = 1);
    refused(&ask(&newer), Code::ChangedAfterSeal);
    let lenient = policy_with("name = \"signer\"", "name = \"signer\"\nchanged = true");
    accepted(&ask_with(&newer, &lenient));
}

#[test]
fn more_vcpus_are_refused() {
    let more = changed(0, |signer| signer.vcpus = 2);
    refused(&ask(&more), Code::TooManyVcpus);
}

#[test]
fn cores_of_ones_own_need_permission_and_can_be_demanded() {
    let own = changed(0, |signer| signer.whole_cores = vec![1, 2]);
    refused(&ask(&own), Code::WholeCores);
    let cores =
        |from: &str| policy_with("name = \"signer\"", &format!("name = \"signer\"\n{from}"));
    accepted(&ask_with(&own, &cores("whole-cores = [0, 2]")));
    let demanding = cores("whole-cores = [2, 2]");
    accepted(&ask_with(&own, &demanding));
    accepted(&ask(&composition()));
    refused(&ask_with(&composition(), &demanding), Code::WholeCores);
    let one = changed(0, |signer| signer.whole_cores = vec![2]);
    refused(&ask_with(&one, &demanding), Code::WholeCores);
    refused(
        &ask_with(&own, &cores("whole-cores = [0, 1]")),
        Code::WholeCores,
    );
}

#[test]
fn cores_where_others_run_can_be_refused() {
    let alone = policy_with(
        "name = \"signer\"",
        "name = \"signer\"\nwhole-cores = [1, 1]\nshared-cores = false",
    );
    let both = changed(0, |signer| signer.whole_cores = vec![1]);
    refused(&ask_with(&both, &alone), Code::SharedCores);
    let own = changed(0, |signer| {
        signer.whole_cores = vec![1];
        signer.cores = vec![];
    });
    accepted(&ask_with(&own, &alone));
    // The parser's cores are its own affair.
    let mut strict = alone;
    strict.domains[1].shared_cores = false;
    refused(&ask_with(&own, &strict), Code::SharedCores);
}

#[test]
fn an_extra_sharing_edge_is_refused() {
    let mut third = composition();
    // A third domain that the policy does not know of, reached through the parser.
    if let Domain::Tenant(parser) = &mut third.domains[2] {
        parser.regions.push(window(0x300_0000, 0x1000, 1, 3));
    }
    let mut spy = tenant("signer", 1);
    spy.regions.push(window(0x300_0000, 0x1000, 1, 2));
    third.domains.push(Domain::Tenant(spy));
    let verdict = ask(&third);
    assert!(verdict.has(Code::TooManyDomains), "{:?}", verdict.findings);
    accepted(&ask_with(
        &third,
        &policy_with("name = \"signer\"", "name = \"signer\"\nmost = 2"),
    ));
    let mut two = composition();
    let more = window(0x300_0000, 0x1000, 1, 1);
    if let Domain::Tenant(signer) = &mut two.domains[0] {
        signer.regions.push(more);
    }
    refused(&ask(&two), Code::ForbiddenMemory);
}

/// Memory that should be the signer's alone is shared with domain 0.
#[test]
fn private_memory_that_is_shared_is_refused() {
    let open = changed(0, |signer| {
        let private = &mut signer.regions[0];
        private.sharing = Sharing::Shared;
        private.peers = window(0, 1, 1, 1).peers;
    });
    refused(&ask(&open), Code::ForbiddenMemory);
}

#[test]
fn more_rights_than_allowed_are_refused() {
    let strict = policy_with("rights = [\"rw-\", \"rw-\"]", "rights = [\"rw-\", \"r--\"]");
    refused(&ask_with(&composition(), &strict), Code::ForbiddenMemory);
    let executable = changed(0, |signer| {
        let window = &mut signer.regions[1];
        window.attributes = window.attributes | Attributes::EXECUTE;
    });
    refused(&ask(&executable), Code::ForbiddenMemory);
}

#[test]
fn other_commanders_are_refused() {
    let commanded = changed(0, |signer| signer.commanders = vec![1, 2]);
    refused(&ask(&commanded), Code::ForbiddenCommand);
}

#[test]
fn other_origins_are_refused() {
    let derived = changed(0, |signer| signer.regions[2].origin = 2);
    refused(&ask(&derived), Code::ForbiddenDerivation);
}

#[test]
fn devices_need_permission() {
    let device = Device {
        vendor: 0x1af4,
        device: 0x1041,
        class: 0x02_0000,
    };
    let with = changed(0, |signer| signer.devices.push(device));
    refused(&ask(&with), Code::ForbiddenDevice);
    let rule = "[[device]]\ndevice = \"1af4:1041\"\ndomain = \"signer\"\n\n[[command]]";
    accepted(&ask_with(&with, &policy_with("[[command]]", rule)));
}

#[test]
fn depth_and_presence_are_bounded() {
    let mut nested = composition();
    if let Domain::Tenant(parser) = &mut nested.domains[2] {
        parser.commanders = vec![0];
    }
    let deeper = policy_with(
        "[[command]]\nfrom = \"domain-0\"\nto = \"parser\"",
        "[[command]]\nfrom = \"signer\"\nto = \"parser\"",
    );
    refused(&ask_with(&nested, &deeper), Code::TooDeep);
    let mut deep_enough = deeper;
    deep_enough.most_depth = 2;
    accepted(&ask_with(&nested, &deep_enough));
    let mut alone = changed(0, |signer| {
        signer.regions.pop();
    });
    alone.domains.pop();
    refused(&ask(&alone), Code::MissingDomain);
}

#[test]
fn contradictions_are_refused() {
    let cases: [fn(&mut Composition); 6] = [
        // One side denies the channel.
        |composition| {
            if let Domain::Tenant(parser) = &mut composition.domains[2] {
                parser.regions.pop();
            }
        },
        // One side claims that the other may only read.
        |composition| {
            if let Domain::Tenant(parser) = &mut composition.domains[2] {
                parser.regions[2].peers[0].rights = Attributes::READ;
            }
        },
        // A peer that is not there.
        |composition| {
            if let Domain::Tenant(signer) = &mut composition.domains[0] {
                signer.commanders = vec![1, 7];
            }
        },
        // Somebody who has nothing to do with the subject.
        |composition| {
            composition
                .domains
                .push(Domain::Tenant(tenant("parser", 1)))
        },
        |composition| composition.domains.push(Domain::Opaque),
        |composition| composition.domains.clear(),
    ];
    accepted(&ask(&composition()));
    // Nothing is followed beyond domain 0, so its other domains are strangers.
    for (number, spoil) in cases.into_iter().enumerate() {
        let mut spoilt = composition();
        spoil(&mut spoilt);
        let verdict = ask(&spoilt);
        let codes: Vec<_> = verdict
            .findings
            .iter()
            .map(|finding| finding.code)
            .collect();
        assert_eq!(codes, [Code::Contradiction], "case {number}");
    }
}

fn bound(request: Request<'_>, report_data: Option<&[u8]>, key: Option<&[u8; 32]>) -> Verdict {
    let anchors = anchors();
    let question = Question {
        nonce: NONCE,
        report_data,
        key,
        anchors: &anchors,
        policy: &policy(),
    };
    let evidence = Monitor::genuine().evidence(NONCE, request, &composition());
    verify(&evidence, &question)
}

#[test]
fn an_owners_key_is_not_the_domains() {
    accepted(&bound(SUBJECT, Some(b"report data"), Some(&[9; 32])));
    refused(
        &bound(SUBJECT, None, Some(&[8; 32])),
        Code::BoundKeyMismatch,
    );
    refused(
        &bound(SUBJECT, Some(b"other"), None),
        Code::ReportDataMismatch,
    );
    let without = Request::Subject {
        report_data: b"",
        key: None,
    };
    accepted(&bound(without, None, None));
    refused(
        &bound(without, None, Some(&[9; 32])),
        Code::BoundKeyMismatch,
    );
}

#[test]
fn what_the_owner_fetched_says_nothing_for_the_domain() {
    refused(&bound(Request::Owner, None, None), Code::FetchedByOwner);
    let evidence = Monitor::genuine().evidence(NONCE, Request::Owner, &composition());
    let lenient = policy_with("version = 1", "version = 1\nfetched-by-owner = true");
    accepted(&judge(&evidence, &lenient));
    let anchors = anchors();
    let question = Question {
        nonce: NONCE,
        report_data: None,
        key: Some(&[9; 32]),
        anchors: &anchors,
        policy: &lenient,
    };
    let verdict = verify(&evidence, &question);
    assert!(verdict.has(Code::FetchedByOwner) && verdict.has(Code::BoundKeyMismatch));
}

/// An owner who adds a key to evidence that it fetched has no evidence any more.
#[test]
fn a_token_of_the_owners_with_a_key_is_malformed() {
    use adyton_evidence::token::{Boot, Token};
    let token = Token {
        nonce: NONCE,
        interface: 1,
        security_version: 1,
        boot: Boot::Unmeasured,
        protected: true,
        request: SUBJECT,
        claims: [0; 32],
    };
    let mut bytes = vec![];
    token.encode(&mut bytes).expect("memory");
    assert_eq!(Token::decode(&bytes).expect("a token"), token);
    // The claim -70003, `requested by`, is followed by its value 0.
    let place = bytes
        .windows(6)
        .position(|window| window == [0x3a, 0, 1, 0x11, 0x72, 0]);
    bytes[place.expect("requested by") + 5] = 1;
    assert!(Token::decode(&bytes).is_err());
}

/// Memory that its maker can share with others a moment later.
#[test]
fn memory_that_is_not_closed_is_refused_unless_the_policy_says_otherwise() {
    let open = changed(0, |signer| signer.regions[2].sharing = Sharing::Open);
    refused(&ask(&open), Code::OpenMemory);
    let policy = policy_with("may = [\"attest\"]", "may = [\"attest\"]\nopen = true");
    accepted(&ask_with(&open, &policy));
    // Nobody has it besides the signer, so no edge tells of it.
    let alone = changed(0, |signer| {
        let mut region = window(0x300_0000, 0x1000, 1, 2);
        region.sharing = Sharing::Open;
        region.peers.clear();
        signer.regions.push(region);
    });
    refused(&ask(&alone), Code::OpenMemory);
    accepted(&ask_with(&alone, &policy));
}

#[test]
fn a_machine_without_iommu_is_refused_unless_the_policy_says_otherwise() {
    let mut monitor = Monitor::genuine();
    accepted(&ask(&composition()));
    monitor.protected = false;
    let evidence = monitor.evidence(NONCE, SUBJECT, &composition());
    refused(&judge(&evidence, &policy()), Code::Unprotected);
    let lenient = policy_with("version = 1", "version = 1\nwithout-iommu = true");
    accepted(&judge(&evidence, &lenient));
}
