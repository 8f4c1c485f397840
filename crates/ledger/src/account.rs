//! Books and accounts. An account's id follows from its book and name, so that code can name it without a lookup.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use pv_kernel::{
    Currency, Money,
    crypto::sha256,
    ids::{AccountId, PartnerId},
};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::LedgerError;

/// A book: accounts of two books never meet in one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Book {
    /// The platform's own book, `P`.
    Platform,
    /// The mirror of a partner's money outside, `M:{partner}`.
    Partner(PartnerId),
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("P"),
            Self::Partner(partner) => write!(f, "M:{partner}"),
        }
    }
}

impl FromStr for Book {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "P" {
            return Ok(Self::Platform);
        }
        text.strip_prefix("M:")
            .and_then(|partner| partner.parse().ok())
            .map(Self::Partner)
            .ok_or_else(|| LedgerError::UnknownWord { what: "book", value: text.to_owned() })
    }
}

/// What an account is, which says on which side it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    /// What is owned: grows by debits.
    Asset,
    /// What is owed: grows by credits.
    Liability,
    /// Grows by credits.
    Income,
    /// Grows by debits.
    Expense,
    /// Grows by credits.
    Equity,
    /// Differences and rounding: two-sided, shown as credits minus debits.
    Difference,
}

impl AccountKind {
    /// The letter in the database.
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

    /// From the letter in the database.
    pub fn from_letter(letter: &str) -> Result<Self, LedgerError> {
        Ok(match letter {
            "A" => Self::Asset,
            "L" => Self::Liability,
            "I" => Self::Income,
            "E" => Self::Expense,
            "Q" => Self::Equity,
            "D" => Self::Difference,
            other => {
                return Err(LedgerError::UnknownWord { what: "account kind", value: other.to_owned() });
            }
        })
    }

    /// A balance (credits minus debits, as the ledger keeps it) as people read it: positive on the side where the account grows.
    pub const fn natural(self, balance: Money) -> Money {
        match self {
            Self::Asset | Self::Expense => Money::from_minor(balance.minor().saturating_neg()),
            Self::Liability | Self::Income | Self::Equity | Self::Difference => balance,
        }
    }
}

/// The name of an account: its book and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountRef {
    /// The book.
    pub book: Book,
    /// The name in the book, for example `wallet:{partner}`.
    pub name: Cow<'static, str>,
}

impl AccountRef {
    /// An account by book and name.
    pub fn new(book: Book, name: impl Into<Cow<'static, str>>) -> Self {
        Self { book, name: name.into() }
    }

    /// An account of the platform's own book.
    pub fn platform(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Book::Platform, name)
    }

    /// An account of the mirror book of a partner.
    pub fn mirror(partner: PartnerId, name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Book::Partner(partner), name)
    }

    /// The account's id: the first 16 bytes of SHA-256 over `book|name`, as a UUID of version 8.
    pub fn id(&self) -> AccountId {
        let hash = sha256(format!("{}|{}", self.book, self.name).as_bytes());
        let mut bytes = [0u8; 16];
        for (to, from) in bytes.iter_mut().zip(hash) {
            *to = from;
        }
        AccountId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.book, self.name)
    }
}

/// An account to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// Book and name.
    pub account: AccountRef,
    /// What it is.
    pub kind: AccountKind,
    /// Whether a command may be refused because the account would fall below zero (wallet, suspense). Bounded accounts have
    /// a locked balance row; unbounded ones are no bottleneck.
    pub bounded: bool,
    /// The currency.
    pub currency: Currency,
    /// Whose account it is; `None` for the platform's own.
    pub partner: Option<PartnerId>,
}

impl NewAccount {
    /// An unbounded account. The partner follows from a mirror book; in the platform's book it is none until
    /// [`NewAccount::of_partner`] says so.
    pub fn new(account: AccountRef, kind: AccountKind) -> Self {
        let partner = match account.book {
            Book::Platform => None,
            Book::Partner(partner) => Some(partner),
        };
        Self { account, kind, bounded: false, currency: Currency::KES, partner }
    }

    /// With a locked balance that refuses commands below zero.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.bounded = true;
        self
    }

    /// Belonging to a partner.
    #[must_use]
    pub fn of_partner(mut self, partner: PartnerId) -> Self {
        self.partner = Some(partner);
        self
    }
}

