//! The lock: one at a time, in order between holders; a try that fails changes nothing.

use std::sync::Arc;

use adyton_synchronization::lock::Lock;
use loom::cell::UnsafeCell;
use loom::thread;

use crate::runner::check;

/// One core waits for the lock, and then tries to get it; the others try. (With two that wait, the checker goes on for ever about
/// which of them looks how often.)
pub fn hold(cores: usize) {
    let lock = Arc::new(Lock::new(UnsafeCell::new(0)));
    let take = |lock: &Lock<UnsafeCell<u32>>, waits: bool| {
        let guard = if waits {
            Some(lock.lock())
        } else {
            lock.try_lock()
        };
        let Some(guard) = guard else {
            // What another holds stays its own.
            return 0;
        };
        // SAFETY: loom makes sure that nobody else is there.
        guard.with_mut(|value| unsafe { *value += 1 });
        1
    };
    let others: Vec<_> = (1..cores)
        .map(|_| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || take(&lock, false))
        })
        .collect();
    let mut taken = take(&lock, true);
    taken += take(&lock, false);
    for other in others {
        taken += other.join().unwrap();
    }
    // SAFETY: as above.
    let value = lock.lock().with(|value| unsafe { *value });
    assert_eq!(value, taken, "each who had it has changed it");
}

#[test]
fn one_of_two_at_a_time() {
    check("lock, two cores", None, || hold(2));
}

#[test]
fn one_of_three_at_a_time() {
    check("lock, three cores", Some(3), || hold(3));
}
