//! The `ringer` command.
fn main() {}
