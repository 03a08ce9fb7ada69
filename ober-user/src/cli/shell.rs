//! What packages ship: completions, manual pages, the schema.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::{Error, Ober, Outcome, screen::Screen, typed::word};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Shell that reads the script
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self, screen: &mut Screen) -> Result<Outcome, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Ober::command(), word(), &mut script);
        if self.shell == clap_complete::Shell::Bash {
            script = consistent(&script);
        }
        print(&script, screen)
    }
}

/// `clap_complete` 4.6 names a command `ober__user__subcmd__acl` in one place of the script and
/// `ober__subcmd__user__subcmd__acl` in another, since the name of the program has a dash.
fn consistent(script: &[u8]) -> Vec<u8> {
    let script = String::from_utf8_lossy(script);
    script.replace("ober__subcmd__user", "ober__user").into()
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where to write one page a command, ober-user.1, ober-user-run.1 and so on
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, screen: &mut Screen) -> Result<Outcome, Error> {
        let Some(directory) = self.directory else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Ober::command()).render(&mut page)?;
            return print(&page, screen);
        };
        clap_mangen::generate_to(Ober::command(), &directory).map_err(|source| Error::Man {
            directory: directory.display().to_string(),
            source,
        })?;
        Ok(Outcome::Done)
    }
}

pub(super) fn schema(screen: &mut Screen) -> Result<Outcome, Error> {
    let schema = serde_json::to_string_pretty(&crate::config::schema())?;
    screen.whole(&schema)?;
    Ok(Outcome::Done)
}

fn print(text: &[u8], screen: &mut Screen) -> Result<Outcome, Error> {
    let text = String::from_utf8_lossy(text);
    screen.whole(text.trim_end_matches('\n'))?;
    Ok(Outcome::Done)
}
