//! What the machine is and what it spends: cores, and processor time by who used it. Read from `/proc`; where there is none, nothing is said.

use std::{collections::BTreeMap, fs, path::Path};

/// Processor ticks so far, by who used them: the names of our threads, and `postgres`.
pub type Ticks = BTreeMap<String, u64>;

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The processor's name.
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    text.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// Ticks of this process by thread name, and of the PostgreSQL with this postmaster.
pub fn ticks(postmaster: Option<u32>) -> Ticks {
    let mut all = Ticks::new();
    for thread in entries(Path::new("/proc/self/task")) {
        let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
        let used = of_stat(&format!("/proc/self/task/{thread}/stat")).map_or(0, |(_, ticks)| ticks);
        *all.entry(name.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned()).or_default() += used;
    }
    if let Some(postmaster) = postmaster {
        let children = entries(Path::new("/proc"));
        let used: u64 = children
            .iter()
            .filter_map(|pid| of_stat(&format!("/proc/{pid}/stat")))
            .filter(|(parent, _)| *parent == postmaster)
            .map(|(_, ticks)| ticks)
            .sum();
        all.insert("postgres".to_owned(), used);
    }
    all
}

fn entries(folder: &Path) -> Vec<u32> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect()
}

/// Parent and used ticks (user, system) of a process or thread.
fn of_stat(path: &str) -> Option<(u32, u64)> {
    let text = fs::read_to_string(path).ok()?;
    // The name in brackets may hold anything, so that fields are counted after it: state, parent, …, user (12th), system (13th).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok());
    Some((u32::try_from(number(1)?).ok()?, number(11)? + number(12)?))
}

/// How much of the machine was used between two moments, in percent of all its cores. A tick is a hundredth of a second wherever Linux runs.
pub fn busy(before: &Ticks, after: &Ticks, seconds: f64) -> u64 {
    let sum = |ticks: &Ticks| ticks.values().sum::<u64>();
    let used = sum(after).saturating_sub(sum(before));
    let capacity = (seconds * 100.0).max(1.0) * f64::from(u32::try_from(cores()).unwrap_or(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a percentage")]
    let percent = (used as f64 * 100.0 / capacity).round() as u64;
    percent
}

/// Shares of what was used between two moments, in percent of one core-second per second and core.
pub fn shares(before: &Ticks, after: &Ticks) -> Vec<(String, u64)> {
    let mut used: Vec<(String, u64)> = after
        .iter()
        .map(|(who, ticks)| (who.clone(), ticks.saturating_sub(before.get(who).copied().unwrap_or(0))))
        .filter(|(_, ticks)| *ticks > 0)
        .collect();
    let all: u64 = used.iter().map(|(_, ticks)| ticks).sum();
    for (_, ticks) in &mut used {
        *ticks = *ticks * 100 / all.max(1);
    }
    used.sort_by_key(|(_, share)| std::cmp::Reverse(*share));
    used.retain(|(_, share)| *share > 0);
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_was_used_in_between() {
        let before = Ticks::from([("a".to_owned(), 10), ("b".to_owned(), 5)]);
        let after = Ticks::from([("a".to_owned(), 40), ("b".to_owned(), 15), ("c".to_owned(), 0)]);
        assert_eq!(shares(&before, &after), [("a".to_owned(), 75), ("b".to_owned(), 25)]);
    }
}
