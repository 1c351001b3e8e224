//! How identity, challenge and answer travel: small TOML files, bytes in hexadecimal.

use adyton_evidence::files::{from_hexadecimal, hexadecimal};
use adyton_evidence::platform::Values;
use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::answer::Answer;
use crate::challenge::Challenge;

/// Bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digits(pub Vec<u8>);

impl Serialize for Digits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hexadecimal(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_hexadecimal(&text).map(Self);
        bytes.ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
    }
}

/// What a machine says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdentityFile {
    /// The TPMT_PUBLIC of its attestation key.
    pub attestation_key: Digits,
    /// The certificate of its endorsement key, DER.
    pub certificate: Digits,
}

/// A challenge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChallengeFile {
    /// See [`Challenge::credential`].
    pub credential: Digits,
    /// See [`Challenge::secret`].
    pub secret: Digits,
}

/// What the challenger keeps to himself until the answer comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeptFile {
    /// The TPMT_PUBLIC of the attestation key that was challenged.
    pub attestation_key: Digits,
    /// What the challenge holds.
    pub content: Digits,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AnswerFile {
    /// See [`Answer::content`].
    pub content: Digits,
    /// See [`Answer::monitor_key`].
    pub monitor_key: Digits,
    /// See [`Answer::statement`].
    pub statement: Digits,
    /// See [`Answer::signature`].
    pub signature: Digits,
    /// See [`Answer::values`], one after another.
    pub values: Digits,
}

impl From<Challenge> for ChallengeFile {
    fn from(challenge: Challenge) -> Self {
        Self {
            credential: Digits(challenge.credential),
            secret: Digits(challenge.secret),
        }
    }
}

impl AnswerFile {
    /// The answer.
    ///
    /// # Errors
    /// If something has the wrong size.
    pub fn answer(&self) -> Result<Answer, Refusal> {
        let wrong = || Refusal::Unreadable("the answer", "something has another size".to_owned());
        let fixed = |digits: &Digits| digits.0.as_slice().try_into().map_err(|_| wrong());
        let (values, rest) = self.values.0.as_chunks::<32>();
        let values: Values = values.try_into().map_err(|_| wrong())?;
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Answer {
            content: fixed(&self.content)?,
            monitor_key: fixed(&self.monitor_key)?,
            statement: self.statement.0.clone(),
            signature: self.signature.0.clone(),
            values,
        })
    }
}

/// As text.
///
/// # Panics
/// Never: all of these can be written.
#[must_use]
pub fn write(file: &impl Serialize) -> String {
    toml::to_string(file).expect("strings in one table")
}

/// From text.
///
/// # Errors
/// [`Refusal::Unreadable`], also where a word is not known.
pub fn read<T: for<'de> Deserialize<'de>>(what: &'static str, text: &str) -> Result<T, Refusal> {
    toml::from_str(text).map_err(|error| Refusal::Unreadable(what, error.to_string()))
}
