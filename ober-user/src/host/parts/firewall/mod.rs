//! The host's firewall. XDP and the socket lookup stand on both sides of it, so a VIP's packets pass it, and probes by loopback do
//! not show what it drops.
//!
//! No firewall is turned on, no policy is changed, and no rule is taken away but bootstrap's own. firewalld and ufw, where they
//! run, get rules that accept what the configuration needs. Where a chain of nftables drops it, such rules are put first into
//! that chain, if the operator names it. `nft` tells what becomes of a packet.

pub mod managers;
pub mod nft;
#[cfg(test)]
mod tests;

use crate::host::{
    Error, Host,
    object::{Object, State},
    part::Part,
    plan::{PartPlan, Remark},
    platform::Platform,
    wants::{Passage, Wants},
};
use managers::Managers;
use nft::{Fate, Ruleset};

/// The state of a rule that is there.
const THERE: &str = "there";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirewallFacts {
    pub managers: Managers,
    /// `None`: `nft` is not there, or may not look.
    pub ruleset: Option<Ruleset>,
}

pub async fn look<M: Platform>(host: &Host<M>) -> FirewallFacts {
    FirewallFacts {
        managers: managers::look(host).await,
        ruleset: ruleset(host).await.ok(),
    }
}

const LIST: [&str; 4] = ["nft", "--json", "list", "ruleset"];

async fn ruleset<M: Platform>(host: &Host<M>) -> Result<Ruleset, Error> {
    let text = host.order(&LIST).await?;
    Ruleset::read(&text).ok_or_else(|| Error::Command {
        command: LIST.join(" "),
        why: "its answer is no ruleset".to_owned(),
    })
}

/// What the configuration needs and a chain certainly drops, with each such chain.
pub fn dropped<'w>(facts: &FirewallFacts, wants: &'w Wants) -> Vec<(&'w Passage, nft::Chain)> {
    let (Some(ruleset), Some(configured)) = (&facts.ruleset, &wants.configured) else {
        return Vec::new();
    };
    let each = configured.passages.iter().flat_map(|passage| {
        let chains = ruleset.dropping(passage, &configured.interfaces);
        chains.into_iter().map(move |chain| (passage, chain))
    });
    each.collect()
}

pub fn plan(facts: &FirewallFacts, wants: &Wants) -> PartPlan {
    let mut plan = PartPlan::new(Part::Firewall);
    if let Some(name) = &wants.firewall_chain {
        let ruleset = facts.ruleset.clone().unwrap_or_default();
        let chains: Vec<String> = ruleset.inputs().map(ToString::to_string).collect();
        if !chains.contains(name) {
            let words = format!("there is no chain {name} that sees packets for this machine");
            let advice = if chains.is_empty() {
                "there is none at all".to_owned()
            } else {
                format!("there are {}", chains.join(", "))
            };
            plan.remarks
                .push(Remark::refused("--firewall-chain", words).advice(advice));
            return plan;
        }
    }
    if facts.managers.any() && wants.firewall_chain.is_none() {
        open(facts, wants, &mut plan);
        return plan;
    }
    let dropped = dropped(facts, wants);
    if dropped.is_empty() {
        plan.remarks.extend(nothing(facts, wants));
    }
    for (passage, chain) in dropped {
        let chain = chain.to_string();
        if wants.firewall_chain.as_ref() == Some(&chain) {
            plan.change(
                Object::Rule {
                    chain: chain.clone(),
                    rule: passage.rule(),
                },
                State::Absent,
                State::value(THERE),
                format!("{chain} drops {passage}; the rule lasts until the ruleset is loaded again, so write it there too"),
            );
        } else {
            plan.remarks.push(drops(facts, passage, &chain));
        }
    }
    plan
}

fn drops(facts: &FirewallFacts, passage: &Passage, chain: &str) -> Remark {
    let words =
        format!("chain {chain} drops it: clients time out while everything here looks well");
    Remark::warning(passage.to_string(), words).advice(mend(facts, passage, chain))
}

