//! A house in a simulated world: partners with their hosts and shortcodes, set up through the real use cases, and the engines of its processes.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, NaiveDate, Utc};
use pv_database::Db;
use pv_kernel::{
    Money, Msisdn,
    ids::{CoreId, PartnerId, ShortcodeId},
    transport::Transport,
};
use pv_sandbox::{
    damza::{DamzaAccount, DamzaOptions, DamzaSim},
    daraja::{App, DarajaOptions, DarajaSim, Initiator, Shortcode, encrypt_credential},
    mifos::{ClientSpec, LoanSpec, MifosOptions, MifosSim, ProductSpec, Profile},
    phones::Phones,
};
use pv_vault::{
    Engine, EngineLimits, VaultError,
    audit::{Actor, Environment},
    partner::{
        self, NewPartner,
        core_link::{self, NewCore},
        credential::{self, InitiatorSecret, NewCredential},
        host_url::HostRules,
        product::{self, ProductPatch},
        shortcode::{self, NewShortcode},
        sms_settings::{self, SmsPatch},
        webhook,
    },
    payout::rail_id::IdKey,
    secret::KeyRing,
    wallet::{adjust, quote::TariffPayer},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::{
    process::Fate,
    time::{SimClock, SimIds, WorldTime},
    wire::{Dials, Parked, SimTokens, SimTransport},
    world::{Shared, World},
};

/// One partner of the seed.
#[derive(Debug, Clone)]
pub struct House {
    /// The partner.
    pub partner: PartnerId,
    /// Its connection.
    pub core: CoreId,
    /// Its host's name.
    pub host: String,
    /// Its shortcode.
    pub shortcode: ShortcodeId,
    /// Its number.
    pub number: String,
    /// The token of its webhook.
    pub webhook_token: String,
    /// Its product in the core.
    pub product: u64,
    /// Loans that were made.
    pub loans: Vec<u64>,
}

/// One process: an engine that answers at once, one whose calls can be parked, and its fate.
pub struct Process {
    /// Calls are answered at once; batches of any size.
    pub quick: Arc<Engine>,
    /// Calls can be parked; one row at a time.
    pub slow: Arc<Engine>,
    /// Its fate.
    pub fate: Fate,
}

/// Everything of a seed that stands still while it runs.
pub struct Town {
    /// The outside.
    pub world: Shared,
    /// Its time.
    pub time: WorldTime,
    /// The network's dials.
    pub dials: Arc<Mutex<Dials>>,
    /// The processes.
    pub processes: Vec<Process>,
    /// The partners.
    pub houses: Vec<House>,
    /// Where parked calls report.
    pub parked: mpsc::UnboundedReceiver<Parked>,
    /// Who sets up and rules.
    pub operator: Actor,
}

/// The day on which every seed begins, and a little later for each seed, so that receipts of a shared database do not collide.
pub fn dawn(seed: u64) -> DateTime<Utc> {
    let start = NaiveDate::from_ymd_opt(2026, 11, 16).and_then(|d| d.and_hms_opt(6, 0, 0)).unwrap_or_default().and_utc();
    start + chrono::Duration::minutes(i64::try_from(seed % 500).unwrap_or(0))
}

fn limits() -> EngineLimits {
    EngineLimits {
        first_ask: std::time::Duration::from_secs(10),
        longest_ask: std::time::Duration::from_hours(2),
        longest_booking_retry: std::time::Duration::from_hours(2),
        waiting_recheck: std::time::Duration::from_mins(2),
        balance_every: std::time::Duration::from_mins(10),
        retry_minutes: std::time::Duration::from_mins(2),
        ..EngineLimits::default()
    }
}

/// Builds the town of a seed in a database.
pub async fn build(db: &Db, seed: u64, partners: usize) -> Result<Town, VaultError> {
    let time = WorldTime::new(dawn(seed));
    let phones = Phones::new();
    let world = Shared::new(World {
        phones: phones.clone(),
        daraja: DarajaSim::new(
            phones.clone(),
            seed,
            DarajaOptions { apps: Vec::new(), shortcodes: Vec::new(), magic_numbers: false, ..DarajaOptions::default() },
        ),
        mifos: std::collections::BTreeMap::new(),
        damza: DamzaSim::new(phones, seed, DamzaOptions { accounts: Vec::new(), magic_numbers: false }),
    });
    let ids = Arc::new(SimIds::new(seed));
    let tokens = Arc::new(SimTokens::default());
    let dials = Arc::new(Mutex::new(Dials::new(seed)));
    let (park, parked) = mpsc::unbounded_channel();
    let mut processes = Vec::new();
    for skew in [0, 700] {
        let fate = Fate::default();
        let engine = |parking: Option<mpsc::UnboundedSender<Parked>>, batch: i64| -> Result<Arc<Engine>, VaultError> {
            let transport: Arc<dyn Transport> =
                Arc::new(SimTransport { world: world.clone(), time: time.clone(), fate: fate.clone(), dials: dials.clone(), parking });
            Ok(Arc::new(Engine {
                db: db.with_hook(Arc::new(fate.clone())),
                clock: Arc::new(SimClock::new(time.clone(), skew)),
                ids: ids.clone(),
                rail: Arc::new(pv_daraja::Daraja::new(transport.clone(), tokens.clone())),
                core: Arc::new(pv_fineract::Fineract::new(transport.clone())),
                sms: Arc::new(pv_damza::Damza::new(transport)),
                keys: KeyRing::new([(1, Zeroizing::new([9; 32]))])?,
                id_key: IdKey::new([5; 32]),
                public_url: "https://pv.sim".to_owned(),
                limits: EngineLimits { batch, ..limits() },
                only_partners: None,
            }))
        };
        processes.push(Process { quick: engine(None, 40)?, slow: engine(Some(park.clone()), 1)?, fate });
    }
    let operator = Actor::operator("simulation", Environment::Sandbox);
    let mut town = Town { world, time, dials, processes, houses: Vec::new(), parked, operator };
    for n in 0..partners {
        let house = settle(&town, seed, n).await?;
        town.houses.push(house);
    }
    let only = town.houses.iter().map(|h| h.partner.uuid()).collect::<Vec<_>>();
    for p in &mut town.processes {
        for engine in [&mut p.quick, &mut p.slow] {
            if let Some(e) = Arc::get_mut(engine) {
                e.only_partners = Some(only.clone());
            }
        }
    }
    Ok(town)
}

/// A partner moves in: host, shortcode, credential, product, texts, wallet.
async fn settle(town: &Town, seed: u64, n: usize) -> Result<House, VaultError> {
    let engine = town.processes.first().map(|p| p.quick.clone()).ok_or_else(|| VaultError::Broken("no process".into()))?;
    let now = town.time.now();
    // Unique over all seeds of a database: the shortcode's number counts them.
    let number = format!("{:07}", 1_000_000 + (seed * 2 + n as u64) % 9_000_000);
    let host = format!("mifos-{n}.sim");
    let account = format!("partner-{seed}-{n}");
    let (product, payment_type, host_sim) = core(seed, n);
    {
        let mut w = town.world.lock();
        w.mifos.insert(host.clone(), host_sim);
        let mut shortcode = Shortcode::b2c(&number, &format!("PARTNER {n}"), 20_000_000);
        shortcode.initiators = vec![Initiator::new("vaultapi", "Right#2026")];
        w.daraja.add_shortcode(shortcode);
        w.daraja.add_app(App::new(&format!("key-{number}"), "secret", &[&number]));
        w.damza.add_account(DamzaAccount::new(&account, "password", &format!("sms-key-{account}")));
    }
    let op = &town.operator;
    partner::open_platform_accounts(&engine).await?;
    let new = NewPartner {
        name: format!("Partner {seed}-{n}"),
        short_name: format!("P{n}"),
        zone: None,
        policy: serde_json::from_value(serde_json::json!({ "phone_change_hold_hours": 72 })).unwrap_or_default(),
        notification_phones: vec![phone(7, u64::try_from(n).unwrap_or(0) + 900)],
    };
    let partner = partner::create(&engine, op, new).await?.id;
    let payer = if seed.is_multiple_of(2) { TariffPayer::Rail } else { TariffPayer::Platform };
    let new = NewShortcode {
        shortcode: number.clone(),
        environment: Environment::Sandbox,
        base_url: "http://mpesa.sim".into(),
        tariff_payer: payer,
        requests_per_second: 500,
        is_default: true,
    };
    let shortcode = shortcode::create(&engine, op, Some(partner), new, HostRules::OPEN).await?.id;
    credential(&engine, op, shortcode, &number, "Right#2026").await?;
    let mut new = NewCore::new(format!("http://{host}"), "default", "pv-integration", SecretString::from("s3cret"));
    new.zone = Some("Africa/Nairobi".into());
    new.payment_type_id = Some(payment_type.to_string());
    new.mifos_auto_disbursement_enabled = true;
    new.poll_seconds = 300;
    let core = core_link::create(&engine, op, Some(partner), new, HostRules::OPEN).await?.id;
    let secret = webhook::make_token(&engine, op, core).await?;
    let settings = core_link::load_for(&engine, op, core).await?;
    let products = engine.core.products(&settings.link).await.map_err(|e| VaultError::Broken(format!("products: {e}")))?;
    for p in product::store_fetched(&engine, op, core, &products).await? {
        product::update(&engine, op, p.id, ProductPatch { is_auto_disbursement_enabled: Some(true), ..ProductPatch::default() }).await?;
    }
    let patch = SmsPatch {
        damza_base_url: Some("http://sms.sim".into()),
        damza_api_key: Some(SecretString::from(format!("sms-key-{account}"))),
        damza_sender_id: Some(format!("PARTNER{n}")),
        damza_username: Some(account.clone()),
        damza_password: Some(SecretString::from("password")),
        sms_enabled: Some(true),
        low_balance_threshold: None,
        notification_phone_numbers: None,
    };
    sms_settings::upsert(&engine, op, Some(partner), patch, HostRules::OPEN).await?;
    hook(town, &host, secret.hook_url.as_ref().map(|u| u.expose_secret().to_owned()), now);
    let funds = adjust::Adjustment { partner, amount: Money::from_minor(5_000), reference: "opening".into(), reason: "opening balance".into() };
    adjust::adjust(&engine, op, &funds).await?;
    Ok(House { partner, core, host, shortcode, number, webhook_token: secret.token.expose_secret().to_owned(), product, loans: Vec::new() })
}

/// Stores a credential with this initiator password.
pub async fn credential(engine: &Engine, op: &Actor, shortcode: ShortcodeId, number: &str, password: &str) -> Result<(), VaultError> {
    let new = NewCredential {
        consumer_key: SecretString::from(format!("key-{number}")),
        consumer_secret: SecretString::from("secret"),
        initiator: "vaultapi".into(),
        initiator_secret: InitiatorSecret::SecurityCredential(SecretString::from(encrypt_credential(password).unwrap_or_default())),
        passkey: None,
        certificate: None,
        password_set_on: None,
        activate: true,
    };
    let no_password = |_: &str, _: &str| Err(Box::new(pv_kernel::problem::Problem::invalid("/password", "not used here")));
    credential::create(engine, op, shortcode, new, &no_password).await?;
    Ok(())
}

fn core(seed: u64, n: usize) -> (u64, u64, MifosSim) {
    let profile = if n.is_multiple_of(2) { Profile::V1_8 } else { Profile::V1_14 };
    let mut sim = MifosSim::new(MifosOptions {
        profile,
        zone: chrono_tz::Africa::Nairobi,
        seed: seed * 7 + n as u64,
        transactions_on_holiday: true,
        transactions_on_non_working_day: true,
        ..MifosOptions::default()
    });
    let product = sim.bank_mut().add_product(ProductSpec::simple("Biashara"));
    let payment_type = sim.bank_mut().add_payment_type("M-Pesa", false);
    (product, payment_type, sim)
}

/// Registers our hook at a host, as its administrator would.
fn hook(town: &Town, host: &str, url: Option<String>, now: DateTime<Utc>) {
    use base64::Engine as _;
    let Some(url) = url else { return };
    let body = serde_json::json!({ "name": "Web", "displayName": "Payment Vault", "isActive": true, "config": { "Payload URL": url, "Content Type": "json" },
        "events": [{ "entityName": "LOAN", "actionName": "APPROVE" }, { "entityName": "LOAN", "actionName": "APPROVALUNDO" }, { "entityName": "LOAN", "actionName": "DISBURSE" }] });
    let auth = base64::engine::general_purpose::STANDARD.encode("pv-integration:s3cret");
    let request = http::Request::post(format!("http://{host}/fineract-provider/api/v1/hooks"))
        .header("authorization", format!("Basic {auth}"))
        .header("fineract-platform-tenantid", "default")
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_string()));
    if let Ok(request) = request {
        let reply = town.world.lock().handle(now, &request);
        debug_assert!(reply.and_then(|r| r.response).is_some_and(|r| r.status() == 200), "the host did not take our hook");
    }
}

/// A phone number made from two numbers.
pub fn phone(group: u64, n: u64) -> Msisdn {
    Msisdn::parse(&format!("2547{:02}{:06}", group % 100, n % 1_000_000)).unwrap_or_else(|_| unreachable!("twelve digits that start with 2547"))
}

/// A loan is made, and not approved yet.
pub fn make_loan(town: &mut Town, house: usize, n: u64, shillings: i64) -> Option<u64> {
    let now = town.time.now();
    let day = now.with_timezone(&chrono_tz::Africa::Nairobi).date_naive();
    let h = town.houses.get_mut(house)?;
    let mut w = town.world.lock();
    let bank = w.mifos.get_mut(&h.host)?.bank_mut();
    let msisdn = phone(10 + house as u64, n).to_string();
    let client = bank.add_client(ClientSpec::new("TEST", &format!("BORROWER {n}"), &msisdn, day));
    let mut spec = LoanSpec::simple(client, h.product, shillings * 100, day);
    if n.is_multiple_of(3) {
        spec.fees_at_disbursement = 10_000;
    }
    let loan = bank.add_loan(spec).ok()?;
    drop(w);
    h.loans.push(loan);
    Some(loan)
}
