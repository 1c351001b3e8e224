//! Policies that are empty, misspelt, or allow nothing.

use adyton_evidence::files::{read_anchors, read_policy};
use adyton_evidence::verdict::Code;

use crate::scene::{
    accepted, anchors_text, composition, genuine, judge, policy, policy_text, refused,
};

#[test]
fn an_empty_policy_is_refused() {
    assert!(read_policy("").is_err());
    let head = "version = 1\nname = \"\"\nsubject = \"signer\"\nsecurity-version = 1\n";
    let empty = read_policy(head).expect("a policy without domains");
    refused(&judge(&genuine(&composition()), &empty), Code::EmptyPolicy);
}

#[test]
fn a_policy_that_allows_nothing_is_refused_as_such() {
    let evidence = genuine(&composition());
    let mut nothing = policy();
    nothing.domains[0].measurements.clear();
    refused(&judge(&evidence, &nothing), Code::PolicyAllowsNothing);
    let mut none = policy();
    none.domains[0].count = [0, 0];
    refused(&judge(&evidence, &none), Code::PolicyAllowsNothing);
    accepted(&judge(&evidence, &policy()));
}

#[test]
fn without_rules_for_edges_every_edge_is_refused() {
    let mut strict = policy();
    strict.edges.clear();
    let verdict = judge(&genuine(&composition()), &strict);
    let count = |code| {
        verdict
            .findings
            .iter()
            .filter(|finding| finding.code == code)
            .count()
    };
    let counts = [
        Code::ForbiddenMemory,
        Code::ForbiddenCommand,
        Code::ForbiddenDerivation,
    ]
    .map(count);
    assert_eq!(counts, [3, 2, 2]);
}

#[test]
fn misspelt_words_are_errors() {
    assert!(read_policy(&policy_text()).is_ok());
    for (right, wrong) in [
        ("measurement =", "measurment ="),
        ("may =", "might ="),
        ("[\"attest\"]", "[\"atest\"]"),
        ("[[memory]]", "[[memmory]]"),
        ("between = [\"signer\"", "between = [\"singer\""),
        ("subject = \"signer\"", "subject = \"singer\""),
        ("most = \"16K\"", "most = \"16Q\""),
        ("rights = [\"rw-\"", "rights = [\"wr-\""),
        ("version = 1", "version = 2"),
        ("security-version = 1", ""),
        ("name = \"parser\"", "name = \"signer\""),
        ("name = \"parser\"", "name = \"domain-0\""),
        ("to = \"signer\"", "to = \"domain-0\""),
    ] {
        let text = policy_text();
        assert!(text.contains(right), "{right}");
        assert!(
            read_policy(&text.replacen(right, wrong, 1)).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn anchors_are_read_as_strictly() {
    assert!(read_anchors(&anchors_text()).is_ok());
    for (right, wrong) in [
        ("key =", "keys ="),
        ("[[machine]]", "[[machines]]"),
        ("pcrs = { 0 =", "pcrs = { 4 ="),
        ("pcrs = { 0 =", "pcrs = { 1 ="),
        ("kernel =", "kernal ="),
        ("version = 1", "version = 3"),
    ] {
        let text = anchors_text();
        assert!(text.contains(right), "{right}");
        assert!(
            read_anchors(&text.replacen(right, wrong, 1)).is_err(),
            "{wrong}"
        );
    }
    let text = anchors_text();
    let line = text
        .lines()
        .find(|line| line.starts_with("initrd"))
        .expect("a line");
    assert!(read_anchors(&text.replace(line, "")).is_err());
}

/// What the document shows is what is read.
#[test]
fn the_documents_examples_are_read() {
    let document = include_str!("../../../docs/policy.md");
    let mut blocks = document.split("```toml").skip(1).map(|rest| {
        let block = rest.split("```").next().expect("a block");
        // Digests are shortened there.
        let parts = block.split('"').map(|part| {
            let digest = part.contains('…') && !part.contains('#');
            if digest { "00".repeat(32) } else { part.into() }
        });
        parts.collect::<Vec<_>>().join("\"")
    });
    let [policy, anchors, enclave] = [blocks.next(), blocks.next(), blocks.next()];
    let policy = read_policy(&policy.expect("a policy")).expect("it is read");
    assert_eq!((policy.domains.len(), policy.edges.len()), (2, 5));
    let anchors = read_anchors(&anchors.expect("anchors")).expect("they are read");
    assert_eq!((anchors.machines.len(), anchors.loaders.len()), (1, 1));
    let policy = read_policy(&enclave.expect("an enclave")).expect("it is read");
    let rule = policy.enclave.expect("a rule");
    assert_eq!((rule.version, rule.flags, rule.xfrm), (3, 4, 3));
}
