//! Which ledger accounts the platform, a partner and a shortcode have (money rules, section E). The list stands here; the
//! opening is the ledger's.

use pv_kernel::ids::PartnerId;

/// The platform's own book.
pub const PLATFORM_BOOK: &str = "P";

/// The mirror of a partner's money outside.
pub fn mirror_book(partner: PartnerId) -> String {
    format!("M:{partner}")
}

/// Kind of a ledger account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountKind {
    /// Asset.
    Asset,
    /// Liability.
    Liability,
    /// Income.
    Income,
    /// Expense.
    Expense,
    /// Equity.
    Equity,
    /// Difference, two-sided.
    Difference,
}

impl AccountKind {
    /// Its letter in `ledger_accounts.kind`.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Asset => "A",
            Self::Liability => "L",
            Self::Income => "I",
            Self::Expense => "E",
            Self::Equity => "Q",
            Self::Difference => "D",
        }
    }
}

/// An account to be opened; opening it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSpec {
    /// `P` or `M:{partner}`.
    pub book: String,
    /// Its name, unique in the book.
    pub name: String,
    /// Kind.
    pub kind: AccountKind,
    /// A command may not take it below zero (rule B6).
    pub bounded: bool,
    /// Whose it is.
    pub partner: Option<PartnerId>,
}

/// The accounts of the platform itself, once.
pub fn platform_accounts() -> Vec<AccountSpec> {
    use AccountKind::{Asset, Difference, Equity, Expense, Income, Liability};
    [
        ("bank", Asset),
        ("bank_incoming", Asset),
        ("b2c_account", Asset),
        ("sms_prepaid:damza", Asset),
        ("unattributed", Liability),
        ("tax", Liability),
        ("fee_income", Income),
        ("sms_income", Income),
        ("float_income", Income),
        ("bank_fees", Expense),
        ("sms_cost", Expense),
        ("loss", Expense),
        ("own_funds", Equity),
        ("difference", Difference),
    ]
    .into_iter()
    .map(|(name, kind)| AccountSpec { book: PLATFORM_BOOK.into(), name: name.into(), kind, bounded: false, partner: None })
    .collect()
}

/// The accounts of a partner: in the platform's book, and in the mirror.
pub fn partner_accounts(partner: PartnerId) -> Vec<AccountSpec> {
    use AccountKind::{Asset, Difference, Equity, Expense, Liability};
    let own = [("wallet", true), ("float_due", false), ("charges_clearing", false), ("rail_tariff", false)].map(|(name, bounded)| AccountSpec {
        book: PLATFORM_BOOK.into(),
        name: format!("{name}:{partner}"),
        kind: Liability,
        bounded,
        partner: Some(partner),
    });
    let mirror = [
        ("float_incoming", Asset, false),
        ("to_book", Asset, false),
        ("core", Asset, false),
        ("recover", Asset, false),
        ("owed", Liability, false),
        ("suspense", Liability, true),
        ("tariff_cost", Expense, false),
        // Cents that were owed and not paid (movement p13): what is left over is the owner's.
        ("rounding", Equity, false),
        ("owner", Equity, false),
        ("difference", Difference, false),
    ]
    .map(|(name, kind, bounded)| AccountSpec { book: mirror_book(partner), name: name.into(), kind, bounded, partner: Some(partner) });
    own.into_iter().chain(mirror).collect()
}

/// The mirror accounts of one shortcode: utility, working, charges.
pub fn shortcode_accounts(partner: PartnerId, shortcode: &str) -> Vec<AccountSpec> {
    ["utility", "working", "charges"]
        .map(|name| AccountSpec {
            book: mirror_book(partner),
            name: format!("{name}:{shortcode}"),
            kind: AccountKind::Asset,
            bounded: false,
            partner: Some(partner),
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_stands_twice_in_a_book() {
        let partner = PartnerId(uuid::Uuid::from_u128(1));
        let all: Vec<_> = platform_accounts().into_iter().chain(partner_accounts(partner)).chain(shortcode_accounts(partner, "600111")).collect();
        let names: BTreeSet<_> = all.iter().map(|a| (a.book.clone(), a.name.clone())).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn only_wallet_and_suspense_refuse_a_command() {
        let partner = PartnerId(uuid::Uuid::from_u128(1));
        let bounded: Vec<_> = partner_accounts(partner).into_iter().filter(|a| a.bounded).map(|a| a.name).collect();
        assert_eq!(bounded, [format!("wallet:{partner}"), "suspense".to_owned()]);
        assert!(platform_accounts().iter().chain(&shortcode_accounts(partner, "1")).all(|a| !a.bounded));
    }

    #[test]
    fn the_two_books_of_a_partner_are_never_mixed() {
        let partner = PartnerId(uuid::Uuid::from_u128(1));
        for account in partner_accounts(partner) {
            assert_eq!(account.book == PLATFORM_BOOK, account.name.ends_with(&partner.to_string()), "{account:?}");
        }
    }
}
