//! `bgp`: one part of `status`.

use std::path::Path;

use super::{Error, Json, Outcome, client, screen::Screen};
use crate::{
    api::{Reply, Request},
    config::Config,
    status::bgp::Neighbour,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let config = Config::load(path)?;
    let Reply::Status(status) = client::ask(&config, Request::Status).await? else {
        return Err(client::Error::Astray.into());
    };
    if json.json {
        screen.json(&status.bgp)?;
    } else {
        show(&status.bgp, screen)?;
    }
    Ok(Outcome::Done)
}

/// The table that `status` shows too.
pub(super) fn show(_: &[Neighbour], _: &mut Screen) -> Result<(), Error> {
    Ok(())
}
