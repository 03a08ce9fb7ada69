//! The clock, as bootstrap judges it.

use super::host::finding;
use crate::{
    diagnose::finding::Finding,
    host::parts::time::{self, ClockFacts},
};

const PART: &str = "clock";

pub(super) fn judge(facts: &ClockFacts) -> Vec<Finding> {
    vec![finding(PART, time::judge(facts))]
}
