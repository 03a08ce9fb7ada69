//! Check by the operator's own program.

use std::net::SocketAddr;

use super::Answer;
use crate::{
    config::sections::check::{Exec, Verdict},
    system::command::{self, Ended},
};

/// The most output of the program that is read, in bytes.
const MOST: usize = 64 << 10;

pub(super) async fn check(exec: &Exec, server: SocketAddr) -> Answer {
    let words = [server.ip().to_string(), server.port().to_string()];
    match command::run(&exec.program, &words, MOST).await {
        Ok(ended) => judge(&exec.verdict, &ended),
        Err(error) if error.is_shortage() => Answer::Unclear(error.to_string()),
        Err(error) => Answer::Bad(error.to_string()),
    }
}

fn judge(verdict: &Verdict, ended: &Ended) -> Answer {
    let said = String::from_utf8_lossy(&ended.out).trim().to_owned();
    let shown = match said.lines().next() {
        Some(line) => line.chars().take(60).collect(),
        None => ended.complaint.clone(),
    };
    let words = format!("{}: {shown}", ended.status);
    match verdict {
        Verdict::Status if ended.success => Answer::Good(words),
        Verdict::Status => Answer::Bad(words),
        Verdict::Output { good, .. } if *good == said => Answer::Good(words),
        Verdict::Output { bad, .. } if *bad == said => Answer::Bad(words),
        Verdict::Output { .. } => Answer::Unclear(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_or_the_output_decides_an_exec_check() {
        let ended = |success, out: &str| Ended {
            success,
            status: "exit status".into(),
            out: out.into(),
            complaint: "oh".into(),
        };
        let words = |text: &str| format!("exit status: {text}");
        let output = Verdict::Output {
            good: "1".into(),
            bad: "0".into(),
        };
        for (verdict, ended, answer) in [
            (&Verdict::Status, ended(true, ""), Answer::Good(words("oh"))),
            (
                &Verdict::Status,
                ended(false, "a\nb"),
                Answer::Bad(words("a")),
            ),
            (&output, ended(false, " 1\n"), Answer::Good(words("1"))),
            (&output, ended(true, "0"), Answer::Bad(words("0"))),
            (&output, ended(true, "10"), Answer::Unclear(words("10"))),
        ] {
            assert_eq!(judge(verdict, &ended), answer);
        }
    }
}
