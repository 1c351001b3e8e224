//! Asks for evidence about itself, as its owner says; the owner could not ask in its name.
//!
//! Windows: 1 what is asked (the nonce, at 64 report data, at 128 the digest of a key), 2 what comes back.
//!
//! | word 0 of the reply | does | words 1 and 2 of the next exit |
//! | --- | --- | --- |
//! | 1 `bytes of the nonce, bytes of report data, 1 if a key is bound` | asks for evidence | 0 or why not, bytes in window 2 |
//! | 2 | finishes | |
//! | 3 | makes a report with the first 64 bytes of window 1 | 0 or why not, bytes in window 2 |
//! | 4 | has the report in window 1 checked | 0 or why not, the epoch of its domain |

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;

use adyton_runtime::abi::report::{self, Report};
use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::environment::Refusal;
use adyton_runtime::compose::evidence::Asked;
use adyton_runtime::compose::ring::Window;
use adyton_runtime::{Domain, Inside, call_parent};

adyton_runtime::entry!(main);

const QUESTION: usize = 1;
const ANSWER: usize = 2;

fn main(domain: &mut Domain) -> u64 {
    let (Some(question), Some(answer)) = (domain.window(QUESTION), domain.window(ANSWER)) else {
        return 1;
    };
    let mut result = [0, 0];
    loop {
        let [wanted, rest @ ..] = call_parent([PAYLOAD, result[0], result[1], 0, 0, 0]);
        result = match wanted {
            1 => match ask(domain, &question, rest) {
                Ok(evidence) if evidence.len() as u64 <= answer.size() => {
                    answer.write(0, &evidence);
                    [0, evidence.len() as u64]
                }
                Ok(evidence) => [u64::MAX, evidence.len() as u64],
                Err(refusal) => [refusal.code, 0],
            },
            3 => match domain.report(&read(&question)) {
                Ok(report) => {
                    answer.write(0, &report.to_bytes());
                    [0, report::SIZE as u64]
                }
                Err(refusal) => [refusal.code, 0],
            },
            4 => match domain.check(&Report::from_bytes(&read(&question))) {
                Ok(epoch) => [0, epoch],
                Err(refusal) => [refusal.code, 0],
            },
            _ => return 0,
        };
    }
}

fn read<const N: usize>(window: &Window<Inside>) -> [u8; N] {
    let mut bytes = [0; N];
    window.read(0, &mut bytes);
    bytes
}

fn ask(
    domain: &Domain,
    question: &Window<Inside>,
    [nonce, report, key, ..]: [u64; 5],
) -> Result<Vec<u8>, Refusal> {
    let bytes = |offset: u64, size: u64| {
        let mut bytes = alloc::vec![0; size.min(128) as usize];
        question.read(offset, &mut bytes);
        bytes
    };
    let mut digest = [0; 32];
    question.read(128, &mut digest);
    domain.evidence(&Asked {
        nonce: &bytes(0, nonce),
        report_data: &bytes(64, report),
        key: (key == 1).then_some(digest),
    })
}
