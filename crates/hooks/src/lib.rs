//! What providers post to us: the callbacks of M-Pesa, the hooks of Mifos X, the delivery reports of SMS gateways.
//!
//! A door does four things and no fifth: it finds out who is knocking ([`source`]), stores what was handed in before anybody
//! understands it, answers at once, and wakes the step that weighs it. What a message is evidence for is decided in
//! `pv_vault::message::weigh`, never here. Storing runs in a task of its own, so that a caller who hangs up cannot take it back.
//!
//! - [`callback`]: `/h/{token}/…`, the only form of URL that M-Pesa and gateways are given (rule D2), and the documented alias;
//! - [`approval`]: `/api/mifos/webhook/…`, the hook of a stock Mifos X host and the documented webhook (requirement L3).

mod answer;
pub mod approval;
pub mod callback;
mod counts;
mod doors;
pub mod limits;
pub mod source;

use std::sync::Arc;

use axum::Router;
use ipnet::IpNet;
use pv_vault::{Engine, engine::Step};

use crate::doors::Doors;
pub use crate::{
    counts::{Counted, HookCounts},
    doors::LARGEST_BODY,
    limits::{HookLimits, Rate},
    source::Sources,
};

/// What wakes a background step; the binary and the simulation each have their own way.
pub type Wake = Arc<dyn Fn(Step) + Send + Sync>;

/// What the doors stand on.
#[derive(Clone)]
pub struct HookState {
    /// The house.
    pub engine: Arc<Engine>,
    /// Called after something was stored.
    pub wake: Wake,
    /// Who may speak for M-Pesa, and whose word about the caller's address is believed.
    pub sources: Sources,
    /// How much may come in.
    pub limits: HookLimits,
    /// What came in so far; shared with whoever shows it.
    pub counts: Arc<HookCounts>,
}

impl std::fmt::Debug for HookState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookState").field("sources", &self.sources).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl HookState {
    /// With these allowed sources of M-Pesa callbacks, no proxies, and the default limits.
    pub fn new(engine: Arc<Engine>, wake: Wake, callback_sources: Vec<IpNet>) -> Self {
        Self {
            engine,
            wake,
            sources: Sources { callbacks: callback_sources, proxies: Vec::new() },
            limits: HookLimits::default(),
            counts: Arc::default(),
        }
    }
}

/// All doors. The caller's address is read from the connection: serve with `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(state: HookState) -> Router {
    let doors = Arc::new(Doors::new(state));
    Router::new().merge(callback::router()).merge(approval::router()).with_state(doors)
}
