//! The outside world: M-Pesa, Mifos X hosts, the SMS gateway and the phones, each simulator behind a socket of its own.
//!
//! The handles let operators and staff act (float arrives, a loan is approved), and let the books of the outside be compared with ours.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use pv_kernel::{Clock as _, SystemClock};
use pv_sandbox::{
    damza::{DamzaOptions, DamzaSim},
    daraja::{DarajaOptions, DarajaSim},
    mifos::{MifosOptions, MifosSim},
    phones::Phones,
    serve::{Now, Sandbox, Shared, Stand},
    wire::Simulator,
};

use crate::failure::{Failure, Result};

/// A simulator that we look into while it serves.
pub struct Party<S> {
    simulator: Arc<Mutex<S>>,
    /// `http://127.0.0.1:port`.
    pub url: String,
}

impl<S> Party<S> {
    /// Looks into it. Held only while something is read or done, never over an await.
    pub fn lock(&self) -> MutexGuard<'_, S> {
        self.simulator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All parties.
pub struct World {
    /// The phones: the truth about money.
    pub phones: Phones,
    /// Safaricom.
    pub mpesa: Party<DarajaSim>,
    /// The partners' hosts, in the order of the options.
    pub hosts: Vec<Party<MifosSim>>,
    /// The SMS gateway.
    pub sms: Party<DamzaSim>,
    clock: Arc<SystemClock>,
    sandbox: Sandbox,
}

impl World {
    /// Starts every simulator on a free port of this machine.
    pub async fn start(seed: u64, mpesa: DarajaOptions, hosts: Vec<MifosOptions>, sms: DamzaOptions) -> Result<Self> {
        let clock = Arc::new(SystemClock::new());
        let phones = Phones::new();
        let mpesa = Arc::new(Mutex::new(DarajaSim::new(phones.clone(), seed, mpesa)));
        let sms = Arc::new(Mutex::new(DamzaSim::new(phones.clone(), seed, sms)));
        let hosts: Vec<_> = hosts.into_iter().map(|options| Arc::new(Mutex::new(MifosSim::new(options)))).collect();
        let mut stands = vec![stand("mpesa", &mpesa), stand("sms", &sms)];
        stands.extend(hosts.iter().enumerate().map(|(n, host)| stand(&format!("host-{n}"), host)));
        let tells = Arc::clone(&clock);
        let now: Now = Arc::new(move || tells.now());
        let sandbox = Sandbox::start(stands, now).await?;
        let url = |name: &str| sandbox.base_url(name).ok_or_else(|| Failure::new(format!("the simulator {name} has no address")));
        Ok(Self {
            mpesa: Party { url: url("mpesa")?, simulator: mpesa },
            sms: Party { url: url("sms")?, simulator: sms },
            hosts: hosts
                .into_iter()
                .enumerate()
                .map(|(n, simulator)| Ok(Party { url: url(&format!("host-{n}"))?, simulator }))
                .collect::<Result<_>>()?,
            phones,
            clock,
            sandbox,
        })
    }

    /// What time it is out there.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// One host.
    pub fn host(&self, n: usize) -> Result<&Party<MifosSim>> {
        self.hosts.get(n).ok_or_else(|| Failure::new(format!("there is no host {n}")))
    }

    /// Takes no more calls and lets what is under way finish.
    pub async fn stop(self) {
        self.sandbox.stop().await;
    }
}

fn stand<S: Simulator + 'static>(name: &str, simulator: &Arc<Mutex<S>>) -> Stand {
    let shared: Shared = simulator.clone();
    Stand::new(name, shared, SocketAddr::from(([127, 0, 0, 1], 0)))
}
