//! STOP (rule A20): what must not send, at once, per rail, shortcode, partner, product or for everything. Nothing else stops:
//! resolving, booking, collections and callbacks go on. A stop is lifted, never deleted.

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    ids::{PartnerId, ShortcodeId},
    problem::Problem,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    audit::{Actor, AuditEntry, Environment, Permission, label_is_platform, record_in_tx},
    engine::Engine,
    error::VaultError,
    partner::checked_reason,
};

/// What a stop stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "target")]
pub enum StopTarget {
    /// Everything.
    All,
    /// A rail, by name.
    Rail(String),
    /// A shortcode.
    Shortcode(ShortcodeId),
    /// A partner.
    Partner(PartnerId),
    /// A loan product: the id of its row here.
    Product(Uuid),
}

impl StopTarget {
    /// As in `stops.scope`.
    pub const fn scope(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Rail(_) => "rail",
            Self::Shortcode(_) => "shortcode",
            Self::Partner(_) => "partner",
            Self::Product(_) => "product",
        }
    }

    /// As in `stops.target`.
    pub fn column(&self) -> String {
        match self {
            Self::All => "*".into(),
            Self::Rail(name) => name.clone(),
            Self::Shortcode(id) => id.to_string(),
            Self::Partner(id) => id.to_string(),
            Self::Product(id) => id.to_string(),
        }
    }

    fn from_columns(scope: &str, target: &str) -> Result<Self, VaultError> {
        let broken = || VaultError::Broken(format!("stop of {scope:?} {target:?}"));
        let id = || target.parse::<Uuid>().map_err(|_| broken());
        Ok(match scope {
            "all" => Self::All,
            "rail" => Self::Rail(target.to_owned()),
            "shortcode" => Self::Shortcode(ShortcodeId(id()?)),
            "partner" => Self::Partner(PartnerId(id()?)),
            "product" => Self::Product(id()?),
            _ => return Err(broken()),
        })
    }
}

/// One stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// Its id.
    pub id: Uuid,
    /// Whose shortcode, product or whole business it stops; `None`: the platform's rail or everything.
    pub partner_id: Option<PartnerId>,
    /// What it stops.
    #[serde(flatten)]
    pub target: StopTarget,
    /// Why.
    pub reason: String,
    /// By whom.
    pub set_by: String,
    /// Since when.
    pub set_at: DateTime<Utc>,
    /// Who lifted it.
    pub lifted_by: Option<String>,
    /// When.
    pub lifted_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    partner_id: Option<Uuid>,
    scope: String,
    target: String,
    reason: String,
    set_by: String,
    set_at: DateTime<Utc>,
    lifted_by: Option<String>,
    lifted_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Stop {
    type Error = VaultError;

    fn try_from(row: Row) -> Result<Self, VaultError> {
        Ok(Self {
            id: row.id,
            partner_id: row.partner_id.map(PartnerId),
            target: StopTarget::from_columns(&row.scope, &row.target)?,
            reason: row.reason,
            set_by: row.set_by,
            set_at: row.set_at,
            lifted_by: row.lifted_by,
            lifted_at: row.lifted_at,
        })
    }
}

/// All stops in force at a moment. Asked before each submission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops(Vec<Stop>);

impl Stops {
    /// From stops; lifted ones do not count.
    pub fn new(stops: impl IntoIterator<Item = Stop>) -> Self {
        Self(stops.into_iter().filter(|stop| stop.lifted_at.is_none()).collect())
    }

    /// The stop, if any, that forbids to send on this rail, from this shortcode, for this partner and loan product. The widest is
    /// named: it is the one that must be lifted first. Where no shortcode is known yet, only the other scopes count.
    pub fn blocks(&self, rail: &str, shortcode: impl Into<Option<ShortcodeId>>, partner: PartnerId, product: Option<Uuid>) -> Option<&Stop> {
        let shortcode = shortcode.into();
        self.0
            .iter()
            .filter(|stop| match &stop.target {
                StopTarget::All => true,
                StopTarget::Rail(name) => name == rail,
                StopTarget::Shortcode(id) => Some(*id) == shortcode,
                StopTarget::Partner(id) => *id == partner,
                StopTarget::Product(id) => Some(*id) == product,
            })
            .min_by(|a, b| a.target.cmp(&b.target))
    }

