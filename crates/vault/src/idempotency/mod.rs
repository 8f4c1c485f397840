//! One effect per key (rule D3). A command claims its key, does its work, and finishes the key in the transaction of the effect.
//!
//! The table is written by the worker role only. A claim is a lease: when its holder dies, the next request with the same command
//! takes it over; a holder that lost its lease cannot finish, and its effect is rolled back with it.

use std::time::Duration;

use chrono::{DateTime, DurationRound as _, Utc};
use pv_database::PgConnection;
use pv_kernel::{crypto::sha256, ids::PartnerId, problem::Problem};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    audit::{Actor, Environment},
    engine::Engine,
    error::VaultError,
};

/// How long a claim belongs to its request.
pub const LEASE: Duration = Duration::from_mins(1);

/// Where a key is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyScope {
    /// The partner; `None`: the platform's own commands.
    pub partner: Option<PartnerId>,
    /// Test money or real money.
    pub environment: Environment,
    /// The route, `POST /api/mpesa/b2c/pay`.
    pub route: &'static str,
    /// The key, 1 to 255 printable characters.
    pub key: String,
}

impl KeyScope {
    /// The scope of an actor's command; refuses a key that is none. `partner`: whom the command is about.
    pub fn of(actor: &Actor, partner: Option<PartnerId>, route: &'static str, key: &str) -> Result<Self, Box<Problem>> {
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            let detail = "An Idempotency-Key has 1 to 255 printable ASCII characters.";
            return Err(Box::new(Problem::refused(
                "bad_idempotency_key",
                400,
                detail,
                "Send a UUID that you keep with your own record of the request.",
            )));
        }
        Ok(Self { partner: actor.partner.or(partner), environment: actor.environment, route, key: key.to_owned() })
    }

    fn partner_column(&self) -> Uuid {
        self.partner.map_or(Uuid::nil(), PartnerId::uuid)
    }
}

