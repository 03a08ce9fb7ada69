//! Which configuration a start uses. A file that is broken or lost must not take a node out of service: the configuration
//! before it is in the history. If a certificate or a password of that is missing, only what needs it is left out.

use std::path::Path;

use crate::{
    api::status,
    config::{self, Config, Env, Location, Report, Texts},
    dataplane::chain,
    haproxy,
    plan::history::{Entry, History},
};

/// A configuration that a start can be tried with.
pub(super) struct Choice {
    pub(super) written: Texts,
    pub(super) config: Config,
    pub(super) provenance: Provenance,
    /// Is it from the history? An interface that it names was here once, and is waited for.
    pub(super) was_in_force: bool,
}

/// Where the configuration in force came from, if it is not the files on disk as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Provenance {
    /// A snapshot is in force, since the files could not be used.
    pub(super) fallback: Option<status::Fallback>,
    /// References in it to what cannot be used.
    pub(super) missing: Vec<String>,
}

impl Choice {
    /// The files on disk.
    pub(super) fn own(path: &Path) -> anyhow::Result<Self> {
        let written = Texts::read(path)?;
        let config = meant(path, &written)?;
        Ok(Self {
            written,
            config,
            provenance: Provenance::default(),
            was_in_force: false,
        })
    }

    /// The configuration that was in force before, after the `text` on disk failed by `error`: that text itself, if it was in
    /// force, or else the latest snapshot that can still be read and that this version understands.
    pub(super) fn before(path: &Path, text: Option<&str>, error: &anyhow::Error) -> Option<Self> {
        // A state directory that others than root could name may hold anything.
        let at = Location::of(path).ok().filter(|at| at.trusted)?;
        let state = at.state;
        let history = History::new(&state);
        for entry in history.entries().into_iter().rev() {
            let same = text == Some(&entry.hash);
            match Self::of(path, &state, &history, &entry) {
                Ok(mut choice) => {
                    choice.provenance.fallback = (!same).then(|| status::Fallback {
                        snapshot: entry.number,
                        kept: entry.time,
                        error: chain(error.as_ref()),
                    });
                    return Some(choice);
                }
                Err(error) => {
                    let (snapshot, error) = (entry.number, chain(error.as_ref()));
                    tracing::error!(snapshot, error, "start with a snapshot of the history");
                }
            }
            // The text that was in force fails, so its words are not the cause, and an older configuration is not wanted.
            if same {
                return None;
            }
        }
        None
    }

    fn of(path: &Path, state: &Path, history: &History, entry: &Entry) -> anyhow::Result<Self> {
        let written = history.read(entry.number)?.written;
        let (mut config, missing) = written.config_again(&config::base(path), &Env::current()?)?;
        allow(&mut config);
        anyhow::ensure!(config.node.state == state, "it is that of another instance");
        let Report(missing) = missing;
        let missing = missing
            .iter()
            .map(|problem| problem.message.clone())
            .collect();
        Ok(Self {
            written,
            config,
            provenance: Provenance {
                fallback: None,
                missing,
            },
            was_in_force: true,
        })
    }
}

/// For a command, when the files have a mistake: the configuration that was last in force, and its snapshot.
pub fn in_force_last(path: &Path) -> Option<(u64, Config)> {
    let mistake = anyhow::anyhow!("the files have a mistake");
    let choice = Choice::before(&std::path::absolute(path).ok()?, None, &mistake)?;
    Some((choice.provenance.fallback?.snapshot, choice.config))
}

/// The configuration that these files describe.
pub(super) fn meant(main: &Path, written: &Texts) -> anyhow::Result<Config> {
    let mut config = written.config(&config::base(main), &Env::current()?)?;
    allow(&mut config);
    Ok(config)
}

