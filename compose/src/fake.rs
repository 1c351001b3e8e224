//! A monitor that writes down what it is asked and answers as it is told.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Mutex;

use crate::environment::{Environment, Request, Response};

#[derive(Default)]
struct State {
    memory: Vec<u8>,
    calls: Vec<Request>,
    answers: VecDeque<Response>,
    process: u64,
    entropy: u64,
}

/// Memory from a made-up address on, a log of the calls, and the answers to come.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

const BASE: u64 = 0x7000_0000;

impl Fake {
    pub(crate) fn new(size: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            memory: alloc::vec![0xaa; size],
            ..State::default()
        })))
    }

    pub(crate) fn base(&self) -> u64 {
        BASE
    }

    /// What the next calls are answered; without this, success with the call's number in the order of
    /// calls as result 0.
    pub(crate) fn answer(&self, status: u64, results: [u64; 8]) {
        self.0
            .lock()
            .answers
            .push_back(Response { status, results });
    }

    pub(crate) fn calls(&self) -> Vec<Request> {
        core::mem::take(&mut self.0.lock().calls)
    }

    pub(crate) fn fork(&self) {
        self.0.lock().process += 1;
    }
}

impl Environment for Fake {
    fn call(&self, request: &Request) -> Response {
        let mut state = self.0.lock();
        state.calls.push(*request);
        let number = state.calls.len() as u64;
        let answer = Response {
            status: 0,
            results: [number, 1, 0, 0, 0, 0, 0, 0],
        };
        state.answers.pop_front().unwrap_or(answer)
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        let start = (address - BASE) as usize;
        self.0.lock().memory[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, address: u64, bytes: &mut [u8]) {
        let start = (address - BASE) as usize;
        bytes.copy_from_slice(&self.0.lock().memory[start..start + bytes.len()]);
    }

    fn zero(&self, address: u64, size: u64) {
        let start = (address - BASE) as usize;
        self.0.lock().memory[start..start + size as usize].fill(0);
    }

    fn load(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn store(&self, address: u64, word: u64) {
        self.write(address, &word.to_le_bytes());
    }

    fn filled<T>(&self, size: usize, contents: &[u8], call: impl FnOnce(u64) -> T) -> (T, Vec<u8>) {
        let mut memory = alloc::vec![0x5a; size];
        memory[..contents.len()].copy_from_slice(contents);
        (call(BASE), memory)
    }

    fn entropy(&self) -> u64 {
        let mut state = self.0.lock();
        state.entropy += 1000;
        state.entropy
    }

    fn pause(&self) {}

    fn process(&self) -> u64 {
        self.0.lock().process
    }
}
