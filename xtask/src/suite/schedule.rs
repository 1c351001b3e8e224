//! Several boots at a time, as far as the host's cores carry them.
//!
//! A guest core is a busy host thread. Machines with one core run beside each other; one with more
//! runs alone, since its cores wait for each other and a starved one looks like a hang.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread::{available_parallelism, scope};

use super::boot::{self, BootResult};
use super::selection::Chosen;
use crate::guest::Images;
use crate::workspace::Workspace;

/// Runs all boots and hands over each result as it comes.
pub fn run(
    workspace: &Workspace,
    images: &Images,
    boots: Vec<Chosen>,
    mut finished: impl FnMut(BootResult),
) {
    let (narrow, wide): (Vec<Chosen>, Vec<Chosen>) = boots
        .into_iter()
        .partition(|chosen| boot::is_narrow(&chosen.boot));
    let workers = available_parallelism()
        .map_or(1, usize::from)
        .min(narrow.len());
    let queue = Mutex::new(VecDeque::from(narrow));
    let next = || {
        queue
            .lock()
            .expect("no worker panics with the queue")
            .pop_front()
    };
    scope(|scope| {
        let (sender, results) = channel();
        for _ in 0..workers {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(chosen) = next() {
                    // The receiver lives until all workers have ended.
                    let _ = sender.send(boot::run(workspace, images, &chosen));
                }
            });
        }
        drop(sender);
        results.iter().for_each(&mut finished);
    });
    for chosen in wide {
        finished(boot::run(workspace, images, &chosen));
    }
}
