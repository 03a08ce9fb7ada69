//! Who may use a service: the lists and rules of its listeners. No answer to another question opens what was for some clients only.

use super::{answer::hosts_or, key, list, session::Session};
use crate::{
    cli::Error,
    config::{
        FRONTEND_HTTP, ROUTERS,
        edit::{Key, View},
    },
};

/// The word for no list of clients.
pub(super) const OPEN: &str = "open";
/// The keys of a listener that say who may use it.
const GUARDS: [&str; 2] = ["access", "rules"];

/// A port of a service, and the list of clients that it has, or `open`.
struct Port {
    listener: Key,
    access: Option<String>,
}

impl Port {
    fn list(&self) -> Option<&String> {
        self.access.as_ref().filter(|it| *it != OPEN)
    }
}

fn ports(view: &View, listeners: &Key) -> Vec<Port> {
    let ports = view.names(listeners).into_iter();
    ports
        .map(|port| {
            let listener = listeners.below(&port);
            let access = view.text(&listener.below("access"));
            Port { listener, access }
        })
        .collect()
}

/// Gives a new listener the clients of the others of its service: one with a certificate would be open without.
pub(super) fn guard(session: &mut Session<'_>, listeners: &Key, new: &Key) -> Result<(), Error> {
    let all = ports(&session.view, listeners);
    let guarded = all.into_iter().filter(|port| {
        port.list().is_some() || session.view.get(&port.listener.below("rules")).is_some()
    });
    let mut models: Vec<Key> = Vec::new();
    for port in guarded {
        if !models
            .iter()
            .any(|it| alike(&session.view, it, &port.listener))
        {
            models.push(port.listener);
        }
    }
    let model = match &models[..] {
        [] => return Ok(()),
        [only] => only,
        several => {
            let words: Vec<String> = several
                .iter()
                .map(|it| format!("those of `{it}`"))
                .collect();
            let prompt = format!("Clients of the new listener `{new}`");
            let chosen = session.ask.choose(&prompt, &words, 0)?;
            several.get(chosen).unwrap_or(new)
        }
    };
    session.say(&format!("`{new}` is for the clients of `{model}`."));
    carry(session, model, new)
}

/// Does the listener say who may use it?
pub(super) fn is_guarded(view: &View, listener: &Key) -> bool {
    GUARDS
        .iter()
        .any(|it| view.get(&listener.below(it)).is_some())
}

fn alike(view: &View, one: &Key, other: &Key) -> bool {
    GUARDS
        .iter()
        .all(|it| view.get(&one.below(it)) == view.get(&other.below(it)))
}

/// Gives one listener the clients of another.
pub(super) fn carry(session: &mut Session<'_>, from: &Key, to: &Key) -> Result<(), Error> {
    let access = session.view.text(&from.below("access"));
    let rules = session.view.texts(&from.below("rules"));
    if let Some(access) = access {
        session.set(&to.below("access"), access.into())?;
    }
    if !rules.is_empty() {
        session.set(&to.below("rules"), list(&rules))?;
    }
    Ok(())
}

/// Asks who may use the service.
pub(super) fn of(session: &mut Session<'_>, name: &str, service: &Key) -> Result<(), Error> {
    let ports = ports(&session.view, &service.below("listeners"));
    let has_rules = |port: &Port| session.view.get(&port.listener.below("rules")).is_some();
    let mut lists: Vec<&String> = ports.iter().filter_map(Port::list).collect();
    lists.sort();
    lists.dedup();
    if ports.iter().any(has_rules) || lists.len() > 1 {
        session.say("Its listeners have several lists or rules, which stay as they are.");
        return Ok(());
    }
    let before = lists.first().map(|it| (*it).clone());
    let default = match &before {
        Some(list) => session.view.texts(&sources(list)),
        None => vec![OPEN.to_owned()],
    };
    let answer = asked(session, name, &default)?;
    if answer == default {
        return Ok(());
    }
    if answer == [OPEN] {
        return open(session, &ports);
    }
    let list_name = list_for(session, &User::Service(name), before.as_deref())?;
    session.set(&sources(&list_name), list(&answer))?;
    for port in ports {
        // Every client may be sent to HTTPS, and an authority must be able to ask.
        let redirect = session.view.text(&port.listener.below("redirect_https"));
        let redirects = redirect.as_deref() == Some("true");
        if port.list().is_some() || (before.is_none() && !redirects) {
            let access = port.listener.below("access");
            session.set(&access, list_name.as_str().into())?;
        }
    }
    Ok(())
}

fn sources(list: &str) -> Key {
    key(&["lists", list, "sources"])
}

fn asked(session: &mut Session<'_>, name: &str, default: &[String]) -> Result<Vec<String>, Error> {
    let fill = default.is_empty();
    let hint = if fill {
        "; nothing: as `acl sync` fills it"
    } else {
        ""
    };
    let prompt = format!("Clients of service {name} (hostlist, or `open` for every client{hint})");
    let wanted = hosts_or(OPEN);
    session.several(&prompt, default, &|parts| {
        if fill && parts.is_empty() {
            return Ok(());
        }
        wanted(parts)
    })
}

fn open(session: &mut Session<'_>, ports: &[Port]) -> Result<(), Error> {
    for port in ports.iter().filter(|port| port.list().is_some()) {
        session.set(&port.listener.below("access"), OPEN.into())?;
    }
    Ok(())
}

/// What a list is for.
pub(super) enum User<'a> {
    Service(&'a str),
    Routers,
}

impl User<'_> {
    /// The name of a list of its own.
    fn usual(&self) -> &str {
        match self {
            Self::Service(_) => FRONTEND_HTTP,
            Self::Routers => ROUTERS,
        }
    }
}

/// The list that gets the entries: the one that the user has, unless others use it too and shall keep theirs.
pub(super) fn list_for(
    session: &mut Session<'_>,
    user: &User<'_>,
    before: Option<&str>,
) -> Result<String, Error> {
    let list = before.unwrap_or(user.usual());
    let users = users(&session.view, list, user);
    if users.is_empty() {
        return Ok(list.to_owned());
    }
    let prompt = format!(
        "The list `{list}` is that of {} too. Change it for all of them?",
        users.join(", ")
    );
    if before.is_some() && session.ask.agree(&prompt, false)? {
        return Ok(list.to_owned());
    }
    Ok(free(&session.view, user))
}

/// What else uses a list than this user, in words.
fn users(view: &View, list: &str, user: &User<'_>) -> Vec<String> {
    let services = key(&["services"]);
    let names = view.names(&services).into_iter();
    let uses = |name: &String| {
        let listeners = services.below(name).below("listeners");
        let ports = ports(view, &listeners);
        ports
            .iter()
            .any(|port| port.list().is_some_and(|it| it == list))
    };
    let is_other = |name: &String| !matches!(user, User::Service(own) if own == name);
    let others = names.filter(is_other).filter(uses);
    let mut users: Vec<String> = others.map(|name| format!("service {name}")).collect();
    let routers = view.text(&key(&["node", "routers"]));
    if matches!(user, User::Service(_)) && routers.as_deref() == Some(list) {
        users.push("the routers".to_owned());
    }
    users
}

/// A name for a list of this user alone.
fn free(view: &View, user: &User<'_>) -> String {
    let name = match user {
        User::Service(name) => name,
        User::Routers => ROUTERS,
    };
    let is_free = |name: &String| {
        (![OPEN, FRONTEND_HTTP, ROUTERS].contains(&name.as_str()) || name == user.usual())
            && view.get(&key(&["lists", name])).is_none()
    };
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(is_free).unwrap_or_default()
}
