//! The ways in from Mifos X: the token of a connection's webhook, and the key of its HMAC header (requirement L3).
//!
//! A token is shown once and kept as SHA-256. Rotating makes a new one; the one before stays good for a day, so that nobody has
//! to change two systems in the same second.

use chrono::{DateTime, Duration, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    crypto::hmac_sha256_raw,
    ids::{CoreId, PartnerId},
    problem::Problem,
};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::core_link;
use crate::{
    audit::{Actor, AuditEntry, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
    secret::{KeyRing, Place, token_hash},
};

/// How long the token before stays good.
pub const OVERLAP: Duration = Duration::hours(24);

/// Longest URL that a stock host keeps (Mifos X contract 7).
pub const LONGEST_HOOK_URL: usize = 100;

/// Path of the documented webhook.
pub const WEBHOOK_PATH: &str = "/api/mifos/webhook/loan-approval";

const HMAC: &str = "mifos_partners.webhook_hmac_enc";

/// A token just made: the only time that it is shown.
#[derive(Debug, Clone)]
pub struct WebhookSecret {
    /// The token, 32 lower-case hexadecimal digits: `webhookToken` of the documented payload.
    pub token: SecretString,
    /// Where the documented webhook is sent.
    pub webhook_url: String,
    /// The payload URL for a hook of a stock host: carries the token, ends in a slash. `None` when the public address of this
    /// installation is so long that a stock host could not keep it (100 characters).
    pub hook_url: Option<SecretString>,
    /// The token before is good until then.
    pub previous_until: Option<DateTime<Utc>>,
}

/// The payload URL for a stock host, when it can keep it.
pub fn hook_url(public_url: &str, token: &str) -> Option<String> {
    let url = format!("{}{WEBHOOK_PATH}/{token}/", public_url.trim_end_matches('/'));
    (url.len() <= LONGEST_HOOK_URL).then_some(url)
}

/// Makes the token of a connection, or a new one. The one before stays good for [`OVERLAP`], a still older one ends at once.
pub async fn make_token(engine: &Engine, actor: &Actor, id: CoreId) -> Result<WebhookSecret, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let token = engine.ids.hex_token();
    let webhook_url = format!("{}{WEBHOOK_PATH}", engine.public_url.trim_end_matches('/'));
    let now = engine.now();
    let mut tx = actor.begin(engine).await?;
    let partner = core_link::lock_owner(tx.conn(), id).await?;
    let previous_until: Option<DateTime<Utc>> = sqlx::query_scalar(
        "update mifos_partners
         set webhook_previous_token = webhook_secret_token,
             webhook_previous_until = case when webhook_secret_token is null then null else $4 end,
             webhook_secret_token = $3, webhook_url = $5, updated_at = $6
         where partner_id = $1 and id = $2 returning webhook_previous_until",
    )
    .bind(partner.uuid())
    .bind(id.uuid())
    .bind(token_hash(&token))
    .bind(now + OVERLAP)
    .bind(&webhook_url)
    .bind(now)
    .fetch_one(tx.conn())
    .await?;
    record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(partner), "core.webhook_token", id)).await?;
    tx.commit().await?;
    let hook_url = hook_url(&engine.public_url, &token).map(SecretString::from);
    Ok(WebhookSecret { token: SecretString::from(token), webhook_url, hook_url, previous_until })
}

/// Ends the token before at once: it became known to somebody.
pub async fn end_previous_token(engine: &Engine, actor: &Actor, id: CoreId, reason: &str) -> Result<(), VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let reason = super::checked_reason(reason)?;
    let mut tx = actor.begin(engine).await?;
    let partner = core_link::lock_owner(tx.conn(), id).await?;
    sqlx::query(
        "update mifos_partners set webhook_previous_token = null, webhook_previous_until = null, updated_at = $3 where partner_id = $1 and id = $2",
    )
    .bind(partner.uuid())
    .bind(id.uuid())
    .bind(engine.now())
    .execute(tx.conn())
    .await?;
    record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(partner), "core.webhook_token_end", id).because(reason)).await?;
    tx.commit().await?;
    Ok(())
}

/// Makes the key of the HMAC header (shown once). From now on a documented webhook without a right signature is refused.
pub async fn make_hmac_key(engine: &Engine, actor: &Actor, id: CoreId) -> Result<SecretString, VaultError> {
    let mut bytes = [0u8; 32];
    engine.ids.fill(&mut bytes);
    let key = SecretString::from(hex::encode(bytes));
    set_hmac_key(engine, actor, id, Some(&key)).await?;
    Ok(key)
}

