//! Which ledger accounts the platform, a partner and a shortcode have (money rules, section E). The list stands here; the
//! opening is the ledger's. Opening twice changes nothing.

use pv_database::PgConnection;
use pv_kernel::ids::PartnerId;
use pv_ledger::{AccountKind, AccountRef, NewAccount};

use crate::{engine::Engine, error::VaultError};

/// The accounts of the platform itself, once.
pub fn platform_accounts() -> Vec<NewAccount> {
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
    .map(|(name, kind)| NewAccount::new(AccountRef::platform(name), kind))
    .collect()
}

/// The accounts of a partner: in the platform's book, and in the mirror.
pub fn partner_accounts(partner: PartnerId) -> Vec<NewAccount> {
    use AccountKind::{Asset, Difference, Equity, Expense, Liability};
    let own = ["float_due", "charges_clearing", "rail_tariff"].map(|name| of_the_platforms_book(name, partner));
    let mirror = [
        ("float_incoming", Asset),
        ("to_book", Asset),
        ("core", Asset),
        ("recover", Asset),
        ("owed", Liability),
        ("tariff_cost", Expense),
        // Cents that were owed and not paid (movement p13): what is left over is the owner's.
        ("rounding", Equity),
        ("owner", Equity),
        ("difference", Difference),
    ]
    .map(|(name, kind)| NewAccount::new(AccountRef::mirror(partner, name), kind));
    // Only these two refuse a command (rule B6).
    let bounded = [of_the_platforms_book("wallet", partner).bounded(), NewAccount::new(AccountRef::mirror(partner, "suspense"), Liability).bounded()];
    own.into_iter().chain(mirror).chain(bounded).collect()
}

fn of_the_platforms_book(name: &str, partner: PartnerId) -> NewAccount {
    NewAccount::new(AccountRef::platform(format!("{name}:{partner}")), AccountKind::Liability).of_partner(partner)
}

/// The mirror accounts of one shortcode: utility, working, charges.
pub fn shortcode_accounts(partner: PartnerId, shortcode: &str) -> Vec<NewAccount> {
    ["utility", "working", "charges"]
        .map(|name| NewAccount::new(AccountRef::mirror(partner, format!("{name}:{shortcode}")), AccountKind::Asset))
        .into()
}

/// Opens accounts inside the caller's transaction, which is one of the worker role.
pub async fn open_accounts_in_tx(conn: &mut PgConnection, engine: &Engine, accounts: &[NewAccount]) -> Result<(), VaultError> {
    pv_ledger::open_accounts_in_tx(conn, accounts, engine.now()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pv_ledger::Book;

    use super::*;

    const PARTNER: PartnerId = PartnerId(uuid::Uuid::from_u128(1));

    fn all() -> Vec<NewAccount> {
        platform_accounts().into_iter().chain(partner_accounts(PARTNER)).chain(shortcode_accounts(PARTNER, "600111")).collect()
    }

    #[test]
    fn no_account_is_listed_twice() {
        let ids: BTreeSet<_> = all().iter().map(|a| a.account.id()).collect();
        assert_eq!(ids.len(), all().len());
    }

    #[test]
    fn only_wallet_and_suspense_refuse_a_command() {
        let bounded: Vec<_> = all().into_iter().filter(|a| a.bounded).map(|a| a.account.name.into_owned()).collect();
        assert_eq!(bounded, [format!("wallet:{PARTNER}"), "suspense".to_owned()]);
    }

    #[test]
    fn in_the_platforms_book_a_partners_account_carries_its_name_and_owner() {
        for account in partner_accounts(PARTNER) {
            let named = account.account.name.ends_with(&PARTNER.to_string());
            assert_eq!(account.account.book == Book::Platform, named, "{account:?}");
            assert_eq!(account.partner, Some(PARTNER));
        }
        assert!(platform_accounts().iter().all(|a| a.partner.is_none()));
    }
}