/// Opens accounts; those that exist already stay as they are. Returns how many were new.
///
/// An account that exists with another kind, bound, currency or partner is [`LedgerError::AccountDiffers`]. Rows are written
/// in the order of the accounts' ids.
pub async fn open_accounts_in_tx(conn: &mut PgConnection, accounts: &[NewAccount], now: DateTime<Utc>) -> Result<u64, LedgerError> {
    let mut wanted: BTreeMap<Uuid, &NewAccount> = BTreeMap::new();
    for account in accounts {
        let name = account.account.name.as_ref();
        if name.is_empty() || name.chars().count() > 120 {
            return Err(LedgerError::AccountName { book: account.account.book.to_string(), name: name.to_owned() });
        }
        if wanted.insert(account.account.id().uuid(), account).is_some_and(|twin| twin != account) {
            return Err(differs(account));
        }
    }
    if wanted.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = wanted.keys().copied().collect();
    let column = |value: fn(&NewAccount) -> String| -> Vec<String> { wanted.values().map(|a| value(a)).collect() };
    let opened = sqlx::query(
        "insert into ledger_accounts (id, book, name, kind, currency, bounded, partner_id, opened_at)
         select id, book, name, kind, currency, bounded, partner_id, $8
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::uuid[])
              as a (id, book, name, kind, currency, bounded, partner_id)
         on conflict (id) do nothing",
    )
    .bind(&ids)
    .bind(column(|a| a.account.book.to_string()))
    .bind(column(|a| a.account.name.to_string()))
    .bind(column(|a| a.kind.letter().to_owned()))
    .bind(column(|a| a.currency.code().to_owned()))
    .bind(wanted.values().map(|a| a.bounded).collect::<Vec<bool>>())
    .bind(wanted.values().map(|a| a.partner.map(PartnerId::uuid)).collect::<Vec<Option<Uuid>>>())
    .bind(now)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    sqlx::query(
        "insert into ledger_balances (account_id, posted_minor, held_minor, partner_id, changed_at)
         select a.id, 0, 0, a.partner_id, $2 from ledger_accounts a where a.id = any($1) and a.bounded order by a.id
         on conflict (account_id) do nothing",
    )
    .bind(&ids)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    let stored = sqlx::query("select id, kind, currency, bounded, partner_id from ledger_accounts where id = any($1)")
        .bind(&ids)
        .fetch_all(&mut *conn)
        .await?;
    for row in stored {
        let id: Uuid = row.try_get("id")?;
        let Some(account) = wanted.get(&id) else {
            continue;
        };
        let same = row.try_get::<String, _>("kind")? == account.kind.letter()
            && row.try_get::<String, _>("currency")? == account.currency.code()
            && row.try_get::<bool, _>("bounded")? == account.bounded
            && row.try_get::<Option<Uuid>, _>("partner_id")? == account.partner.map(PartnerId::uuid);
        if !same {
            return Err(differs(account));
        }
    }
    Ok(opened)
}

fn differs(account: &NewAccount) -> LedgerError {
    LedgerError::AccountDiffers { book: account.account.book.to_string(), name: account.account.name.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_follows_from_book_and_name_and_has_version_8() {
        let bank = AccountRef::platform("bank");
        assert_eq!(bank.id(), AccountRef::platform(String::from("bank")).id());
        assert_eq!(bank.id().uuid().get_version_num(), 8);
        assert_ne!(bank.id(), AccountRef::platform("tax").id());
        assert_ne!(bank.id(), AccountRef::mirror(PartnerId(Uuid::nil()), "bank").id());
    }

    #[test]
    fn a_book_is_read_as_it_is_written() {
        for book in [Book::Platform, Book::Partner(PartnerId(Uuid::max()))] {
            assert_eq!(book.to_string().parse::<Book>().unwrap(), book);
        }
        assert!("M:".parse::<Book>().is_err());
        assert!("p".parse::<Book>().is_err());
    }

    #[test]
    fn an_asset_is_read_as_positive_when_it_was_debited() {
        let debited = Money::from_minor(-500);
        assert_eq!(AccountKind::Asset.natural(debited), Money::from_minor(500));
        assert_eq!(AccountKind::Liability.natural(debited), debited);
    }
}
