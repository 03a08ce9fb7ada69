//! Every file of a package, once. All formats are made of this table, so none of them can lack what another has.

use super::program::Shell;

/// One file of a package.
pub(crate) struct Item {
    /// Where it is installed: a file, or a directory for [`Source::Manual`].
    pub(crate) place: &'static str,
    pub(crate) mode: u32,
    pub(crate) source: Source,
}

/// Where its content comes from.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// The stripped program.
    Program,
    /// A file of the repository.
    File(&'static str),
    /// A file of the repository, with the version in the place of the word VERSION.
    Versioned(&'static str),
    /// A symbolic link with this text.
    Link(&'static str),
    /// What the program writes for this shell, for both of its names.
    Completion(Shell),
    /// The pages of all commands, as the program writes them.
    Manual,
    /// The licences of all crates in the program.
    Notices,
}

const fn file(place: &'static str, path: &'static str) -> Item {
    item(place, Source::File(path))
}

const fn item(place: &'static str, source: Source) -> Item {
    Item {
        place,
        mode: 0o644,
        source,
    }
}

/// What is below `/etc` belongs to the administrator after the installation: package managers keep changes of it.
pub(crate) const CONTENTS: &[Item] = &[
    Item {
        place: "/usr/bin/ober-user",
        mode: 0o755,
        source: Source::Program,
    },
    item("/usr/bin/ober", Source::Link("ober-user")),
    Item {
        place: "/usr/lib/ober/retire",
        mode: 0o755,
        source: Source::File("ober-user/package/retire"),
    },
    file(
        "/usr/lib/systemd/system/ober.service",
        "ober-user/package/systemd/ober.service",
    ),
    file(
        "/usr/lib/systemd/system/ober@.service",
        "ober-user/package/systemd/ober@.service",
    ),
    file(
        "/usr/lib/systemd/system/ober-workers.slice",
        "ober-user/package/systemd/ober-workers.slice",
    ),
    file(
        "/usr/lib/sysusers.d/ober.conf",
        "ober-user/package/sysusers.d/ober.conf",
    ),
    file(
        "/usr/lib/tmpfiles.d/ober.conf",
        "ober-user/package/tmpfiles.d/ober.conf",
    ),
    file(
        "/usr/lib/NetworkManager/conf.d/ober.conf",
        "ober-user/package/networkmanager/ober.conf",
    ),
    file(
        "/usr/share/ober/ober.example.toml",
        "config/ober.example.toml",
    ),
    item(
        "/usr/share/ober/ober.container",
        Source::Versioned("ober-user/package/container/ober.container"),
    ),
    file(
        "/usr/share/ober/ober.schema.json",
        "config/ober.schema.json",
    ),
    item(
        "/usr/share/bash-completion/completions/ober-user",
        Source::Completion(Shell::Bash),
    ),
    item(
        "/usr/share/bash-completion/completions/ober",
        Source::Link("ober-user"),
    ),
    item(
        "/usr/share/zsh/vendor-completions/_ober-user",
        Source::Completion(Shell::Zsh),
    ),
    item(
        "/usr/share/fish/vendor_completions.d/ober-user.fish",
        Source::Completion(Shell::Fish),
    ),
    item(
        "/usr/share/fish/vendor_completions.d/ober.fish",
        Source::Link("ober-user.fish"),
    ),
    item("/usr/share/man/man1", Source::Manual),
    item("/usr/share/man/man1/ober.1", Source::Link("ober-user.1")),
    file("/usr/share/doc/ober/README.md", "README.md"),
    file("/usr/share/doc/ober/CHANGELOG.md", "CHANGELOG.md"),
    file("/usr/share/doc/ober/copyright", "LICENSE"),
    item("/usr/share/doc/ober/NOTICES", Source::Notices),
];
