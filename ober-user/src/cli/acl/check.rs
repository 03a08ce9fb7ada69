//! `acl check`.

use std::{net::IpAddr, path::Path};

use clap::Args;

use crate::{
    api::{Checked, Question, Reply},
    cli::{
        Error, Json, Outcome, client,
        instance::Instance,
        known::known_list,
        screen::{Cell, Screen, Tone},
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// An IPv4 or IPv6 address of a client
    address: IpAddr,
    /// Ask about this list alone
    #[arg(long, value_name = "NAME")]
    list: Option<String>,
    #[command(flatten)]
    json: Json,
}

impl Check {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        let request = Question::Check {
            address: self.address,
        };
        let Reply::Checked(mut checked) = instance.ask(request).await? else {
            return Err(client::Error::Astray.into());
        };
        if let Some(list) = &self.list {
            known_list(list, checked.iter().map(|it| it.list.as_str()))?;
            checked.retain(|checked| *list == checked.list);
        }
        if self.json.json {
            screen.json(&checked)?;
        } else {
            let rows: Vec<_> = checked.iter().map(row).collect();
            screen.table(&["list", &self.address.to_string()], &rows)?;
        }
        Ok(outcome(&checked))
    }
}

fn outcome(checked: &[Checked]) -> Outcome {
    if checked.iter().any(|checked| checked.listed) {
        Outcome::Done
    } else {
        Outcome::No
    }
}

fn row(checked: &Checked) -> Vec<Cell> {
    let word = if checked.listed {
        "listed"
    } else {
        "not listed"
    };
    let tone = if checked.listed {
        Tone::Good
    } else {
        Tone::Plain
    };
    vec![Cell::text(&checked.list), Cell::toned(word, tone)]
}
