//! `upgrade`: newer packages, and back where one does not serve.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{
        Error, Json, Outcome,
        screen::{Screen, Tone, spinner},
    },
    host::{
        self, Host,
        upgrade::{self, Became, Manager, Offer, Patience},
    },
    system::privilege,
};

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// Only say what there is, with versions
    #[arg(long)]
    check_only: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    offers: &'a [Offer],
    /// What became of each; `null`: it was only asked.
    became: Option<&'a [Became]>,
}

impl Upgrade {
    pub(crate) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        privilege::require(&privilege::MACHINE)?;
        let path = std::path::absolute(path)?;
        let host = Host::here();
        let Some(manager) = Manager::of(&host) else {
            return Err(host::Error::Command {
                command: "apt-get update".to_owned(),
                why: "neither apt nor dnf is here to ask for newer packages; what install.sh installed is upgraded by that of a newer archive".to_owned(),
            }
            .into());
        };
        let line = spinner("asking for newer packages");
        let offers = upgrade::offers(&host, manager).await;
        line.finish_and_clear();
        let offers = offers?;
        if !self.json.json {
            show(&offers, screen)?;
        }
        let became = if self.check_only || offers.is_empty() {
            None
        } else {
            screen.flush()?;
            let line = spinner("upgrading");
            let patience = Patience::default();
            let became = upgrade::make(&host, manager, &path, &offers, patience).await;
            line.finish_and_clear();
            Some(became)
        };
        if self.json.json {
            let (offers, became) = (&offers[..], became.as_deref());
            screen.json(&Answer { offers, became })?;
        } else {
            for (offer, became) in offers.iter().zip(became.iter().flatten()) {
                screen.line(ended(offer, became, screen))?;
            }
        }
        Ok(match became {
            None if offers.is_empty() => Outcome::Done,
            None => Outcome::Changes,
            Some(all) if all.iter().all(|it| *it == Became::Upgraded) => Outcome::Done,
            Some(_) => Outcome::No,
        })
    }
}

fn show(offers: &[Offer], screen: &mut Screen) -> Result<(), Error> {
    for it in offers {
        let name = it.package.name();
        screen.line(format_args!("{name}: {} -> {}", it.installed, it.candidate))?;
    }
    if offers.is_empty() {
        screen.line("nothing newer than what is installed")?;
    }
    Ok(())
}

fn ended(offer: &Offer, became: &Became, screen: &Screen) -> String {
    let name = offer.package.name();
    let Offer {
        installed,
        candidate,
        ..
    } = offer;
    let words = match became {
        Became::Upgraded => format!("{name}: {candidate} is in service"),
        Became::Refused(why) => format!("{name}: {candidate} was not installed: {why}"),
        Became::Back(why) => {
            format!("{name}: {candidate} did not do, and {installed} is back: {why}")
        }
        Became::Stuck(why) => format!("{name}: {candidate} is installed and did not do: {why}"),
        Became::NotTried => format!("{name}: not tried"),
    };
    screen.paint(words, Tone::of(*became == Became::Upgraded))
}
