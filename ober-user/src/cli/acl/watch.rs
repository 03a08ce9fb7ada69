//! `acl watch`: a line for every sampled drop.

use std::{net::SocketAddr, path::Path, time::Duration};

use nix::time::{ClockId, clock_gettime};

use crate::{
    api::{Reply, Sampling, Stream, status::DropEvent},
    cli::{
        Error, Json, Outcome, client,
        instance::{Instance, pinned},
        screen::{Screen, Tone},
    },
    config::Config,
    daemon::report::names,
    dataplane::{Maps, events::Drops},
    system::clock,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let instance = Instance::find(path).await?;
    let Some(mut line) = instance.connect().await? else {
        return alone(instance.config().await?, json, screen).await;
    };
    line.send(&Stream::Watch).await?;
    loop {
        match line.next().await?.map_err(Error::failed)? {
            Reply::Watching(sampling) => head(sampling, json, screen)?,
            Reply::Drop(event) => show(&event, since_1970(event.at), json, screen)?,
            _ => return Err(client::Error::Astray.into()),
        }
    }
}

/// No daemon reads the events, so this command may.
async fn alone(config: &Config, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    client::may_use_maps()?;
    let pins = pinned(config)?;
    let maps = Maps::open(&pins)?;
    let node = maps.node.read(0);
    let sampling = Sampling {
        one_in: node.sample,
        rate: node.event_rate,
    };
    let names = names(config, &maps);
    let mut drops = Drops::open(&pins)?;
    head(sampling, json, screen)?;
    loop {
        let event = drops.next(&names).await?;
        show(&event, since_1970(event.at), json, screen)?;
    }
}

/// Tells a person that the lines are samples.
fn head(sampling: Sampling, json: Json, screen: &mut Screen) -> Result<(), Error> {
    if json.json {
        return Ok(());
    }
    let line = screen.paint(words(sampling), Tone::Faint);
    screen.line(line)?;
    Ok(screen.flush()?)
}

fn words(Sampling { one_in, rate }: Sampling) -> String {
    let most = format!("at most {rate} a second and CPU (node.event_rate)");
    let shown = match one_in {
        0 => "no drop is shown: node.sample is 0".to_owned(),
        1 => format!("every drop is shown, {most}"),
        more => format!("one drop in {more} is shown (node.sample), {most}"),
    };
    format!("{shown}; `ober-user counters` counts them all; times are UTC")
}

/// The time since 1970 of an event that the kernel stamped with `at`, in nanoseconds of its monotonic clock.
fn since_1970(at: u64) -> Duration {
    let uptime = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    let ago = uptime.map_or(Duration::ZERO, |uptime| {
        uptime.saturating_sub(Duration::from_nanos(at))
    });
    clock::since_1970().saturating_sub(ago)
}

fn time_of_day(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let [hours, minutes] = [seconds / 3600 % 24, seconds / 60 % 60];
    let seconds = seconds % 60;
    format!(
        "{hours:02}:{minutes:02}:{seconds:02}.{:06}",
        since_1970.subsec_micros()
    )
}

fn show(
    event: &DropEvent,
    since_1970: Duration,
    json: Json,
    screen: &mut Screen,
) -> Result<(), Error> {
    if json.json {
        screen.json(event)?;
    } else {
        let reason = screen.paint(&event.reason, Tone::Bad);
        screen.line(format_args!(
            "{} {reason} {}",
            time_of_day(since_1970),
            line(event)
        ))?;
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
        "{} {protocol} {} -> {} on {}, {} bytes",
        event.service,
        end(event.source, event.source_port),
        end(event.destination, event.destination_port),
        event.interface,
        event.length,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::Paper;

    #[test]
    fn watch_shows_a_drop_on_one_line_with_both_addresses_and_the_time() {
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
        let at = Duration::from_micros(1_700_000_065_000_567);
        show(&event, at, Json { json: false }, &mut screen).unwrap();
        let expected =
            "22:14:25.000567 denied s3 tcp [fd00::1]:40000 -> [fd00::5]:80 on in0, 86 bytes\n";
        assert_eq!(paper.text(), expected);
        show(&event, at, Json { json: true }, &mut screen).unwrap();
        let text = paper.text();
        let back: DropEvent = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(back, event);
    }

    #[test]
    fn the_time_of_an_event_is_wall_clock_time() {
        let uptime = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
        let at = uptime.saturating_sub(Duration::from_secs(3));
        let then = since_1970(u64::try_from(at.as_nanos()).unwrap());
        let now = clock::since_1970();
        let ago = now.saturating_sub(then).as_secs_f64();
        assert!((2.9..60.0).contains(&ago), "{ago}");
        assert_eq!(time_of_day(Duration::from_secs(86_399)), "23:59:59.000000");
    }

    #[test]
    fn watch_states_what_share_of_the_drops_it_shows() {
        for (one_in, words) in [
            (
                0,
                "no drop is shown: node.sample is 0; `ober-user counters`",
            ),
            (1, "every drop is shown, at most 100 a second and CPU"),
            (64, "one drop in 64 is shown (node.sample), at most 100"),
        ] {
            let said = super::words(Sampling { one_in, rate: 100 });
            assert!(said.starts_with(words), "{said}");
        }
    }
}
