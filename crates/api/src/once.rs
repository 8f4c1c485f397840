//! One effect per key (rule D3), and commands that no disconnect can cancel.
//!
//! A command runs in a task of its own: a client that hangs up, or a time limit, ends the waiting and not the work. With an
//! `Idempotency-Key` the key is claimed first and finished right after the effect. Key and effect are two transactions; when the
//! process dies between them, the next request with the key runs the command again, and its own identity (reference, loan, number,
//! state) makes that harmless. Commands without such an identity need the header and make nothing that moves money.

use std::{future::Future, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode};
use pv_kernel::{ids::PartnerId, problem::Problem};
use pv_vault::{
    Engine, VaultError,
    audit::Actor,
    idempotency::{self, Claim, Guard, KeyScope},
};
use serde::Serialize;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    endpoint::KeyUse,
    extract::IdempotencyKey,
    problem::{ApiError, Told, internal},
    state::ApiState,
};

/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How often a waiting twin looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a command did.
#[derive(Debug)]
pub struct Effect<T> {
    /// The status of the answer.
    pub status: StatusCode,
    /// What was made or changed.
    pub resource: Option<Uuid>,
    /// It had been executed before; nothing was done again.
    pub already: bool,
    /// What only this answer can show (a key shown once).
    pub extra: T,
}

impl<T> Effect<T> {
    /// Something was made.
    pub fn created(resource: Uuid, extra: T) -> Self {
        Self { status: StatusCode::CREATED, resource: Some(resource), already: false, extra }
    }

    /// Something was taken on and goes on in the background.
    pub fn accepted(resource: Option<Uuid>, already: bool, extra: T) -> Self {
        Self { status: StatusCode::ACCEPTED, resource, already, extra }
    }

    /// Something was done.
    pub fn done(resource: Option<Uuid>, already: bool, extra: T) -> Self {
        Self { status: StatusCode::OK, resource, already, extra }
    }
}

/// What the answer is made from.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The status of the first answer.
    pub status: StatusCode,
    /// What was made or changed; to be read again, so that the answer shows today's state.
    pub resource: Option<Uuid>,
    /// The answer repeats an earlier one.
    pub replayed: bool,
    /// What only the first answer can show; `None` on a replay.
    pub extra: Option<T>,
}

impl<T> Outcome<T> {
    /// What was made or changed, where the command always makes something.
    pub fn made(&self) -> Result<Uuid, ApiError> {
        self.resource.ok_or_else(|| internal(true).into())
    }
}

/// A command under its key.
#[derive(Debug)]
pub struct Once<'a> {
    /// The house.
    pub api: &'a ApiState,
    /// Who asks.
    pub actor: &'a Actor,
    /// Whom it is about; `None`: the platform's own, or the actor's partner.
    pub partner: Option<PartnerId>,
    /// `POST /api/mpesa/b2c/pay`.
    pub route: &'static str,
    /// The header.
    pub key: IdempotencyKey,
    /// Whether it is needed.
    pub need: KeyUse,
}

impl Once<'_> {
    /// Runs the command, once under its key. `body` is the parsed command: what the key stands for.
    pub async fn run<T, B, F, Fut>(self, body: &B, work: F) -> Result<Outcome<T>, ApiError>
    where
        T: Send + 'static,
        B: Serialize,
        F: FnOnce(Arc<Engine>, Actor) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Effect<T>, VaultError>> + Send + 'static,
    {
        let engine = Arc::clone(&self.api.engine);
        let actor = self.actor.clone();
        let Some(key) = self.key.0.as_deref() else {
            if self.need == KeyUse::Required {
                return Err(key_needed().into());
            }
            let effect = spawned(work(engine, actor)).await??;
            return Ok(Outcome { status: effect.status, resource: effect.resource, replayed: effect.already, extra: Some(effect.extra) });
        };
        let scope = KeyScope::of(self.actor, self.partner, self.route, key)?;
        let fingerprint = idempotency::fingerprint(body)?;
        let guard = match self.claim(scope, fingerprint).await? {
            Claim::New(guard) => guard,
            Claim::Replay { status, resource_id, response } => return replay(status, resource_id, response),
            other => return Err(other.refusal().unwrap_or_else(|| internal(true)).into()),
        };
        spawned(guarded(engine, actor, guard, work)).await?
    }

    /// Claims the key; a twin under way is waited for.
    async fn claim(&self, scope: KeyScope, fingerprint: [u8; 32]) -> Result<Claim, ApiError> {
        let engine = Arc::clone(&self.api.engine);
        let mut left = self.api.limits.twin_wait;
        loop {
            let (engine, scope) = (Arc::clone(&engine), scope.clone());
            // In a task: a claim that nobody hears of would hold the key until its lease ends.
            let claim = spawned(async move { idempotency::claim(&engine, &scope, &fingerprint).await }).await??;
            if claim != Claim::InFlight || left.is_zero() {
                return Ok(claim);
            }
            let nap = left.min(LOOK_AGAIN);
            tokio::time::sleep(nap).await;
            left = left.saturating_sub(nap);
        }
    }
}

