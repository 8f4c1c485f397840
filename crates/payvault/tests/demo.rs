//! The demo as a person runs it: the built binary, with nothing configured. It compares everything by itself; here it is only asked how
//! that went, and whether it notices when somebody tampers.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_payvault")).arg("demo").args(arguments).output().unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_demo_ends_with_all_money_explained() {
    let output = demo(&[]);
    let words = words(&output);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("All money explained as of "), "{words}");
}

#[test]
fn the_demo_notices_a_changed_receipt_in_the_core() {
    let output = demo(&["--tamper", "receipt"]);
    let words = words(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("NOT EVERYTHING IS EXPLAINED: 1 difference") && words.contains("TKK0OTHER1"), "{words}");
}
