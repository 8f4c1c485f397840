//! `/metrics` in the text format of Prometheus, on a port of its own that is not for the world.

use std::{fmt::Write as _, sync::Arc};

use axum::{Router, routing::get};
use pv_hooks::{Counted, HookCounts};

use crate::runner::Health;

/// The page.
pub fn router(health: Arc<Health>, hooks: Arc<HookCounts>) -> Router {
    let page = move || {
        let text = text(&health, &hooks);
        async move { ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    Router::new().route("/metrics", get(page))
}

fn text(health: &Health, hooks: &HookCounts) -> String {
    let mut page = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, i64)]| {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(page, "{name}{labels} {value}");
        }
    };
    let alone = |value: i64| vec![(String::new(), value)];
    metric("payvault_ready", "gauge", "1 when this process takes requests and work.", &alone(i64::from(health.ready().is_ok())));
    let skew = health.skew().num_milliseconds();
    metric("payvault_clock_skew_milliseconds", "gauge", "Clock of the database minus that of this machine.", &alone(skew));
    let work = health.work();
    let per_step = |of: fn(&crate::runner::health::Work) -> u64| -> Vec<(String, i64)> {
        work.iter().map(|(step, done)| (format!("{{step=\"{step}\"}}"), i64::try_from(of(done)).unwrap_or(i64::MAX))).collect()
    };
    metric("payvault_step_runs_total", "counter", "Runs of a step that ended well.", &per_step(|w| w.runs));
    metric("payvault_step_rows_total", "counter", "Rows that a step took.", &per_step(|w| w.rows));
    metric("payvault_step_failures_total", "counter", "Runs of a step that failed or panicked.", &per_step(|w| w.failures));
    let outcomes: Vec<(String, i64)> =
        [("known", Counted::Known), ("unmatched", Counted::Unmatched), ("limited", Counted::Limited), ("failed", Counted::Failed)]
            .into_iter()
            .map(|(name, outcome)| (format!("{{outcome=\"{name}\"}}"), i64::try_from(hooks.get(outcome)).unwrap_or(i64::MAX)))
            .collect();
    metric("payvault_messages_total", "counter", "Callbacks, hooks and reports that came in.", &outcomes);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_that_a_process_is_not_ready() {
        let page = text(&Health::default(), &HookCounts::default());
        assert!(page.contains("# TYPE payvault_ready gauge\npayvault_ready 0\n"), "{page}");
        assert!(page.contains("payvault_messages_total{outcome=\"limited\"} 0\n"), "{page}");
    }
}
