//! The plain pages: tables and links, no script.

use std::fmt::Display;

use crate::api::status::{Counters, Doubt, List, Stage, Status, Worker, gate::Served};

const STYLE: &str = "body{font:15px system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;\
color-scheme:light dark}table{border-collapse:collapse;margin:.5em 0 1.5em}\
td,th{padding:.25em .8em;text-align:left;border-bottom:1px solid #8884}td.n{text-align:right;\
font-variant-numeric:tabular-nums}.bad{color:#c22;font-weight:600}";

pub(super) fn front(status: &Status, counters: &Counters) -> String {
    let verdict = if status.is_healthy() {
        "healthy"
    } else {
        "<span class=bad>not healthy</span>"
    };
    let Served { served, total } = Served::of(&status.gate);
    let class = if served == total { "" } else { " class=bad" };
    let head = format!(
        "<h1>Herr Ober: {}</h1><p>{verdict}, <span{class}>{served} of {total} VIPs served</span>, version {}. <a href=/metrics>metrics</a> · \
         <a href=/health>health</a> · <a href=/stats>workers' statistics</a></p>",
        escape(&status.instance),
        escape(&status.version)
    );
    let body = [
        head,
        troubles(status),
        "<h2>Workers</h2>".into(),
        worker_table(&status.workers),
        "<h2>Services</h2>".into(),
        services(status),
        "<h2>Interfaces</h2>".into(),
        interfaces(status),
        "<h2>Lists</h2>".into(),
        lists(&status.lists),
        "<h2>Packets</h2>".into(),
        verdicts(counters),
    ];
    whole(&body.concat())
}

/// The troubles that an operator must know before anything else.
fn troubles(status: &Status) -> String {
    let configuration = status.configuration.as_ref();
    let doubt = configuration
        .and_then(|it| it.doubt.as_ref())
        .map(|it| format!("{}: {}", Doubt::WORDS, it.failures.join("; ")));
    let fallback = configuration.and_then(|it| it.fallback.as_ref()).map(|it| {
        format!(
            "snapshot {} of the history is in force: the configuration on disk was of no use at the start: {}",
            it.snapshot, it.error
        )
    });
    let missing = configuration
        .into_iter()
        .flat_map(|it| &it.missing)
        .map(|it| format!("without what depends on it: {it}"));
    let damaged = status
        .disk
        .damaged
        .iter()
        .map(|it| format!("{} was damaged; {}", it.file.display(), it.then));
    let unkept = status
        .disk
        .unkept
        .iter()
        .map(|it| format!("not kept over a restart: {}", it.why));
    let all = doubt
        .into_iter()
        .chain(fallback)
        .chain(missing)
        .chain(damaged)
        .chain(unkept);
    let lines: Vec<String> = all
        .map(|text| format!("<p class=bad>{}</p>", escape(&text)))
        .collect();
    lines.concat()
}

pub(super) fn workers(workers: &[Worker]) -> String {
    whole(&format!(
        "<h1>Workers</h1>{}<p><a href=/>back</a></p>",
        worker_table(workers)
    ))
}

fn whole(body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>Herr Ober</title><style>{STYLE}</style>{body}</html>\n"
    )
}

fn worker_table(workers: &[Worker]) -> String {
    let rows = workers.iter().map(|worker| {
        let number = worker.number;
        let links = format!(
            "<a href=/workers/{number}/stats>stats</a> · <a href=/workers/{number}/metrics>metrics</a>"
        );
        let pid = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let cpu = worker.cpu.map(|cpu| cpu.to_string()).unwrap_or_default();
        let state = flag(worker.state == Stage::Running, worker.state.name());
        row(&[
            number.to_string(),
            cpu,
            pid,
            state,
            flag(worker.in_ring, yes(worker.in_ring)),
            worker.restarts.to_string(),
            links,
        ])
    });
    table(
        &[
            "worker", "CPU", "process", "state", "in ring", "restarts", "",
        ],
        rows,
    )
}

fn services(status: &Status) -> String {
    let rows = status.services.iter().map(|service| {
        row(&[
            escape(&service.name),
            service.vip.to_string(),
            service.port.to_string(),
            service.list.as_ref().map_or("open".into(), escape),
            flag(service.vip_present, yes(service.vip_present)),
        ])
    });
    table(
        &["service", "VIP", "port", "access list", "VIP on this node"],
        rows,
    )
}

