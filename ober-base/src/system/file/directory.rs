//! The directories of an instance, for root alone. An account that may read one could hold the lock in it; an account that may
//! write to it or to its parent could replace it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::trust::{self, Writer};

/// Permission bits of all but the owner.
const OTHERS: u32 = 0o077;

/// Makes a directory and its missing parents, for its owner alone.
pub fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the directory and its files private when they are not. An error when another account owns it or every account may
/// write to its parent; a warning in the log for other writers of the parent.
pub fn keep_private(path: &Path) -> io::Result<()> {
    let facts = fs::metadata(path)?;
    if !facts.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let own = nix::unistd::geteuid().as_raw();
    if facts.uid() != own && facts.uid() != 0 {
        return Err(refused(&Writer::Account {
            at: path.to_owned(),
            user: facts.uid(),
        }));
    }
    let real = fs::canonicalize(path)?;
    for above in [path.parent(), real.parent()].into_iter().flatten() {
        match trust::writer(above, &[])? {
            Some(writer) if writer.is_everybody() => return Err(refused(&writer)),
            Some(writer) => {
                tracing::warn!(path = %path.display(), advice = writer.advice(), "{writer}");
            }
            None => {}
        }
    }
    if facts.mode() & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.metadata()?.mode() & OTHERS != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        }
    }
    tracing::info!(path = %path.display(), "others could look into it; now only root can");
    Ok(())
}

fn refused(writer: &Writer) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{writer}: {}", writer.advice()),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn created_directories_and_ones_open_to_others_are_made_private_to_their_owner() {
        let home = tempfile::tempdir().unwrap();
        let (run, lock) = (home.path().join("a/run"), home.path().join("a/run/lock"));
        make(&run).unwrap();
        assert_eq!([mode(&home.path().join("a")), mode(&run)], [0o700; 2]);
        fs::write(&lock, "").unwrap();
        for others in [0o755, 0o750, 0o777, 0o710] {
            set(&run, others);
            set(&lock, 0o644);
            keep_private(&run).unwrap();
            assert_eq!((mode(&run), mode(&lock)), (0o700, 0o600), "{others:o}");
        }
    }

    #[test]
    fn a_directory_of_another_account_or_in_a_world_writable_one_is_refused_with_the_remedy() {
        let home = tempfile::tempdir().unwrap();
        let (above, run) = (home.path().join("a"), home.path().join("a/run"));
        make(&run).unwrap();
        chown(&run, Some(65_534), None).unwrap();
        let said = keep_private(&run).unwrap_err().to_string();
        assert!(
            said.contains("belongs to the account 65534: chown root"),
            "{said}"
        );
        chown(&run, Some(0), None).unwrap();
        set(&above, 0o777);
        let said = keep_private(&run).unwrap_err().to_string();
        assert!(said.contains("every account may write"), "{said}");
        assert!(
            said.ends_with(&format!("chmod o-w {}", above.display())),
            "{said}"
        );
        fs::write(above.join("file"), "").unwrap();
        let file = keep_private(&above.join("file")).unwrap_err();
        assert_eq!(file.kind(), io::ErrorKind::NotADirectory);
    }
}
