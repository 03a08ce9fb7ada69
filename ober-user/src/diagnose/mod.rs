//! What is wrong: of this machine (`doctor`), and of what a node would announce (`trial`, the command `test`).

pub mod doctor;
pub mod finding;
pub mod trial;