fn interfaces(status: &Status) -> String {
    let rows = status.data_plane.interfaces.iter().map(|interface| {
        let mode = if interface.native {
            "native"
        } else {
            "generic"
        };
        let why = interface.why_generic.as_ref();
        row(&[
            escape(&interface.name),
            asked(interface.attached, flag(false, "could not ask")),
            asked(interface.runs, "not seen yet".to_owned()),
            mode.into(),
            interface.queues.to_string(),
            interface.mtu.to_string(),
            why.map_or_else(String::new, |it| flag(false, &it.reason)),
        ])
    });
    let heads = [
        "interface",
        "attached",
        "runs",
        "mode",
        "receive queues",
        "MTU",
        "why generic",
    ];
    table(&heads, rows)
}

fn lists(lists: &[List]) -> String {
    let rows = lists.iter().map(|list| {
        let error = list.error.as_ref().map(|error| flag(false, error));
        row(&[
            escape(&list.name),
            list.count.to_string(),
            flag(
                list.unresolved.is_empty(),
                &list.unresolved.len().to_string(),
            ),
            error.unwrap_or_default(),
        ])
    });
    table(
        &["list", "addresses", "unresolved names", "last failure"],
        rows,
    )
}

fn verdicts(counters: &Counters) -> String {
    let rows = counters.services.iter().flat_map(|service| {
        let at = match (service.vip, service.port) {
            (Some(vip), Some(port)) => format!("{vip} port {port}"),
            _ => String::new(),
        };
        let name = escape(&service.name);
        service.verdicts.iter().map(move |(verdict, count)| {
            let numbers = [count.packets, count.bytes].map(|n| format!("<td class=n>{n}"));
            let names = [&name, &at, &escape(verdict)].map(|text| format!("<td>{text}"));
            format!("<tr>{}{}", names.concat(), numbers.concat())
        })
    });
    table(&["service", "at", "verdict", "packets", "bytes"], rows)
}

fn table(heads: &[&str], rows: impl Iterator<Item = String>) -> String {
    let heads = heads.join("<th>");
    let rows: String = rows.collect();
    format!("<table><tr><th>{heads}{rows}</table>")
}

/// Cells that are HTML already.
fn row(cells: &[String]) -> String {
    format!("<tr><td>{}", cells.join("<td>"))
}

/// `unknown`: what to say without an answer.
fn asked(known: Option<bool>, unknown: String) -> String {
    known.map_or(unknown, |it| flag(it, yes(it)))
}

fn yes(good: bool) -> &'static str {
    if good { "yes" } else { "no" }
}

fn flag(good: bool, text: &str) -> String {
    let text = escape(text);
    if good {
        text
    } else {
        format!("<span class=bad>{text}</span>")
    }
}

fn escape(text: impl Display) -> String {
    let escaped = text.to_string().replace('&', "&amp;").replace('<', "&lt;");
    escaped.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{announce::gate::State, api::sample};

    #[test]
    fn a_name_on_the_page_is_escaped_and_never_becomes_markup() {
        let mut status = sample::status();
        status.lists[0].name = "<script>".into();
        status.lists[0].error = Some("a & \"b\"".into());
        status.instance = "<b>".into();
        let page = front(&status, &sample::counters());
        assert!(
            !page.contains("<script>") && !page.contains("<b>"),
            "{page}"
        );
        assert!(page.contains("a &amp; &quot;b&quot;"), "{page}");
    }

    #[test]
    fn the_front_page_shows_each_trouble_of_the_daemon() {
        let page = front(&sample::status(), &sample::counters());
        for words in [
            "the node is not as this configuration says",
            "attach to in0: the device is busy",
            "snapshot 7 of the history is in force",
            "without what depends on it",
            "gate.json was damaged",
            "not kept over a restart: no space left",
        ] {
            let line = page.split("<p class=bad>").find(|it| it.contains(words));
            assert!(line.is_some(), "{words} is not in {page}");
        }
    }

    #[test]
    fn the_front_page_marks_bad_states() {
        let mut status = sample::status();
        assert!(front(&status, &Counters::default()).contains("<span class=bad>backoff</span>"));
        status.healthy = false;
        let page = front(&status, &Counters::default());
        assert!(
            page.contains("<span class=bad>not healthy</span>"),
            "{page}"
        );
    }

    #[test]
    fn the_front_page_calls_no_node_healthy_that_serves_none_of_its_vips() {
        let mut status = sample::status();
        assert!(front(&status, &Counters::default()).contains("<p>healthy, "));
        for gate in &mut status.gate {
            gate.state = State::Down;
        }
        let page = front(&status, &Counters::default());
        assert!(
            page.contains("<span class=bad>not healthy</span>, <span class=bad>0 of "),
            "{page}"
        );
    }
}
