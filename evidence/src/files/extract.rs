//! The parts of evidence that any TPM verifier takes, as files; and keys as people keep them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};

use super::hexadecimal;
use crate::bundle::Bundle;
use crate::cbor::decode::Malformed;
use crate::cose::Sign1;
use crate::platform::{Platform, QUOTED, decode_log, qualifying_data};
use crate::token::Token;
use crate::tpm::Key;
use crate::{Hash, hash};

/// SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480): algorithm and curve never change.
const P256_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Files for other verifiers, by name. Nothing is checked.
///
/// # Errors
/// [`Malformed`]; `Range` where the boot was not measured or the attestation key is of another kind.
pub fn extract(evidence: &[u8]) -> Result<Vec<(&'static str, Vec<u8>)>, Malformed> {
    let bundle = Bundle::decode(evidence)?;
    let signed = Sign1::decode(bundle.token)?;
    let token = Token::decode(signed.payload)?;
    let sets = bundle.measured.ok_or(Malformed::Range)?;
    let platform = Platform::decode(sets.platform)?;
    let key = Key::decode(platform.key).map_err(|_| Malformed::Range)?;
    let qualifying = qualifying_data(&signed.key, token.nonce);
    let values = QUOTED.iter().zip(&platform.values);
    let values = values.map(|(pcr, value)| format!("{pcr}: {}\n", hexadecimal(value)));
    Ok(Vec::from([
        ("quote", platform.quote.into()),
        ("signature", platform.signature.into()),
        ("ak.tpmt", platform.key.into()),
        ("ak.pem", pem(&key).into_bytes()),
        ("qualification", hexadecimal(&qualifying).into_bytes()),
        ("pcrs", values.collect::<String>().into_bytes()),
        ("log", decode_log(sets.log)?.into()),
    ]))
}

fn pem(key: &Key) -> String {
    let der = [&P256_HEAD[..], &key.x, &key.y].concat();
    let text = Base64::encode_string(&der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END PUBLIC KEY-----\n"
}

/// The digest by which evidence binds a key: SHA-256 of its SubjectPublicKeyInfo, which `file` holds in DER or PEM.
#[must_use]
pub fn key_digest(file: &[u8]) -> Option<Hash> {
    let Some(text) = core::str::from_utf8(file)
        .ok()
        .filter(|text| text.contains("-----BEGIN"))
    else {
        return (file.first() == Some(&0x30)).then(|| hash(file));
    };
    let body = text
        .split_once("-----BEGIN PUBLIC KEY-----")?
        .1
        .split_once("-----END PUBLIC KEY-----")?
        .0;
    let digits: String = body.split_whitespace().collect();
    Some(hash(&Base64::decode_vec(&digits).ok()?))
}
