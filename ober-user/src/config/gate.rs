//! The section `[gate]`: when this node may attract traffic.

use schemars::JsonSchema;
use serde::Deserialize;

use super::valid::Judge;

/// As written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {}

impl Judge<'_> {
    pub(super) fn gate(&mut self, _: Raw) -> Gate {
        Gate {}
    }
}
