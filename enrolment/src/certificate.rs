//! The certificate of an endorsement key, and its chain (RFC 5280; TCG EK Credential Profile, version 2.5).
//!
//! As much of X.509 as makers of TPMs use. What is not understood and critical is refused.

use std::time::SystemTime;

use p256::ecdsa::signature::Verifier;
use rsa::pkcs8::DecodePublicKey;
use rsa::sha2::{Sha256, Sha384};
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha2::Digest;
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use crate::Refusal;

/// Certificates between that of the TPM and a root.
const LONGEST_CHAIN: usize = 4;

/// tcg-kp-EKCertificate.
const ENDORSEMENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// Critical extensions that are looked at, or that say nothing which matters here: of the subject's names an endorsement certificate's is the TPM's model.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const UNDERSTOOD: [ObjectIdentifier; 4] = [BASIC, USAGE, NAMES, PURPOSE];

/// An endorsement key.
pub type EndorsementKey = RsaPublicKey;

/// Reads certificates in PEM, one after another.
///
/// # Errors
/// [`Refusal::Unreadable`].
pub fn read_all(pem: &[u8]) -> Result<Vec<Certificate>, Refusal> {
    Certificate::load_pem_chain(pem).map_err(|error| unreadable("a certificate", error))
}

/// Reads the certificate that a TPM shows. Makers leave bytes behind it.
///
/// # Errors
/// [`Refusal::Unreadable`].
pub fn read_shown(der: &[u8]) -> Result<Certificate, Refusal> {
    let read = || Certificate::decode(&mut SliceReader::new(der)?);
    read().map_err(|error| unreadable("the TPM's certificate", error))
}

fn unreadable(what: &'static str, error: impl std::fmt::Display) -> Refusal {
    Refusal::Unreadable(what, error.to_string())
}

/// The endorsement key in a certificate that leads to one of `roots`, by others of `between`, all valid at `now`.
///
/// # Errors
/// [`Refusal`].
pub fn endorsement_key(
    certificate: &Certificate,
    between: &[Certificate],
    roots: &[Certificate],
    now: SystemTime,
) -> Result<EndorsementKey, Refusal> {
    let purpose = extension::<ExtendedKeyUsage>(certificate)?;
    if !purpose.is_some_and(|purpose| purpose.0.contains(&ENDORSEMENT)) {
        return Err(Refusal::WrongKind("its purpose is another"));
    }
    if extension::<BasicConstraints>(certificate)?.is_some_and(|basic| basic.ca) {
        return Err(Refusal::WrongKind("it is an authority's"));
    }
    let mut current = certificate.clone();
    for _ in 0..=LONGEST_CHAIN {
        require_usable(&current, now)?;
        let issued = |issuer: &&Certificate| is_issuer(issuer, &current, now);
        if roots.iter().any(|root| issued(&root)) {
            return key(certificate);
        }
        match between.iter().find(issued) {
            Some(issuer) => current = issuer.clone(),
            None => break,
        }
    }
    Err(Refusal::NoChain)
}

/// It is valid now, and has nothing critical that is not understood.
fn require_usable(certificate: &Certificate, now: SystemTime) -> Result<(), Refusal> {
    let validity = certificate.tbs_certificate().validity();
    let (begin, end) = (
        validity.not_before.to_system_time(),
        validity.not_after.to_system_time(),
    );
    if now < begin || now > end {
        return Err(Refusal::WrongKind(
            "a certificate of its chain is not valid now",
        ));
    }
    let extensions = certificate.tbs_certificate().extensions();
    let is_strange = |extension: &x509_cert::ext::Extension| {
        extension.critical && !UNDERSTOOD.contains(&extension.extn_id)
    };
    if extensions.is_some_and(|all| all.iter().any(is_strange)) {
        return Err(Refusal::WrongKind("a critical extension is not understood"));
    }
    extension::<SubjectAltName>(certificate).map(drop)
}

/// Whether `issuer` is an authority and has signed `certificate`.
fn is_issuer(issuer: &Certificate, certificate: &Certificate, now: SystemTime) -> bool {
    let is_authority = extension::<BasicConstraints>(issuer)
        .ok()
        .flatten()
        .is_some_and(|basic| basic.ca);
    let may_sign = extension::<KeyUsage>(issuer)
        .is_ok_and(|usage| usage.is_none_or(|usage| usage.key_cert_sign()));
    let names = issuer.tbs_certificate().subject() == certificate.tbs_certificate().issuer();
    let usable = require_usable(issuer, now).is_ok();
    is_authority && may_sign && names && usable && has_signed(issuer, certificate).unwrap_or(false)
}

fn has_signed(issuer: &Certificate, certificate: &Certificate) -> Option<bool> {
    let signed = certificate.tbs_certificate().to_der().ok()?;
    let signature = certificate.signature().as_bytes()?;
    let algorithm = certificate.signature_algorithm();
    if algorithm != certificate.tbs_certificate().signature() {
        return None;
    }
    let key = issuer.tbs_certificate().subject_public_key_info();
    if algorithm.oid == ECDSA_SHA256 {
        let key =
            p256::ecdsa::VerifyingKey::from_sec1_bytes(key.subject_public_key.as_bytes()?).ok()?;
        let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
        return Some(key.verify(&signed, &signature).is_ok());
    }
    let key = RsaPublicKey::from_public_key_der(&key.to_der().ok()?).ok()?;
    let outcome = if algorithm.oid == RSA_SHA256 {
        let digest = sha2::Sha256::digest(&signed);
        key.verify(Pkcs1v15Sign::new::<Sha256>(), &digest, signature)
    } else if algorithm.oid == RSA_SHA384 {
        let digest = sha2::Sha384::digest(&signed);
        key.verify(Pkcs1v15Sign::new::<Sha384>(), &digest, signature)
    } else {
        return None;
    };
    Some(outcome.is_ok())
}

/// The key that a certificate is about, RSA with 2048 bits.
fn key(certificate: &Certificate) -> Result<RsaPublicKey, Refusal> {
    use rsa::traits::PublicKeyParts;

    let info = certificate.tbs_certificate().subject_public_key_info();
    let der = info
        .to_der()
        .map_err(|error| unreadable("the endorsement key", error))?;
    let key = RsaPublicKey::from_public_key_der(&der);
    let key = key.map_err(|error| unreadable("the endorsement key", error))?;
    if key.size() != 256 {
        return Err(Refusal::WrongKind("its key is not RSA with 2048 bits"));
    }
    Ok(key)
}

fn extension<'a, T: Decode<'a> + x509_cert::der::oid::AssociatedOid>(
    certificate: &'a Certificate,
) -> Result<Option<T>, Refusal> {
    let found = certificate.tbs_certificate().get_extension::<T>();
    let found = found.map_err(|error| Refusal::Unreadable("an extension", error.to_string()))?;
    Ok(found.map(|(_, value)| value))
}
