//! payvault
fn main() {}
