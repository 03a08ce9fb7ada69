//! Metrics of `crate::bgp`.

use super::Family;
use crate::status::bgp::Neighbour;

pub(super) fn families(_: &[Neighbour]) -> Vec<Family> {
    Vec::new()
}
