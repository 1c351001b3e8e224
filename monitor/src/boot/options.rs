//! The monitor's words on the command line.
//!
//! The line goes to domain 0 whole: Linux ignores dotted parameters of modules it does not have.
//!
//! | word | meaning | default |
//! | --- | --- | --- |
//! | `adyton.pool=SIZE[@PLACE]` | memory for domains; place: an address, `above4g` or `below4g` | an eighth of memory, at least 32 MiB |
//! | `adyton.reserve=SIZE` or `=1/N` | the monitor's own memory, or its share of the pool | 1/8 of the pool, at least 8 MiB |
//! | `adyton.epc=SIZE` | memory for SGX enclaves, 8 MiB to half of memory | none: the machine has no SGX |
//! | `adyton.without-iommu=allow` or `=refuse` | whether there may be confidential domains on a machine without an IOMMU | `refuse` |
//! | `adyton.log=console` | show the log on the console while booting | only kept in memory |
//! | `adyton.patience=MS` | milliseconds that a core may take to answer before what waits for it is quarantined | 2000 |
//!
//! Sizes take the suffixes K, M, G.

use crate::memory::{Place, Reserve};

/// What the words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of pool, if said.
    pub pool_size: Option<u64>,
    /// Where the pool goes.
    pub pool_place: Place,
    /// How much memory the monitor sets aside.
    pub reserve: Reserve,
    /// Bytes of memory for enclaves; 0 for none.
    pub epc_size: u64,
    /// Show the log on the console until domain 0 starts.
    pub log_to_console: bool,
    /// Whether domains may be confidential although no IOMMU keeps devices out of them.
    pub allows_unprotected: bool,
    /// How many milliseconds a core may take to answer.
    pub patience: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pool_size: None,
            pool_place: Place::default(),
            reserve: Reserve::default(),
            epc_size: 0,
            log_to_console: false,
            allows_unprotected: false,
            patience: 2000,
        }
    }
}

/// A word with a value that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOption<'a>(pub &'a str);

impl Options {
    /// Reads the monitor's words in `line`.
    ///
    /// # Errors
    /// If one of them has a value that cannot be read: better not to boot than with another pool than was asked for.
    pub fn parse(line: &str) -> Result<Self, BadOption<'_>> {
        let mut options = Self::default();
        for word in line.split_ascii_whitespace() {
            let Some((name, value)) = word
                .strip_prefix("adyton.")
                .and_then(|word| word.split_once('='))
            else {
                continue;
            };
            options.set(name, value).ok_or(BadOption(word))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "pool" => {
                let (size, place) = value.split_once('@').unwrap_or((value, ""));
                self.pool_size = Some(parse_size(size)?);
                self.pool_place = match place {
                    "" => Place::Anywhere,
                    "above4g" => Place::Above4G,
                    "below4g" => Place::Below4G,
                    address => Place::At(parse_size(address)?),
                };
            }
            "reserve" => {
                self.reserve = match value.strip_prefix("1/") {
                    Some(divisor) => {
                        Reserve::Fraction(divisor.parse().ok().filter(|&divisor| divisor > 0)?)
                    }
                    None => Reserve::Size(parse_size(value)?),
                };
            }
            "epc" => self.epc_size = parse_size(value)?,
            "patience" => self.patience = value.parse().ok().filter(|&patience| patience > 0)?,
            "without-iommu" => {
                self.allows_unprotected = match value {
                    "allow" => true,
                    "refuse" => false,
                    _ => return None,
                };
            }
            "log" => self.log_to_console = value == "console",
            // A word of a later version must not keep an older one from booting.
            _ => {}
        }
        Some(())
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 10),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 20),
        b'G' | b'g' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    let number = match digits.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok()?,
        None => digits.parse().ok()?,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let options =
            Options::parse("console=ttyS0 adyton.pool=64M@above4g x adyton.reserve=1/4").unwrap();
        assert_eq!(options.pool_size, Some(64 << 20));
        assert_eq!(options.pool_place, Place::Above4G);
        assert_eq!(options.reserve, Reserve::Fraction(4));
        let options = Options::parse("adyton.pool=1G@0x10000000 adyton.reserve=16M").unwrap();
        assert_eq!(options.pool_place, Place::At(0x1000_0000));
        assert_eq!(options.reserve, Reserve::Size(16 << 20));
        assert_eq!(options.patience, 2000);
        let options = Options::parse("adyton.patience=500").unwrap();
        assert_eq!(options.patience, 500);
        assert!(!options.allows_unprotected);
        let options = Options::parse("adyton.without-iommu=allow").unwrap();
        assert!(options.allows_unprotected);
        let options = Options::parse("adyton.epc=32M").unwrap();
        assert_eq!(options.epc_size, 32 << 20);
        assert_eq!(Options::parse("quiet").unwrap(), Options::default());
    }

    #[test]
    fn nonsense_is_refused() {
        for word in [
            "adyton.pool=",
            "adyton.pool=12Q",
            "adyton.pool=1M@moon",
            "adyton.reserve=1/0",
            "adyton.patience=0",
            "adyton.without-iommu=",
            "adyton.epc=x",
        ] {
            assert_eq!(Options::parse(word), Err(BadOption(word)));
        }
        assert!(Options::parse("adyton.pool=99999999999G").is_err());
    }
}
