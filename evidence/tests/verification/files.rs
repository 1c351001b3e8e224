//! Results for programs, and what the documents promise.

use adyton_evidence::files::{ear, json};
use adyton_evidence::verdict::Code;
use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signature, SigningKey};
use serde_json::Value;

use crate::scene::{NONCE, changed, composition, genuine, judge, policy};

/// The key of 32 bytes 05, as OpenSSL writes it.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUF
-----END PRIVATE KEY-----
";

fn claims(token: &str) -> Value {
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let signature = Base64UrlUnpadded::decode_vec(signature).expect("base64");
    let signature = Signature::from_slice(&signature).expect("64 bytes");
    let key = SigningKey::from_bytes(&[5; 32]).verifying_key();
    key.verify_strict(signed.as_bytes(), &signature)
        .expect("signed");
    let (header, claims) = signed.split_once('.').expect("two parts");
    let header = Base64UrlUnpadded::decode_vec(header).expect("base64");
    assert_eq!(
        serde_json::from_slice::<Value>(&header).expect("JSON")["alg"],
        "EdDSA"
    );
    let claims = Base64UrlUnpadded::decode_vec(claims).expect("base64");
    serde_json::from_slice(&claims).expect("JSON")
}

#[test]
fn an_accepted_composition_is_affirmed() {
    let verdict = judge(&genuine(&composition()), &policy());
    let claims = claims(&ear(&verdict, &policy(), NONCE, 1_700_000_000, KEY).expect("a token"));
    assert_eq!(claims["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
    assert_eq!(claims["iat"], 1_700_000_000);
    assert_eq!(claims["eat_nonce"], Base64UrlUnpadded::encode_string(NONCE));
    let submods = claims["submods"].as_object().expect("submodules");
    assert_eq!(submods.len(), 3);
    assert!(
        submods
            .values()
            .all(|part| part["ear_status"] == "affirming"),
        "{submods:?}"
    );
}

#[test]
fn a_refused_one_is_not() {
    let debug = changed(2, |parser| parser.measurement = Some([1; 32]));
    let verdict = judge(&genuine(&debug), &policy());
    let claims = claims(&ear(&verdict, &policy(), NONCE, 0, KEY).expect("a token"));
    let status = |name: &str| claims["submods"][name]["ear_status"].clone();
    assert_eq!(status("domain-2-unknown"), "contraindicated");
    assert_eq!(status("platform"), "affirming");
    let replay = judge(&genuine(&composition())[1..], &policy());
    let claims = self::claims(&ear(&replay, &policy(), NONCE, 0, KEY).expect("a token"));
    assert_eq!(
        claims["submods"]["platform"]["ear_status"],
        "contraindicated"
    );
    assert!(ear(&replay, &policy(), NONCE, 0, "no key").is_err());
}

/// Whatever is refused, no result of it is all good.
#[test]
fn every_reason_shows_in_the_result() {
    use adyton_evidence::verdict::{About, Finding};
    for code in Code::ALL {
        let mut verdict = judge(&genuine(&composition()), &policy());
        for about in [About::Whole, About::Domain(0), About::Edge(0)] {
            verdict.findings = vec![Finding {
                code: *code,
                about,
                detail: String::new(),
            }];
            let claims = claims(&ear(&verdict, &policy(), NONCE, 0, KEY).expect("a token"));
            let submods = claims["submods"].as_object().expect("submodules").clone();
            let bad = submods
                .values()
                .any(|part| part["ear_status"] == "contraindicated");
            assert!(bad, "{code:?} {about:?}");
        }
    }
}

#[test]
fn json_tells_reasons_and_edges() {
    let debug = changed(0, |signer| signer.epoch = 3);
    let result = json(&judge(&genuine(&debug), &policy()), &policy());
    assert_eq!(result["accepted"], false);
    assert_eq!(result["findings"][0]["code"], "changed-after-seal");
    assert_eq!(result["seen"]["domains"][0]["record"]["epoch"], 3);
    assert_eq!(result["seen"]["edges"].as_array().map(Vec::len), Some(7));
}

#[test]
fn codes_are_told_apart() {
    let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
    assert!(Code::ALL.iter().all(|code| code.sentence().ends_with('.')));
}
