//! Who answers: a person at a terminal, or a test.

use crate::cli::{Error, screen};

/// A question that is answered by a line of text.
pub(super) struct Line<'q> {
    pub(super) prompt: &'q str,
    /// The answer when nothing is typed.
    pub(super) default: String,
    /// What is wrong with an answer, if something is.
    pub(super) check: &'q dyn Fn(&str) -> Result<(), String>,
}

pub(super) trait Ask {
    /// An answer that the check of the question accepts.
    fn line(&mut self, question: &Line<'_>) -> Result<String, Error>;
    /// The number of the chosen one.
    fn choose(&mut self, prompt: &str, among: &[String], default: usize) -> Result<usize, Error>;
    fn agree(&mut self, prompt: &str, default: bool) -> Result<bool, Error>;
    fn say(&mut self, words: &str);
}

/// The person at the terminal.
pub(super) struct Person;

fn prompt(error: dialoguer::Error) -> Error {
    let dialoguer::Error::IO(error) = error;
    Error::Prompt(error)
}

impl Ask for Person {
    fn line(&mut self, question: &Line<'_>) -> Result<String, Error> {
        let input = dialoguer::Input::<String>::new()
            .with_prompt(question.prompt)
            .allow_empty(true)
            .validate_with(|answer: &String| (question.check)(answer.trim()));
        let input = if question.default.is_empty() {
            input
        } else {
            input.default(question.default.clone())
        };
        Ok(input.interact_text().map_err(prompt)?.trim().to_owned())
    }

    fn choose(
        &mut self,
        prompt_words: &str,
        among: &[String],
        default: usize,
    ) -> Result<usize, Error> {
        dialoguer::Select::new()
            .with_prompt(prompt_words)
            .items(among)
            .default(default)
            .interact()
            .map_err(prompt)
    }

    fn agree(&mut self, prompt_words: &str, default: bool) -> Result<bool, Error> {
        screen::agree(prompt_words, default)
    }

    fn say(&mut self, words: &str) {
        screen::note(words);
    }
}
