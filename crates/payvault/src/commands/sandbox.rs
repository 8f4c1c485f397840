//! `payvault sandbox`: M-Pesa, Mifos X and the SMS gateway, simulated from their contracts behind real ports, with a small world to
//! play in. What it prints is what a connection of the product needs.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, Utc};
use pv_kernel::{Clock as _, SystemClock, clock::nairobi_day};
use pv_sandbox::{
    damza::{DamzaOptions, DamzaSim},
    daraja::{DarajaOptions, DarajaSim, sandbox_certificate_pem},
    mifos::{ClientSpec, LoanSpec, MifosOptions, MifosSim, ProductSpec},
    phones::Phones,
    serve::{Sandbox, Stand},
};

use super::print_json;
use crate::{
    cli,
    failure::{Failure, Result},
};

/// Names that borrowers of the demo world have, and what they type as their phone.
const PEOPLE: [(&str, &str, &str); 8] = [
    ("Achieng", "Otieno", "0712000111"),
    ("Wanjiru", "Kamau", "+254 722 000 112"),
    ("Kiprono", "Chebet", "0110000113"),
    ("Mumbua", "Mutua", "254733000114"),
    ("Baraka", "Hassan", "0701000115"),
    ("Naliaka", "Wekesa", "0712000116"),
    ("Njeri", "Mwangi", "0722000117"),
    ("Omondi", "Ouma", "0790000118"),
];

/// The three simulators, still without sockets.
struct World {
    mpesa: DarajaSim,
    mifos: MifosSim,
    sms: DamzaSim,
    loans: Vec<u64>,
    payment_type: u64,
}

impl World {
    /// A host with products, clients and loans that were approved just now.
    fn seed(args: &cli::Sandbox, now: DateTime<Utc>) -> Result<Self> {
        let phones = Phones::new();
        let mut mifos = MifosSim::new(MifosOptions { zone: chrono_tz::Africa::Nairobi, seed: args.seed, ..MifosOptions::default() });
        let today = nairobi_day(now);
        let bank = mifos.bank_mut();
        let product = bank.add_product(ProductSpec::simple("Biashara Loan"));
        let payment_type = bank.add_payment_type("M-Pesa", false);
        let clients: Vec<u64> = PEOPLE.into_iter().map(|(first, last, phone)| bank.add_client(ClientSpec::new(first, last, phone, today))).collect();
        for (first, last, phone) in PEOPLE {
            if let Ok(msisdn) = pv_kernel::Msisdn::parse(phone) {
                phones.register(&msisdn.to_string(), &format!("{first} {last}").to_uppercase());
            }
        }
        let mut loans = Vec::new();
        for (number, client) in (1i64..).zip(clients.into_iter().cycle().take(args.loans as usize)) {
            let spec = LoanSpec { fees_at_disbursement: 20_000, ..LoanSpec::simple(client, product, 500_000 + number * 100_000, today) };
            let refused = |why| Failure::new(format!("the simulated Mifos X refused a loan of the demo world: {why:?}"));
            let loan = bank.add_loan(spec).map_err(refused)?;
            bank.approve(loan, now).map_err(refused)?;
            loans.push(loan);
        }
        Ok(Self {
            mpesa: DarajaSim::new(phones.clone(), args.seed, DarajaOptions::default()),
            sms: DamzaSim::new(phones, args.seed, DamzaOptions::default()),
            mifos,
            loans,
            payment_type,
        })
    }
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: &cli::Sandbox, json: bool) -> Result<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let clock = Arc::new(SystemClock::new());
    let world = World::seed(args, clock.now())?;
    let (loans, payment_type) = (world.loans, world.payment_type);
    let at = |port| SocketAddr::new(args.host, port);
    let stands = vec![
        Stand::new("mpesa", Arc::new(Mutex::new(world.mpesa)), at(args.mpesa_port)),
        Stand::new("mifos", Arc::new(Mutex::new(world.mifos)), at(args.mifos_port)),
        Stand::new("sms", Arc::new(Mutex::new(world.sms)), at(args.sms_port)),
    ];
    let sandbox = Sandbox::start(stands, Arc::new(move || clock.now())).await?;
    let url = |name| sandbox.base_url(name).unwrap_or_default();
    // The values are those of the simulators' defaults; all of them are public on purpose.
    let facts = serde_json::json!({
        "mpesa": {
            "base_url": url("mpesa"), "shortcode": "600111", "consumer_key": "sandbox-consumer-key", "consumer_secret": "sandbox-consumer-secret",
            "initiator": "vaultapi", "initiator_password": "Sandbox#2026", "certificate": sandbox_certificate_pem(),
        },
        "mifos": {
            "host_url": url("mifos"), "tenant": "default", "api_endpoint": "/fineract-provider/api/v1", "username": "pv-integration", "password": "s3cret",
            "payment_type_id": payment_type, "approved_loans": loans,
        },
        "sms": { "base_url": url("sms"), "username": "abcsacco", "password": "sim-password", "api_key": "sim-damza-key", "sender_id": "UMOJA" },
    });
    if json {
        print_json(&facts)?;
    } else {
        print_for_people(&facts);
    }
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    sandbox.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn print_for_people(facts: &serde_json::Value) {
    println!("The outside world, simulated. Every secret here is public and worth nothing.\n");
    for (name, party) in facts.as_object().into_iter().flatten() {
        println!("{name}");
        for (key, value) in party.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            println!("    {key:<18} {}", value.replace('\n', "\n                       ").trim_end());
        }
    }
    println!("\nStop it with Ctrl-C.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_has_as_many_approved_loans_as_were_asked_for() {
        let args = cli::Sandbox { host: "127.0.0.1".parse().unwrap(), mpesa_port: 0, mifos_port: 0, sms_port: 0, seed: 3, loans: 11 };
        let world = World::seed(&args, "2026-11-20T08:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(world.loans.len(), 11);
        let approved = world.mifos.bank().loans().filter(|loan| loan.status.id() == 200).count();
        assert_eq!(approved, 11);
    }
}
