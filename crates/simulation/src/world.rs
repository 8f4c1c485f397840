//! The outside world of one seed: simulators, phones, and the calls they are about to make.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use pv_sandbox::{
    damza::DamzaSim,
    daraja::DarajaSim,
    mifos::MifosSim,
    phones::Phones,
    wire::{Delivery, Reply, Request, Simulator},
};

/// All parties.
pub struct World {
    /// The phones: the truth about money.
    pub phones: Phones,
    /// Safaricom.
    pub daraja: DarajaSim,
    /// The partners' hosts, by host name.
    pub mifos: BTreeMap<String, MifosSim>,
    /// The SMS gateway.
    pub damza: DamzaSim,
}

/// A call that a party wants to make, with the party's name.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Whose.
    pub party: String,
    /// The call.
    pub delivery: Delivery,
}

/// The world, shared.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// Shares a world.
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Looks at the world.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Answers a request by the host it is for; `None`: no such host.
    pub fn handle(&mut self, now: DateTime<Utc>, request: &Request) -> Option<Reply> {
        match request.uri().host()? {
            "mpesa.sim" => Some(self.daraja.handle(now, request)),
            "sms.sim" => Some(self.damza.handle(now, request)),
            host => self.mifos.get_mut(host).map(|m| m.handle(now, request)),
        }
    }

    /// The moment of the next call anybody wants to make.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let mifos = self.mifos.values().filter_map(Simulator::next_due);
        self.daraja.next_due().into_iter().chain(self.damza.next_due()).chain(mifos).min()
    }

    /// Takes the calls that are due.
    pub fn take_due(&mut self, now: DateTime<Utc>) -> Vec<Pending> {
        let mut all = Vec::new();
        all.extend(self.daraja.take_due(now).into_iter().map(|delivery| Pending { party: "mpesa".into(), delivery }));
        all.extend(self.damza.take_due(now).into_iter().map(|delivery| Pending { party: "sms".into(), delivery }));
        for (host, sim) in &mut self.mifos {
            all.extend(sim.take_due(now).into_iter().map(|delivery| Pending { party: host.clone(), delivery }));
        }
        all
    }

    /// Tells a party how its call ended.
    pub fn delivered(&mut self, now: DateTime<Utc>, pending: &Pending, status: Option<u16>) {
        match pending.party.as_str() {
            "mpesa" => self.daraja.delivered(now, &pending.delivery, status),
            "sms" => self.damza.delivered(now, &pending.delivery, status),
            host => {
                if let Some(m) = self.mifos.get_mut(host) {
                    m.delivered(now, &pending.delivery, status);
                }
            }
        }
    }
}
