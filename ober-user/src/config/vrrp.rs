//! The section `[vrrp]` and its instances.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{scalar::At, valid::Judge};

/// As written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vrrp {}

impl Judge<'_> {
    pub(super) fn vrrp(&mut self, raw: Option<At<Raw>>) -> Option<Vrrp> {
        raw.map(|_| Vrrp {})
    }
}