fn key_needed() -> Problem {
    Problem::refused(
        "idempotency_key_needed",
        400,
        "This request needs an Idempotency-Key: without one, sending it again would do it again.",
        "Send Idempotency-Key: a UUID that you keep with your own record of the request.",
    )
}

async fn guarded<T, F, Fut>(engine: Arc<Engine>, actor: Actor, guard: Guard, work: F) -> Result<Outcome<T>, ApiError>
where
    F: FnOnce(Arc<Engine>, Actor) -> Fut + Send,
    Fut: Future<Output = Result<Effect<T>, VaultError>> + Send,
{
    match work(Arc::clone(&engine), actor).await {
        Ok(effect) => {
            // The effect stands, whatever becomes of the key: the next request with it finds the effect by the command's own identity.
            if let Err(error) = finish(&engine, &guard, effect.status.as_u16(), effect.resource, None).await {
                tracing::error!(%error, "an idempotency key could not be finished after its effect");
            }
            Ok(Outcome { status: effect.status, resource: effect.resource, replayed: effect.already, extra: Some(effect.extra) })
        }
        Err(error) => {
            let told = Told::from(error.into_problem());
            let kept = if is_final(&told) {
                let response = serde_json::to_value(&told).ok();
                finish(&engine, &guard, told.status, None, response.as_ref()).await
            } else {
                idempotency::release(&engine, guard).await
            };
            if let Err(error) = kept {
                tracing::error!(%error, "an idempotency key could not be given back after a refusal");
            }
            Err(told.into())
        }
    }
}

/// A refusal that the same command gets again: not a wrong member, not a missing right, not a fault of ours.
fn is_final(told: &Told) -> bool {
    matches!(told.status, 409 | 422) && told.pointer.is_none() && told.retry_after.is_none()
}

async fn finish(engine: &Engine, guard: &Guard, status: u16, resource: Option<Uuid>, response: Option<&serde_json::Value>) -> Result<(), VaultError> {
    let mut tx = engine.begin().await?;
    idempotency::finish_in_tx(tx.conn(), guard, status, resource, response).await?;
    Ok(tx.commit().await?)
}

fn replay<T>(status: u16, resource: Option<Uuid>, response: Option<serde_json::Value>) -> Result<Outcome<T>, ApiError> {
    if let Some(told) = response.and_then(|r| serde_json::from_value::<Told>(r).ok()) {
        return Err(ApiError { told: Box::new(told), replayed: true });
    }
    let status = StatusCode::from_u16(status).map_err(|_| internal(true))?;
    Ok(Outcome { status, resource, replayed: true, extra: None })
}

/// Runs work in a task of its own, so that nobody who hangs up can cancel it.
pub(crate) async fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, ApiError> {
    tokio::spawn(work.in_current_span()).await.map_err(|error| {
        tracing::error!(%error, "a command ended without an answer");
        internal(true).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_that_stay_are_kept() {
        let told = |status, pointer: Option<&str>, retry_after| {
            let mut problem = Problem::refused("x", status, "x", "x");
            problem.pointer = pointer.map(str::to_owned);
            problem.retry_after = retry_after;
            Told::from(problem)
        };
        assert!(is_final(&told(409, None, None)));
        assert!(is_final(&told(422, None, None)));
        for other in [
            told(422, Some("/amount"), None),
            told(403, None, None),
            told(404, None, None),
            told(503, None, Some(5)),
            told(409, None, Some(5)),
            told(429, None, None),
        ] {
            assert!(!is_final(&other), "{other:?}");
        }
    }

    #[test]
    fn a_kept_refusal_is_told_again_word_for_word() {
        let told = Told::from(Problem::refused("reference_taken", 422, "a", "b").about("c"));
        let kept = serde_json::to_value(&told).unwrap();
        let again = replay::<()>(422, None, Some(kept)).unwrap_err();
        assert_eq!((*again.told, again.replayed), (told, true));
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let waiting = tokio::spawn(spawned(async move {
            wait.await.unwrap();
            send.send(5).unwrap();
        }));
        tokio::task::yield_now().await;
        waiting.abort();
        go.send(()).unwrap();
        assert_eq!(receive.await, Ok(5));
    }

    #[tokio::test]
    async fn work_that_panics_is_a_problem_and_says_nothing_about_the_money() {
        let error = spawned(async { panic!("on purpose") }).await.unwrap_err();
        assert_eq!((error.told.status, error.told.money_moved.as_str()), (500, "not_yet_known"));
    }
}
