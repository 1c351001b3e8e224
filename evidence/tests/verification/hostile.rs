//! CBOR of the worst kinds.

use adyton_abi::policy::Flags;
use adyton_evidence::cbor::decode::{Decoder, Malformed};
use adyton_evidence::cbor::encode::Encoder;
use adyton_evidence::composition::{Composition, Sharing};
use adyton_evidence::platform::{Platform, Values};
use adyton_evidence::software::read_everything;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::scene::{changed, composition, genuine, judge, policy};

fn skip(bytes: &[u8]) -> Result<(), Malformed> {
    Decoder::whole(bytes, Decoder::skip)
}

#[test]
fn what_is_not_deterministic_is_refused() {
    let cases: [(&[u8], Malformed); 16] = [
        (&[0x18, 23], Malformed::NotDeterministic),
        (&[0x19, 0, 255], Malformed::NotDeterministic),
        (&[0x1a, 0, 0, 255, 255], Malformed::NotDeterministic),
        (
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
            Malformed::NotDeterministic,
        ),
        (&[0x58, 1, 0], Malformed::NotDeterministic),
        (&[0x5f, 0x41, 0, 0xff], Malformed::Indefinite),
        (&[0x7f, 0x61, 0x61, 0xff], Malformed::Indefinite),
        (&[0x9f, 0xff], Malformed::Indefinite),
        (&[0xbf, 0xff], Malformed::Indefinite),
        (&[0xa2, 1, 0, 1, 0], Malformed::NotDeterministic),
        (&[0xa2, 2, 0, 1, 0], Malformed::NotDeterministic),
        (&[0x62, 0xc3, 0x28], Malformed::Text),
        (&[0xf6], Malformed::Type),
        (&[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Malformed::Type),
        (&[0x1c], Malformed::Type),
        (&[0, 0], Malformed::Trailing),
    ];
    for (bytes, reason) in cases {
        assert_eq!(skip(bytes), Err(reason), "{bytes:x?}");
    }
    for right in [
        &[0x17][..],
        &[0x18, 24],
        &[0xa2, 1, 0, 2, 0],
        &[0x82, 0x41, 1, 0x61, 0x61],
    ] {
        assert_eq!(skip(right), Ok(()), "{right:x?}");
    }
}

#[test]
fn lengths_beyond_the_end_cost_nothing() {
    for first in [0x5b, 0x7b, 0x9b, 0xbb] {
        for length in [u64::MAX, 1 << 40, 9] {
            let mut bytes = std::vec![first];
            bytes.extend(length.to_be_bytes());
            assert!(skip(&bytes).is_err());
        }
    }
    // A composition that says to have four thousand million domains.
    let bytes = [0xa1, 0x19, 0x01, 0x0a, 0xba, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        Composition::decode(&bytes).err(),
        Some(Malformed::Truncated)
    );
}

#[test]
fn depth_is_bounded() {
    for first in [0x81, 0xa1] {
        let mut bytes = std::vec![first; 100_000];
        bytes.push(0);
        assert!(skip(&bytes).is_err());
        assert!(!judge(&bytes, &policy()).is_accepted());
    }
    let mut shallow = std::vec![0x81; 8];
    shallow.push(0);
    assert_eq!(skip(&shallow), Ok(()));
}

/// The first byte of the domain's map inside the composition, to add pairs to it.
fn with_pair(key: i64, value: u64) -> Vec<u8> {
    let mut bytes = std::vec![];
    let mut encoder = Encoder(&mut bytes);
    // { 266: { "0": { -70010: { 0: 0, key: value } } } }
    let written: Result<(), _> = (|| {
        encoder.map(1)?;
        encoder.integer(266)?;
        encoder.map(1)?;
        encoder.text("0")?;
        encoder.map(1)?;
        encoder.integer(-70_010)?;
        encoder.map(2)?;
        encoder.integer(0)?;
        encoder.unsigned(0)?;
        encoder.integer(key)?;
        encoder.unsigned(value)
    })();
    written.expect("memory");
    bytes
}

#[test]
fn unknown_keys_are_refused_unless_they_are_for_information() {
    assert_eq!(
        Composition::decode(&with_pair(12, 0)).err(),
        Some(Malformed::UnknownKey(12))
    );
    assert_eq!(
        Composition::decode(&with_pair(-1, 0)).err(),
        Some(Malformed::UnknownKey(-1))
    );
    assert_eq!(
        Composition::decode(&with_pair(2, 0)).err(),
        Some(Malformed::Range)
    );
    assert!(Composition::decode(&with_pair(1000, 0)).is_ok());
    assert!(Composition::decode(&with_pair(2000, 0)).is_err());
}

/// Values of other registers than those that are quoted.
#[test]
fn other_registers_are_refused() {
    let platform = Platform {
        quote: b"",
        signature: b"",
        key: b"",
        values: Values::default(),
    };
    let mut bytes = std::vec![];
    platform.encode(&mut bytes).expect("memory");
    assert!(Platform::decode(&bytes).is_ok());
    // The last pair: the number 12, the head of a byte string, 32 bytes.
    let place = bytes.len() - 35;
    assert_eq!(bytes[place], 12);
    bytes[place] = 13;
    assert_eq!(Platform::decode(&bytes).err(), Some(Malformed::Range));
}

/// A region that names a peer twice, and one that is nobody else's and shared.
#[test]
fn regions_that_contradict_themselves_are_refused() {
    let spoilt = [
        changed(0, |signer| {
            let twice = signer.regions[1].peers[0];
            signer.regions[1].peers.push(twice);
        }),
        changed(0, |signer| signer.regions[1].sharing = Sharing::Exclusive),
        changed(0, |signer| signer.regions[1].sharing = Sharing::Lent),
        changed(0, |signer| signer.regions[0].size = 0),
        changed(0, |signer| signer.regions[0].size = u64::MAX),
        changed(0, |signer| signer.still = Flags::DEBUG),
    ];
    for composition in spoilt {
        let mut bytes = std::vec![];
        composition.encode(&mut bytes).expect("memory");
        assert_eq!(Composition::decode(&bytes).err(), Some(Malformed::Range));
    }
    // A core without threads; and none are not written.
    let mut bytes = std::vec![];
    let one = changed(2, |parser| parser.whole_cores = std::vec![1]);
    one.encode(&mut bytes).expect("memory");
    assert_eq!(Composition::decode(&bytes), Ok(one));
    assert_eq!(bytes[bytes.len() - 3..], [11, 0x81, 1]);
    bytes.pop();
    bytes.push(0);
    assert_eq!(Composition::decode(&bytes).err(), Some(Malformed::Range));
    bytes.truncate(bytes.len() - 2);
    bytes.push(0x80);
    let empty = Composition::decode(&bytes).err();
    assert_eq!(empty, Some(Malformed::NotDeterministic));
    let overlapping = changed(0, |signer| signer.regions[0].size = 1 << 30);
    let mut bytes = std::vec![];
    overlapping.encode(&mut bytes).expect("memory");
    let refused = Composition::decode(&bytes).err();
    assert_eq!(refused, Some(Malformed::NotDeterministic));
}

/// Another implementation of CBOR reads all that is written here.
#[test]
fn another_implementation_reads_it() {
    let evidence = genuine(&composition());
    let mut decoder = minicbor::Decoder::new(&evidence);
    assert_eq!(decoder.tag().expect("a tag").as_u64(), 602);
    assert_eq!(decoder.array().expect("an array"), Some(2));
    decoder.bytes().expect("the token");
    let sets = decoder
        .map_iter::<&str, &minicbor::bytes::ByteSlice>()
        .expect("a map");
    let names: Vec<_> = sets
        .map(|set| {
            let (name, claims) = set.expect("a claims set");
            let mut inner = minicbor::Decoder::new(claims);
            inner.skip().expect("well-formed");
            assert_eq!(inner.position(), claims.len());
            name.to_owned()
        })
        .collect();
    assert_eq!(names, ["log", "platform", "composition"]);
}

proptest! {
    /// Whatever comes in, no reader panics, and evidence is not accepted.
    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
        prop_assert!(!judge(&bytes, &policy()).is_accepted());
    }

    /// What is skipped without complaint is exactly what the encoder would write.
    #[test]
    fn accepted_numbers_have_one_encoding(bytes in vec(any::<u8>(), 1..10)) {
        let number = Decoder::whole(&bytes, Decoder::integer);
        if let Ok(number) = number {
            let mut again = std::vec![];
            Encoder(&mut again).integer(number).expect("memory");
            prop_assert_eq!(again, bytes);
        }
    }

    /// Bytes changed within genuine parts: read or refused, never a panic.
    #[test]
    fn changed_compositions_are_read_without_harm(place in any::<usize>(), with in any::<u8>(), cut in any::<usize>()) {
        let mut bytes = std::vec![];
        composition().encode(&mut bytes).expect("memory");
        let place = place % bytes.len();
        bytes[place] = with;
        if let Ok(read) = Composition::decode(&bytes) {
            let mut again = std::vec![];
            read.encode(&mut again).expect("memory");
            prop_assert_eq!(&again, &bytes);
            let _ = adyton_evidence::closure::examine(&read);
        }
        bytes.truncate(cut % (bytes.len() + 1));
        let _ = Composition::decode(&bytes);
    }
}
