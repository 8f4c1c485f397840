//! `payvault doctor`: looks whether everything is in its place, and says what to do where it is not. Changes nothing outside; a
//! token is fetched only when none is at hand, because a new one ends the old one (M-Pesa contract 1).

use std::{process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use pv_database::{Db, migrate::MigrationState};
use pv_kernel::{
    ids::{CoreId, PartnerId, ShortcodeId},
    rail::RailAccount,
    transport::{Call, TokenError, TokenFetch, TokenStore as _, Transport},
};
use pv_vault::partner::{core_link, credential, shortcode, sms_settings};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::{print_json, print_table};
use crate::{
    config::Settings,
    failure::{Failure, Result},
    house::{self, House, Permits, database::Place, tokens::DbTokenStore},
};

/// One look at one thing.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    detail: String,
}

#[derive(Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn add(&mut self, name: impl Into<String>, found: std::result::Result<String, String>) {
        let (ok, detail) = match found {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        self.0.push(Check { name: name.into(), ok, detail });
    }
}

/// Prints the table; anything wrong is a failure.
pub async fn run(settings: Settings, offline: bool, json: bool) -> Result<ExitCode> {
    let mut findings = Findings::default();
    findings.add("settings", Ok(format!("{}, public URL {}", settings.server.environment, settings.public_url())));
    examine(&mut findings, settings, offline).await;
    let well = findings.0.iter().all(|check| check.ok);
    if json {
        print_json(&serde_json::json!({ "ok": well, "checks": findings.0 }))?;
    } else {
        let rows: Vec<Vec<String>> =
            findings.0.iter().map(|check| vec![if check.ok { "ok" } else { "BAD" }.to_owned(), check.name.clone(), check.detail.clone()]).collect();
        print_table(&rows);
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(findings: &mut Findings, settings: Settings, offline: bool) {
    match Place::open(&settings.database).await {
        Ok(place) => {
            findings.add(
                "database",
                Ok(match &place {
                    Place::Private(cluster) => format!("private, in {}, programs of {}", cluster.dir().display(), cluster.bin().display()),
                    Place::Shared(_) => "given by its address".to_owned(),
                }),
            );
            findings.add("migrations", migrations(&place).await);
        }
        Err(failure) => {
            findings.add("database", Err(failure.to_string()));
            return;
        }
    }
    // From here on as at a start; the private database is brought up by it, as at any start.
    match house::build(settings, Permits::default()).await {
        Ok(house) => {
            findings.add("keys", Ok("there, readable by their owner alone, and those of this database".to_owned()));
            findings.add(
                "clock",
                Ok(format!("{} ms from the database's", house.health.skew().num_milliseconds()))
                    .and_then(|words: String| house.health.ready().map(|()| words)),
            );
            findings.add("server", server(&house.engine.db).await);
            findings.add("roles", roles(&house.engine.db).await);
            connections(findings, &house, offline).await;
            house.close().await;
        }
        Err(failure) => findings.add("start", Err(failure.to_string())),
    }
}

async fn migrations(place: &Place) -> std::result::Result<String, String> {
    let status = place.status().await.map_err(|failure| failure.to_string())?;
    let applied = status.iter().filter(|s| matches!(s.state, MigrationState::Applied(_))).count();
    match status.iter().find(|s| matches!(s.state, MigrationState::Changed(_) | MigrationState::Unknown(_))) {
        Some(foreign) => Err(format!("migration {} is of another release", foreign.version)),
        None if applied == status.len() => Ok(format!("{applied} applied")),
        // A private database is brought up at each start.
        None if matches!(place, Place::Private(_)) => Ok(format!("{applied} of {} applied; the next start brings it up", status.len())),
        None => Err(format!("{applied} of {} applied: run payvault migrate up", status.len())),
    }
}

async fn server(db: &Db) -> std::result::Result<String, String> {
    let found: (String, String) = sqlx::query_as("select current_setting('server_version'), current_setting('synchronous_commit')")
        .fetch_one(db.worker())
        .await
        .map_err(|e| e.to_string())?;
    match found {
        (version, commit) if commit == "off" => {
            Err(format!("PostgreSQL {version} with synchronous_commit = off: an acknowledged payment can be lost in a power cut"))
        }
        (version, _) => Ok(format!("PostgreSQL {version}")),
    }
}

async fn roles(db: &Db) -> std::result::Result<String, String> {
    let names = ["pv_owner", "pv_web", "pv_worker"];
    let found: Vec<(String, bool)> =
        sqlx::query_as("select rolname::text, rolsuper or rolbypassrls from pg_roles where rolname = any($1) order by 1")
            .bind(names.as_slice())
            .fetch_all(db.worker())
            .await
            .map_err(|e| e.to_string())?;
    if let Some((strong, _)) = found.iter().find(|(_, strong)| *strong) {
        return Err(format!("the role {strong} passes by row-level security: alter role {strong} nosuperuser nobypassrls"));
    }
    if found.len() == names.len() {
        Ok(names.join(", "))
    } else {
        Err(format!("{} of {} roles are there: run payvault migrate up", found.len(), names.len()))
    }
}

/// Shortcodes, cores and SMS accounts, whoever's they are.
async fn connections(findings: &mut Findings, house: &House, offline: bool) {
    let actor = house.operator();
    let engine = &house.engine;
    match shortcode::list(engine, &actor, None).await {
        Ok(all) => {
            for one in all.into_iter().filter(|s| s.is_active) {
                findings.add(format!("M-Pesa {}", one.shortcode), mpesa(house, one.id, offline).await);
            }
        }
        Err(error) => findings.add("M-Pesa", Err(Failure::of(&error).to_string())),
    }
    match core_link::list(engine, &actor, None).await {
        Ok(all) => {
            for one in all.into_iter().filter(|c| c.is_active) {
                findings.add(format!("Mifos X {}", one.mifos_host_url), core(house, one.id, offline).await);
            }
        }
        Err(error) => findings.add("Mifos X", Err(Failure::of(&error).to_string())),
    }
    match sms_accounts(house).await {
        Ok(all) => all.into_iter().for_each(|(partner, found)| findings.add(format!("SMS of {partner}"), found)),
        Err(failure) => findings.add("SMS", Err(failure.to_string())),
    }
}

/// Whether its credential opens and the portal gives a token for it.
async fn mpesa(house: &House, id: ShortcodeId, offline: bool) -> std::result::Result<String, String> {
    let account = account(house, id).await.map_err(|failure| failure.to_string())?;
    let Some((account, state)) = account else {
        return Err("no credential is active: payouts wait".to_owned());
    };
    if state.halted {
        return Err(format!("its credential was stopped by code {}: renew it, then lift the stop", state.halt_code.unwrap_or_default()));
    }
    if offline {
        return Ok("the credential opens; not asked for a token".to_owned());
    }
    let engine = &house.engine;
    let store = DbTokenStore::new(engine.db.clone(), Arc::clone(&engine.clock), engine.keys.clone());
    let key = pv_daraja::token::key(&account);
    if store.current(&key).await.is_some() {
        return Ok("a token is at hand".to_owned());
    }
    let transport: Arc<dyn Transport> = house.transport.clone();
    match store.renew(&key, None, &Portal { transport, account }).await {
        Ok(_) => Ok("the portal gave a token".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn account(house: &House, id: ShortcodeId) -> Result<Option<(RailAccount, credential::CredentialState)>> {
    let engine = &house.engine;
    let mut tx = engine.begin().await?;
    let active = credential::active_for_shortcodes_in_tx(tx.conn(), &[id]).await?;
    let Some(active) = active.get(&id).copied() else { return Ok(None) };
    let mut accounts = credential::load_accounts_in_tx(tx.conn(), &engine.keys, &[active]).await?;
    tx.commit().await?;
    match accounts.remove(&active) {
        Some(account) => Ok(Some(account)),
        None => Err(Failure::new("its credential cannot be opened with the key ring")),
    }
}

/// The token endpoint (M-Pesa contract 1).
struct Portal {
    transport: Arc<dyn Transport>,
    account: RailAccount,
}

#[async_trait]
impl TokenFetch for Portal {
    async fn fetch(&self) -> std::result::Result<(String, u32), TokenError> {
        #[derive(serde::Deserialize)]
        struct Given {
            access_token: String,
            expires_in: serde_json::Value,
        }
        let account = &self.account;
        let pair = STANDARD.encode(format!("{}:{}", account.consumer_key, account.consumer_secret.expose_secret()));
        let request = http::Request::get(format!("{}/oauth/v1/generate?grant_type=client_credentials", account.base_url))
            .header(http::header::AUTHORIZATION, format!("Basic {pair}"))
            .body(Bytes::new())
            .map_err(|_| TokenError::Refused("the consumer key or the base URL cannot be used".to_owned()))?;
        let call = Call {
            purpose: "mpesa.token",
            request,
            timeout: Duration::from_secs(10),
            write_before: None,
            trust: None,
            lane: format!("doctor {}", account.shortcode),
            rate: None,
        };
        let answer = self.transport.call(call).await.map_err(|error| TokenError::Unavailable(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(TokenError::Refused(format!("HTTP {}", answer.status())));
        }
        let given: Given = serde_json::from_slice(answer.body()).map_err(|_| TokenError::Unavailable("the answer holds no token".to_owned()))?;
        // A number or a string of digits, depending on the host.
        let seconds = given.expires_in.as_u64().or_else(|| given.expires_in.as_str()?.parse().ok()).unwrap_or(0);
        Ok((given.access_token, u32::try_from(seconds.min(3_600)).unwrap_or(0)))
    }
}

async fn core(house: &House, id: CoreId, offline: bool) -> std::result::Result<String, String> {
    let engine = &house.engine;
    let load = async {
        let mut tx = engine.begin().await?;
        let links = core_link::load_links_in_tx(tx.conn(), &engine.keys, &[id]).await?;
        tx.commit().await?;
        Ok::<_, Failure>(links)
    };
    let mut links = load.await.map_err(|failure| failure.to_string())?;
    let Some(link) = links.remove(&id) else {
        return Err("its password cannot be opened with the key ring".to_owned());
    };
    if offline {
        return Ok("the password opens; not called".to_owned());
    }
    match engine.core.detect(&link.link).await {
        Ok(profile) => Ok(format!("answers, release line {}", profile.line)),
        Err(error) => Err(error.to_string()),
    }
}

async fn sms_accounts(house: &House) -> Result<Vec<(String, std::result::Result<String, String>)>> {
    let engine = &house.engine;
    let mut tx = engine.begin().await?;
    let rows: Vec<(uuid::Uuid, String)> = sqlx::query_as(
        "select p.id, p.name from partner_sms_settings s join partners p on p.id = s.partner_id where p.status <> 'closed' order by p.name",
    )
    .fetch_all(tx.conn())
    .await?;
    let partners: Vec<PartnerId> = rows.iter().map(|(id, _)| PartnerId(*id)).collect();
    let accounts = sms_settings::load_accounts_in_tx(tx.conn(), &engine.keys, &partners).await?;
    tx.commit().await?;
    let found = rows.into_iter().map(|(id, name)| {
        let found = match accounts.get(&PartnerId(id)) {
            Some(settings) if settings.enabled => Ok(format!("{} as {}", settings.account.base_url, settings.account.sender_id)),
            Some(_) => Ok("switched off".to_owned()),
            None => Err("its secrets cannot be opened with the key ring".to_owned()),
        };
        (name, found)
    });
    Ok(found.collect())
}
