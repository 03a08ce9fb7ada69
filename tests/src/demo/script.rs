//! Steps and their results.

use std::{
    fmt,
    io::{self, Write},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

/// One step.
#[derive(Debug, Serialize)]
struct Step {
    claim: String,
    held: bool,
    /// What was seen, or why it did not hold.
    facts: String,
    seconds: f64,
}

/// Prints each step as it ends and counts.
pub struct Script {
    out: Box<dyn Write>,
    steps: Vec<Step>,
    began: Instant,
}

impl fmt::Debug for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Script")
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Data<'a> {
    steps: &'a [Step],
    passed: usize,
    failed: usize,
    seconds: f64,
}

impl Script {
    pub fn new(out: impl Write + 'static) -> Self {
        Self {
            out: Box::new(out),
            steps: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Prints nothing; for [`Script::data`].
    pub fn silent() -> Self {
        Self::new(io::sink())
    }

    /// Prove a claim. The proof returns what it saw.
    pub fn step(&mut self, claim: &str, proof: impl FnOnce() -> Result<String>) {
        let began = Instant::now();
        let (held, facts) = match proof() {
            Ok(facts) => (true, facts),
            Err(error) => (false, format!("{error:#}")),
        };
        let line = if held {
            format!("ok  {claim} ({facts})")
        } else {
            format!("FAILED  {claim}: {facts}")
        };
        self.say(&line);
        self.steps.push(Step {
            claim: claim.to_owned(),
            held,
            facts,
            seconds: round(began.elapsed()),
        });
    }

    /// A line that is no step.
    pub fn say(&mut self, line: &str) {
        // A closed output is no failure of the demo.
        writeln!(self.out, "{line}")
            .and_then(|()| self.out.flush())
            .ok();
    }

    pub fn passed(&self) -> usize {
        self.steps.iter().filter(|step| step.held).count()
    }

    pub fn failed(&self) -> usize {
        self.steps.len() - self.passed()
    }

    /// The last line.
    pub fn end(&mut self) {
        let line = format!("{} passed, {} failed", self.passed(), self.failed());
        self.say(&line);
    }

    /// The same as data.
    pub fn data(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&Data {
            steps: &self.steps,
            passed: self.passed(),
            failed: self.failed(),
            seconds: round(self.began.elapsed()),
        })?)
    }
}

fn round(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_counts_passed_and_failed_steps_and_its_data_agrees() {
        let mut script = Script::silent();
        script.step("water is wet", || Ok("seen".to_owned()));
        script.step("the moon is cheese", || anyhow::bail!("rock"));
        assert_eq!((script.passed(), script.failed()), (1, 1));
        let data: serde_json::Value =
            serde_json::from_str(&script.data().expect("data")).expect("JSON");
        assert_eq!((&data["passed"], &data["failed"]), (&1.into(), &1.into()));
        assert_eq!(data["steps"][1]["facts"], "rock");
        assert_eq!(data["steps"][0]["held"], true);
    }
}