/// Sets the key of the HMAC header, or takes it away.
pub async fn set_hmac_key(engine: &Engine, actor: &Actor, id: CoreId, key: Option<&SecretString>) -> Result<(), VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    if key.is_some_and(|key| !(16..=256).contains(&key.expose_secret().len())) {
        return Err(Problem::invalid("/hmac_key", "A key has 16 to 256 characters.").into());
    }
    let place = Place { column: HMAC, row: id.uuid() };
    let sealed = key.map(|key| engine.keys.seal(place, key.expose_secret())).transpose()?;
    let action = if sealed.is_some() { "core.webhook_hmac_set" } else { "core.webhook_hmac_off" };
    let mut tx = actor.begin(engine).await?;
    let partner = core_link::lock_owner(tx.conn(), id).await?;
    sqlx::query("update mifos_partners set webhook_hmac_enc = $3, updated_at = $4 where partner_id = $1 and id = $2")
        .bind(partner.uuid())
        .bind(id.uuid())
        .bind(sealed)
        .bind(engine.now())
        .execute(tx.conn())
        .await?;
    record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(partner), action, id)).await?;
    tx.commit().await?;
    Ok(())
}

/// Whose token it is.
#[derive(Debug, Clone)]
pub struct WebhookOwner {
    /// The connection.
    pub core_id: CoreId,
    /// Whose.
    pub partner_id: PartnerId,
    /// The connection is in use; if not, the hook is answered and nothing follows.
    pub active: bool,
    /// It was the token before: somebody has not changed over yet.
    pub previous: bool,
    /// The key of the HMAC header; when there is one, a documented webhook needs a right signature.
    pub hmac_key: Option<SecretString>,
}

#[derive(sqlx::FromRow)]
struct OwnerRow {
    id: Uuid,
    partner_id: Uuid,
    is_active: bool,
    webhook_secret_token: Option<String>,
    webhook_previous_token: Option<String>,
    webhook_hmac_enc: Option<String>,
}

/// The connection of a presented token, in a transaction of the worker role: nobody's tenant is known before. What is looked up
/// is the hash, and the comparison is in constant time.
pub async fn find_core_by_token(
    conn: &mut PgConnection,
    keys: &KeyRing,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Option<WebhookOwner>, VaultError> {
    if token.len() != 32 {
        return Ok(None);
    }
    let presented = token_hash(token);
    // Index: mifos_partners_token. The token before is found by a scan of a table with one row per connection.
    let rows: Vec<OwnerRow> = sqlx::query_as(
        "select id, partner_id, is_active, webhook_secret_token, webhook_previous_token, webhook_hmac_enc
         from mifos_partners
         where retired_at is null and (webhook_secret_token = $1 or (webhook_previous_token = $1 and webhook_previous_until > $2))",
    )
    .bind(&presented)
    .bind(now)
    .fetch_all(conn)
    .await?;
    let is = |stored: Option<&str>| stored.is_some_and(|stored| bool::from(stored.as_bytes().ct_eq(presented.as_bytes())));
    for row in rows {
        let current = is(row.webhook_secret_token.as_deref());
        if current || is(row.webhook_previous_token.as_deref()) {
            let place = Place { column: HMAC, row: row.id };
            return Ok(Some(WebhookOwner {
                core_id: CoreId(row.id),
                partner_id: PartnerId(row.partner_id),
                active: row.is_active,
                previous: !current,
                hmac_key: keys.open_optional(place, row.webhook_hmac_enc.as_deref())?,
            }));
        }
    }
    Ok(None)
}

/// Whether the header signs the body: HMAC-SHA256 of the raw body, in hexadecimal, with or without `sha256=` before it.
pub fn signature_is_right(key: &SecretString, body: &[u8], header: &str) -> bool {
    let header = header.trim();
    let digits = header.strip_prefix("sha256=").unwrap_or(header);
    let Ok(given) = hex::decode(digits) else {
        return false;
    };
    let right = hmac_sha256_raw(key.expose_secret().as_bytes(), body);
    given.as_slice().ct_eq(right.as_slice()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_url_ends_in_a_slash_and_is_short_enough_for_a_stock_host() {
        let token = "0123456789abcdef0123456789abcdef";
        let url = hook_url("https://vault.example.co.ke/", token).unwrap();
        assert_eq!(url, format!("https://vault.example.co.ke/api/mifos/webhook/loan-approval/{token}/"));
        assert!(url.len() <= LONGEST_HOOK_URL);
        assert_eq!(hook_url(&format!("https://{}.example.co.ke", "x".repeat(40)), token), None);
    }

    #[test]
    fn a_signature_is_right_only_for_its_key_and_body() {
        let key = SecretString::from("0123456789abcdef".to_owned());
        let right = hex::encode(hmac_sha256_raw(b"0123456789abcdef", b"{}"));
        assert!(signature_is_right(&key, b"{}", &right));
        assert!(signature_is_right(&key, b"{}", &format!("sha256={}", right.to_uppercase())));
        for (body, header) in [(&b"{ }"[..], right.as_str()), (b"{}", ""), (b"{}", "sha256="), (b"{}", "zz"), (b"{}", &right[..62])] {
            assert!(!signature_is_right(&key, body, header), "{header}");
        }
        assert!(!signature_is_right(&SecretString::from("another key 0000".to_owned()), b"{}", &right));
    }
}
