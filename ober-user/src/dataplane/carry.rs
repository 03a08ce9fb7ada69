//! Counters are kept when maps are made anew for a configuration with other sizes.

use std::path::Path;

use aya::maps::MapData;
use ober_common::abi::{LAYOUT, Node, Service, ServiceTable};

use super::{Error, maps, services};

/// Pins the counters in force among the fresh maps, so that no count is lost, not even of packets that arrive
/// meanwhile. Returns the services they belong to. Counters of another layout have another meaning and are not kept.
pub(super) fn counters(
    home: &Path,
    fresh: &Path,
    shapes: &[maps::Shape],
) -> Result<Vec<Service>, Error> {
    // Only these two are opened, since a daemon of another version may not have all maps.
    let (Ok(node), Ok(tables)) = (
        maps::memory::<Node>(home, "NODE"),
        maps::memory::<ServiceTable>(home, "SERVICE_TABLE"),
    ) else {
        return Ok(Vec::new());
    };
    if node.read(0).layout != LAYOUT {
        return Ok(Vec::new());
    }
    for shape in shapes
        .iter()
        .filter(|shape| maps::COUNTERS.contains(&shape.name))
    {
        if shape.fits(home) {
            let write = |source: Box<dyn std::error::Error + Send + Sync>| Error::Write {
                name: shape.name,
                source,
            };
            let map = MapData::from_pin(home.join(shape.name)).map_err(|it| write(it.into()))?;
            map.pin(fresh.join(shape.name))
                .map_err(|it| write(it.into()))?;
        }
    }
    Ok(services::services(&node, &tables))
}
