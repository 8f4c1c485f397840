//! The commands that answer and end. `serve` and `worker` stand in [`crate::serve`].

pub mod admin;
pub mod config_check;
pub mod doctor;
pub mod explain;
pub mod migrate;
pub mod sandbox;
pub mod sentence;
pub mod simulate;
pub mod verify;

use serde::Serialize;

use crate::failure::Result;

/// Writes an answer for a machine.
fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Rows in columns, for a person.
fn print_table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", line.join("  ").trim_end());
    }
}
