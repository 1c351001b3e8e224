//! Accounts of monitor memory, in whole pages.

/// What one domain or one claim may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Pages it was given.
    pub limit: u64,
    /// Of them, pages it uses itself.
    pub used: u64,
    /// Of them, pages it passed on to the claims or domains below it.
    pub passed: u64,
}

impl Account {
    /// An account of `limit` pages, none used.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            passed: 0,
        }
    }

    /// Pages that are left.
    #[must_use]
    pub const fn available(&self) -> u64 {
        self.limit - self.used - self.passed
    }

    /// Uses `pages`. The caller has checked [`Self::available`].
    pub(crate) const fn charge(&mut self, pages: u64) {
        assert!(pages <= self.available());
        self.used += pages;
    }

    /// Gives back `pages` that were used.
    pub(crate) const fn refund(&mut self, pages: u64) {
        assert!(pages <= self.used);
        self.used -= pages;
    }

    /// Passes `pages` on. The caller has checked [`Self::available`].
    pub(crate) const fn pass(&mut self, pages: u64) {
        assert!(pages <= self.available());
        self.passed += pages;
    }

    /// Takes back `pages` that were passed on.
    pub(crate) const fn take_back(&mut self, pages: u64) {
        assert!(pages <= self.passed);
        self.passed -= pages;
    }
}

/// What the platform needs for its own part of a domain, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// For each domain: contexts and the root of its nested page tables.
    pub domain: u64,
    /// For each vCPU.
    pub vcpu: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_and_passed_is_not_available() {
        let mut account = Account::new(10);
        account.charge(3);
        account.pass(5);
        assert_eq!(account.available(), 2);
        account.refund(3);
        account.take_back(5);
        assert_eq!(account, Account::new(10));
    }
}
