//! Locks that say which claims are alive.
//!
//! The owner of a claim holds an open-file-description lock on the claim's bytes of the dax device: the kernel drops
//! it when the last copy of the descriptor is closed, however the process ends. The device itself need not know of
//! locks, they live in the node's inode.

use std::fs::File;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::Error;

fn range(kind: libc::c_int, offset: u64, size: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset as libc::off_t,
        l_len: size as libc::off_t,
        l_pid: 0,
    }
}

/// A held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Arc<File>,
    offset: u64,
    size: u64,
    process: u32,
}

impl Lock {
    /// Takes the lock on a range, unless somebody has it.
    pub(crate) fn try_take(file: File, offset: u64, size: u64) -> Result<Option<Self>, Error> {
        let wanted = range(libc::F_WRLCK, offset, size);
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&wanted)) {
            Ok(_) => {
                let process = std::process::id();
                Ok(Some(Self {
                    file: Arc::new(file),
                    offset,
                    size,
                    process,
                }))
            }
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
            Err(errno) => Err(Error::io("locking a range of the pool device", errno)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A forked copy shares the description, so unlocking here would unlock the parent.
        if self.process == std::process::id() {
            let all = range(libc::F_UNLCK, self.offset, self.size);
            let _closing_does_it_too = fcntl(&*self.file, FcntlArg::F_OFD_SETLK(&all));
        }
    }
}

/// Whether somebody holds a lock within a range.
pub(crate) fn is_held(file: &File, offset: u64, size: u64) -> Result<bool, Error> {
    let mut asked = range(libc::F_WRLCK, offset, size);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))
        .map_err(|errno| Error::io("asking for locks on the pool device", errno))?;
    Ok(asked.l_type != libc::F_UNLCK as libc::c_short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device node, as the pool is one: the lock has to work there, not only on regular files.
    fn node() -> File {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .expect("every system has it")
    }

    #[test]
    fn a_range_has_one_holder_until_it_is_dropped() {
        let base = 1 << 40;
        let lock = Lock::try_take(node(), base, 4096)
            .expect("allowed")
            .expect("free");
        assert!(
            Lock::try_take(node(), base + 100, 1)
                .expect("allowed")
                .is_none()
        );
        assert!(is_held(&node(), base, 1 << 21).expect("allowed"));
        assert!(!is_held(&node(), base + 4096, 4096).expect("allowed"));
        drop(lock);
        assert!(!is_held(&node(), base, 4096).expect("allowed"));
    }
}
