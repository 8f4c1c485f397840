//! Waking between processes: `NOTIFY` on one channel, the step's name as its payload.
//!
//! A process that has no worker rings after it stored something; a process that has one listens. A bell that nobody hears costs an
//! interval and nothing else. It rings outside of every transaction that moves money: a NOTIFY inside one would serialise commits.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pv_database::Db;
use pv_vault::engine::Step;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Wakes;

/// The channel.
pub const CHANNEL: &str = "payvault";
/// Pokes that wait to be rung; more are dropped, they would say the same.
const WAITING: usize = 256;
/// Pokes within this time ring once.
const GATHER: Duration = Duration::from_millis(10);
/// Pause before a broken ear is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Rings for the other processes.
#[derive(Debug, Clone)]
pub struct Bell(mpsc::Sender<Step>);

impl Bell {
    /// Starts the task that rings.
    pub fn start(db: Db) -> Self {
        let (sender, mut pokes) = mpsc::channel::<Step>(WAITING);
        tokio::spawn(async move {
            while let Some(first) = pokes.recv().await {
                tokio::time::sleep(GATHER).await;
                let mut steps = BTreeSet::from([first]);
                while let Ok(step) = pokes.try_recv() {
                    steps.insert(step);
                }
                let names: Vec<&str> = steps.into_iter().map(Step::name).collect();
                let rung = sqlx::query("select pg_notify($1, n) from unnest($2::text[]) n").bind(CHANNEL).bind(&names).execute(db.worker()).await;
                if let Err(error) = rung {
                    tracing::debug!(%error, "the other processes were not woken; they poll");
                }
            }
        });
        Self(sender)
    }

    /// Wakes this step in the other processes, soon.
    pub fn ring(&self, step: Step) {
        // Full: the step is woken by one of those that wait.
        let _ = self.0.try_send(step);
    }
}

/// Hears the bells of other processes, until the stop.
pub async fn listen(db: Db, wakes: Arc<Wakes>, stop: CancellationToken) {
    loop {
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = hear(&db, &wakes) => heard,
        };
        if let Err(error) = heard {
            tracing::debug!(%error, "the bell of the other processes is not heard; polling goes on");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn hear(db: &Db, wakes: &Wakes) -> Result<(), sqlx::Error> {
    let mut listener = db.listener().await.map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    listener.listen(CHANNEL).await?;
    loop {
        let note = listener.recv().await?;
        if let Some(step) = Step::ALL.into_iter().find(|step| step.name() == note.payload()) {
            wakes.poke(step);
        }
    }
}
