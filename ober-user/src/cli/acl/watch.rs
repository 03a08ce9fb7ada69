//! `acl watch`: a line for every sampled drop.

use std::{net::SocketAddr, path::Path};

use crate::{
    api::{Reply, Request},
    cli::{
        Error, Json, Outcome, client,
        instance::{Instance, pinned},
        screen::{Screen, Tone},
    },
    config::Config,
    daemon::report::names,
    dataplane::Maps,
    events::Drops,
    status::DropEvent,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let instance = Instance::find(path).await?;
    let Some(mut line) = instance.connect().await? else {
        return alone(instance.config()?, json, screen).await;
    };
    line.send(&Request::Watch).await?;
    loop {
        match line.next().await?.map_err(Error::failed)? {
            Reply::Drop(event) => show(&event, json, screen)?,
            _ => return Err(client::Error::Astray.into()),
        }
    }
}

/// No daemon takes the events, so this command may.
async fn alone(config: &Config, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    client::may_use_maps()?;
    let pins = pinned(config)?;
    let names = names(config, &Maps::open(&pins)?);
    let mut drops = Drops::open(&pins)?;
    loop {
        let event = drops.next(&names).await?;
        show(&event, json, screen)?;
    }
}

fn show(event: &DropEvent, json: Json, screen: &mut Screen) -> Result<(), Error> {
    if json.json {
        screen.json(event)?;
    } else {
        let reason = screen.paint(&event.reason, Tone::Bad);
        screen.line(format_args!("{reason} {}", line(event)))?;
    }
    Ok(screen.flush()?)
}

fn line(event: &DropEvent) -> String {
    let protocol = match event.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        112 => "vrrp".to_owned(),
        other => format!("protocol {other}"),
    };
    let end = |address, port| match port {
        0 => format!("{address}"),
        port => SocketAddr::new(address, port).to_string(),
    };
    format!(
        "{} {protocol} {} -> {} on {}, {} bytes, at {}.{:06}",
        event.service,
        end(event.source, event.source_port),
        end(event.destination, event.destination_port),
        event.interface,
        event.length,
        event.at / 1_000_000_000,
        event.at % 1_000_000_000 / 1000,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::Paper;

    #[test]
    fn a_drop_is_one_line_with_both_ends_and_the_time() {
        let event = DropEvent {
            at: 1_234_000_567_890,
            reason: "denied".into(),
            service: "s3".into(),
            source: "fd00::1".parse().unwrap(),
            destination: "fd00::5".parse().unwrap(),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            interface: "in0".into(),
            length: 86,
        };
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        show(&event, Json { json: false }, &mut screen).unwrap();
        let expected =
            "denied s3 tcp [fd00::1]:40000 -> [fd00::5]:80 on in0, 86 bytes, at 1234.000567\n";
        assert_eq!(paper.text(), expected);
        show(&event, Json { json: true }, &mut screen).unwrap();
        let text = paper.text();
        let back: DropEvent = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(back, event);
    }
}
