//! The queueing discipline of the interfaces clients come in by. The setting `net.core.default_qdisc` alone changes none that is
//! there. One that an administrator chose is left alone.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::host::{
    Error, Host,
    object::{Object, State},
    part::Part,
    parts::sysctl,
    plan::{Change, PartPlan, Remark},
    platform::Platform,
    wants::Wants,
};

/// What each queue of an interface is to have.
pub const WANTED: &str = "fq";
/// An interface on others, such as a VLAN or a bond: the queues are below it.
const NO_QUEUE: &str = "noqueue";
/// An interface with several queues has this one, and below it one for each queue.
const MULTI: &str = "mq";
/// The kernel makes those of handle 0 by itself.
const DEFAULT: &str = "0:";
/// The handle of ours, so that their queues can be named.
const HANDLE: &str = "b0e";

/// An interface's queueing disciplines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queueing {
    /// `fq`, or `mq: fq` with several queues.
    pub kind: String,
    /// Did the kernel choose it?
    pub default: bool,
    /// Did a run of bootstrap, which may have been killed meanwhile?
    pub ours: bool,
    /// How many queues there are.
    pub queues: usize,
}

#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    handle: String,
    #[serde(default)]
    root: bool,
    parent: Option<String>,
}

impl Queueing {
    /// Reads the output of `tc -json qdisc show dev X`. Those of incoming packets do not count.
    pub fn read(text: &str) -> Option<Self> {
        let lines: Vec<Line> = serde_json::from_str(text).ok()?;
        let top = lines.iter().find(|it| it.root)?;
        // `:1` is a queue of the kernel's own, `b0e:1` one of ours.
        let of_queue = |it: &&Line| {
            let parent = it.parent.as_deref().unwrap_or_default();
            let handle = parent.split_once(':').map(|(handle, _)| handle);
            handle.is_some_and(|it| it.is_empty() || format!("{it}:") == top.handle)
        };
        let queues: Vec<&Line> = lines.iter().filter(of_queue).collect();
        let below: BTreeSet<&str> = queues.iter().map(|it| it.kind.as_str()).collect();
        let below: Vec<&str> = below.into_iter().collect();
        let kind = match top.kind.as_str() {
            MULTI => format!("{MULTI}: {}", below.join(", ")),
            kind => kind.to_owned(),
        };
        Some(Self {
            kind,
            default: top.handle == DEFAULT,
            ours: top.handle == format!("{HANDLE}:"),
            queues: queues.len(),
        })
    }

    /// While the queues get theirs one by one.
    fn between(&self) -> Vec<State> {
        let Some(leaf) = self.kind.strip_prefix("mq: ") else {
            return Vec::new();
        };
        let mut both = [leaf, WANTED];
        both.sort_unstable();
        vec![
            State::value(&self.kind),
            State::value(format!("{MULTI}: {}", both.join(", "))),
        ]
    }

