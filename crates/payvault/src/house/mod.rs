//! Puts the house together: database, keys, clock, transport and the clients of the outside world become an [`Engine`].
//!
//! Only here a client is chosen for a port. What does not live here: what is done with the engine.

pub mod database;
pub mod keys;
pub mod tokens;

use std::sync::Arc;

use pv_damza::Damza;
use pv_daraja::Daraja;
use pv_database::{Db, Scope};
use pv_fineract::Fineract;
use pv_kernel::{Clock, SystemClock, SystemIds, transport::Transport};
use pv_transport::{AddressPolicy, HttpTransport, TransportOptions};
use pv_vault::{
    Engine,
    audit::{Actor, Environment},
    payout::rail_id::IdKey,
    secret::{KeyRing, Place as SecretPlace},
};
use sqlx::types::Json;
use uuid::Uuid;

use self::{database::Place, keys::Keys, tokens::DbTokenStore};
use crate::{
    config::Settings,
    failure::{Failure, Result},
    runner::Health,
};

/// What a start may do besides opening what is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Permits {
    /// Run migrations on a database that is not our own.
    pub migrate: bool,
    /// Make keys in production too.
    pub init: bool,
}

/// The house and its parts.
pub struct House {
    /// What everything stands on.
    pub engine: Arc<Engine>,
    /// The clock of the engine, to be corrected.
    pub clock: Arc<SystemClock>,
    /// Calls to the outside.
    pub transport: Arc<HttpTransport>,
    /// How this process stands.
    pub health: Arc<Health>,
    /// The settings it was built from.
    pub settings: Settings,
    place: Place,
}

/// Builds it: database up, keys open and the right ones, clocks compared.
pub async fn build(settings: Settings, permits: Permits) -> Result<House> {
    // First, so that a start that may not make keys leaves nothing behind.
    let keys = keys::open(&settings.encryption_file(), &settings.id_file(), !settings.production() || permits.init, &SystemIds)?;
    for path in &keys.made {
        tracing::warn!(file = %path.display(), "a key was made: back it up outside the database, without it no secret opens and no payment is recognised");
    }
    let place = Place::open(&settings.database).await?;
    match assemble(&settings, permits, keys, &place).await {
        Ok((engine, clock, transport, health)) => Ok(House { engine, clock, transport, health, settings, place }),
        Err(failure) => {
            place.leave().await;
            Err(failure)
        }
    }
}

type Parts = (Arc<Engine>, Arc<SystemClock>, Arc<HttpTransport>, Arc<Health>);

async fn assemble(settings: &Settings, permits: Permits, keys: Keys, place: &Place) -> Result<Parts> {
    place.bring_up(permits.migrate).await?;
    let db = place.connect(&settings.database).await?;
    let clock = Arc::new(SystemClock::new());
    let health = Arc::new(Health::default());
    let limits = settings.engine_limits();
    health.compare(&db, &clock, limits.max_skew).await.map_err(|why| Failure::new(why).while_("comparing the clock with the database's"))?;
    are_the_right_ones(&db, clock.as_ref(), &keys.ring, &keys.id).await?;

    let mut options = TransportOptions::new(clock.clone());
    options.addresses = match settings.server.environment {
        Environment::Sandbox => AddressPolicy::any(),
        Environment::Production => AddressPolicy::and(settings.server.allowed_networks.clone()),
    };
    let transport = Arc::new(HttpTransport::new(options)?);
    let calls: Arc<dyn Transport> = transport.clone();
    let tokens = Arc::new(DbTokenStore::new(db.clone(), clock.clone(), keys.ring.clone()));
    let engine = Engine {
        db,
        clock: clock.clone(),
        ids: Arc::new(SystemIds),
        rail: Arc::new(Daraja::new(Arc::clone(&calls), tokens)),
        core: Arc::new(Fineract::new(Arc::clone(&calls))),
        sms: Arc::new(Damza::new(calls)),
        keys: keys.ring,
        id_key: keys.id,
        public_url: settings.public_url(),
        limits,
        only_partners: None,
    };
    Ok((Arc::new(engine), clock, transport, health))
}

impl House {
    /// The person at the terminal.
    pub fn operator(&self) -> Actor {
        Actor::operator("command line", self.settings.server.environment)
    }

    /// Closes the pools, and stops a private database that nobody uses any more.
    pub async fn close(self) {
        self.engine.db.close().await;
        self.place.leave().await;
    }
}

/// The row of the id key's mark, and of what only the right key ring opens.
const ID_MARK: &str = "id_key_mark";
const RING_PROOF: &str = "key_ring_proof";
const PROOF: SecretPlace = SecretPlace { column: "settings.key_ring_proof", row: Uuid::nil() };
const PROOF_TEXT: &str = "the key ring of this database";

/// Compares the keys with the database, which remembers the first it met. With another id key the same decision would get another
/// rail id, and could be paid twice (rule A3); with another key ring no secret opens.
async fn are_the_right_ones(db: &Db, clock: &dyn Clock, ring: &KeyRing, id: &IdKey) -> Result<()> {
    let mut tx = db.begin(Scope::Worker).await?;
    for (name, value) in [(ID_MARK, id.mark()), (RING_PROOF, ring.seal(PROOF, PROOF_TEXT)?)] {
        sqlx::query("insert into settings (name, value, updated_at) values ($1, $2, $3) on conflict (name) do nothing")
            .bind(name)
            .bind(Json(value))
            .bind(clock.now())
            .execute(tx.conn())
            .await?;
    }
    let mark: Json<String> = sqlx::query_scalar("select value from settings where name = $1").bind(ID_MARK).fetch_one(tx.conn()).await?;
    let proof: Json<String> = sqlx::query_scalar("select value from settings where name = $1").bind(RING_PROOF).fetch_one(tx.conn()).await?;
    if mark.0 != id.mark() {
        return Err(Failure::new(
            "this database belongs to another id key: with this one a loan could be paid twice. Bring back the key file that was backed up (keys.id_file)",
        ));
    }
    if ring.open(PROOF, &proof.0).is_err() {
        return Err(Failure::new(
            "this database belongs to another key ring: its secrets cannot be opened. Bring back the key file that was backed up (keys.encryption_file)",
        ));
    }
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use pv_database::{Template, TestDatabase};
    use zeroize::Zeroizing;

    use super::*;

    fn ring(number: u32, byte: u8) -> (u32, Zeroizing<[u8; 32]>) {
        (number, Zeroizing::new([byte; 32]))
    }

    #[tokio::test]
    async fn a_database_remembers_its_keys_and_refuses_others() {
        let database = TestDatabase::create(&Template::payvault()).await;
        let (db, clock) = (database.db(), SystemClock::new());
        let check = async |ring: &KeyRing, id: u8| are_the_right_ones(&db, &clock, ring, &IdKey::new([id; 32])).await;
        let first = KeyRing::new([ring(1, 1)]).unwrap();
        assert!(check(&first, 1).await.is_ok());
        assert!(check(&first, 1).await.is_ok(), "again");
        assert!(check(&first, 2).await.unwrap_err().to_string().contains("paid twice"));
        let rotated = KeyRing::new([ring(1, 1), ring(2, 2)]).unwrap();
        assert!(check(&rotated, 1).await.is_ok(), "a rotated ring still opens the proof");
        let other = KeyRing::new([ring(1, 9)]).unwrap();
        assert!(check(&other, 1).await.unwrap_err().to_string().contains("key ring"));
    }
}