/// Limits connections to what this machine allows.
fn allow(config: &mut Config) {
    config.workers.max_connections = haproxy::allow(config.workers.max_connections);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::{
        config::File,
        plan::history::{self, Reason},
    };

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn main(&self) -> PathBuf {
            self.0.path().join("ober.toml")
        }

        /// A good configuration, with `mark` as its number of connections to tell it from others.
        fn text(&self, mark: u32, more: &str) -> String {
            let home = self.0.path().display();
            format!(
                "[node]\ninterfaces = ['in0']\nstate = '{home}/state'\nrun = '{home}/run'\n[workers]\nhaproxy = '/bin/true'\n\
                 max_connections = {mark}\n[backends.rgw]\nservers = ['10.0.0.1:80']\n[[services]]\nname = 's3'\nvips = ['192.0.2.1']\n\
                 backend = 'rgw'\nlisteners = [{{ port = 80, access = 'open' }}]\n{more}"
            )
        }

        fn keep(&self, text: &str) -> u64 {
            let main = File {
                path: self.main(),
                text: text.to_owned(),
                mode: 0o600,
            };
            let written = Texts {
                main,
                more: Vec::new(),
            };
            let history = History::new(&self.0.path().join("state"));
            let origin = history::Origin::of(Reason::Reload);
            history.keep(&written, origin, 7, 50).unwrap()
        }

        /// What a start uses when this is on disk: the snapshot, and what is missing.
        fn started(&self, text: &str) -> Option<(Option<u64>, Vec<String>)> {
            fs::write(self.main(), text).unwrap();
            let hash = Texts::read(&self.main()).ok().map(|written| written.hash());
            let own = Choice::own(&self.main());
            let error = own
                .err()
                .unwrap_or_else(|| anyhow::anyhow!("a port is taken"));
            let choice = Choice::before(&self.main(), hash.as_deref(), &error)?;
            let fallback = choice.provenance.fallback;
            if let Some(fallback) = &fallback {
                assert_eq!(fallback.error, chain(error.as_ref()));
            }
            Some((fallback.map(|it| it.snapshot), choice.provenance.missing))
        }
    }

    #[test]
    fn a_broken_configuration_is_replaced_by_the_latest_valid_snapshot() {
        let home = Home::new();
        assert_eq!(home.started("nonsense"), None);
        let broken = home.text(0, "nonsense = 1\n");
        assert_eq!(home.started(&broken), None, "there is no history");
        home.keep(&home.text(1000, ""));
        home.keep(&home.text(2000, ""));
        assert_eq!(home.started(&broken), Some((Some(2), vec![])));
        // A version before this one had another key.
        home.keep(&home.text(3000, "[olden]\ntimes = 1\n"));
        assert_eq!(home.started(&broken), Some((Some(2), vec![])));
        fs::write(home.0.path().join("state/history/2.json"), "{").unwrap();
        assert_eq!(home.started(&broken), Some((Some(1), vec![])));
    }

    #[test]
    fn a_new_text_that_fails_falls_back_to_the_previous_one_and_the_text_in_force_to_none() {
        let home = Home::new();
        home.keep(&home.text(1000, ""));
        home.keep(&home.text(2000, ""));
        assert_eq!(home.started(&home.text(3000, "")), Some((Some(2), vec![])));
        // The same text is tried again, since a certificate may have failed it.
        assert_eq!(home.started(&home.text(2000, "")), Some((None, vec![])));
        let olden = home.text(4000, "[olden]\ntimes = 1\n");
        home.keep(&olden);
        assert_eq!(
            home.started(&olden),
            None,
            "what was before is not what is wanted"
        );
    }

    #[test]
    fn a_text_in_force_before_starts_without_missing_files_and_a_new_text_does_not() {
        let home = Home::new();
        let lacking = "[[services.listeners]]\nport = 443\ncertificate = 'gone.pem'\n";
        let text = home
            .text(1000, "")
            .replace("listeners = [{ port = 80, access = 'open' }]\n", lacking);
        assert_eq!(home.started(&text), None);
        home.keep(&text);
        let (snapshot, missing) = home.started(&text).unwrap();
        assert_eq!(snapshot, None);
        assert!(missing[0].contains("gone.pem"), "{missing:?}");
        let (snapshot, missing) = home.started("[node]\nnonsense").unwrap_or_default();
        assert_eq!(
            (snapshot, missing),
            (None, vec![]),
            "the place of its history is unknown"
        );
        let (snapshot, missing) = home.started(&text.replace("1000", "2000")).unwrap();
        assert_eq!((snapshot, missing.len()), (Some(1), 1));
    }

    #[test]
    fn a_snapshot_of_another_instance_is_not_used() {
        let home = Home::new();
        home.keep(&home.text(1000, "").replace("/state'", "/elsewhere'"));
        assert_eq!(home.started(&home.text(0, "nonsense = 1\n")), None);
    }
}
