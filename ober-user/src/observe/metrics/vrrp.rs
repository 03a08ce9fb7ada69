//! Metrics of `crate::vrrp`.

use super::Family;
use crate::status::vrrp::Instance;

pub(super) fn families(_: &[Instance]) -> Vec<Family> {
    Vec::new()
}
