//! Who is asking: found once at the door, and handed to every use case.

use std::{collections::BTreeSet, fmt, str::FromStr};

use pv_database::Tx;
use pv_kernel::{ids::PartnerId, problem::Problem};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Permission;
use crate::{engine::Engine, error::VaultError};

/// Test money or real money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Test money.
    Sandbox,
    /// Real money. Nothing ever defaults to it.
    Production,
}

impl Environment {
    /// As in tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "production" => Ok(Self::Production),
            _ => Err(VaultError::Broken("the environment is neither sandbox nor production".into())),
        }
    }
}

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// The operator at the machine (command line).
    Platform,
    /// An API key.
    ApiKey,
    /// A person in the console.
    User,
    /// A background step.
    System,
}

impl ActorKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "operator",
            Self::ApiKey => "key",
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// Who is asking, and what he may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// The key or user; nil for the operator and the machinery.
    pub id: Uuid,
    /// The partner he belongs to; `None`: the platform.
    pub partner: Option<PartnerId>,
    /// His role.
    pub role: String,
    /// What he may do.
    pub permissions: BTreeSet<Permission>,
    /// For people.
    pub name: String,
    /// Test money or real money.
    pub environment: Environment,
    /// The request he made.
    pub request_id: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
}

impl Actor {
    /// A background step, named: may everything.
    pub fn system(name: &str, environment: Environment) -> Self {
        Self::of_the_platform(ActorKind::System, name, environment)
    }

    /// The operator at the machine: may everything.
    pub fn operator(name: &str, environment: Environment) -> Self {
        Self::of_the_platform(ActorKind::Platform, name, environment)
    }

    fn of_the_platform(kind: ActorKind, name: &str, environment: Environment) -> Self {
        Self {
            kind,
            id: Uuid::nil(),
            partner: None,
            role: "platform_admin".into(),
            permissions: Permission::ALL.iter().copied().collect(),
            name: name.into(),
            environment,
            request_id: None,
            address: None,
        }
    }

    /// With the request that he made.
    #[must_use]
    pub fn with_request(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// Belongs to the platform, not to a partner.
    pub const fn is_platform(&self) -> bool {
        self.partner.is_none()
    }

    /// Whether he may.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Refuses (403) when he may not.
    pub fn require(&self, permission: Permission) -> Result<(), Box<Problem>> {
        if self.may(permission) {
            return Ok(());
        }
        let detail = format!("This needs the permission {permission}, which the role {} does not have.", self.role);
        Err(Box::new(Problem::refused("not_permitted", 403, detail, "Ask an administrator, or use a key with another role.")))
    }

    /// Refuses (403) when he is not of the platform or may not.
    pub fn require_platform(&self, permission: Permission) -> Result<(), Box<Problem>> {
        self.require(permission)?;
        if self.is_platform() {
            return Ok(());
        }
        let detail = "This is done by the platform's own staff.";
        Err(Box::new(Problem::refused("not_permitted", 403, detail, "Ask the operator of the platform.")))
    }

    /// The partner a command is about. A partner's actor implies its partner and may name no other (404, as if there were none);
    /// the platform's names one.
    pub fn partner_for(&self, named: Option<PartnerId>) -> Result<PartnerId, Box<Problem>> {
        match (self.partner, named) {
            (Some(own), None) => Ok(own),
            (Some(own), Some(named)) if own == named => Ok(own),
            (Some(_), Some(_)) => Err(Box::new(Problem::not_found("partner"))),
            (None, Some(named)) => Ok(named),
            (None, None) => Err(Box::new(Problem::invalid("/partner_id", "Name the partner: this key belongs to the platform."))),
        }
    }

    /// How he stands in `audit_log.actor`, `created_by`, `set_by`: `platform/key:{id} {name}` or `partner/user:{id} {name}`.
    pub fn label(&self) -> String {
        let side = if self.is_platform() { PLATFORM_SIDE } else { "partner/" };
        if self.id.is_nil() {
            return format!("{side}{}:{}", self.kind.as_str(), self.name);
        }
        format!("{side}{}:{} {}", self.kind.as_str(), self.id, self.name)
    }

    /// Begins the transaction of the web role that he may have: his partner's rows, or the whole platform's.
    pub async fn begin(&self, engine: &Engine) -> Result<Tx, VaultError> {
        match self.partner {
            Some(partner) => engine.begin_for(partner).await,
            None => engine.begin_platform().await,
        }
    }
}

const PLATFORM_SIDE: &str = "platform/";

/// Whether a stored label (see [`Actor::label`]) is one of the platform's.
pub fn label_is_platform(label: &str) -> bool {
    label.starts_with(PLATFORM_SIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_partner(partner: Uuid) -> Actor {
        Actor {
            kind: ActorKind::ApiKey,
            id: Uuid::from_u128(9),
            partner: Some(PartnerId(partner)),
            role: "maker".into(),
            permissions: BTreeSet::from([Permission::DisbursementsCreate]),
            name: "branch".into(),
            environment: Environment::Sandbox,
            request_id: None,
            address: None,
        }
    }

    #[test]
    fn who_lacks_a_permission_is_told_which() {
        let actor = of_partner(Uuid::from_u128(1));
        assert_eq!(actor.require(Permission::DisbursementsCreate), Ok(()));
        let problem = actor.require(Permission::StopSet).unwrap_err();
        assert_eq!((problem.code, problem.status), ("not_permitted", 403));
        assert!(problem.detail.contains("stop.set"), "{}", problem.detail);
    }

    #[test]
    fn a_partner_is_implied_and_another_one_does_not_exist() {
        let own = PartnerId(Uuid::from_u128(1));
        let actor = of_partner(own.uuid());
        assert_eq!(actor.partner_for(None), Ok(own));
        assert_eq!(actor.partner_for(Some(own)), Ok(own));
        assert_eq!(actor.partner_for(Some(PartnerId(Uuid::from_u128(2)))).unwrap_err().status, 404);
        let platform = Actor::operator("root", Environment::Sandbox);
        assert_eq!(platform.partner_for(None).unwrap_err().pointer.as_deref(), Some("/partner_id"));
    }

    #[test]
    fn a_label_tells_the_platform_from_a_partner_even_when_the_name_lies() {
        let mut actor = of_partner(Uuid::from_u128(1));
        actor.name = "platform/key".into();
        assert!(!label_is_platform(&actor.label()));
        assert!(label_is_platform(&Actor::system("platform", Environment::Sandbox).label()));
    }

    #[test]
    fn only_the_platform_passes_the_platforms_door() {
        let mut actor = of_partner(Uuid::from_u128(1));
        actor.permissions.insert(Permission::PartnersWrite);
        assert_eq!(actor.require_platform(Permission::PartnersWrite).unwrap_err().status, 403);
        assert!(Actor::operator("root", Environment::Sandbox).require_platform(Permission::PartnersWrite).is_ok());
    }
}
