//! The section `[bfd]`: how fast BFD is.

use schemars::JsonSchema;
use serde::Deserialize;

use super::valid::Judge;

/// As written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bfd {}

impl Judge<'_> {
    pub(super) fn bfd(&mut self, _: Raw) -> Bfd {
        Bfd {}
    }
}
