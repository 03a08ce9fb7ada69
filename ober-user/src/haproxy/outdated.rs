//! Does a process run the files that are on disk? An upgrade of HAProxy or of OpenSSL replaces files; a running process
//! keeps the old ones, which have no name any more.

use std::{collections::BTreeSet, fs, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use crate::system::file;

/// What the kernel writes behind the name of a file that was removed.
const DELETED: &str = " (deleted)";
/// Beginnings of names of memory that never was a file on disk.
const NO_FILES: [&str; 5] = ["/dev/", "/memfd:", "/SYSV", "/anon_hugepage", "/[aio]"];

/// The programs and libraries that a process runs and that were replaced or removed since it started. `haproxy`: the
/// program from which it would be started now. Empty when the process has ended.
pub(crate) fn outdated(pid: i32, haproxy: Option<&Path>) -> BTreeSet<String> {
    // The paths may contain bytes that are not UTF-8.
    let maps = file::kernel(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut gone = gone(&String::from_utf8_lossy(&maps));
    if let Some(haproxy) = haproxy.filter(|haproxy| gone.is_empty() && is_another(pid, haproxy)) {
        gone.insert(haproxy.display().to_string());
    }
    gone
}

/// The removed files whose code is in memory; the format is that of `proc_pid_maps(5)`.
fn gone(maps: &str) -> BTreeSet<String> {
    let file = |line: &str| {
        let mut words = line.splitn(6, ' ');
        let code = words.nth(1)?.contains('x');
        let name = words.nth(3)?.trim_start().strip_suffix(DELETED)?;
        let file = name.starts_with('/') && !NO_FILES.iter().any(|it| name.starts_with(it));
        (code && file).then(|| name.to_owned())
    };
    maps.lines().filter_map(file).collect()
}

/// Is the program of the process another file than this one? No when this one is a script, which does not show what it
/// starts.
fn is_another(pid: i32, program: &Path) -> bool {
    let mut head = [0; 4];
    let elf = file::open(program, file::Kind::Own).and_then(|mut file| file.read_exact(&mut head));
    if elf.is_err() || head != *b"\x7fELF" {
        return false;
    }
    let file = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let runs = file(Path::new(&format!("/proc/{pid}/exe")));
    runs.is_some() && runs != file(program)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn pid(running: &Running) -> i32 {
        i32::try_from(running.0.id()).unwrap()
    }

    fn names(found: &BTreeSet<String>) -> Vec<&str> {
        let name = |path: &'_ String| path.rsplit('/').next().map_or(0, str::len);
        found
            .iter()
            .map(|path| &path[path.len() - name(path)..])
            .collect()
    }

    /// Replaces a file as a package manager does: writes a new one beside it and renames it over the old one.
    fn replace(file: &Path) {
        let beside = file.with_extension("new");
        fs::copy(file, &beside).unwrap();
        fs::rename(beside, file).unwrap();
    }

    #[test]
    fn a_process_is_outdated_from_the_moment_its_program_or_a_library_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("program");
        fs::copy("/bin/sleep", &program).unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().find_map(|line| {
            line.split(' ')
                .next_back()
                .filter(|it| it.contains("/libc.so"))
        });
        let library = home.path().join("libc.so.6");
        fs::copy(libc.unwrap(), &library).unwrap();
        let mut command = Command::new(&program);
        command.arg("60").env("LD_LIBRARY_PATH", home.path());
        let running = Running(command.spawn().unwrap());
        // The library is mapped a little after the start.
        let own = library.display().to_string();
        while !fs::read_to_string(format!("/proc/{}/maps", pid(&running)))
            .unwrap()
            .contains(&own)
        {
            std::thread::yield_now();
        }
        assert_eq!(names(&outdated(pid(&running), Some(&program))), [""; 0]);
        replace(&library);
        assert_eq!(
            names(&outdated(pid(&running), Some(&program))),
            ["libc.so.6"]
        );
        replace(&program);
        assert_eq!(
            names(&outdated(pid(&running), Some(&program))),
            ["libc.so.6", "program"]
        );
        assert_eq!(outdated(i32::MAX, Some(&program)), BTreeSet::new());
    }

    #[test]
    fn another_program_behind_the_same_name_is_noticed_and_a_script_is_not() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::copy("/bin/sleep", at("one")).unwrap();
        fs::copy("/bin/sleep", at("two")).unwrap();
        std::os::unix::fs::symlink(at("one"), at("link")).unwrap();
        let running = Running(Command::new(at("link")).arg("60").spawn().unwrap());
        assert!(!is_another(pid(&running), &at("link")));
        fs::remove_file(at("link")).unwrap();
        std::os::unix::fs::symlink(at("two"), at("link")).unwrap();
        assert!(is_another(pid(&running), &at("link")));
        fs::write(at("script"), "#!/bin/sh\nexec sleep 60\n").unwrap();
        assert!(!is_another(pid(&running), &at("script")));
    }

    #[test]
    fn anonymous_memory_and_mapped_data_do_not_make_a_process_outdated() {
        let maps = "\
55d0-55d1 r-xp 00000000 fe:00 12                         /usr/sbin/haproxy (deleted)
55d1-55d2 rw-p 00001000 fe:00 12                         /usr/sbin/haproxy (deleted)
7f00-7f01 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f01-7f02 r-xs 00000000 00:01 78                         /memfd:jit (deleted)
7f02-7f03 r--p 00000000 fe:00 13                         /usr/share/locale (deleted)
7f03-7f04 r-xp 00000000 fe:00 14                         /usr/lib/a b/libssl.so.3 (deleted)
7f04-7f05 r-xp 00000000 fe:00 15                         /usr/lib/libz.so.1
7f05-7f06 r-xp 00000000 00:00 0                          [vdso]
7f06-7f07 rwxp 00000000 00:00 0 
";
        let gone: Vec<String> = gone(maps).into_iter().collect();
        assert_eq!(gone, ["/usr/lib/a b/libssl.so.3", "/usr/sbin/haproxy"]);
    }
}