/// SHA-256 of the command as canonical JSON: the order of members and blanks do not count.
pub fn fingerprint(command: &impl Serialize) -> Result<[u8; 32], VaultError> {
    let value = serde_json::to_value(command).map_err(|error| VaultError::Broken(format!("a command that is no JSON: {error}")))?;
    let mut text = String::new();
    write_canonical(&value, &mut text);
    Ok(sha256(text.as_bytes()))
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (i, (name, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(name.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// A claimed key: who holds it may do the work, and finishes or releases it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "finish it with the effect, or release it"]
pub struct Guard {
    scope: KeyScope,
    /// The end of the lease is its fence too: whoever takes the key over writes a later one.
    locked_until: DateTime<Utc>,
}

/// What became of the claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody did this before: do it.
    New(Guard),
    /// It was done: answer with the status and id of then, and today's state.
    Replay {
        /// The original HTTP status.
        status: u16,
        /// What was made.
        resource_id: Option<Uuid>,
        /// The original answer, where one was kept (final refusals).
        response: Option<Value>,
    },
    /// Another command stood under this key (422).
    Mismatch,
    /// The twin is still being worked on: wait up to 5 s, then 409.
    InFlight,
}

impl Claim {
    /// The refusal for [`Claim::Mismatch`] and [`Claim::InFlight`].
    pub fn refusal(&self) -> Option<Problem> {
        match self {
            Self::Mismatch => Some(Problem::refused(
                "idempotency_key_reused",
                422,
                "Another request was sent under this Idempotency-Key before.",
                "Use a new key for a new request, and the old key only for the same request.",
            )),
            Self::InFlight => {
                let mut problem = Problem::refused(
                    "request_in_flight",
                    409,
                    "The same request is being carried out at this moment.",
                    "Send it again in a few seconds, with the same key: it can have no second effect.",
                );
                problem.retry_after = Some(5);
                problem.we_do = "We finish the first request.".into();
                Some(problem)
            }
            Self::New(_) | Self::Replay { .. } => None,
        }
    }
}

/// Claims a key in a transaction of its own, for a command that calls the outside or takes long.
pub async fn claim(engine: &Engine, scope: &KeyScope, fingerprint: &[u8; 32]) -> Result<Claim, VaultError> {
    let mut tx = engine.begin().await?;
    let claim = begin_in_tx(tx.conn(), scope, fingerprint, engine.now()).await?;
    tx.commit().await?;
    Ok(claim)
}

#[derive(sqlx::FromRow)]
struct Row {
    fingerprint: Vec<u8>,
    status: Option<i32>,
    resource_id: Option<Uuid>,
    response: Option<Json<Value>>,
    locked_until: DateTime<Utc>,
}

/// Claims a key in the caller's transaction (worker role). Two transactions at once: the second waits for the first.
pub async fn begin_in_tx(conn: &mut PgConnection, scope: &KeyScope, fingerprint: &[u8; 32], now: DateTime<Utc>) -> Result<Claim, VaultError> {
    let now = to_micros(now);
    let locked_until = now + LEASE;
    let guard = || Claim::New(Guard { scope: scope.clone(), locked_until });
    let inserted = sqlx::query(
        "insert into idempotency_keys (partner_id, environment, route, key, fingerprint, created_at, locked_until)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (partner_id, environment, route, key) do nothing",
    )
    .bind(scope.partner_column())
    .bind(scope.environment.as_str())
    .bind(scope.route)
    .bind(&scope.key)
    .bind(fingerprint.as_slice())
    .bind(now)
    .bind(locked_until)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if inserted == 1 {
        return Ok(guard());
    }
    let row: Row = sqlx::query_as(
        "select fingerprint, status, resource_id, response, locked_until from idempotency_keys
         where partner_id = $1 and environment = $2 and route = $3 and key = $4 for update",
    )
    .bind(scope.partner_column())
    .bind(scope.environment.as_str())
    .bind(scope.route)
    .bind(&scope.key)
    .fetch_one(&mut *conn)
    .await?;
    let found = decide(row, fingerprint, now)?;
    if found == Found::Free {
        sqlx::query(
            "update idempotency_keys set fingerprint = $5, created_at = $6, locked_until = $7
             where partner_id = $1 and environment = $2 and route = $3 and key = $4",
        )
        .bind(scope.partner_column())
        .bind(scope.environment.as_str())
        .bind(scope.route)
        .bind(&scope.key)
        .bind(fingerprint.as_slice())
        .bind(now)
        .bind(locked_until)
        .execute(conn)
        .await?;
        return Ok(guard());
    }
    Ok(match found {
        Found::Done { status, resource_id, response } => Claim::Replay { status, resource_id, response },
        Found::Running => Claim::InFlight,
        Found::Other | Found::Free => Claim::Mismatch,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Released, or its holder is gone: may be taken over.
    Free,
    Done {
        status: u16,
        resource_id: Option<Uuid>,
        response: Option<Value>,
    },
    Running,
    Other,
}

fn decide(row: Row, fingerprint: &[u8; 32], now: DateTime<Utc>) -> Result<Found, VaultError> {
    // Released: the first request had no effect, so the key holds no command.
    if row.status.is_none() && row.fingerprint.is_empty() {
        return Ok(Found::Free);
    }
    if row.fingerprint != fingerprint {
        return Ok(Found::Other);
    }
    match row.status {
        Some(status) => {
            let status = u16::try_from(status).map_err(|_| VaultError::Broken(format!("status {status} of an idempotency key")))?;
            Ok(Found::Done { status, resource_id: row.resource_id, response: row.response.map(|r| r.0) })
        }
        None if row.locked_until < now => Ok(Found::Free),
        None => Ok(Found::Running),
    }
}

/// Finishes a key in the transaction of the effect. Fails when the lease was lost: the caller's transaction must not commit.
pub async fn finish_in_tx(
    conn: &mut PgConnection,
    guard: &Guard,
    status: u16,
    resource_id: Option<Uuid>,
    response: Option<&Value>,
) -> Result<(), VaultError> {
    let done = sqlx::query(
        "update idempotency_keys set status = $6, resource_id = $7, response = $8
         where partner_id = $1 and environment = $2 and route = $3 and key = $4 and status is null and locked_until = $5",
    )
    .bind(guard.scope.partner_column())
    .bind(guard.scope.environment.as_str())
    .bind(guard.scope.route)
    .bind(&guard.scope.key)
    .bind(guard.locked_until)
    .bind(i32::from(status))
    .bind(resource_id)
    .bind(response.map(Json))
    .execute(conn)
    .await?
    .rows_affected();
    if done == 1 {
        return Ok(());
    }
    Err(Problem::unavailable("The request took too long and another one with the same key took over; this one left nothing behind.").into())
}

/// Gives a key back, because the command had no effect and no final answer (a wrong member, a fault on our side): the next
/// request may use it, for the same command or a corrected one. A lease already lost is not touched.
pub async fn release(engine: &Engine, guard: Guard) -> Result<(), VaultError> {
    let mut tx = engine.begin().await?;
    sqlx::query(
        "update idempotency_keys set fingerprint = ''
         where partner_id = $1 and environment = $2 and route = $3 and key = $4 and status is null and locked_until = $5",
    )
    .bind(guard.scope.partner_column())
    .bind(guard.scope.environment.as_str())
    .bind(guard.scope.route)
    .bind(&guard.scope.key)
    .bind(guard.locked_until)
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(())
}

/// What a column can hold: the fence is compared with what comes back.
fn to_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(chrono::Duration::microseconds(1)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_and_blanks_do_not_change_a_fingerprint_and_values_do() {
        let a: Value = serde_json::from_str(r#"{"b": [1, {"y": null, "x": "ü"}], "a": "1"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":"1","b":[1,{"x":"ü","y":null}]}"#).unwrap();
        assert_eq!(fingerprint(&a).unwrap(), fingerprint(&b).unwrap());
        for other in [json!({"a": 1, "b": [1, {"x": "ü", "y": null}]}), json!({"a": "1", "b": [{"x": "ü", "y": null}, 1]}), json!({"a": "1"})] {
            assert_ne!(fingerprint(&a).unwrap(), fingerprint(&other).unwrap(), "{other}");
        }
    }

    #[test]
    fn members_cannot_run_into_each_other() {
        assert_ne!(fingerprint(&json!({"a": "\",\"b\":\"c"})).unwrap(), fingerprint(&json!({"a": "", "b": "c"})).unwrap());
    }

    fn row(fingerprint: &[u8], status: Option<i32>, locked_until: DateTime<Utc>) -> Row {
        Row { fingerprint: fingerprint.to_vec(), status, resource_id: None, response: None, locked_until }
    }

    #[test]
    fn the_whole_table_of_answers() {
        let now = DateTime::UNIX_EPOCH + chrono::Duration::hours(1);
        let (past, future) = (now - chrono::Duration::microseconds(1), now + chrono::Duration::seconds(1));
        let mine = [1u8; 32];
        let done = Found::Done { status: 202, resource_id: None, response: None };
        for (row, expected) in [
            (row(&mine, Some(202), past), done),
            (row(&[2; 32], Some(202), past), Found::Other),
            (row(&mine, None, future), Found::Running),
            (row(&mine, None, now), Found::Running),
            (row(&mine, None, past), Found::Free),
            (row(&[2; 32], None, past), Found::Other),
            (row(&[2; 32], None, future), Found::Other),
            (row(&[], None, future), Found::Free),
        ] {
            assert_eq!(decide(row, &mine, now).unwrap(), expected);
        }
    }

    #[test]
    fn a_key_is_short_and_printable() {
        let actor = Actor::system("x", Environment::Sandbox);
        assert!(KeyScope::of(&actor, None, "POST /x", "abc-1").is_ok());
        for bad in ["", "a\u{7f}", "ü", "a\nb", &"x".repeat(256)] {
            assert_eq!(KeyScope::of(&actor, None, "POST /x", bad).unwrap_err().status, 400);
        }
    }
}
