//! A database with the ledger's migrations only, some accounts, and ids that a test can repeat.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use pv_database::{
    Db, Scope, Tx,
    migrate::{Migrator, embedded},
    temp::{Template, TestDatabase},
};
use pv_kernel::{Ids, Money, clock::uuid_v7, ids::PartnerId};
use pv_ledger::{
    AccountKind, AccountRef, Answer, Balance, Book, Command, Ending, Finding, FoldReport, Key, NewAccount, Posting, balance, fold_in_tx,
    open_accounts_in_tx, post_in_tx, verify,
};
use uuid::Uuid;

/// Ids in the order in which they are asked for.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Ids that do not meet those of other streams.
    pub fn stream(stream: u64) -> Self {
        Self(AtomicU64::new(stream << 32))
    }
}

impl Ids for Counter {
    fn uuid(&self, now: DateTime<Utc>) -> Uuid {
        let mut random = [0u8; 10];
        self.fill(&mut random);
        uuid_v7(now, random)
    }

    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (to, from) in bytes.iter_mut().rev().zip(next.iter().rev()) {
            *to = *from;
        }
    }
}

pub fn day(n: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + n * 86_400, 0).unwrap()
}

pub fn now() -> DateTime<Utc> {
    day(0)
}

pub fn kes(minor: i64) -> Money {
    Money::from_minor(minor)
}

pub fn subject(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub fn key(n: u128) -> Key {
    Key::new(subject(n), "test")
}

pub fn first_partner() -> PartnerId {
    PartnerId(Uuid::from_u128(0xA))
}

pub fn second_partner() -> PartnerId {
    PartnerId(Uuid::from_u128(0xB))
}

pub fn wallet(partner: PartnerId) -> AccountRef {
    AccountRef::platform(format!("wallet:{partner}"))
}

pub fn clearing(partner: PartnerId) -> AccountRef {
    AccountRef::platform(format!("charges_clearing:{partner}"))
}

pub fn bank() -> AccountRef {
    AccountRef::platform("bank")
}

pub fn income() -> AccountRef {
    AccountRef::platform("fee_income")
}

pub fn utility() -> AccountRef {
    AccountRef::mirror(first_partner(), "utility")
}

pub fn suspense() -> AccountRef {
    AccountRef::mirror(first_partner(), "suspense")
}

/// Moves `amount` from `debit` to `credit` under the key `n`.
pub fn transfer(n: u128, debit: AccountRef, credit: AccountRef, amount: i64) -> Posting {
    Posting::new(key(n), debit, credit, kes(amount), now())
}

/// Puts money into the first partner's wallet.
pub fn top_up(n: u128, amount: i64) -> Command {
    transfer(n, bank(), wallet(first_partner()), amount).fact()
}

/// Takes money out of the first partner's wallet.
pub fn charge(n: u128, amount: i64) -> Posting {
    transfer(n, wallet(first_partner()), clearing(first_partner()), amount)
}

/// Ends the hold `hold` under the key `own`.
pub fn end(hold: u128, own: u128) -> Ending {
    Ending::new(key(hold), key(own), now())
}

/// The foundation and the ledger, without what stands on them.
pub fn ledger_migrations() -> Migrator {
    Migrator::with_migrations(embedded().iter().filter(|migration| migration.version <= 2).cloned().collect())
}

/// A database of its own with two partners and their accounts.
pub struct Ledger {
    pub database: TestDatabase,
    pub db: Db,
    pub ids: Counter,
}

impl Ledger {
    pub async fn new() -> Self {
        let database = TestDatabase::create(&Template::new(ledger_migrations())).await;
        let ledger = Self { db: database.db(), database, ids: Counter::default() };
        let mut tx = ledger.begin().await;
        for (partner, name) in [(first_partner(), "First"), (second_partner(), "Second")] {
            sqlx::query("insert into partners (id, name, short_name, created_at, updated_at) values ($1, $2, $2, $3, $3)")
                .bind(partner.uuid())
                .bind(name)
                .bind(now())
                .execute(tx.conn())
                .await
                .unwrap();
        }
        open_accounts_in_tx(tx.conn(), &accounts(), now()).await.unwrap();
        tx.commit().await.unwrap();
        ledger
    }

    pub async fn begin(&self) -> Tx {
        self.db.begin(Scope::Worker).await.unwrap()
    }

    /// Posts a batch in a transaction of its own.
    pub async fn post(&self, commands: &[Command]) -> Vec<Answer> {
        let mut tx = self.begin().await;
        let answers = post_in_tx(tx.conn(), &self.ids, now(), commands).await.unwrap();
        tx.commit().await.unwrap();
        answers
    }

    /// Posts a batch of which every command must be written.
    pub async fn must_post(&self, commands: &[Command]) -> Vec<Answer> {
        let answers = self.post(commands).await;
        assert!(answers.iter().all(|answer| matches!(answer, Answer::Posted(_))), "{answers:?}");
        answers
    }

    pub async fn balance(&self, account: &AccountRef) -> Balance {
        let mut tx = self.begin().await;
        balance(tx.conn(), account.id()).await.unwrap().unwrap()
    }

    pub async fn fold(&self, limit: i64) -> FoldReport {
        let mut tx = self.begin().await;
        let report = fold_in_tx(tx.conn(), limit, now()).await.unwrap();
        tx.commit().await.unwrap();
        report
    }

    pub async fn verify(&self, scope: Option<&[Book]>) -> Vec<Finding> {
        let mut tx = self.begin().await;
        verify(tx.conn(), scope).await.unwrap()
    }

    pub async fn assert_clean(&self) {
        assert_eq!(self.verify(None).await, []);
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.worker()).await.unwrap()
    }
}

/// Two wallets and their clearing accounts, a bank, an income account; and a mirror book of the first partner.
pub fn accounts() -> Vec<NewAccount> {
    let mut accounts = vec![
        NewAccount::new(bank(), AccountKind::Asset),
        NewAccount::new(income(), AccountKind::Income),
        NewAccount::new(utility(), AccountKind::Asset),
        NewAccount::new(suspense(), AccountKind::Liability).bounded(),
    ];
    for partner in [first_partner(), second_partner()] {
        accounts.push(NewAccount::new(wallet(partner), AccountKind::Liability).bounded().of_partner(partner));
        accounts.push(NewAccount::new(clearing(partner), AccountKind::Liability).of_partner(partner));
    }
    accounts
}
