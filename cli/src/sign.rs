//! `adyton sign`: who stands behind a domain, in a file that the domain can show to the monitor (`docs/attestation.md`, section 8).

use std::fs;
use std::path::{Path, PathBuf};

use adyton::abi::PAGE_SIZE;
use adyton::convention::SIGNATURE_WINDOW;
use adyton_secrets::signature::{SIGNED, SIZE, Statement};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};

use crate::Arguments;
use crate::failure::Failure;
use crate::identity::read;
use crate::measure;
use crate::show::hexadecimal;

/// Whose it is, and what it would get.
#[derive(clap::Args)]
#[group(id = "signed")]
pub struct Options {
    /// The signer's private key, Ed25519, PKCS#8 in PEM: `openssl genpkey -algorithm ed25519`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The signer's number for the product: domains of one product share keys
    #[arg(long, value_name = "N")]
    product: u64,
    /// The version: it gets the keys of smaller ones too
    #[arg(long, value_name = "N")]
    version: u64,
    /// Where the signature goes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    measured: measure::Options,
}

/// Signs the domain as `run --signature` makes it.
pub fn print(arguments: &Arguments, options: &Options) -> Result<(), Failure> {
    let key = signing_key(&options.key)?;
    let measurement = options.measured.measurement(|program| {
        program.windows[SIGNATURE_WINDOW] = PAGE_SIZE;
    })?;
    let statement = Statement {
        measurement,
        product: options.product,
        version: options.version,
        signer: key.verifying_key().to_bytes(),
    };
    let signature = signature(&statement, &key);
    fs::write(&options.output, signature).map_err(Failure::file(&options.output))?;
    let signer = hexadecimal(&adyton_evidence::hash(&statement.signer));
    let measurement = hexadecimal(&measurement);
    if arguments.json {
        let result = serde_json::json!({ "measurement": measurement, "signer": signer });
        say!("{result:#}");
    } else {
        say!("measurement  {measurement}");
        say!("signer       {signer}");
    }
    Ok(())
}

fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let key = SigningKey::from_pkcs8_pem(&read(path)?);
    key.map_err(|_| Failure::unusable(path, "not a private Ed25519 key in PEM"))
}

fn signature(statement: &Statement, key: &SigningKey) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let (signed, signature) = bytes.split_at_mut(SIGNED);
    signed.copy_from_slice(&statement.encode());
    signature.copy_from_slice(&key.sign(signed).to_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use adyton_secrets::signature::{Check, Identity};

    use super::*;

    #[test]
    fn the_monitor_takes_it_for_this_domain_and_no_other() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let signer = key.verifying_key().to_bytes();
        let statement = Statement {
            measurement: [1; 32],
            product: 7,
            version: 2,
            signer,
        };
        let bytes = signature(&statement, &key);
        let mut check = Check::begin(&bytes, &[1; 32]).unwrap();
        let outcome = std::iter::repeat_with(|| check.advance()).flatten().next();
        let identity = Identity {
            signer: adyton_evidence::hash(&signer),
            product: 7,
            version: 2,
        };
        assert_eq!(outcome, Some(Ok(identity)));
        assert!(Check::begin(&bytes, &[2; 32]).is_err());
    }
}
