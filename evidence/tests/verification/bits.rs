//! Every bit of evidence matters.

use adyton_evidence::verify::{Question, verify};

use crate::scene::{NONCE, accepted, anchors, composition, genuine, judge, policy};

/// Every bit of an evidence, log included, flipped: refused each time.
#[test]
fn every_flipped_bit_is_refused() {
    let (anchors, policy) = (anchors(), policy());
    let question = Question {
        nonce: NONCE,
        report_data: None,
        key: None,
        anchors: &anchors,
        policy: &policy,
    };
    let mut evidence = genuine(&composition());
    accepted(&verify(&evidence, &question));
    for bit in 0..evidence.len() * 8 {
        evidence[bit / 8] ^= 1 << (bit % 8);
        assert!(!verify(&evidence, &question).is_accepted(), "bit {bit}");
        evidence[bit / 8] ^= 1 << (bit % 8);
    }
    accepted(&verify(&evidence, &question));
}

#[test]
fn every_cut_and_every_added_byte_is_refused() {
    let evidence = genuine(&composition());
    let policy = policy();
    for length in (0..evidence.len()).step_by(7) {
        assert!(
            !judge(&evidence[..length], &policy).is_accepted(),
            "cut at {length}"
        );
    }
    for more in [0, 0xff, 0xf6] {
        let mut longer = evidence.clone();
        longer.push(more);
        assert!(!judge(&longer, &policy).is_accepted());
    }
}
