//! Somebody changes something behind everybody's back, after the fact. The demo must notice: a check that cannot fail proves nothing.

use std::fmt;

use clap::ValueEnum;
use sqlx::Connection as _;

use super::{
    board::{Payment, Place},
    check::digits,
    play::Cast,
    stage::{Product, World},
};
use crate::failure::{Failure, Result};

/// What is tampered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tamper {
    /// A phone's balance.
    Phone,
    /// The amount of a booking in Mifos X.
    Booking,
    /// The receipt of a booking in Mifos X.
    Receipt,
    /// A row of the ledger.
    Row,
    /// M-Pesa's statement: money leaves the utility account.
    Statement,
}

impl fmt::Display for Tamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phone => "a phone's balance",
            Self::Booking => "the amount of a booking in Mifos X",
            Self::Receipt => "the receipt of a booking in Mifos X",
            Self::Row => "a row of the ledger",
            Self::Statement => "the utility account at M-Pesa",
        })
    }
}

/// Does it.
pub async fn tamper(what: Tamper, world: &World, product: &Product, cast: &Cast, payment: impl Fn(&Place) -> Option<Payment>) -> Result<()> {
    let (case, place) = cast
        .iter()
        .find(|(case, place)| case.key == "calm" && payment(place).is_some_and(|p| p.status == "paid"))
        .ok_or_else(|| Failure::new("there is no paid loan to tamper with"))?;
    match what {
        Tamper::Phone => {
            let phone = digits(case.phone);
            world.phones.set_balance(&phone, world.phones.balance(&phone) - 100);
        }
        Tamper::Booking | Tamper::Receipt => {
            let loan: u64 = place.1.parse()?;
            let mut host = world.host(place.0)?.lock();
            let bank = host.bank_mut();
            let transaction =
                bank.loan(loan).and_then(|l| l.disbursements().next().map(|t| t.id)).ok_or_else(|| Failure::new("the loan has no disbursement"))?;
            let done = if what == Tamper::Booking {
                bank.tamper_amount(loan, transaction, case.gross() - 100)
            } else {
                bank.tamper_receipt(loan, transaction, "TKK0OTHER1")
            };
            if !done {
                return Err(Failure::new("the booking could not be changed"));
            }
        }
        Tamper::Row => {
            let mut owner = sqlx::PgConnection::connect(&product.cluster.url("payvault", pv_database::cluster::ADMIN)).await?;
            // The grants and the triggers of the ledger stop everybody else; the machine's administrator can do anything.
            sqlx::raw_sql("set session_replication_role = replica; update ledger_transfers set amount = amount + 100 where id = (select id from ledger_transfers where movement = 'p3_paid' order by id limit 1)")
                .execute(&mut owner)
                .await?;
            owner.close().await?;
        }
        Tamper::Statement => {
            let house = super::cases::HOUSES.get(place.0).ok_or_else(|| Failure::new("no such house"))?;
            world.mpesa.lock().stray(world.now(), house.shortcode, pv_sandbox::daraja::Account::Utility, -100_000, "Withdrawn by hand")?;
        }
    }
    Ok(())
}