/// Has the managers accept what the configuration needs, unless it passes already.
fn open(facts: &FirewallFacts, wants: &Wants, plan: &mut PartPlan) {
    let Some(configured) = &wants.configured else {
        return;
    };
    for passage in &configured.passages {
        let fate = |ruleset: &Ruleset| ruleset.fate(passage, &configured.interfaces);
        if facts.ruleset.as_ref().map(fate) == Some(Fate::Accepted) {
            continue;
        }
        if let Some(rule) = facts.managers.refuses(passage) {
            let words = format!("ufw's rule `{rule}` stands where one that accepts it would");
            let advice = format!("`ufw delete {rule}` if clients are to come, and run this again");
            plan.remarks
                .push(Remark::warning(passage.to_string(), words).advice(advice));
        }
        for opening in facts.managers.lacking(passage, &configured.interfaces) {
            plan.change(
                Object::Opening(opening),
                State::Absent,
                State::value(THERE),
                format!("without it, {passage} may be dropped before it is served"),
            );
        }
    }
    // A packet must pass every chain, and a rule of a manager changes its own alone.
    for (passage, chain) in dropped(facts, wants) {
        let chain = chain.to_string();
        if !facts.managers.fills(&chain) {
            plan.remarks.push(drops(facts, passage, &chain));
        }
    }
    if plan.changes.is_empty() && plan.remarks.is_empty() {
        let words = "it lets pass what the configuration needs";
        plan.remarks.push(Remark::ok("firewall", words));
    }
}

fn nothing(facts: &FirewallFacts, wants: &Wants) -> Option<Remark> {
    let object = "firewall";
    wants.configured.as_ref()?;
    Some(match &facts.ruleset {
        Some(_) => Remark::ok(
            object,
            "no chain is known to drop what the configuration needs",
        ),
        None => Remark::warning(
            object,
            "`nft` does not list the ruleset, so it is not known whether a firewall drops clients",
        )
        .advice("install nftables and run this again as root; see `iptables -S INPUT` too"),
    })
}

/// The command that lets it pass.
pub fn mend(facts: &FirewallFacts, passage: &Passage, chain: &str) -> String {
    if facts.managers.fills(chain) {
        return "`ober-user bootstrap --only firewall`".to_owned();
    }
    format!(
        "`ober-user bootstrap --only firewall --firewall-chain {chain}`, and write it into the ruleset: `{}`",
        passage.rule()
    )
}

/// The comment by which a rule is known again.
fn comment(rule: &str) -> String {
    format!("ober: {rule}")
}

pub(crate) async fn state<M: Platform>(host: &Host<M>, chain: &str, rule: &str) -> State {
    match handles(host, chain, rule).await {
        Ok(there) if there.is_empty() => State::Absent,
        Ok(_) => State::value(THERE),
        // A rule that cannot be looked for is not taken for gone: it stays recorded.
        Err(error) => State::Unknown(error.to_string()),
    }
}

async fn handles<M: Platform>(host: &Host<M>, chain: &str, rule: &str) -> Result<Vec<u64>, Error> {
    let named = ruleset(host).await?.named.into_iter();
    let ours = named.filter(|it| it.chain == chain && it.comment == comment(rule));
    Ok(ours.map(|it| it.handle).collect())
}

/// `chain`: family, table and name.
pub(crate) async fn put<M: Platform>(
    host: &Host<M>,
    chain: &str,
    rule: &str,
    state: &State,
) -> Result<(), Error> {
    let place: Vec<&str> = chain.split('/').collect();
    if state.is_absent() {
        for handle in handles(host, chain, rule).await? {
            let handle = handle.to_string();
            let words = [&["nft", "delete", "rule"], &place[..], &["handle", &handle]].concat();
            host.order(&words).await?;
        }
        return Ok(());
    }
    let comment = format!("\"{}\"", comment(rule));
    let rule: Vec<&str> = rule.split(' ').collect();
    let words = [
        &["nft", "insert", "rule"],
        &place[..],
        &rule[..],
        &["comment", &comment],
    ];
    host.order(&words.concat()).await.map(drop)
}
