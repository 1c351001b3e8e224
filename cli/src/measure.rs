//! `adyton measure`: the measurement of a domain that does not exist yet.

use adyton::devices::Kind;
use adyton::{Image, Program};

use crate::Arguments;
use crate::failure::Failure;
use crate::run;
use crate::show::{hexadecimal, parse_size};

/// What the domain would get.
#[derive(clap::Args)]
#[group(id = "measured")]
pub struct Options {
    /// A shared window besides the console, as programs that build domains themselves may add: number, size, and :r where the
    /// domain may only read
    #[arg(long = "window", value_name = "NUMBER=SIZE[:r]")]
    windows: Vec<String>,
    /// A PCI function that it will be given: vendor, device and class in hexadecimal, and the bytes of its registers
    #[arg(long, value_name = "VENDOR:DEVICE:CLASS=SIZE")]
    device: Option<String>,
    #[command(flatten)]
    program: run::Options,
}

impl Options {
    /// The measurement, after `change` has changed what the domain would get.
    pub fn measurement(&self, change: impl FnOnce(&mut Program<'_>)) -> Result<[u8; 32], Failure> {
        let file = self.program.read()?;
        let image = Image::parse(&file).map_err(adyton::Failure::from)?;
        let mut program = self.program.program(image)?;
        for text in &self.windows {
            let (number, size, read_only) =
                window(text).ok_or_else(|| Failure::Window(text.clone()))?;
            let slot = program.windows.get_mut(number);
            *slot.ok_or_else(|| Failure::Window(text.clone()))? = size;
            program.read_only[number] = read_only;
        }
        if let Some(text) = &self.device {
            let kind = device(text).ok_or_else(|| Failure::Device(text.clone()))?;
            program.device = Some(kind);
        }
        change(&mut program);
        Ok(adyton::measurement(&program)?)
    }
}

pub fn print(arguments: &Arguments, options: &Options) -> Result<(), Failure> {
    let measurement = hexadecimal(&options.measurement(|_| ())?);
    if arguments.json {
        say!("{:#}", serde_json::json!({ "measurement": measurement }));
    } else {
        say!("{measurement}");
    }
    Ok(())
}

fn device(text: &str) -> Option<Kind> {
    let (names, size) = text.split_once('=')?;
    let mut names = names.split(':');
    let mut number = || u32::from_str_radix(names.next()?, 16).ok();
    Some(Kind {
        vendor: number()?.try_into().ok()?,
        device: number()?.try_into().ok()?,
        class: number()?,
        size: parse_size(size)?,
    })
}

fn window(text: &str) -> Option<(usize, u64, bool)> {
    let (number, rest) = text.split_once('=')?;
    let (size, read_only) = match rest.strip_suffix(":r") {
        Some(size) => (size, true),
        None => (rest, false),
    };
    Some((number.parse().ok()?, parse_size(size)?, read_only))
}
