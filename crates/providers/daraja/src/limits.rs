//! Every limit and waiting time of the M-Pesa client in one table.

use std::time::Duration;

use pv_kernel::Money;

/// Smallest B2C payment, 10 KES (M-Pesa contract 8.1).
pub const MIN_AMOUNT: Money = Money::from_minor(1_000);
/// Largest B2C payment, 250,000 KES (M-Pesa contract 8.1). A policy may set a lower one.
pub const MAX_AMOUNT: Money = Money::from_minor(25_000_000);
/// Longest `OriginatorConversationID` (M-Pesa contract 2.2).
pub const ID_LENGTH: usize = 36;
/// Longest life of a bearer token (M-Pesa contract 1).
pub const TOKEN_LIFE: Duration = Duration::from_hours(1);
/// Fewest and most characters of `Remarks` (M-Pesa contract 2.2).
pub const REMARKS: std::ops::RangeInclusive<usize> = 2..=100;

/// How long to wait for the answer to a payment request.
pub const SUBMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for a token.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the answer to a status or balance question.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait before the same id is sent again when nothing was sent.
pub const AFTER_NOT_SENT: Duration = Duration::from_secs(5);
/// The same when the reason is our own configuration (a URL that cannot be called): somebody must change it first.
pub const AFTER_MISCONFIGURED: Duration = Duration::from_mins(5);
/// Wait after a token that was refused although it was new.
pub const AFTER_TOKEN: Duration = Duration::from_mins(5);
/// Wait after a spike arrest.
pub const AFTER_SPIKE: Duration = Duration::from_secs(10);
/// Wait after "System is busy. Please try again in few minutes."
pub const AFTER_BUSY: Duration = Duration::from_mins(3);
/// Wait after a quota violation.
pub const AFTER_QUOTA: Duration = Duration::from_mins(15);
/// Wait under maintenance.
pub const AFTER_MAINTENANCE: Duration = Duration::from_mins(5);
/// Wait after "Unable to lock subscriber" (STK; M-Pesa contract 8.2: at least one minute).
pub const AFTER_LOCK: Duration = Duration::from_mins(1);

/// Longest callback body that is read, in bytes.
pub const MAX_CALLBACK: usize = 1024 * 1024;
/// Longest answer that is kept for the timeline, in characters.
pub const MAX_TRACE: usize = 16 * 1024;