    /// How many are in force.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None is in force.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The stops in force, in the caller's transaction.
pub async fn active_in_tx(conn: &mut PgConnection) -> Result<Stops, VaultError> {
    // Index: stops_live.
    let rows: Vec<Row> = sqlx::query_as(
        "select id, partner_id, scope, target, reason, set_by, set_at, lifted_by, lifted_at from stops where lifted_at is null order by id",
    )
    .fetch_all(conn)
    .await?;
    let stops: Result<Vec<Stop>, VaultError> = rows.into_iter().map(Stop::try_from).collect();
    Ok(Stops::new(stops?))
}

/// Sets a stop. A partner's actor stops what is its own; rails and everything are the platform's. What is stopped already stays
/// stopped, with its first reason. In the worker's pool: the web role only reads stops.
pub async fn set(engine: &Engine, actor: &Actor, target: StopTarget, reason: &str) -> Result<Stop, VaultError> {
    actor.require(Permission::StopSet)?;
    let reason = checked_reason(reason)?;
    if actor.partner.is_some() && matches!(target, StopTarget::All | StopTarget::Rail(_)) {
        let detail = "A rail, or everything, is stopped by the platform's own staff.";
        return Err(Problem::refused("not_permitted", 403, detail, "Stop your own business: scope partner.").into());
    }
    if let StopTarget::Rail(name) = &target
        && (name.is_empty() || name.len() > 40 || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
    {
        return Err(Problem::invalid("/target", "Name a rail, for example mpesa.").into());
    }
    let mut tx = engine.begin().await?;
    let partner = whose(tx.conn(), &target).await?;
    if actor.partner.is_some() && actor.partner != partner {
        return Err(Problem::not_found(target.scope()).into());
    }
    let (stop, new) = insert(tx.conn(), engine, partner, &target, &reason, &actor.label()).await?;
    if new {
        let entry = AuditEntry::of(partner, "stop.set", stop.id).because(reason).change(None::<&Stop>, Some(&stop));
        record_in_tx(tx.conn(), engine, actor, entry).await?;
    }
    tx.commit().await?;
    Ok(stop)
}

/// Whose the target is; 404 when there is no such thing.
async fn whose(conn: &mut PgConnection, target: &StopTarget) -> Result<Option<PartnerId>, VaultError> {
    let found: Option<Uuid> = match target {
        StopTarget::All | StopTarget::Rail(_) => return Ok(None),
        StopTarget::Shortcode(id) => {
            sqlx::query_scalar("select partner_id from mpesa_shortcodes where id = $1").bind(id.uuid()).fetch_optional(conn).await?
        }
        StopTarget::Partner(id) => sqlx::query_scalar("select id from partners where id = $1").bind(id.uuid()).fetch_optional(conn).await?,
        StopTarget::Product(id) => sqlx::query_scalar("select partner_id from loan_products where id = $1").bind(id).fetch_optional(conn).await?,
    };
    found.map(|id| Some(PartnerId(id))).ok_or_else(|| Problem::not_found(target.scope()).into())
}

/// The stop of the target, and whether it is new.
async fn insert(
    conn: &mut PgConnection,
    engine: &Engine,
    partner: Option<PartnerId>,
    target: &StopTarget,
    reason: &str,
    by: &str,
) -> Result<(Stop, bool), VaultError> {
    let id = engine.id();
    // A statement of its own each: what another transaction has just committed is seen by the second only.
    sqlx::query(
        "insert into stops (id, partner_id, scope, target, reason, set_by, set_at) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (scope, target) where lifted_at is null do nothing",
    )
    .bind(id)
    .bind(partner.map(PartnerId::uuid))
    .bind(target.scope())
    .bind(target.column())
    .bind(reason)
    .bind(by)
    .bind(engine.now())
    .execute(&mut *conn)
    .await?;
    let row: Option<Row> = sqlx::query_as(
        "select id, partner_id, scope, target, reason, set_by, set_at, lifted_by, lifted_at from stops
         where scope = $1 and target = $2 and lifted_at is null",
    )
    .bind(target.scope())
    .bind(target.column())
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(|| Problem::unavailable("The stop was lifted in the same moment."))?;
    let new = row.id == id;
    Ok((row.try_into()?, new))
}

/// Stops a shortcode from inside a step, because of something that it found (a payment made twice, rule A10). Once only.
pub async fn pause_shortcode_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    shortcode: impl Into<ShortcodeId>,
    reason: &str,
) -> Result<(), VaultError> {
    let shortcode = shortcode.into();
    let target = StopTarget::Shortcode(shortcode);
    let environment: Option<String> =
        sqlx::query_scalar("select environment from mpesa_shortcodes where id = $1").bind(shortcode.uuid()).fetch_optional(&mut *conn).await?;
    let environment: Environment = environment.ok_or_else(|| VaultError::Broken(format!("no shortcode {shortcode}")))?.parse()?;
    let partner = whose(conn, &target).await?;
    let machine = Actor::system("payout", environment);
    let (stop, new) = insert(conn, engine, partner, &target, reason, &machine.label()).await?;
    if new {
        let entry = AuditEntry::of(partner, "stop.set", stop.id).because(reason).change(None::<&Stop>, Some(&stop));
        record_in_tx(conn, engine, &machine, entry).await?;
    }
    Ok(())
}

/// Lifts a stop. What the platform has set, only the platform lifts. Lifting again changes nothing.
pub async fn lift(engine: &Engine, actor: &Actor, id: Uuid, reason: &str) -> Result<Stop, VaultError> {
    actor.require(Permission::StopSet)?;
    let reason = checked_reason(reason)?;
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let row: Option<Row> =
        sqlx::query_as("select id, partner_id, scope, target, reason, set_by, set_at, lifted_by, lifted_at from stops where id = $1 for update")
            .bind(id)
            .fetch_optional(tx.conn())
            .await?;
    let before = Stop::try_from(row.ok_or_else(|| Problem::not_found("stop"))?)?;
    may_lift(actor, &before)?;
    if before.lifted_at.is_some() {
        tx.rollback().await?;
        return Ok(before);
    }
    sqlx::query("update stops set lifted_by = $2, lifted_at = $3 where id = $1").bind(id).bind(actor.label()).bind(now).execute(tx.conn()).await?;
    let after = Stop { lifted_by: Some(actor.label()), lifted_at: Some(now), ..before.clone() };
    let entry = AuditEntry::of(before.partner_id, "stop.lift", id).because(reason).change(Some(&before), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

fn may_lift(actor: &Actor, stop: &Stop) -> Result<(), Box<Problem>> {
    let Some(own) = actor.partner else {
        return Ok(());
    };
    // A stop of a rail or of everything is seen by all partners, one of another partner by none.
    if stop.partner_id.is_some_and(|owner| owner != own) {
        return Err(Box::new(Problem::not_found("stop")));
    }
    if stop.partner_id.is_none() || label_is_platform(&stop.set_by) {
        let detail = "This stop was set by the platform and is lifted by the platform.";
        return Err(Box::new(Problem::refused("not_permitted", 403, detail, "Ask the operator of the platform.")));
    }
    Ok(())
}

/// The stops that the actor sees, those in force first.
pub async fn list(engine: &Engine, actor: &Actor) -> Result<Vec<Stop>, VaultError> {
    let mut tx = actor.begin(engine).await?;
    let rows: Vec<Row> = sqlx::query_as(
        "select id, partner_id, scope, target, reason, set_by, set_at, lifted_by, lifted_at from stops
         order by (lifted_at is not null), id desc limit 500",
    )
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    rows.into_iter().map(Stop::try_from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTCODE: ShortcodeId = ShortcodeId(Uuid::from_u128(1));
    const PARTNER: PartnerId = PartnerId(Uuid::from_u128(2));
    const PRODUCT: Uuid = Uuid::from_u128(3);
    const OTHER: Uuid = Uuid::from_u128(99);

    fn stop(target: StopTarget) -> Stop {
        Stop {
            id: Uuid::from_u128(7),
            partner_id: None,
            target,
            reason: "why".into(),
            set_by: "platform/operator:root".into(),
            set_at: DateTime::UNIX_EPOCH,
            lifted_by: None,
            lifted_at: None,
        }
    }

    fn blocked(stops: &[StopTarget]) -> bool {
        Stops::new(stops.iter().cloned().map(stop)).blocks("mpesa", SHORTCODE, PARTNER, Some(PRODUCT)).is_some()
    }

    #[test]
    fn each_scope_stops_its_own_and_nothing_else() {
        assert!(!blocked(&[]));
        for hit in [
            StopTarget::All,
            StopTarget::Rail("mpesa".into()),
            StopTarget::Shortcode(SHORTCODE),
            StopTarget::Partner(PARTNER),
            StopTarget::Product(PRODUCT),
        ] {
            assert!(blocked(std::slice::from_ref(&hit)), "{hit:?}");
        }
        for miss in [
            StopTarget::Rail("airtel".into()),
            StopTarget::Shortcode(ShortcodeId(OTHER)),
            StopTarget::Partner(PartnerId(OTHER)),
            StopTarget::Product(OTHER),
        ] {
            assert!(!blocked(std::slice::from_ref(&miss)), "{miss:?}");
        }
    }

    #[test]
    fn a_payment_without_a_product_is_not_stopped_by_a_products_stop() {
        let stops = Stops::new([stop(StopTarget::Product(PRODUCT))]);
        assert_eq!(stops.blocks("mpesa", SHORTCODE, PARTNER, None), None);
    }

    #[test]
    fn where_no_shortcode_is_known_the_other_scopes_still_stop() {
        let stops = Stops::new([stop(StopTarget::Shortcode(SHORTCODE))]);
        assert_eq!(stops.blocks("mpesa", None, PARTNER, None), None);
        let stops = Stops::new([stop(StopTarget::Partner(PARTNER))]);
        assert!(stops.blocks("mpesa", None, PARTNER, None).is_some());
    }

    #[test]
    fn a_lifted_stop_stops_nothing() {
        let lifted = Stop { lifted_at: Some(DateTime::UNIX_EPOCH), ..stop(StopTarget::All) };
        assert!(Stops::new([lifted]).is_empty());
    }

    #[test]
    fn of_several_stops_the_widest_is_named() {
        let stops = Stops::new([stop(StopTarget::Product(PRODUCT)), stop(StopTarget::All), stop(StopTarget::Partner(PARTNER))]);
        let found = stops.blocks("mpesa", SHORTCODE, PARTNER, Some(PRODUCT)).unwrap();
        assert_eq!(found.target, StopTarget::All);
    }

    #[test]
    fn a_target_is_read_back_as_it_was_written() {
        for target in [StopTarget::All, StopTarget::Rail("mpesa".into()), StopTarget::Partner(PARTNER), StopTarget::Product(PRODUCT)] {
            assert_eq!(StopTarget::from_columns(target.scope(), &target.column()).unwrap(), target);
        }
        assert!(StopTarget::from_columns("partner", "x").is_err());
    }
}
