//! What sets a server apart from others.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// As workers count: `rgw[01-04]:7480 weight=2 tier=1 max_connections=50`; with wider numbers as a source counts, by its own
/// measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerTerms<Weight = u16, Tier = u8> {
    /// Its share among the servers of its tier, for workers 0 to 256; 0: no new work.
    pub weight: Weight,
    /// Servers of a higher tier serve only when all of the lower tiers are down.
    pub tier: Tier,
    /// Connections at once, of all workers together, where that is said.
    pub max_connections: Option<NonZeroU32>,
}

impl<Weight: From<u8>, Tier: From<u8>> Default for ServerTerms<Weight, Tier> {
    fn default() -> Self {
        Self {
            weight: Weight::from(1),
            tier: Tier::from(0),
            max_connections: None,
        }
    }
}

impl From<ServerTerms> for ServerTerms<u32, u32> {
    fn from(terms: ServerTerms) -> Self {
        Self {
            weight: terms.weight.into(),
            tier: terms.tier.into(),
            max_connections: terms.max_connections,
        }
    }
}

impl ServerTerms {
    const HEAVIEST: u16 = 256;

    /// Splits the expression from the terms behind it. An error names the word at fault.
    pub fn split(text: &str) -> Result<(&str, Self), String> {
        let (mut rest, mut terms) = (text.trim(), Self::default());
        while let Some((before, word)) = rest.rsplit_once(char::is_whitespace) {
            let Some((key, value)) = word.split_once('=') else {
                break;
            };
            let good = match key {
                "weight" => {
                    let weight = value
                        .parse()
                        .ok()
                        .filter(|&weight| weight <= Self::HEAVIEST);
                    weight.map(|weight| terms.weight = weight)
                }
                "tier" => value.parse().ok().map(|tier| terms.tier = tier),
                "max_connections" => value
                    .parse()
                    .ok()
                    .map(|most| terms.max_connections = Some(most)),
                _ => None,
            };
            good.ok_or_else(|| format!("`{word}` says nothing about servers"))?;
            rest = before.trim_end();
        }
        Ok((rest, terms))
    }
}
