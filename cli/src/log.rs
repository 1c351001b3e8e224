//! `adyton log`: the monitor's ring of text, read through `/dev/mem`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use adyton::Monitor;

use crate::Arguments;
use crate::failure::Failure;

/// Two words stand before the text: bytes written since the boot, size of the text.
const HEADER: usize = 16;

pub fn print(arguments: &Arguments) -> Result<(), Failure> {
    let (address, size) = Monitor::ask()?.log.ok_or(Failure::NoLog)?;
    let read = || {
        let mut bytes = vec![0; size as usize];
        File::open("/dev/mem")?.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    };
    let bytes = read().map_err(Failure::file("/dev/mem"))?;
    let text = text(&bytes);
    if arguments.json {
        say!(
            "{:#}",
            serde_json::json!({ "log": text.lines().collect::<Vec<_>>() })
        );
    } else {
        say!("{}", text.trim_end());
    }
    Ok(())
}

/// The text of a ring, oldest byte first; a line that was overwritten in part is left out.
fn text(ring: &[u8]) -> String {
    let Some((header, text)) = ring.split_at_checked(HEADER) else {
        return String::new();
    };
    let word = |from: usize| {
        header[from..from + 8]
            .iter()
            .rev()
            .fold(0_u64, |word, &byte| word << 8 | u64::from(byte))
    };
    let size = (word(8) as usize).min(text.len());
    let written = word(0);
    if written <= size as u64 {
        return String::from_utf8_lossy(&text[..written as usize]).into_owned();
    }
    let start = (written % size.max(1) as u64) as usize;
    let mut bytes = text[start..size].to_vec();
    bytes.extend_from_slice(&text[..start]);
    let whole = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1);
    String::from_utf8_lossy(&bytes[whole..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(written: u64, text: &[u8]) -> Vec<u8> {
        let mut ring = written.to_le_bytes().to_vec();
        ring.extend((text.len() as u64).to_le_bytes());
        ring.extend(text);
        ring
    }

    #[test]
    fn the_oldest_line_that_is_surely_whole_comes_first() {
        assert_eq!(text(&ring(5, b"one\nt\0\0\0")), "one\nt");
        assert_eq!(text(&ring(10, b"w\nne\ntwo")), "twow\n");
        assert_eq!(text(&ring(11, b"ew\none\nn")), "new\n");
        assert_eq!(text(&[1, 2]), "");
        assert_eq!(text(&ring(u64::MAX, b"")), "");
    }
}
