//! The ledger: accounts, transfers and holds on PostgreSQL.
//!
//! A transfer moves an amount from one account (debit) to another (credit) of one book and never changes. A hold is a pending
//! transfer; it ends by being posted or voided, once, by a second row. Balances are folds of transfers.
//!
//! - [`account`]: books, accounts, their deterministic ids;
//! - [`command`]: what can be asked of the ledger, and its answers;
//! - [`decide`]: the pure decision over a batch;
//! - [`post`]: the one write path: lock, read, decide, write, all set-based;
//! - [`read`] and [`mod@statement`]: balances, holds, statements, transfers of a subject;
//! - [`fold`]: what is built behind the log (statements, balances of unbounded accounts, open holds);
//! - [`mod@verify`]: recomputes everything from the transfers by plain SQL, in another code path.
//!
//! What does not live here: any transaction (every function runs inside the caller's and never begins or commits), and any
//! business noun. A partner is only a column that says whose row it is.
//!
//! **Locks.** [`post_in_tx`] locks the balance rows of all bounded accounts of the batch in one statement, in the order of
//! their ids; then writes transfers in the order of their keys. A caller that posts several batches in one transaction
//! gathers them into one, or posts to its bounded accounts in the order of their ids. [`fold_in_tx`] locks the cursor row only.
//!
//! **Signs.** Every balance and every delta is *credits minus debits*, for all kinds of account; see [`AccountKind::natural`].

pub mod account;
pub mod command;
pub mod decide;
pub mod error;
pub mod fold;
pub mod post;
pub mod read;
pub mod statement;
pub mod verify;

pub use account::{AccountKind, AccountRef, Book, NewAccount, open_accounts_in_tx};
pub use command::{Answer, Command, Ended, Ending, Invalid, Key, Posting, TransferKind};
pub use error::LedgerError;
pub use fold::{FoldReport, fold_in_tx};
pub use post::{BATCH_CAP, post_in_tx};
pub use read::{AccountBalance, Balance, Hold, balance, balance_as_of, balances, held, pending};
pub use statement::{Cursor, StatementPage, StatementRow, Transfer, statement, transfers_of};
pub use verify::{Finding, verify};
