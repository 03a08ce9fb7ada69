//! The section `[bgp]` and its neighbours.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{scalar::At, valid::Judge};

/// As written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bgp {}

impl Judge<'_> {
    pub(super) fn bgp(&mut self, raw: Option<At<Raw>>) -> Option<Bgp> {
        raw.map(|_| Bgp {})
    }
}
