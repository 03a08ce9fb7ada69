//! The parts of a machine, by the names that operators type, in the order in which they are done.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Os,
    Sysctl,
    Qdisc,
    Users,
    Limits,
    Watchdog,
    Time,
    Packages,
    Firewall,
    /// All of `backend-setup`, which has no parts that can be done alone: an address before its settings would do harm.
    Backend,
}

impl Part {
    /// Those of `bootstrap`.
    pub const ALL: [Self; 9] = [
        Self::Os,
        Self::Sysctl,
        Self::Qdisc,
        Self::Users,
        Self::Limits,
        Self::Watchdog,
        Self::Time,
        Self::Packages,
        Self::Firewall,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::Sysctl => "sysctl",
            Self::Qdisc => "qdisc",
            Self::Users => "users",
            Self::Limits => "limits",
            Self::Watchdog => "watchdog",
            Self::Time => "time",
            Self::Packages => "packages",
            Self::Firewall => "firewall",
            Self::Backend => "backend",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no part {text:?}; the parts are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_from_its_name_and_an_unknown_name_is_answered_with_all_of_them() {
        for part in Part::ALL {
            assert_eq!(part.name().parse(), Ok(part));
        }
        let refused = "sysctls".parse::<Part>().unwrap_err();
        assert!(
            Part::ALL.iter().all(|it| refused.contains(it.name())),
            "{refused}"
        );
    }
}