    /// What it is to be.
    pub fn wanted(&self) -> String {
        if self.kind.starts_with(MULTI) {
            format!("{MULTI}: {WANTED}")
        } else if self.kind == NO_QUEUE {
            self.kind.clone()
        } else {
            WANTED.to_owned()
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QdiscFacts {
    /// Each configured interface; `None`: it is not there, or `tc` does not say.
    pub interfaces: Vec<(String, Option<Queueing>)>,
    /// Has the kernel no such queueing discipline?
    pub lacking: bool,
    /// In an image there are no interfaces.
    pub running: bool,
}

pub async fn look<M: Platform>(host: &Host<M>, wants: &Wants) -> Result<QdiscFacts, Error> {
    let mut interfaces = Vec::new();
    let names = wants.configured.iter().flat_map(|it| &it.interfaces);
    for name in names.filter(|_| host.machine.is_running()) {
        interfaces.push((name.clone(), queueing(host, name).await));
    }
    Ok(QdiscFacts {
        interfaces,
        lacking: sysctl::lacking(host)?.contains(WANTED),
        running: host.machine.is_running(),
    })
}

pub(crate) async fn queueing<M: Platform>(host: &Host<M>, interface: &str) -> Option<Queueing> {
    let words = ["tc", "-json", "qdisc", "show", "dev", interface];
    Queueing::read(&host.ask(&words).await?)
}

pub fn plan(facts: &QdiscFacts, wants: &Wants) -> PartPlan {
    let mut plan = PartPlan::new(Part::Qdisc);
    if facts.running && wants.configured.is_none() {
        let why = wants.why_not.as_deref().unwrap_or("there is none yet");
        plan.remarks.push(
            Remark::warning(
                "interfaces",
                format!("only a configuration names them: {why}"),
            )
            .advice("run bootstrap again when there is one"),
        );
    }
    for (name, found) in &facts.interfaces {
        let Some(found) = found else {
            plan.remarks.push(
                Remark::warning(name, "it is not there, or `tc` does not say what it has")
                    .advice("correct `node.interfaces`, or install iproute2"),
            );
            continue;
        };
        match judge(found, facts.lacking) {
            None if found.kind == found.wanted() => {}
            None => plan.changes.push(Change {
                object: Object::Qdisc(name.clone()),
                before: State::value(&found.kind),
                after: State::value(found.wanted()),
                between: found.between(),
                reason: "net.core.default_qdisc changes no interface that is there".to_owned(),
            }),
            Some((words, advice)) => plan
                .remarks
                .push(Remark::warning(name, words).advice(advice)),
        }
    }
    plan
}

/// Why it is left as it is; `None`: it is to be what [`Queueing::wanted`] says, or is.
pub fn judge(found: &Queueing, lacking: bool) -> Option<(String, &'static str)> {
    if found.kind == found.wanted() {
        return None;
    }
    if !found.default && !found.ours {
        let words = format!("{} was chosen for it, so it stays", found.kind);
        return Some((
            words,
            "`tc qdisc replace dev X root fq` if it need not be so",
        ));
    }
    lacking.then(|| {
        let words = format!("it has {}, and this kernel has no {WANTED}", found.kind);
        (words, "take a kernel of a distribution")
    })
}

pub(crate) async fn state<M: Platform>(host: &Host<M>, interface: &str) -> Result<State, Error> {
    let found = queueing(host, interface).await;
    Ok(found.map_or(State::Absent, |it| State::Value(it.kind)))
}

/// Gives the interface this kind. What the kernel chooses by itself is made by taking ours away.
pub(crate) async fn put<M: Platform>(
    host: &Host<M>,
    interface: &str,
    kind: &str,
) -> Result<(), Error> {
    let Some(found) = queueing(host, interface).await else {
        return Ok(());
    };
    let (multi, leaf) = match kind.strip_prefix(MULTI) {
        Some(rest) => (true, rest.trim_start_matches(": ")),
        None => (false, kind),
    };
    let of_interface = ["tc", "qdisc", "replace", "dev", interface];
    if leaf != WANTED {
        // Only a queueing discipline that was put there can be taken away.
        if found.default {
            order(host, &of_interface, &["root", "pfifo"]).await?;
        }
        return order(host, &["tc", "qdisc", "del", "dev", interface], &["root"]).await;
    }
    if !multi {
        return order(host, &of_interface, &["root", WANTED]).await;
    }
    let handle = format!("{HANDLE}:");
    order(host, &of_interface, &["root", "handle", &handle, MULTI]).await?;
    for queue in 1..=found.queues {
        let parent = format!("{HANDLE}:{queue:x}");
        order(host, &of_interface, &["parent", &parent, WANTED]).await?;
    }
    Ok(())
}

async fn order<M: Platform>(host: &Host<M>, start: &[&str], end: &[&str]) -> Result<(), Error> {
    host.order(&[start, end].concat()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::wants::Configured;

    /// As Linux 6.1 and iproute2 6.1 answer: virtio-net with four queues, one with one, a VLAN.
    const SEVERAL: &str = r#"[{"kind":"mq","handle":"0:","root":true,"options":{}},
        {"kind":"fq_codel","handle":"0:","parent":":2","options":{"limit":10240}},
        {"kind":"fq_codel","handle":"0:","parent":":1","options":{"limit":10240}},
        {"kind":"clsact","handle":"ffff:","parent":"ffff:fff1","options":{}}]"#;
    const OURS: &str = r#"[{"kind":"mq","handle":"b0e:","root":true,"options":{}},
        {"kind":"fq","handle":"8002:","parent":"b0e:2","options":{}},
        {"kind":"fq","handle":"8001:","parent":"b0e:1","options":{}}]"#;
    const HALF: &str = r#"[{"kind":"mq","handle":"b0e:","root":true,"options":{}},
        {"kind":"fq","handle":"8001:","parent":"b0e:1","options":{}},
        {"kind":"pfifo_fast","handle":"0:","parent":"b0e:2","options":{}}]"#;
    const ONE: &str = r#"[{"kind":"pfifo_fast","handle":"0:","root":true,"options":{}}]"#;
    const CHOSEN: &str = r#"[{"kind":"htb","handle":"1:","root":true,"options":{}},
        {"kind":"fq","handle":"10:","parent":"1:1","options":{}}]"#;
    const VLAN: &str = r#"[{"kind":"noqueue","handle":"0:","root":true,"options":{}}]"#;

    #[test]
    fn queueing_is_read_as_tc_tells_it() {
        for (text, kind, default, queues) in [
            (SEVERAL, "mq: fq_codel", true, 2),
            (OURS, "mq: fq", false, 2),
            (HALF, "mq: fq, pfifo_fast", false, 2),
            (ONE, "pfifo_fast", true, 0),
            (CHOSEN, "htb", false, 1),
            (VLAN, "noqueue", true, 0),
        ] {
            let expected = Queueing {
                kind: kind.to_owned(),
                default,
                ours: text.contains("b0e:"),
                queues,
            };
            assert_eq!(Queueing::read(text), Some(expected), "{text}");
        }
        assert_eq!(Queueing::read("Cannot find device"), None);
    }

    #[test]
    fn queueing_that_the_kernel_chose_is_changed_and_what_an_administrator_chose_stays() {
        let wants = Wants {
            configured: Some(Configured::default()),
            ..Wants::default()
        };
        let facts = |text: &str, lacking| QdiscFacts {
            interfaces: vec![("eth1".to_owned(), Queueing::read(text))],
            lacking,
            running: true,
        };
        for (text, lacking, becomes, remarks) in [
            (SEVERAL, false, Some("mq: fq"), 0),
            (ONE, false, Some("fq"), 0),
            (OURS, false, None, 0),
            (HALF, false, Some("mq: fq"), 0),
            (VLAN, false, None, 0),
            (CHOSEN, false, None, 1),
            (SEVERAL, true, None, 1),
            ("no device", false, None, 1),
        ] {
            let plan = plan(&facts(text, lacking), &wants);
            let after = |it: &Change| it.after.to_string();
            let after: Vec<String> = plan.changes.iter().map(after).collect();
            assert_eq!(after, becomes.into_iter().collect::<Vec<_>>(), "{text}");
            assert_eq!(plan.remarks.len(), remarks, "{text}");
        }
        let none = Wants::default();
        assert_eq!(plan(&facts(ONE, true), &none).remarks.len(), 2);
    }
}
