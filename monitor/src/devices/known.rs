//! How much each function's base addresses decode, as it was found while the machine booted: of those of bus 0, and of those behind root ports, which
//! are known by their port. Bus numbers are domain 0's to change, ports stay where they are.

use adyton_abi::error::Error;

use super::configuration::{Configuration, header};
use super::registers::{self, FUNCTIONS, Sizes};
use super::root_port;

/// Of all functions that can be given away.
pub struct Known {
    first_bus: [Sizes; FUNCTIONS],
    /// Of what stands behind the port that is the function of bus 0 with this number.
    behind: [Sizes; FUNCTIONS],
}

impl Known {
    /// Looks at all of them, which nobody uses. What host bridges decode is not found in base addresses.
    pub fn find(space: &mut impl Configuration, is_host_bridge: impl Fn(u16) -> bool) -> Self {
        let mut found = Self {
            first_bus: [Sizes::default(); FUNCTIONS],
            behind: [Sizes::default(); FUNCTIONS],
        };
        for (function, sizes) in (0..).zip(&mut found.first_bus) {
            if is_host_bridge(function) {
                *sizes = Sizes::nothing();
            } else if space.is_present(function) {
                *sizes = registers::measure(space, function);
            }
        }
        for function in (1..=u8::MAX).map(|bus| u16::from(bus) << 8) {
            if space.is_present(function)
                && header(space, function) == adyton_x86::pci::header::ORDINARY
                && let Ok(port) = root_port::above(space, function)
                && let Some(sizes) = found.behind.get_mut(usize::from(port))
            {
                *sizes = registers::measure(space, function);
            }
        }
        found
    }

    /// Of a function of bus 0.
    pub fn on_first_bus(&self, function: u16) -> Option<&Sizes> {
        self.first_bus.get(usize::from(function))
    }

    /// Of any function, and the port behind which it stands.
    ///
    /// # Errors
    /// `NotDevice` (it was not there), and as [`root_port::above`].
    pub fn of(
        &self,
        space: &impl Configuration,
        function: u16,
    ) -> Result<(&Sizes, Option<u16>), Error> {
        let (sizes, port) = match self.on_first_bus(function) {
            Some(sizes) => (Some(sizes), None),
            None if !space.is_present(function) => (None, None),
            None => {
                let port = root_port::above(space, function)?;
                (self.behind.get(usize::from(port)), Some(port))
            }
        };
        let sizes = sizes.filter(|sizes| sizes.known).ok_or(Error::NotDevice)?;
        Ok((sizes, port))
    }
}
