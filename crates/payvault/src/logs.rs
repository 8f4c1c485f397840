//! What the process says while it runs, on stderr. Answers of commands go to stdout and never through here.

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::LogSettings,
    failure::{Failure, Result},
};

/// Starts logging. Call once.
pub fn start(settings: &LogSettings) -> Result<()> {
    let wanted = EnvFilter::try_new(&settings.filter)
        .map_err(|error| Failure::from(error).while_(format_args!("reading log.filter {:?}", settings.filter)))?;
    // The words of SQL statements and of HTTP libraries carry values; they are never of interest below a warning, and not even that to
    // whoever wants errors only.
    let quiet: &[&str] = match wanted.max_level_hint() {
        Some(most) if most <= LevelFilter::ERROR => &[],
        _ => &["sqlx=warn", "sqlx::postgres::notice=error", "hyper=warn", "reqwest=warn", "h2=warn", "rustls=warn"],
    };
    let filter = quiet.iter().try_fold(wanted, |filter, directive| directive.parse().map(|directive| filter.add_directive(directive)))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = if settings.json {
        registry.with(fmt::layer().json().with_writer(std::io::stderr).with_current_span(true)).try_init()
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false)).try_init()
    };
    started.map_err(|error| Failure::new(error.to_string()))
}
