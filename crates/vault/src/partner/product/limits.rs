//! The narrowest of three pairs of limits: the core's, the connection's, the product's (requirement L5).

use pv_kernel::Money;
use serde::{Deserialize, Serialize};

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitOwner {
    /// The product in the core-banking system.
    Core,
    /// The partner's connection.
    Connection,
    /// The product here.
    Product,
}

impl LimitOwner {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Core => "the product's limit in Mifos X",
            Self::Connection => "the limit of the connection",
            Self::Product => "the product's limit in Payment Vault",
        }
    }
}

/// A limit and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The amount.
    pub amount: Money,
    /// Whose.
    pub owner: LimitOwner,
}

/// The narrowest limits for what is paid out by itself (requirement L5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Limits {
    /// Not below.
    pub min: Option<Limit>,
    /// Not above.
    pub max: Option<Limit>,
}

/// Smallest and largest amount of one owner.
pub type Range = (Option<Money>, Option<Money>);

/// The highest of the smallest amounts and the lowest of the largest ones. Of equal ones the first is named: core, connection,
/// product.
pub fn effective_limits(core: Range, connection: Range, product: Range) -> Limits {
    let ranges = [(LimitOwner::Core, core), (LimitOwner::Connection, connection), (LimitOwner::Product, product)];
    let mut limits = Limits::default();
    for (owner, (min, max)) in ranges {
        if let Some(amount) = min
            && limits.min.is_none_or(|found| amount > found.amount)
        {
            limits.min = Some(Limit { amount, owner });
        }
        if let Some(amount) = max
            && limits.max.is_none_or(|found| amount < found.amount)
        {
            limits.max = Some(Limit { amount, owner });
        }
    }
    limits
}

impl Limits {
    /// The limit that the amount breaks, and in which words; `None`: it is within.
    pub fn broken_by(&self, amount: Money) -> Option<String> {
        if let Some(max) = self.max
            && amount > max.amount
        {
            return Some(format!("{amount} is above {} of {}", max.owner.words(), max.amount));
        }
        if let Some(min) = self.min
            && amount < min.amount
        {
            return Some(format!("{amount} is below {} of {}", min.owner.words(), min.amount));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kes(shillings: i64) -> Option<Money> {
        Money::from_shillings(shillings)
    }

    #[test]
    fn the_narrowest_limit_counts_and_names_its_owner() {
        let limits = effective_limits((kes(100), kes(100_000)), (kes(500), kes(70_000)), (None, kes(80_000)));
        assert_eq!(limits.min, Some(Limit { amount: kes(500).unwrap(), owner: LimitOwner::Connection }));
        assert_eq!(limits.max, Some(Limit { amount: kes(70_000).unwrap(), owner: LimitOwner::Connection }));
        let limits = effective_limits((kes(100), kes(1_000)), (None, None), (kes(200), None));
        assert_eq!(limits.min.map(|l| l.owner), Some(LimitOwner::Product));
        assert_eq!(limits.max.map(|l| l.owner), Some(LimitOwner::Core));
        assert_eq!(effective_limits((None, None), (None, None), (None, None)), Limits::default());
    }

    #[test]
    fn an_amount_on_the_limit_is_within() {
        let limits = effective_limits((kes(100), kes(1_000)), (None, None), (None, None));
        assert_eq!(limits.broken_by(kes(100).unwrap()), None);
        assert_eq!(limits.broken_by(kes(1_000).unwrap()), None);
        assert!(limits.broken_by(Money::from_minor(100_001)).unwrap().contains("above the product's limit in Mifos X"));
        assert!(limits.broken_by(Money::from_minor(9_999)).unwrap().contains("below"));
        assert_eq!(Limits::default().broken_by(Money::ZERO), None);
    }

    #[test]
    fn limits_that_exclude_each_other_let_nothing_through() {
        let limits = effective_limits((kes(1_000), None), (None, kes(500)), (None, None));
        assert!(limits.broken_by(kes(700).unwrap()).is_some());
    }
}
