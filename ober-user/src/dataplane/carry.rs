//! Counters outlive the maps that are sized by the configuration.

use std::path::Path;

use aya::maps::MapData;
use ober_common::abi::{LAYOUT, Service};

use super::{Error, Maps, maps};

/// Pins the counters in force among the fresh maps, so that what was counted stays counted and nothing that comes in
/// meanwhile is lost. Returns the services whose counters they are. Those of another layout mean something else.
pub(super) fn counters(
    home: &Path,
    fresh: &Path,
    shapes: &[maps::Shape],
) -> Result<Vec<Service>, Error> {
    let Some(before) = Maps::open(home)
        .ok()
        .filter(|it| it.node.read(0).layout == LAYOUT)
    else {
        return Ok(Vec::new());
    };
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
    Ok(before.services())
}
