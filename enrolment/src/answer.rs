//! What a machine answers, and what it proves.

use adyton_evidence::platform::{Values, qualifying_data};
use adyton_evidence::tpm::{Attest, Key};
use adyton_evidence::{Hash, hash};

use crate::Refusal;
use crate::challenge::SIZE;

/// A machine's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the challenge held.
    pub content: [u8; SIZE],
    /// The monitor's key, by which the quote's qualifying data is made.
    pub monitor_key: [u8; 32],
    /// The quote: TPMS_ATTEST, over the registers that evidence quotes, with the content as nonce.
    pub statement: Vec<u8>,
    /// Its signature: TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// The values of those registers.
    pub values: Values,
}

/// What is known of a machine then.
#[derive(Clone, Debug)]
pub struct Machine {
    /// SHA-256 of the attestation key's TPMT_PUBLIC.
    pub key: Hash,
    /// PCRs 0, 2 and 7 with their values.
    pub firmware: [(u32, Hash); 3],
}

/// The name of an attestation key, which must be one.
///
/// # Errors
/// [`Refusal::Key`].
pub fn name(public: &[u8]) -> Result<[u8; 34], Refusal> {
    Key::decode(public).map_err(Refusal::Key)?;
    let mut name = [0; 34];
    name[1] = 0x0b;
    name[2..].copy_from_slice(&hash(public));
    Ok(name)
}

/// Judges the answer to a challenge that held `content`, for the attestation key `public`.
///
/// # Errors
/// [`Refusal`].
pub fn judge(answer: &Answer, public: &[u8], content: &[u8; SIZE]) -> Result<Machine, Refusal> {
    if answer.content != *content {
        return Err(Refusal::NotOpened);
    }
    let key = Key::decode(public).map_err(Refusal::Key)?;
    if !key.signed(&answer.statement, &answer.signature) {
        return Err(Refusal::Statement("its signature is wrong"));
    }
    let quote = Attest::decode(&answer.statement);
    let quote = quote.map_err(|_| Refusal::Statement("it is no quote"))?;
    if quote.extra != qualifying_data(&answer.monitor_key, content) {
        return Err(Refusal::Statement("it is about another nonce or monitor"));
    }
    if !quote.covers_quoted || quote.digest != hash(answer.values.as_flattened()) {
        return Err(Refusal::Statement("it is about other registers"));
    }
    // The quoted registers begin with 0 to 7.
    let value = |register: u32| (register, answer.values[register as usize]);
    Ok(Machine {
        key: hash(public),
        firmware: [value(0), value(2), value(7)],
    })
}

impl Machine {
    /// As anchors for `adyton verify`.
    #[must_use]
    pub fn anchors(&self, name: &str) -> String {
        let quoted = toml::Value::String(name.to_owned());
        let firmware = toml::Value::String(format!("firmware of {name}"));
        let digits = adyton_evidence::files::hexadecimal;
        let values = self
            .firmware
            .map(|(pcr, value)| format!("{pcr} = \"{}\"", digits(&value)));
        format!(
            "version = 1\n\n[[machine]]\nname = {quoted}\nkey = \"{}\"\n\n[[firmware]]\nname = {firmware}\npcrs = {{ {} }}\n",
            digits(&self.key),
            values.join(", ")
        )
    }
}
