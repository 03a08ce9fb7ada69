//! `config` at a terminal: the questions that only an operator can answer. Each has what is written as its default, and an
//! answer that says the same changes nothing.
//!
//! ```text
//! ask        a person, or a test           announce   interfaces; BGP or VRRP; who may speak routing protocols
//! session    the text with the answers so far             answer     what is accepted as an answer
//! service    VIPs, servers            certificate         clients    who may use a service
//! probe      each server asked once
//! ```

mod announce;
mod answer;
mod ask;
mod certificate;
mod clients;
mod probe;
mod service;
mod session;
#[cfg(test)]
mod tests;

use toml_edit::{Array, Value};

use self::{
    ask::{Ask, Person},
    session::Session,
};
use super::{
    finish::{self, How, Judged},
    original::Original,
};
use crate::{cli::Error, config::edit::Key};

/// Asks the person at the terminal until the answers are a configuration.
pub(super) async fn run(original: &Original, how: &How) -> Result<Judged, Error> {
    let mut text = original.main.text.clone();
    Person.say("Enter keeps what stands between brackets; nothing is written before the end.");
    loop {
        text = asked(original, &text, &mut Person).await?;
        let error = match finish::judge(original, &text, how).await {
            Ok(judged) => return Ok(judged),
            Err(error) => error,
        };
        error.to_string().lines().for_each(|line| Person.say(line));
        if !Person.agree("Answer again, beginning with what was answered?", true)? {
            return Err(error);
        }
    }
}

/// The text with one round of answers.
async fn asked(original: &Original, text: &str, ask: &mut dyn Ask) -> Result<String, Error> {
    let mut session = Session::begin(original, text, ask)?;
    announce::interfaces(&mut session)?;
    let announcement = announce::announcement(&mut session)?;
    service::all(&mut session).await?;
    announce::routers(&mut session, announcement)?;
    Ok(session.text())
}

fn key(parts: &[&str]) -> Key {
    Key::of(parts.iter().copied())
}

fn list(values: &[String]) -> Value {
    Value::Array(values.iter().map(String::as_str).collect::<Array>())
}
